"""Write lines to a file or pipe, each window at once, and resume an output file that is incomplete."""

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
    """The complete part of an output file.

    Attributes:
        lines: number of input lines whose output is complete.
        begun: number of input lines with any output.
        size: bytes of the complete outputs; the rest of the file is written again.
    """

    lines: int = 0
    begun: int = 0
    size: int = 0

    def rest(self, windows: Iterable[list[_Line]], name: str) -> Iterator[list[_Line]]:
        """Yield the input lines that have no complete output in the file `name` yet.

        Raises:
            DataError: the file has more outputs than there are input lines.
        """
        count = 0
        for window in windows:
            rest = window[max(0, self.lines - count) :]
            count += len(window)
            if rest:
                yield rest
        if count < self.begun:
            raise DataError(
                f"{name} has output for {self.begun} lines but the input has {count}: is it the same input?"
            )


def written(name: str, grouped: bool) -> Written:
    """Return the complete part of an output file; a last line without line end is incomplete.

    Args:
        name: the file; it need not exist.
        grouped: each line starts with the number of its input line and a tab (n-best output). The last group may then
            be incomplete, so it is written again.

    Raises:
        DataError: the file cannot be read, is not a regular file, or has other line numbers than n-best output.
    """
    if os.path.exists(name) and not os.path.isfile(name):  # pathlib's raise for a name that is too long
        raise DataError(f"--resume: {name} is not a regular file")
    lines = begun = size = end = 0
    try:
        with open(name, "rb") as content:
            for row, raw in enumerate(content, start=1):
                if not raw.endswith(b"\n"):
                    break
                number = _number(raw) if grouped else row
                if number not in (begun, begun + 1) or number == 0:
                    raise DataError(
                        f"{name}, line {row}: not n-best output of this command, so --resume cannot continue it"
                    )
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
    """Yield a function that writes text to the file (`-`: standard output) without buffering.

    Args:
        name: the file; it is emptied first unless `before` is given.
        inputs: files that must differ from `name`.
        before: the part of the file that stays. The rest is cut off at the first write, so that a resume that fails
            earlier changes nothing.

    Raises:
        DataError: writing fails, or an input is also the output.
    """
    shown = "standard output" if name == "-" else name
    with contextlib.ExitStack() as stack:
        with writing(shown):
            if any(_same(name, other) for other in inputs):
                raise DataError(f"{name} is both input and output")
            # Unbuffered: closing must not write again what a full disk has refused.
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
        write("")  # cuts off the incomplete rest if no line was left to translate


def _same(one: str, other: str) -> bool:
    return "-" not in (one, other) and os.path.exists(one) and os.path.samefile(one, other)
