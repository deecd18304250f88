"""What every command does with the ways it can end."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

from seq2seq.errors import Seq2SeqError

OK, BUG, USER_ERROR = 0, 1, 2  # a bug is an exception nobody catches: Python prints its traceback and exits with 1


def run(body: Callable[[], int | None]) -> int:
    """Run the body of a command and return its exit status (None counts as success).

    A mistake of the user is one line on stderr and 2; Ctrl-C is 130; a reader that has gone away (`| head -1`) ends
    the command in silence with 141, as a shell reports a filter killed by SIGPIPE. Anything else is a bug and raised.
    """
    try:
        status = body() or OK
        sys.stdout.flush()
    except Seq2SeqError as error:
        sys.stderr.write(f"error: {error}\n")
        return USER_ERROR
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # What is left in the buffer has no reader; without this Python complains about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13  # SIGPIPE, which Windows' signal module lacks
    return status
