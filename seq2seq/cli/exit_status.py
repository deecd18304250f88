"""Exit statuses of the commands, and how errors become one line."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator

from seq2seq.cli import streams
from seq2seq.errors import DataError, Seq2SeqError
from seq2seq.kernels import instruction_set

OK, BUG, USER_ERROR = 0, 1, 2  # BUG: an uncaught exception, for which Python prints a traceback and exits with 1
INTERRUPTED, CLOSED_PIPE = 128 + signal.SIGINT, 128 + 13  # 13 is SIGPIPE, which Windows' signal module lacks


def run(body: Callable[[], int | None], *, completes: bool = False) -> int:
    """Run the body of a command and return its exit status (None counts as success).

    A user error prints one line on stderr and returns 2, and so does a stdout that cannot be written. Ctrl-C returns
    130. A closed stdout (`| head -1`, `>&-`) returns 141 silently, as a shell reports a process that SIGPIPE killed.
    stderr never changes the status. Any other exception is a bug and is raised.

    Args:
        body: the command.
        completes: a stdout that fails does not end `body`; the status tells of it afterwards.
    """
    streams.open_standard_streams(deferred=completes)
    try:
        instruction_set.current()  # an unknown value is an error in every command
        status = _status(body)
        if status == OK:
            streams.raise_failure()
        return status
    except Seq2SeqError as error:
        sys.stderr.write(f"error: {one_line(str(error))}\n")
        return USER_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return CLOSED_PIPE
    finally:
        with contextlib.suppress(OSError, DataError):  # after an error; at exit Python would report another one
            sys.stdout.flush()


def one_line(message: str) -> str:
    """Return a message, whose file names may contain line feeds, as one line."""
    return message.replace("\r", "\\r").replace("\n", "\\n")


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


def _status(body: Callable[[], int | None]) -> int:
    """Return the status of `body`; argparse and Hydra end the process after --help and --version."""
    try:
        return body() or OK
    except SystemExit as end:
        if isinstance(end.code, str):
            raise  # Python prints it
        return end.code or OK
