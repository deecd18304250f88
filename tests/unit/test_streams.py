"""Standard streams of a command in a new interpreter that imports no torch: missing, full, broken, not UTF-8."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from run_folder import environment
from seq2seq.cli.streams import Output

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX shell")

COMMAND = """
    import os, sys
    from seq2seq.cli.exit_status import run
    from seq2seq.errors import DataError

    def body():
        print("ŝ ≤ ü", sys.argv[1])
        sys.stderr.write("warning ≤\\n")
        sys.stdout.flush()
        with open("opened", "w") as file:
            file.write(str(file.fileno()))
        if "fail" in sys.argv:
            raise DataError("two\\nlines")

    sys.exit(run(body, completes="completes" in sys.argv))
"""


def shell(redirections: str, *arguments: str, variables: Sequence[str] = ()) -> tuple[int, bytes, bytes]:
    line = f'{" ".join(variables)} {sys.executable} "$@" {redirections}'
    Path("command.py").write_text(textwrap.dedent(COMMAND), encoding="utf-8")
    variables_of = environment() | {"PYTHONUNBUFFERED": ""}
    done = subprocess.run(["sh", "-c", line, "sh", "command.py", *arguments], env=variables_of, capture_output=True)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(autouse=True)
def _here(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # type: ignore[arg-type]


TEXT, WARNING = "ŝ ≤ ü x\n".encode(), "warning ≤\n".encode()


@pytest.mark.parametrize(
    ("redirections", "status", "out", "err"),
    [
        ("", 0, TEXT, WARNING),
        ("2>&-", 0, TEXT, b""),
        ("2>/dev/full", 0, TEXT, b""),
        (">&-", 141, b"", WARNING),
        (">/dev/full", 2, b"", WARNING + b"error: cannot write standard output: No space left on device\n"),
        ("<&- >&- 2>&-", 141, b"", b""),
    ],
)
def test_a_stream_that_cannot_be_written(redirections: str, status: int, out: bytes, err: bytes) -> None:
    """A file opened later has none of the numbers 0 to 2; a command that completes writes it in any case."""
    assert shell(redirections, "x", "completes") == (status, out, err)
    with open("opened") as file:
        assert int(file.read()) > 2
    os.unlink("opened")
    again = shell(redirections, "x")
    assert (again[:2], again[2].splitlines()[-1:]) == ((status, out), err.splitlines()[-1:])
    assert os.path.exists("opened") == (status == 0)  # stdout ends the other commands at once


@pytest.mark.parametrize(
    "variables",
    [("PYTHONIOENCODING=ascii",), ("PYTHONIOENCODING=cp1252",), ("LC_ALL=C", "PYTHONUTF8=0"), ("PYTHONUNBUFFERED=1",)],
)
def test_stdout_is_utf8_in_any_locale(variables: tuple[str, ...]) -> None:
    """So is the name of a file, whose bytes Python may not be able to decode."""
    status, out, err = shell("", os.fsdecode(b"\xff"), variables=variables)
    assert (status, out) == (0, "ŝ ≤ ü ".encode() + b"\xff\n")
    assert err.startswith(b"warning ")
    assert err.count(b"\n") == 1


def test_an_error_is_one_line() -> None:
    assert shell("", "x", "fail") == (2, TEXT, WARNING + b"error: two\\nlines\n")


def test_ctrl_c_during_a_write_does_not_repeat_it() -> None:
    """A signal at the moment when the reader has received the bytes."""
    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    for moment in range(1, 101):
        reading, writing = os.pipe()
        written = 0

        def write(stream: Output, moment: int) -> None:
            nonlocal written
            signal.setitimer(signal.ITIMER_REAL, moment * 1e-5)
            while written < 60_000:  # the pipe has room for 65,536
                stream.write(b"x")
                written += 1
                stream.flush()
            time.sleep(1)

        with Output(io.FileIO(writing, "wb")) as stream, contextlib.suppress(KeyboardInterrupt):
            write(stream, moment)  # a function: the jump of a loop may lie outside of a `try` around it
        with os.fdopen(reading, "rb") as received:
            assert len(received.read()) in (written, written + 1)
    signal.signal(signal.SIGALRM, previous)


def test_a_full_non_blocking_pipe_is_waited_for() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    content, received = bytes(range(256)) * 1000, bytearray()

    def read() -> None:
        while block := os.read(reading, 50_000):
            received.extend(block)

    thread = threading.Thread(target=read)
    with Output(io.FileIO(writing, "wb")) as stream:
        stream.write(content[:9])
        timer = threading.Timer(0.05, thread.start)
        timer.start()
        stream.write(content[9:])
        stream.flush()
    timer.join()
    thread.join()
    assert received == content
