"""The wheel, installed in a new environment, runs every command."""

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
COMMANDS = ["train", "translate", "evaluate", "calibrate", "score", "shortlist", "average", "curves"]
COMMANDS += ["tune", "backtranslate", "distill", "report", "analyse", "draw", "align"]

Run = Callable[..., subprocess.CompletedProcess[str]]


def run(command: list[str | Path], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command outside the checkout and check that it succeeds."""
    # With PYTHONPATH the checkout could be imported in place of the wheel.
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    process = subprocess.run(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert process.returncode == 0, f"{command}\n{process.stdout}\n{process.stderr}"
    return process


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the sdist and a wheel built from it: files missing in the sdist are missing in the wheel."""
    out = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT], cwd=out)
    return out


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """Return a new environment with the wheel, and a function that runs its commands outside the checkout."""
    home = tmp_path_factory.mktemp("env")
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    site = Path(run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], cwd=home).stdout.strip())
    # Dependencies and pip come from the running environment, whose path follows that of the new one; the .pth files in
    # it (the editable install of this checkout) are not read.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (wheel,) = built.glob("*.whl")
    # --ignore-installed: the same version in the running environment must neither be used nor removed.
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
    assert {f"seq2seq/reporting/{name}" for name in ("page.css", "report.css", "report.js")} <= members
    # All Python and YAML files and no others; other types of files of the package are allowed.
    assert code | conf <= members
    assert {m for m in members if m.endswith(".py") or m.startswith("seq2seq/conf/")} == code | conf
    assert all(m.startswith("seq2seq/") for m in members)


def test_sdist_members(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {"Makefile", "constraints.txt", "pyproject.toml", "LICENSE", "README.md", "conf/train.yaml"}
    assert needed | {"tests/conftest.py", "data/README.md", "docs/guides/decoding.md"} <= names


def test_package_is_imported_from_the_wheel(installed: tuple[Path, Run]) -> None:
    home, run_installed = installed
    path = run_installed("python", "-c", "import seq2seq; print(seq2seq.__file__)").stdout.strip()
    assert Path(path).is_relative_to(home)


@pytest.mark.parametrize("command", COMMANDS)
def test_help(installed: tuple[Path, Run], command: str) -> None:
    _, run_installed = installed
    assert run_installed(f"seq2seq-{command}", "--help").stdout.strip()


@pytest.mark.parametrize("how", [["seq2seq-train"], ["python", "-m", "seq2seq.train"]], ids=["script", "module"])
def test_train_composes_the_packaged_config(installed: tuple[Path, Run], how: list[str]) -> None:
    _, run_installed = installed
    composed = run_installed(*how, "--cfg", "job").stdout
    assert "data:" in composed
    assert "training:" in composed


@pytest.fixture(scope="module")
def trained(installed: tuple[Path, Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny run."""
    folder = tmp_path_factory.mktemp("trained")
    train_tiny_model(installed[1], folder)
    return folder


def test_a_translation_does_not_load_torchtext(installed: tuple[Path, Run], trained: Path) -> None:
    """The command imports when it needs: only a translation has imported everything. Batches of training need it."""
    _, run_installed = installed
    program = (
        "import sys\nfrom seq2seq.translate import main\n"
        "assert main([sys.argv[1], '--text', 'The dog sleeps.']) == 0\n"
        "print('torch' in sys.modules, 'torchtext' in sys.modules)\n"
        "import seq2seq.data.batches.batching\n"
        "print('torchtext' in sys.modules)"
    )
    assert run_installed("python", "-c", program, trained).stdout.splitlines()[-2:] == ["True False", "True"]


def test_train_translate_evaluate_score_average(installed: tuple[Path, Run], trained: Path, tmp_path: Path) -> None:
    _, run_installed = installed
    translated = run_installed("seq2seq-translate", trained, "--text", "The dog sleeps.").stdout
    assert translated.endswith("\n")
    assert translated.count("\n") == 1
    scores = run_installed("seq2seq-evaluate", trained, "--json").stdout
    assert len(scores.splitlines()) == 1
    assert isinstance(json.loads(scores), dict)
    (tmp_path / "text").write_text("The dog sleeps.\n", encoding="utf-8")
    pair = ("--src", tmp_path / "text", "--tgt", tmp_path / "text")
    assert run_installed("seq2seq-score", trained, *pair).stdout.count("\n") == 1
    assert run_installed("seq2seq-curves", trained, "--output", tmp_path / "x.svg").stdout == f"{tmp_path / 'x.svg'}\n"
    picture = tmp_path / "y.svg"
    assert run_installed(
        "seq2seq-draw", "attention", trained, "--text", "A dog.", "--tgt-text", "Un", "--output", picture
    )
    assert run_installed("seq2seq-align", trained, *pair).stdout.count("\n") == 1
    best, average = trained / "best.safetensors", tmp_path / "average"
    run_installed("seq2seq-average", best, best, "--output", average)
    assert run_installed("seq2seq-translate", average, "--text", "The dog sleeps.").stdout == translated


def train_tiny_model(run_installed: Run, run_dir: Path) -> None:
    """Train a tiny model for three steps on the synthetic grammar."""
    run_installed(
        "seq2seq-train",
        "data=grammar",
        "data.train_pairs=500",
        "data.valid_pairs=20",  # beam search of an untrained model runs to the length limit: with the
        "data.test_pairs=20",  # default of 2,000 pairs each, it takes minutes
        "data.tokenizer.vocab_size=400",  # room for the 256 bytes of byte_fallback and every character
        "model.hidden_size=16",
        "model.emb_size=16",
        "model.attention_size=16",
        "training.max_steps=3",
        f"hydra.run.dir={run_dir}",
    )
