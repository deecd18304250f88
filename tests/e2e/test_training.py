"""`python -m seq2seq.train` to the end: stopped, killed, resumed, repeated."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from launching import Launcher
from scaling import scaled
from seq2seq.model_file import BEST_NAME
from seq2seq.train import train
from seq2seq.training.checkpoint import LAST_NAME

pytestmark = pytest.mark.slow

STEPS = 24
FILES = {BEST_NAME, LAST_NAME, "config.yaml", "metrics.jsonl", "tensorboard", "train.log"}
TINY = (
    "data=grammar", "data.train_pairs=300", "data.valid_pairs=10", "data.test_pairs=10",
    "data.tokenizer.vocab_size=400",
    "model.hidden_size=16", "model.emb_size=16", "model.attention_size=16", "model.decoder_layers=2",
    "training.max_minutes=null", f"training.max_steps={STEPS}", "training.learning_rate=0.01",
    "training.warmup_steps=4", "training.precision=fp32", "training.device=cpu",
    "training.validate_every_steps=9", "training.log_every_steps=1",
    "runtime.allocator=default",
)  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, cache: Path) -> Launcher:
    """The command in this process, in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    return Launcher(monkeypatch, capsys, train, (*TINY, f"data.cache_dir={cache}"))


@pytest.fixture
def resume(start: Launcher) -> Launcher:
    """The command without any setting: those of the run are in its folder."""
    return Launcher(start.patch, start.capture, train)


class Process:
    """The command in a process of its own."""

    def __init__(self, cache: Path, folder: Path, *arguments: str) -> None:
        self.metrics = folder / "run" / "metrics.jsonl"
        self.before = len(self.lines())
        command = [sys.executable, "-m", "seq2seq.train", *TINY, f"data.cache_dir={cache}", *arguments]
        package = str(Path(sys.modules["seq2seq"].__file__ or "").parents[1])
        path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
        self.child = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def lines(self) -> list[str]:
        return self.metrics.read_text(encoding="utf-8").splitlines() if self.metrics.exists() else []

    def wait_for(self, updates: int) -> None:
        """Return once the run has logged this many more updates."""
        while len(self.lines()) < self.before + updates:
            assert self.child.poll() is None, self.child.communicate()
            time.sleep(0.002)

    def wait(self) -> tuple[int, str, str]:
        out, err = self.child.communicate(timeout=120)
        return self.child.returncode, out, err


def model_of(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    with safe_open(folder / BEST_NAME, framework="pt") as content:
        config = json.loads(content.metadata()["config"])
        del config["training"]["resume"], config["training"]["save_every_steps"]  # what the tests set differently
        return {key: content.get_tensor(key) for key in content.keys()}, config  # noqa: SIM118


def state_of(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(folder / LAST_NAME, weights_only=True)
    state["progress"]["elapsed_sec"] = 0
    for group in state["optimizer"]["param_groups"]:
        del group["lr"]  # set before every update
    return state


def same(one: Any, other: Any) -> bool:
    """Bit for bit, through dictionaries and lists."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def figures(folder: Path) -> list[dict[str, Any]]:
    """Every event but for its times; a test that was made twice as it was made last."""
    found = {}
    for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        kept = {key: value for key, value in event.items() if key not in ("time", "elapsed_sec", "tokens_per_sec")}
        found[event["event"], event.get("step")] = kept
    return sorted(found.values(), key=lambda event: (event["event"], event.get("step", 0)))


def assert_same_run(folder: Path, other: Path) -> None:
    assert same(state_of(folder), state_of(other))
    assert same(model_of(folder), model_of(other))
    assert figures(folder) == figures(other)
    assert {path.name for path in folder.iterdir()} == {path.name for path in other.iterdir()} == FILES


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> tuple[Path, str, str]:
    """The run that nothing disturbed: its folder and what it wrote to stdout and stderr."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    status, out, err = Process(cache, folder, "hydra.run.dir=run").wait()
    assert status == 0, err
    return folder / "run", out, err


def test_a_run_from_start_to_end(uninterrupted: tuple[Path, str, str]) -> None:
    folder, out, err = uninterrupted
    assert {path.name for path in folder.iterdir()} == FILES
    assert [path.name for path in folder.parent.iterdir()] == ["run"]
    events = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [e["step"] for e in events if e["event"] == "step"] == list(range(1, STEPS + 1))
    assert [e["step"] for e in events if e["event"] == "validation"] == [9, 18, STEPS]
    assert [(e["event"], e["set"]) for e in events if "step" not in e] == [("test", "test")]
    losses = [e["loss"] for e in events if e["event"] == "step"]
    assert sum(losses[-4:]) < sum(losses[:4])
    assert any(path.name.startswith("events.out") for path in (folder / "tensorboard").iterdir())
    # Results are on stdout, the log is on stderr and in train.log.
    assert "python -m seq2seq.translate run" in out
    assert re.search(r"^test +\d+\.\d\d", out, re.MULTILINE)
    logged = (folder / "train.log").read_text(encoding="utf-8")
    assert err.splitlines() == [line.split(" INFO ", 1)[1] for line in logged.splitlines()]


def test_a_seed_fixes_everything(start: Launcher, uninterrupted: tuple[Path, str, str]) -> None:
    assert start("hydra.run.dir=run").status == 0
    assert_same_run(Path("run"), uninterrupted[0])
    assert start("hydra.run.dir=other", "training.seed=2").status == 0
    assert not same(state_of(Path("other"))["network"], state_of(Path("run"))["network"])


@pytest.mark.parametrize("kills", [scaled(1, 5)])
def test_a_killed_run_ends_as_if_it_had_not_been(
    tmp_path: Path, cache: Path, uninterrupted: tuple[Path, str, str], kills: int
) -> None:
    command = ["hydra.run.dir=run", "training.resume=auto", "training.save_every_steps=1"]
    numbers = random.Random(kills)
    for _ in range(kills):
        process = Process(cache, tmp_path, *command)
        process.wait_for(5 if kills == 1 else numbers.randint(2, 4))
        time.sleep(numbers.random() / 20)
        process.child.kill()
        assert process.wait()[0] == -signal.SIGKILL
    status, out, err = Process(cache, tmp_path, *command).wait()
    assert status == 0, err
    assert "resumed at step" in err
    assert out == uninterrupted[1]
    assert_same_run(tmp_path / "run", uninterrupted[0])
    lines = [(folder / "metrics.jsonl").read_text().count("\n") for folder in (tmp_path / "run", uninterrupted[0])]
    assert lines[0] == lines[1]  # what was made twice is there once


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_stops_and_the_run_goes_on_in_its_folder(
    tmp_path: Path,
    cache: Path,
    resume: Launcher,
    uninterrupted: tuple[Path, str, str],
    number: signal.Signals,
    status: int,
) -> None:
    process = Process(cache, tmp_path, "hydra.run.dir=run")
    process.wait_for(5)
    process.child.send_signal(number)
    found, out, err = process.wait()
    assert (found, out) == (status, "")
    assert err.splitlines()[-1] == f"stopped by signal {int(number)}; last.pt is saved"
    assert "Traceback" not in err
    step = state_of(tmp_path / "run")["progress"]["step"]
    assert 5 <= step < STEPS

    resumed = resume("training.resume=run", "training.save_every_steps=1")
    assert resumed.status == 0
    assert f"resumed at step {step}" in resumed.err
    assert "override on resume: training.save_every_steps=1" in resumed.err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]  # no second folder
    assert_same_run(tmp_path / "run", uninterrupted[0])
    assert (tmp_path / "run" / "train.log").read_text(encoding="utf-8").count("resumed at step") == 1


def test_a_finished_run_that_is_resumed_is_tested_again_and_not_changed(
    start: Launcher, resume: Launcher, uninterrupted: tuple[Path, str, str]
) -> None:
    start("hydra.run.dir=run")
    resumed = resume("training.resume=run")
    assert (resumed.status, resumed.out) == (0, uninterrupted[1])
    assert_same_run(Path("run"), uninterrupted[0])
    longer = resume("training.resume=run", f"training.max_steps={STEPS + 2}")
    assert longer.status == 0
    assert state_of(Path("run"))["progress"]["step"] == STEPS + 2


def test_a_sweep_goes_on_after_a_point_that_fails(tmp_path: Path, start: Launcher) -> None:
    points = ["training.max_steps=2", "data.tokenizer.vocab_size=400,1000000", "training.seed=1,2"]
    done = start(*points, "hydra.sweep.dir=sweep", "-m")
    assert done.status == 2
    assert [run.folder.as_posix() for _, run in done.jobs] == ["sweep/0", "sweep/1", "sweep/2", "sweep/3"]
    for number in range(4):
        folder = tmp_path / "sweep" / str(number)
        assert (folder / BEST_NAME).exists() == (number < 2)
        assert (folder / "failed.txt").exists() == (number >= 2)
    told = (tmp_path / "sweep" / "2" / "failed.txt").read_text(encoding="utf-8")
    assert told.startswith("error: data.tokenizer.vocab_size=1000000 is more than the training text allows: at most ")
    assert told in done.err
    assert done.err.splitlines()[-1] == "error: 2 points of the sweep failed: sweep/2, sweep/3"
    assert "Traceback" not in done.err


def test_a_folder_that_holds_a_run_is_not_written_over(start: Launcher, tmp_path: Path) -> None:
    assert start("hydra.run.dir=run", "training.max_steps=2").status == 0
    before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    again = start("hydra.run.dir=run", "training.max_steps=3")
    assert again.status == 2
    assert again.err == (
        "error: run already holds a run: continue it with training.resume=run, or choose another hydra.run.dir\n"
    )
    assert {path: path.read_bytes() for path in before} == before


def test_other_data_do_not_continue_a_run(start: Launcher, resume: Launcher) -> None:
    """Another text is cut into other pieces: the weights would read ids that mean something else."""
    assert start("hydra.run.dir=run", "training.max_steps=2").status == 0
    resumed = resume("training.resume=run", "data.train_pairs=200")
    assert resumed.status == 2
    assert "was made with another tokenizer" in resumed.err.splitlines()[-1]
