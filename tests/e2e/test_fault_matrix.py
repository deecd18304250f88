"""Every command with every fault of its streams, paths, signals and encoding: no traceback, a documented status.

A new command needs a row in COMMANDS, and is then tested with every fault.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import platformdirs
import pytest

import broken_streams
from forking import Child, Result, call

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="POSIX streams")]

REPOSITORY = Path(__file__).resolve().parents[2]
TRAINING = (
    "data=files", "data.src=en", "data.tgt=de", "data.train.src=SRC", "data.train.tgt=tgt", "data.cache_dir=../cache",
    "data.tokenizer.vocab_size=32", "data.tokenizer.byte_fallback=false",
    "model.emb_size=4", "model.attention_size=4",
    "training.max_minutes=null", "training.max_steps=1", "training.device=cpu", "training.precision=fp32",
    "training.warmup_steps=0", "training.validate_sentences=1", "decode.max_length_ratio=0.1", "decode.beam_size=1",
    "decode.max_length_extra=2", "runtime.allocator=default", "runtime.kernels=plain",
)  # fmt: skip


class Command(NamedTuple):
    """A command line that works in the folder of `here`.

    Attributes:
        arguments: upper-case words stand for paths: an input (SRC, HYP, FEW, MODEL, RUN) or the output (OUT).
        prints: what it writes on standard output is a part of its result.
        writes: a file below OUT that the command has written when it ends, even if nobody reads what it prints.
    """

    arguments: tuple[str, ...]
    prints: bool = True
    writes: str | None = None


DECODING = ("--device", "cpu", "--max-length-ratio", "0.2")
COMMANDS = {
    "analyse": Command(("--src", "SRC", "--ref", "tgt", "--hyp", "HYP")),
    "analyse to a file": Command(
        ("MODEL", "--src", "SRC", "--ref", "tgt", *DECODING, "--output", "OUT"), prints=False, writes="."
    ),
    "align": Command(("MODEL", "--src", "SRC", "--tgt", "tgt", "--device", "cpu")),
    "align to a file": Command(
        ("MODEL", "--src", "SRC", "--tgt", "tgt", "--device", "cpu", "--output", "OUT"), prints=False, writes="."
    ),
    "average": Command(("MODEL", "model.safetensors", "--output", "OUT"), writes="."),
    "backtranslate": Command(("MODEL", "SRC", *DECODING, "--output", "OUT"), prints=False, writes="."),
    "calibrate": Command(("MODEL", "--src", "SRC", "--ref", "tgt", "--device", "cpu", "--output", "OUT"), writes="."),
    "curves": Command(("RUN", "--output", "OUT"), writes="."),
    "data": Command(("inspect", "SRC", "tgt")),
    "data clean": Command(("clean", "SRC", "tgt", "--preset", "harmless", "--output", "OUT"), writes="."),
    "draw": Command(
        ("attention", "MODEL", "--src", "SRC", "--tgt", "tgt", "--lines", "1", "--device", "cpu", "--output", "OUT"),
        writes=".",
    ),
    "draw alignment": Command(
        ("alignment", "--src", "SRC", "--tgt", "tgt", "--links", "links", "--lines", "1", "--output", "OUT"), writes="."
    ),
    "distill": Command(("MODEL", "SRC", "tgt", *DECODING, "--output", "OUT"), prints=False, writes="."),
    "evaluate": Command(("--hyp", "HYP", "--ref", "tgt")),
    "report": Command(
        ("MODEL", "--src", "SRC", "--ref", "tgt", *DECODING, "--beam-size", "1", "--sentences", "2", "--output", "OUT"),
        writes=".",
    ),
    "explain": Command(("MODEL", "--text", "the big cat", "--device", "cpu")),
    "explain a file": Command(("MODEL", "--input", "FEW", "--json", "--device", "cpu")),
    "score": Command(("MODEL", "--src", "SRC", "--tgt", "tgt", "--device", "cpu")),
    "shortlist": Command(("MODEL", "--src", "SRC", "--tgt", "tgt", "--output", "OUT"), prints=False, writes="."),
    "train": Command((*TRAINING, "model.hidden_size=4", "hydra.run.dir=OUT"), writes="best.safetensors"),
    "translate": Command(("MODEL", "SRC", *DECODING)),
    "translate to a file": Command(("MODEL", "SRC", "--device", "cpu", "--output", "OUT"), prints=False, writes="."),
    "tune_decoding": Command(("MODEL", "--src", "SRC", "--ref", "tgt", "--beam-sizes", "1", "--device", "cpu")),
    "tune": Command(
        (*TRAINING, "model.hidden_size=4,8", "tune.trials=1", "tune.folder=OUT"), writes="trial_0000/best.safetensors"
    ),
}
PATHS = {"MODEL": "model.safetensors", "SRC": "src", "HYP": "src", "FEW": "few", "RUN": "run", "OUT": "out.svg"}


def module_of(command: str) -> str:
    module = command.partition(" ")[0]
    return "seq2seq.cli.data.app" if module == "data" else f"seq2seq.{module}"


def test_every_command_has_a_row() -> None:
    """The commands are the modules that can be run, and the scripts of pyproject.toml."""
    modules = {path.stem for path in (REPOSITORY / "seq2seq").glob("*.py") if "__main__" in path.read_text("utf-8")}
    scripts = (REPOSITORY / "pyproject.toml").read_text("utf-8").partition("[project.scripts]")[2].partition("\n\n")[0]
    modules |= {line.partition('"seq2seq.')[2].partition(":")[0] for line in scripts.strip().splitlines()}
    modules = {name.replace("cli.data.app", "data") for name in modules}
    missing = modules - {name.partition(" ")[0] for name in COMMANDS}
    assert not missing, f"add a working command line for {', '.join(sorted(missing))} to COMMANDS"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a model, text, a run to draw, and a cache that the training runs share."""
    from seq2seq.storage.model_file import save_model
    from tiny_model import make_model

    folder = tmp_path_factory.mktemp("faults")
    save_model(folder / "model.safetensors", make_model(folder / "cache"))
    words = [
        f"the {size} {thing} {verb}" for size in ("big", "old") for thing in ("cat", "fox") for verb in ("is", "ŝi")
    ]
    for name in ("src", "tgt"):
        (folder / name).write_text("".join(f"{line} {n}\n" for n, line in enumerate(words * 5)), encoding="utf-8")
    (folder / "few").write_text("the big cat\nthe old fox\n", encoding="utf-8")
    (folder / "links").write_text("0-0 1-2\n" * 40, encoding="utf-8")
    (folder / "run").mkdir()
    (folder / "run" / "metrics.jsonl").write_text(
        '{"event": "step", "step": 1, "elapsed_sec": 1, "loss": 2.5}\n', encoding="utf-8"
    )
    return folder


@pytest.fixture
def here(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder that shares the inputs."""
    folder = prepared / tmp_path.name
    folder.mkdir()
    for name in ("model.safetensors", "src", "tgt", "few", "run", "links"):
        (folder / name).symlink_to(prepared / name)
    monkeypatch.setenv("XDG_CACHE_HOME", platformdirs.user_cache_dir())  # the compiled kernels stay where they are
    monkeypatch.setenv("HOME", str(folder))
    return folder


def arguments_of(command: Command, paths: dict[str, str]) -> list[str]:
    """Return the command line with `paths` for the upper-case words."""
    found = []
    for argument in command.arguments:
        key, equals, word = argument.rpartition("=")
        found.append(f"{key}{equals}{paths.get(word, word)}")
    return found


def assert_no_traceback(result: Result, *statuses: int) -> None:
    assert "Traceback" not in result.err, result.err
    assert "Exception ignored" not in result.err, result.err
    assert result.status in statuses, result
    errors = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == (result.status == 2), result.err


# --- streams and encodings -------------------------------------------------------------------------------------------

STREAMS: dict[str, tuple[Callable[[], object], int]] = {
    "plain": (lambda: None, 0),
    "stdout closed": (functools.partial(broken_streams.closed, 1), 141),
    "stdout full": (functools.partial(broken_streams.full, 1), 2),
    "stdout broken": (functools.partial(broken_streams.broken, 1), 141),
    "stderr closed": (functools.partial(broken_streams.closed, 2), 0),
    "stderr full": (functools.partial(broken_streams.full, 2), 0),
    "stderr broken": (functools.partial(broken_streams.broken, 2), 0),
    "all closed": (functools.partial(broken_streams.closed, 0, 1, 2), 141),
    "ascii": (broken_streams.ascii_only, 0),
}


@pytest.fixture(scope="module")
def expected() -> dict[str, str]:
    """Return what each command prints when nothing is wrong; filled by the first test of the command."""
    return {}


# A training run takes a second: what "all closed" and "stderr full" cover is left out.
COVERED = {(name, fault) for name in ("train", "tune") for fault in ("stderr closed", "stderr broken")}


@pytest.mark.parametrize(
    ("name", "fault"), [(name, fault) for name in COMMANDS for fault in STREAMS if (name, fault) not in COVERED]
)
def test_streams(name: str, fault: str, here: Path, expected: dict[str, str]) -> None:
    """The result is complete, and printed if it can be; stderr changes nothing."""
    command, (prepare, status) = COMMANDS[name], STREAMS[fault]
    result = call(module_of(name), here, *arguments_of(command, PATHS), prepare=None if fault == "plain" else prepare)
    assert_no_traceback(result, status if command.prints else 0)
    if fault == "stdout full" and command.prints:
        assert result.err.splitlines()[-1] == "error: cannot write standard output: No space left on device"
    if status == 0 and name in expected:
        assert result.out == expected[name]
    if fault == "plain":
        expected[name] = result.out
    if command.writes:
        assert (here / "out.svg" / command.writes).exists()
    assert not list(here.rglob("*.part"))


@pytest.mark.parametrize("fault", ["stdout closed", "stdout full", "stdout broken", "all closed", "ascii"])
@pytest.mark.parametrize("name", [name for name in COMMANDS if " " not in name])
def test_help(name: str, fault: str, here: Path) -> None:
    prepare, status = STREAMS[fault]
    assert_no_traceback(call(module_of(name), here, "--help", prepare=prepare), status)


# --- paths -----------------------------------------------------------------------------------------------------------

CELLS = [
    (name, word)
    for name, command in COMMANDS.items()
    for word in PATHS
    if any(argument.rpartition("=")[2] == word for argument in command.arguments)
]


def missing(here: Path, word: str) -> str:
    return "no/such/file.svg"


def folder(here: Path, word: str) -> str:
    (here / "folder.svg").mkdir()
    return "folder.svg"


def home(here: Path, word: str) -> str:
    return f"~/{PATHS[word]}"


def empty(here: Path, word: str) -> str:
    return ""


def not_utf8(here: Path, word: str) -> str:
    name = os.fsdecode(b"caf\xe9.svg")
    if word != "OUT":
        (here / name).symlink_to((here / PATHS[word]).resolve())
    return name


def forbidden(here: Path, word: str) -> str:
    if os.geteuid() == 0:
        pytest.skip("root may read and write everything")
    inside = here / "forbidden"
    inside.mkdir()
    (inside / "file.svg").touch()
    inside.chmod(0)
    return "forbidden/file.svg"


def protected(here: Path, word: str) -> str:
    if os.geteuid() == 0:
        pytest.skip("root may read and write everything")
    (here / "file.svg").touch(mode=0)
    return "file.svg"


@pytest.mark.parametrize("make", [missing, folder, home, empty, not_utf8, forbidden, protected])
@pytest.mark.parametrize(("name", "word"), CELLS, ids=lambda value: value.replace(" ", "_"))
def test_paths(name: str, word: str, make: Callable[[Path, str], str], here: Path) -> None:
    arguments = arguments_of(COMMANDS[name], {**PATHS, word: make(here, word)})
    assert_no_traceback(call(module_of(name), here, *arguments), 0, 2)


@contextlib.contextmanager
def other_end(pipe: Path, content: bytes | None) -> Iterator[list[bytes]]:
    """Write `content` into a named pipe as soon as it is read, or read it (None) into the list that is yielded."""
    received: list[bytes] = []

    def serve() -> None:
        if content is None:
            received.append(pipe.read_bytes())
        else:
            with contextlib.suppress(BrokenPipeError):
                pipe.write_bytes(content)

    os.mkfifo(pipe)
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield received
    finally:
        with contextlib.suppress(OSError):  # wakes the thread up if the command has not opened the pipe
            os.close(os.open(pipe, os.O_NONBLOCK | (os.O_WRONLY if content is None else os.O_RDONLY)))
        thread.join()


@pytest.mark.parametrize(("name", "word"), CELLS, ids=lambda value: value.replace(" ", "_"))
def test_named_pipes(name: str, word: str, here: Path) -> None:
    """They are read and written, or refused, but never replaced by a file."""
    source = here / PATHS[word]
    content = None if word == "OUT" else source.read_bytes() if source.is_file() else b""
    with other_end(here / "pipe.svg", content) as received:
        arguments = arguments_of(COMMANDS[name], {**PATHS, word: "pipe.svg"})
        result = call(module_of(name), here, *arguments)
    assert_no_traceback(result, 0, 2)
    assert (here / "pipe.svg").is_fifo()
    if word == "OUT" and result.status == 0:
        assert received[0]


# --- outputs that are inputs -----------------------------------------------------------------------------------------


def symbolic(path: Path, link: Path) -> None:
    link.symlink_to(path)


def hard(path: Path, link: Path) -> None:
    link.hardlink_to(path)


@pytest.mark.parametrize("link", [symbolic, hard])
@pytest.mark.parametrize(
    ("name", "word"), [cell for cell in CELLS if "OUT" in COMMANDS[cell[0]].arguments and cell[1] not in ("OUT", "RUN")]
)
def test_no_output_replaces_an_input(name: str, word: str, link: Callable[[Path, Path], None], here: Path) -> None:
    """By whatever name: the file's links, relative and absolute."""
    path = (here / PATHS[word]).resolve()
    before = path.read_bytes()
    link(path, here / "link.svg")
    output = str(here / "link.svg") if link is hard else "./link.svg"
    result = call(module_of(name), here, *arguments_of(COMMANDS[name], {**PATHS, "OUT": output}))
    assert_no_traceback(result, 2)
    assert str(Path(output)) in result.err
    assert path.read_bytes() == before


# --- signals ---------------------------------------------------------------------------------------------------------

REGULAR = ("data", "distill", "train", "tune")  # commands that refuse named pipes
SIGNALS = {signal.SIGINT: (130,), signal.SIGTERM: (143, -signal.SIGTERM), signal.SIGHUP: (129, -signal.SIGHUP)}


@pytest.mark.parametrize("number", list(SIGNALS))
@pytest.mark.parametrize(
    "name", [name for name, word in CELLS if word in ("SRC", "HYP", "FEW") and name.partition(" ")[0] not in REGULAR]
)
def test_signals_while_the_input_is_read(name: str, number: int, here: Path) -> None:
    """The old output stays. Commands that refuse named pipes get their signals in other tests."""
    (here / "out.svg").write_text("old")
    os.mkfifo(here / "pipe")
    arguments = arguments_of(COMMANDS[name], {**PATHS, "SRC": "pipe", "HYP": "pipe", "FEW": "pipe"})
    child = Child(module_of(name), here, *arguments)
    try:
        writing = opened_by_reader(here / "pipe", child)
        child.send_signal(number)
        _, err = child.communicate()
        os.close(writing)
    finally:
        child.kill()
    assert child.returncode is not None
    assert_no_traceback(Result(child.returncode, "", err), *SIGNALS[signal.Signals(number)])
    assert (here / "out.svg").read_text() == "old"


def opened_by_reader(pipe: Path, child: Child) -> int:
    """Return the writing end of a named pipe, which opens when the command has opened the other."""
    while True:
        assert child.poll() is None, child.communicate()
        with contextlib.suppress(OSError):
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        time.sleep(0.005)
