"""The standard streams of a command: never missing, stdout in UTF-8, stderr never a reason to fail."""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TextIO

from seq2seq.errors import DataError

if TYPE_CHECKING:
    from typing_extensions import Buffer

CLOSED = (errno.EPIPE, errno.EBADF)  # the reader has ended; the shell's `>&-`


class Output(io.BufferedWriter):
    """A standard stream whose first failed write is recorded; all later output is dropped.

    Without that, Python would try to write the same bytes again at exit, print an error and change the exit status.
    Not a raw stream: Ctrl-C inside a `write` of Python code would make the buffer write the same bytes again.
    """

    fails = False  # raise a failure at once
    failure: Exception | None = None

    def write(self, data: Buffer, /) -> int:
        """Buffer or write `data`, or drop it after a failure; return its length.

        Raises:
            BrokenPipeError: the stream is closed, and `fails` is set.
            DataError: another failure, such as a full disk, and `fails` is set.
        """
        rest = memoryview(data)
        self._try(lambda done: super(Output, self).write(rest[done:]))
        return rest.nbytes

    def seekable(self) -> bool:
        """Return False: output is only appended."""
        return False

    def flush(self) -> None:
        """Write what is buffered; raises as `write`."""
        self._try(lambda done: super(Output, self).flush())

    def _try(self, work: Callable[[int], object]) -> None:
        """Call `work` with the number of bytes accepted so far until it succeeds."""
        done = 0
        while self.failure is None:
            try:
                work(done)
                return
            except BlockingIOError as error:  # a full pipe that another process has made non-blocking
                done += error.characters_written
                select.select([], [self.fileno()], [])
            except OSError as error:
                self.failure = _failure(error)
                if self.fails:
                    raise self.failure from None


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
        sys.stdout = _prepared(sys.stdout, os.O_RDONLY, "utf-8", "surrogateescape")
    if sys.stderr is sys.__stderr__:
        encoding = sys.stderr.encoding if sys.stderr else "utf-8"
        sys.stderr = _prepared(sys.stderr, os.O_WRONLY, encoding, "backslashreplace")
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
    buffer = getattr(sys.stdout, "buffer", None)
    return buffer if isinstance(buffer, Output) else None


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


def _prepared(stream: TextIO | None, closed_mode: int, encoding: str, errors: str) -> TextIO:
    """Return a text stream that writes to `stream`; to the null device, opened with `closed_mode`, if it is None."""
    raw: Any
    live = False
    if stream is None:  # Python's form of a stream that was closed at its start
        raw = io.FileIO(os.open(os.devnull, closed_mode), "wb")
    else:
        stream.flush()
        raw = getattr(stream.buffer, "raw", stream.buffer)  # python -u has no buffer between them
        live = bool(stream.line_buffering) or getattr(stream, "write_through", False)
    return io.TextIOWrapper(Output(raw), encoding, errors, line_buffering=live)
