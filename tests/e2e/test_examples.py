"""Every example runs as written; training is cut to a few updates, nothing else is changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
SHORT = ("training.max_steps=3", "data.cache_dir=cache")


def run(folder: Path, *command: str | Path, **variables: str) -> str:
    """Run a command in a folder and return what it prints."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHON": sys.executable} | variables
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the first example has run."""
    folder = tmp_path_factory.mktemp("examples")
    said = run(folder, "sh", EXAMPLES / "own_data/run.sh", "own", *SHORT)
    assert sum(line.startswith("test set") for line in said.splitlines()) == 2  # of the run, and of evaluate
    return folder


def test_the_pairs_are_what_the_examples_say() -> None:
    for file in EXAMPLES.rglob("*.tsv"):
        rows = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()]
        assert all(len(row) == 2 and all(row) for row in rows)
        assert len({tuple(row) for row in rows}) == len(rows)
    new = {
        name: set((EXAMPLES / f"fine_tuning/{name}.tsv").read_text().splitlines())
        for name in ("train", "valid", "test")
    }
    assert len(new["train"]) == 30
    assert not new["test"] & (new["train"] | new["valid"])


def test_fine_tuning(folder: Path) -> None:
    said = run(folder, "sh", EXAMPLES / "fine_tuning/run.sh", "own", "tuned", *SHORT)
    assert said.endswith("\n")
    assert {"best.safetensors", "config.yaml"} <= {path.name for path in (folder / "tuned").iterdir()}
    assert f"weights of {folder / 'own'};" in (folder / "tuned/train.log").read_text(encoding="utf-8")
    assert "init_from: null" in (folder / "tuned-from-scratch/config.yaml").read_text(encoding="utf-8")


def test_python_api(folder: Path) -> None:
    lines = run(folder, sys.executable, EXAMPLES / "python_api.py", "own").splitlines()
    assert lines[0].startswith("beam search:")
    assert "Der Bus" in next(line for line in lines if line.startswith("begun by us:"))
    assert "Bus" in next(line for line in lines if line.startswith("with a term:"))


def test_spelling(folder: Path) -> None:
    said = run(folder, "sh", EXAMPLES / "spelling/run.sh", "spelling", *SHORT, PAIRS="400")
    assert len(said.splitlines()) >= 2
    rows = [line.split("\t") for line in (folder / "spelling/pairs.tsv").read_text().splitlines()]
    assert len(rows) == 400
    typed = [row for row in rows if row[0] != row[1]]
    assert 0.5 * len(rows) < len(typed) < len(rows)  # most have an error, and some must be left as they are
