"""What every command does with the ways it can end."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator

from seq2seq.errors import DataError, Seq2SeqError

OK, BUG, USER_ERROR = 0, 1, 2  # a bug is an exception nobody catches: Python prints its traceback and exits with 1


def run(body: Callable[[], int | None]) -> int:
    """Run the body of a command and return its exit status (None counts as success).

    A mistake of the user is one line on stderr and 2; Ctrl-C is 130; a reader that has gone away (`| head -1`) ends
    the command in silence with 141, as a shell reports a filter killed by SIGPIPE. Anything else is a bug and raised.
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
    """Turn an error of the disk inside the block into one that names what was written.

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
    """Forget what standard output does not take; Python would try again at exit, and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
