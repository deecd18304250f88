"""Lines to a file or pipe, each window at once, and what a run that was stopped has written before."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from seq2seq.cli.exit_status import writing
from seq2seq.errors import DataError

_Line = TypeVar("_Line")


@dataclass(frozen=True)
class Written:
    """What an output file holds already.

    Attributes:
        lines: lines of the input whose answers are complete.
        begun: lines of the input that have any answer.
        size: bytes of the complete answers; what follows is written again.
    """

    lines: int = 0
    begun: int = 0
    size: int = 0

    def rest(self, windows: Iterable[list[_Line]], name: str) -> Iterator[list[_Line]]:
        """Yield those lines of the input that have no complete answer in the file `name` yet.

        Raises:
            DataError: the file has answers to more lines than there are.
        """
        count = 0
        for window in windows:
            rest = window[max(0, self.lines - count) :]
            count += len(window)
            if rest:
                yield rest
        if count < self.begun:
            raise DataError(f"{name} has answers to {self.begun} lines but the input has {count}")


def written(name: str, grouped: bool) -> Written:
    """Look at the output of a run that was stopped; a last line without its end does not count.

    Args:
        name: the file; it need not exist.
        grouped: whether each line begins with the number of its input line and a tab. It is then unknown whether the
            last group is complete, so it does not count, either.

    Raises:
        DataError: it cannot be read, is not a regular file, or is not numbered as such output is.
    """
    if os.path.exists(name) and not os.path.isfile(name):  # pathlib's raise for a name that is too long
        raise DataError(f"--resume needs a regular file, which {name} is not")
    lines = begun = size = end = 0
    try:
        with open(name, "rb") as content:
            for row, raw in enumerate(content, start=1):
                if not raw.endswith(b"\n"):
                    break
                number = _number(raw) if grouped else row
                if number not in (begun, begun + 1) or number == 0:
                    raise DataError(f"{name}, line {row}: not the n-best output that --resume could go on with")
                if number > begun:
                    lines, begun, size = begun, number, end
                end += len(raw)
    except FileNotFoundError:
        return Written()
    except OSError as error:
        raise DataError(f"cannot read {name}: {error.strerror}") from None
    return Written(lines, begun, size) if grouped else Written(begun, begun, end)


def _number(raw: bytes) -> int:
    digits = raw.partition(b"\t")[0]
    return int(digits) if digits.isdigit() and len(digits) < 19 else -1


@contextlib.contextmanager
def output(name: str, inputs: Sequence[str], before: Written | None = None) -> Iterator[Callable[[str], None]]:
    """Yield a function that writes text to the file (`-`: standard output) at once.

    Args:
        name: the file, emptied first unless `before` is given.
        inputs: files that must not be the same as it.
        before: what of the file stays. The rest is cut off with the first write, so a resume that fails before it
            changes nothing.

    Raises:
        DataError: the disk refuses, or an input is the output.
    """
    shown = "standard output" if name == "-" else name
    with contextlib.ExitStack() as stack:
        with writing(shown):
            if any(_same(name, other) for other in inputs):
                raise DataError(f"{name} is both input and output")
            # Unbuffered: what a full disk has refused is not tried again on closing.
            mode = "wb" if before is None else "ab"
            file = sys.stdout.buffer if name == "-" else stack.enter_context(open(name, mode, buffering=0))

        def write(text: str) -> None:
            nonlocal before
            data = text.encode()
            with writing(shown):
                if before is not None:
                    file.truncate(before.size)
                    before = None
                while data:
                    data = data[file.write(data) :]
                file.flush()

        yield write
        write("")  # cuts off what is to be cut where no line was left to translate


def _same(one: str, other: str) -> bool:
    return "-" not in (one, other) and os.path.exists(one) and os.path.samefile(one, other)
