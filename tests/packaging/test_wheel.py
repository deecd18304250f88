"""The wheel, installed elsewhere, runs every command."""

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ["train", "translate", "evaluate", "score", "shortlist", "average", "curves", "tune"]

Run = Callable[..., subprocess.CompletedProcess[str]]


def run(command: list[str | Path], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command that must succeed; its output is in the failure message."""
    # PYTHONPATH would let the checkout, or anything else, stand in for the wheel.
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the sdist and the wheel built from that sdist, so the wheel shows what the sdist lost."""
    out = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT], cwd=out)
    return out


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """A new environment that holds the wheel, and a function that runs one of its commands outside the checkout."""
    home = tmp_path_factory.mktemp("env")
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    site = Path(run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], cwd=home).stdout.strip())
    # Dependencies, and pip itself, come from the running environment: this path follows the new environment's own,
    # and the .pth files over there (the editable install of this checkout) are not read.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (wheel,) = built.glob("*.whl")
    # Over there this version is installed already: --ignore-installed installs it here and leaves that one alone.
    run([python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--ignore-installed", wheel], cwd=home)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    return home, lambda name, *args: run([home / "bin" / name, *args], cwd=elsewhere)


def test_wheel_members(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    members = {m for m in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in m}
    code = {p.relative_to(ROOT).as_posix() for p in (ROOT / "seq2seq").rglob("*.py")}
    conf = {f"seq2seq/{p.relative_to(ROOT).as_posix()}" for p in (ROOT / "conf").rglob("*.yaml")}
    assert {"seq2seq/conf/train.yaml", "seq2seq/py.typed", "seq2seq/data/corpora/grammar/lexicon.yaml"} <= members
    kernels = {path.name for path in (ROOT / "seq2seq/kernels").iterdir() if path.suffix in (".cpp", ".h")}
    assert {f"seq2seq/kernels/{name}" for name in kernels} <= members
    # Nothing missing and nothing else: no tests, no data, no editor leftovers. Other files of the package are allowed.
    assert code | conf <= members
    assert {m for m in members if m.endswith(".py") or m.startswith("seq2seq/conf/")} == code | conf
    assert all(m.startswith("seq2seq/") for m in members)


def test_sdist_holds_what_the_makefile_needs(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {"Makefile", "constraints.txt", "pyproject.toml", "LICENSE", "README.md", "conf/train.yaml"}
    assert needed | {"tests/conftest.py", "data/README.md", "docs/decoding.md"} <= names


def test_package_is_the_wheels(installed: tuple[Path, Run]) -> None:
    home, run_installed = installed
    found = run_installed("python", "-c", "import seq2seq; print(seq2seq.__file__)").stdout.strip()
    assert Path(found).is_relative_to(home)


@pytest.mark.parametrize("command", COMMANDS)
def test_help(installed: tuple[Path, Run], command: str) -> None:
    _, run_installed = installed
    assert run_installed(f"seq2seq-{command}", "--help").stdout.strip()


@pytest.mark.parametrize("how", [["seq2seq-train"], ["python", "-m", "seq2seq.train"]], ids=["script", "module"])
def test_train_composes_the_packed_config(installed: tuple[Path, Run], how: list[str]) -> None:
    _, run_installed = installed
    composed = run_installed(*how, "--cfg", "job").stdout
    assert "data:" in composed
    assert "training:" in composed


def test_translate_does_not_load_torchtext(installed: tuple[Path, Run]) -> None:
    # import-linter follows import statements only; importing seq2seq.data.tokenizer also runs seq2seq/data/__init__.py.
    _, run_installed = installed
    run_installed("python", "-c", "import sys, seq2seq.translate; sys.exit('torchtext' in sys.modules)")


def test_train_translate_evaluate_score_average(installed: tuple[Path, Run], tmp_path: Path) -> None:
    _, run_installed = installed
    train_tiny_model(run_installed, tmp_path)
    translated = run_installed("seq2seq-translate", tmp_path, "--text", "The dog sleeps.").stdout
    assert translated.endswith("\n")
    assert translated.count("\n") == 1
    scores = run_installed("seq2seq-evaluate", tmp_path, "--json").stdout
    assert len(scores.splitlines()) == 1
    assert isinstance(json.loads(scores), dict)
    (tmp_path / "text").write_text("The dog sleeps.\n", encoding="utf-8")
    pair = ("--src", tmp_path / "text", "--tgt", tmp_path / "text")
    assert run_installed("seq2seq-score", tmp_path, *pair).stdout.count("\n") == 1
    assert run_installed("seq2seq-curves", tmp_path, "--output", tmp_path / "x.svg").stdout == f"{tmp_path / 'x.svg'}\n"
    best, average = tmp_path / "best.safetensors", tmp_path / "average"
    run_installed("seq2seq-average", best, best, "--output", average)
    assert run_installed("seq2seq-translate", average, "--text", "The dog sleeps.").stdout == translated


def train_tiny_model(run_installed: Run, run_dir: Path) -> None:
    """Train three steps of a tiny model on the generated grammar: enough for a model file."""
    run_installed(
        "seq2seq-train",
        "data=grammar",
        "data.train_pairs=500",
        "data.valid_pairs=20",  # an untrained model's beam search runs to the length limit: over the default
        "data.test_pairs=20",  # 2,000 pairs each that takes minutes
        "data.tokenizer.vocab_size=400",  # the 256 bytes of byte_fallback and every character must fit
        "model.hidden_size=16",
        "model.emb_size=16",
        "model.attention_size=16",
        "training.max_steps=3",
        f"hydra.run.dir={run_dir}",
    )
