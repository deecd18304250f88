"""The standard streams of a command: never missing, stdout in UTF-8, stderr never a reason to fail."""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from typing import Any, TextIO

from seq2seq.errors import DataError

CLOSED = (errno.EPIPE, errno.EBADF)  # the reader has ended; the shell's `>&-`


class Output(io.RawIOBase):
    """A standard stream whose first failed write is recorded; all later output is dropped.

    Without that, Python would try to write the same bytes again at exit, print an error and change the exit status.
    """

    def __init__(self, raw: io.RawIOBase, name: str) -> None:
        self._raw, self.name = raw, name
        self.fails = False  # raise a failure at once
        self.failure: Exception | None = None

    def writable(self) -> bool:
        """Return True: as every raw stream that a buffer writes to."""
        return True

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._raw.fileno()

    def isatty(self) -> bool:
        """Return True if this is a terminal."""
        return self._raw.isatty()

    def write(self, data: bytes | memoryview) -> int:  # type: ignore[override]
        """Write a part of `data` and return its length.

        Raises:
            BrokenPipeError: the stream is closed, and `fails` is set.
            DataError: another failure, such as a full disk, and `fails` is set.
        """
        if self.failure is None:
            try:
                return self._write(data)
            except OSError as error:
                self.failure = _failure(error)
                if self.fails:
                    raise self.failure from None
        return len(data)

    def _write(self, data: bytes | memoryview) -> int:
        while (count := self._raw.write(data)) is None:  # a full pipe that another process has made non-blocking
            select.select([], [self._raw], [])
        return count


def _failure(error: OSError) -> Exception:
    if error.errno in CLOSED:
        return BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
    return DataError(f"cannot write standard output: {error.strerror}")


def open_standard_streams(*, deferred: bool) -> None:
    """Open the streams that are closed, and prepare those of the interpreter; a caller's own `sys.stdout` is kept.

    Args:
        deferred: a failing stdout raises nothing until `raise_failure`, so that the command completes its files.
    """
    _occupy_closed_descriptors()
    if sys.stdout is sys.__stdout__:  # not yet prepared, nor replaced by a notebook or a test
        sys.stdout = _prepared(sys.stdout, "<stdout>", os.O_RDONLY, "utf-8", "surrogateescape")
    if sys.stderr is sys.__stderr__:
        encoding = sys.stderr.encoding if sys.stderr else "utf-8"
        sys.stderr = _prepared(sys.stderr, "<stderr>", os.O_WRONLY, encoding, "backslashreplace")
    if (output := _output()) is not None:
        output.fails = not deferred


def raise_failure() -> None:
    """Flush stdout and raise what has prevented a write to it.

    Raises:
        BrokenPipeError: stdout is closed.
        DataError: stdout cannot be written.
    """
    try:
        sys.stdout.flush()
    except OSError as error:  # of a stream that the caller has put there
        raise _failure(error) from None
    output = _output()
    if output is not None and output.failure is not None:
        raise output.failure


def _output() -> Output | None:
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw if isinstance(raw, Output) else None


def _occupy_closed_descriptors() -> None:
    """Open the null device on closed descriptors 0 to 2: a file opened later would receive what is printed.

    Reading 0 and writing 1 still fail, because each is opened for the opposite; what is written to 2 disappears.
    """
    for number, mode in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # receives the lowest free number, which is this one
            os.set_inheritable(number, True)


def _prepared(stream: TextIO | None, name: str, closed_mode: int, encoding: str, errors: str) -> TextIO:
    """Return a text stream that writes to `stream`; to the null device, opened with `closed_mode`, if it is None."""
    raw: Any
    live = False
    if stream is None:  # Python's form of a stream that was closed at its start
        raw = io.FileIO(os.open(os.devnull, closed_mode), "wb")
    else:
        stream.flush()
        raw = getattr(stream.buffer, "raw", stream.buffer)  # python -u has no buffer between them
        live = bool(stream.line_buffering) or getattr(stream, "write_through", False)
    buffer = io.BufferedWriter(Output(raw, name))  # type: ignore[type-var]
    return io.TextIOWrapper(buffer, encoding, errors, line_buffering=live)
