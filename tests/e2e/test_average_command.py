"""`python -m seq2seq.average` on a run that keeps models, and translation with the averaged model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from forking import call
from run_folder import BEST_NAME, Process

pytestmark = pytest.mark.slow

LINES = "the dog sleeps .\na man sees the house .\n"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run with validations after 9, 18 and 24 updates that keeps the last two models."""
    folder = tmp_path_factory.mktemp("kept")
    status, _, err = Process(folder / "cache", folder, "hydra.run.dir=run", "training.keep_last=2").wait()
    assert status == 0, err
    return folder / "run"


def command(name: str, *arguments: str | Path) -> tuple[int, str, str]:
    return call(f"seq2seq.{name}", Path(__file__).resolve().parents[2], *map(str, arguments))


def test_mean_of_the_last_models_of_a_run_translates(kept: Path, tmp_path: Path) -> None:
    mean = tmp_path / "mean.safetensors"
    last = [kept / "models" / f"step_00000{step}.safetensors" for step in (18, 24)]
    status, out, err = command("average", kept, "--last", "2", "--output", mean)
    assert (status, out, err) == (0, f"{mean}\n", f"mean of 2 models:\n  {last[0]}\n  {last[1]}\n")
    first, second, averaged = map(load_file, (*last, mean))
    assert averaged.keys() == first.keys()
    for name, tensor in averaged.items():
        torch.testing.assert_close(tensor.double(), (first[name].double() + second[name].double()) / 2)
    (tmp_path / "lines").write_text(LINES, encoding="utf-8")
    status, out, _ = command("translate", mean, tmp_path / "lines")
    assert (status, out.count("\n")) == (0, 2)
    status, out, _ = command("evaluate", mean, "--json")
    assert status == 0
    assert isinstance(json.loads(out), dict)


def test_user_errors_are_one_line(kept: Path, tmp_path: Path) -> None:
    best = kept / BEST_NAME
    for arguments, message in (
        ((best, "--output", tmp_path / "new"), "is the only model"),
        ((best, best, "--output", best), "exists"),
        ((best, best, "--output", best / "new"), "cannot write"),
    ):
        status, out, err = command("average", *arguments)
        assert (status, out, err.count("\n"), err[:7]) == (2, "", 1, "error: "), err
        assert message in err
