"""Exit statuses of the commands, and how errors become one line."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator

from seq2seq.errors import DataError, Seq2SeqError

OK, BUG, USER_ERROR = 0, 1, 2  # BUG: an uncaught exception, for which Python prints a traceback and exits with 1


def run(body: Callable[[], int | None]) -> int:
    """Run the body of a command and return its exit status (None counts as success).

    A user error prints one line on stderr and returns 2. Ctrl-C returns 130. A closed pipe (`| head -1`) returns 141
    silently, as a shell reports a process that SIGPIPE killed. Any other exception is a bug and is raised.
    """
    try:
        status = body() or OK
        with writing("standard output"):
            sys.stdout.flush()
        return status
    except Seq2SeqError as error:
        sys.stderr.write(f"error: {error}\n")
        status = USER_ERROR
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
    except BrokenPipeError:
        status = 128 + 13  # SIGPIPE, which Windows' signal module lacks
    _drop_unwritten()
    return status


@contextlib.contextmanager
def writing(name: str) -> Iterator[None]:
    """Convert an OSError inside the block to a DataError that names the file.

    Raises:
        DataError: the file cannot be opened or the disk is full.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise DataError(f"cannot write {name}: {error.strerror}") from error


def _drop_unwritten() -> None:
    """Discard unflushed output; at exit Python would try to write it again and print an error."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
