"""Write lines to a file or pipe, each window at once, and resume an output file that is incomplete."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from seq2seq.cli.exit_status import writing
from seq2seq.cli.made_with import changed_settings, write_settings
from seq2seq.errors import ConfigError, DataError
from seq2seq.filesystem.atomic_files import is_stream, open_stream, replaceable
from seq2seq.filesystem.file_locks import LockedError, locked

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


def part_name(name: str) -> str:
    """Return the name that an output file has until it is complete."""
    return os.path.realpath(name) + ".part"


def settings_name(name: str) -> str:
    """Return the name of the file that holds what FILE.part is made with; a part without one is a file of the user."""
    return part_name(name) + ".seq2seq.json"


def written(name: str, grouped: bool) -> Written:
    """Return the complete part of an output file, or of FILE.part; a last line without line end is incomplete.

    Args:
        name: the file; it need not exist.
        grouped: each line starts with the number of its input line and a tab (n-best output). The last group may then
            be incomplete, so it is written again.

    Raises:
        DataError: the file cannot be read, is not a regular file, or has other line numbers than n-best output.
    """
    if os.path.exists(name) and not os.path.isfile(name):  # pathlib's raise for a name that is too long
        raise DataError(f"--resume: {name} is not a regular file")
    if os.path.exists(part_name(name)):
        name = part_name(name)
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
def output(
    name: str, before: Written | None = None, settings: dict[str, Any] | None = None
) -> Iterator[Callable[[str], None]]:
    """Yield a function that writes text to the file (`-`: standard output) without buffering.

    Until the end of the block the text is in FILE.part; after an error it stays there for `--resume`, and the file is
    as it was. A device, a pipe and standard output are written to at once.

    Args:
        name: the file; `check_output` has accepted it.
        before: the part of an earlier output that stays; None: nothing stays. Nothing changes before the first write,
            so that a resume that fails earlier leaves everything as it was.
        settings: what the lines depend on; lines of other settings are not continued.

    Raises:
        ConfigError: FILE.part was made with other settings.
        LockedError: another command writes the file.
        DataError: FILE.part is a file of the user, or writing fails.
    """
    shown = "standard output" if name == "-" else name
    with contextlib.ExitStack() as stack:
        with writing(shown):
            if name == "-":
                file: BinaryIO | io.FileIO | _Part = sys.stdout.buffer
            elif is_stream(name):
                file = stack.enter_context(open_stream(name))
            else:
                stack.enter_context(_alone(name))
                file = stack.enter_context(_Part(name, before, settings or {}))

        def write(text: str) -> None:
            data = text.encode()
            with writing(shown):
                while data:
                    data = data[file.write(data) :]
                file.flush()

        yield write
        if isinstance(file, _Part):
            with writing(shown):
                file.complete()


@contextlib.contextmanager
def _alone(name: str) -> Iterator[None]:
    """Lock FILE.part during the block.

    Raises:
        LockedError: another command writes the file.
        OSError: the name is too long.
    """
    path = Path(part_name(name) + ".seq2seq.lock")
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        path.stat()  # raises if the name is too long
    with contextlib.ExitStack() as stack:
        if os.access(path.parent, os.W_OK):  # else opening the part fails next, in one line
            try:
                stack.enter_context(locked(path, wait=False))
            except LockedError as error:
                message = f"another command is writing {name} ({error}): wait until it ends, or name another output"
                raise LockedError(message) from None
        yield


class _Part:
    """FILE.part, which becomes FILE when it is complete.

    Unbuffered: closing the file must not write again what a full disk has refused.
    """

    def __init__(self, name: str, before: Written | None, settings: dict[str, Any]) -> None:
        self._path = replaceable(name)
        self._name = part_name(name)
        self._settings_path, self._settings = Path(settings_name(name)), settings
        self._kept = before.size if before else 0
        self._new = not os.path.exists(self._name)
        if not self._new:
            self._check(resumed=before is not None)
        self._file = open(self._name, "ab", buffering=0)  # noqa: SIM115 (closed in __exit__)
        self._begun = False

    def __enter__(self) -> _Part:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
        if self._new and not self._begun:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._name)

    def write(self, data: bytes) -> int:
        """Write as much of `data` as the system accepts; return how many bytes."""
        self._begin()
        return self._file.write(data)

    def flush(self) -> None:
        """Do nothing: the file is unbuffered."""

    def complete(self) -> None:
        """Sync the part to the disk and give it the name of the file."""
        self._begin()
        os.fsync(self._file.fileno())
        os.replace(self._name, self._path)
        self._settings_path.unlink(missing_ok=True)

    def _check(self, resumed: bool) -> None:
        """Check that the part, which exists, can be continued, or written again; raises as `output`."""
        if not self._settings_path.exists():  # a part of an older version can be resumed
            if not resumed and os.path.getsize(self._name):
                raise DataError(
                    f"{self._name} exists, and no command of this toolkit left it: rename it, or name another output"
                )
            return
        if not resumed:
            return
        try:
            changed = changed_settings(self._settings_path, self._settings)
        except ValueError as error:
            raise DataError(f"{self._settings_path} is damaged: leave out --resume") from error
        if changed:
            raise ConfigError(
                f"{self._name} was made with other {', '.join(changed)}: give the same again, or leave out --resume"
            )

    def _begin(self) -> None:
        """Remove from the part what is not kept, before the first write."""
        if self._begun:
            return
        self._begun = True
        write_settings(self._settings_path, self._settings)
        if os.path.exists(self._path):
            if self._new and self._kept:
                shutil.copyfile(self._path, self._name)
            shutil.copymode(self._path, self._name)
        self._file.truncate(self._kept)
