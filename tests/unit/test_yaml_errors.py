"""A mistake in a user's own YAML file is one line that names the file, the line and the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from hydra_cli import Launcher
from seq2seq.cli.exit_status import run
from seq2seq.tune import tune

HEADER = "# @package _global_\n"


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Launcher:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own" / "experiment").mkdir(parents=True)
    (tmp_path / "own" / "model").mkdir()
    return Launcher(monkeypatch, capsys)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            f"{HEADER}model:\n  hiden_size: 3\n",
            ", line 3: unknown key 'model.hiden_size'; did you mean 'model.hidden_size'?",
        ),
        (f"{HEADER}modle: {{}}\n", ", line 2: unknown key 'modle'; did you mean 'model'?"),
        (f"{HEADER}model:\n  hidden_size: big\n", ", line 3: model.hidden_size: Value 'big' of type 'str'"),
        (f"{HEADER}model: 3\n", ", line 2: Merge error: int is not a subclass of ModelConfig"),
        (f"{HEADER}model:\n  hidden_size: 0\n", ", line 3: model.hidden_size=0 is out of range: 1 ≤"),
        (
            f"{HEADER}data:\n  src: ${{data.srcc}}\n",
            ", line 3: data.src: Interpolation key 'data.srcc' not found; did you",
        ),
        (f'{HEADER}data:\n  root: "a\\0b"\n', ", line 3: data.root='a\\x00b' has a NUL character"),
        (f"{HEADER}model:\n\thidden_size: 3\n", ", line 3: a tab; indent with spaces"),
        (
            f"{HEADER}model: {{hidden_size: 3\n",
            ", line 3: expected ',' or '}', but got '<stream end>' (while parsing a flow",
        ),
        (f"{HEADER}seed: 1\nseed: 2\n", ", line 3: found duplicate key seed"),
        (f"{HEADER}data:\n  src: é\n".encode("latin-1"), ", line 3: not UTF-8 (byte 0xe9)"),
        (f"\ufeff{HEADER}model: {{}}\n", ", line 1: a byte-order mark hides the first line"),
        ("", ": the file is empty"),
        ("- a\n", ", line 1: the file is a list"),
        ("model:\n  hidden_size: 3\n", ", line 1: write `# @package _global_` there"),
        (f"{HEADER}defaults:\n  - override /data: none\n", ", line 3: Could not find 'data/none' Available options"),
        (f"{HEADER}defaults: [none]\n", ", line 2: Could not load 'experiment/none'"),
        (f"{HEADER}defaults: 3\n", ", line 2: Invalid defaults list"),
        (f"{HEADER}defaults: [3]\n", ": Unsupported type in defaults"),
        (f"{HEADER}data: {'[' * 1000}\n", ": too many brackets inside each other"),
    ],
)
def test_mistake_in_a_file_is_one_line(start: Launcher, content: str | bytes, message: str) -> None:
    data = content if isinstance(content, bytes) else content.encode()
    Path("own/experiment/mine.yaml").write_bytes(data)
    done = start("--config-dir", "own", "experiment=mine")
    assert (done.status, done.jobs, done.out) == (2, [], "")
    assert done.err.startswith(f"error: own/experiment/mine.yaml{message}")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("content", [f"{HEADER}model:\n\tx: 1\n", f"{HEADER}model:\n  hiden_size: 3\n"], ids=repr)
def test_a_sweep_and_a_search_say_the_same(start: Launcher, capsys: pytest.CaptureFixture[str], content: str) -> None:
    Path("own/experiment/mine.yaml").write_text(content, encoding="utf-8")
    arguments = ["training.seed=1,2", "experiment=mine", "--config-dir", "own"]
    swept = start("--multirun", *arguments)
    assert swept.err.startswith("error: own/experiment/mine.yaml, line 3: ")
    assert (swept.status, swept.err.count("\n")) == (2, 1)
    assert run(lambda: tune(arguments)) == 2
    assert capsys.readouterr().err == swept.err


def test_a_mistake_in_a_file_of_a_group(start: Launcher) -> None:
    Path("own/model/mine.yaml").write_text("defaults: [small, _self_]\nhiden_size: 3\n", encoding="utf-8")
    done = start("--config-dir", "own", "model=mine")
    assert done.err.startswith("error: own/model/mine.yaml, line 2: unknown key 'model.hiden_size'")


def test_a_mistake_on_the_command_line_names_no_file(start: Launcher) -> None:
    Path("own/experiment/mine.yaml").write_text(f"{HEADER}model:\n  hidden_size: 3\n", encoding="utf-8")
    done = start("--config-dir", "own", "experiment=mine", "model.hidden_size=0")
    assert done.err == "error: model.hidden_size=0 is out of range: 1 ≤ hidden_size ≤ 65536\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hydra.run.dir='runs/${data.srcc}'"], "hydra.run.dir: Interpolation key 'data.srcc' not found; did you"),
        (["data.root='${here}'"], "data.root: Interpolation key 'here' not found (a literal ${ is written \\${"),
        (["data.src='${oc.env:NONE_SUCH}'"], "data.src: KeyError raised while resolving interpolation"),
        (["experiment=null"], "experiment=null: name a file of the group"),
        (["data.root="], "data.root is empty"),
        (["hydra.run.dir="], "hydra.run.dir is empty"),
        (["training.resume="], "training.resume=: no last.pt in that folder"),
        (["--config-dir="], "--config-dir is empty"),
        (["--config-dir"], "argument --config-dir/-cd: expected one argument"),
        (["--cofnig-dir", "x"], "unrecognized arguments: --cofnig-dir"),
        (["--config-dir", "nowhere"], "Additional config directory"),
        (["hydra.run.dir='a\\${b}'"], "hydra.run.dir=a\\${b}: Hydra cannot use"),
    ],
    ids=repr,
)  # fmt: skip
def test_mistake_on_the_command_line(start: Launcher, arguments: list[str], message: str) -> None:
    done = start(*arguments)
    assert done.err.startswith(f"error: {message}")
    assert (done.status, done.err.count("\n"), done.jobs) == (2, 1, [])


@pytest.mark.parametrize("argument", ["data.root=~/text", "data.root='~/text'"])
def test_the_home_folder(start: Launcher, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, argument: str) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "own").mkdir(parents=True)
    done = start(argument, "hydra.run.dir=~/run", "--config-dir=~/own")
    assert (done.status, done.err) == (0, "")
    ((config, context),) = done.jobs
    assert config.data.root == str(tmp_path / "home" / "text")
    assert context.folder == Path("home/run")
    assert {path.name for path in tmp_path.iterdir()} == {"home", "own"}


def test_a_literal_dollar_brace_in_a_path(start: Launcher, tmp_path: Path) -> None:
    done = start(r"data.root='a\${b}'", "hydra.run.dir=run")
    assert done.jobs[0][0].data.root == f"{tmp_path}/a${{b}}"
