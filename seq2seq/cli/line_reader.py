"""Read lines from files and pipes, ahead of the translation, in windows that are large enough to sort by length."""

from __future__ import annotations

import errno
import os
import queue
import stat
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence

from seq2seq.data.files.text_file import opened, text_lines
from seq2seq.errors import DataError

WAIT_SEC, MAX_WAIT_SEC = 0.2, 1.0
"""How long to wait for one more line, and for the lines after the first one of a list."""


def check_inputs(names: Sequence[str]) -> None:
    """Check that the inputs can be read, before any work; a named pipe is not opened, because it opens only once.

    Raises:
        DataError: an input is missing, a folder, not readable, or a file of a format that is not text.
    """
    for name in names:
        if name == "-":
            continue
        problem, mode = 0, 0
        try:
            mode = os.stat(name).st_mode
            problem = errno.EISDIR if stat.S_ISDIR(mode) else 0
        except OSError as error:
            problem = error.errno or errno.ENOENT
        if not problem and not os.access(name, os.R_OK):
            problem = errno.EACCES
        if problem:
            raise DataError(f"cannot read {name}: {os.strerror(problem)}")
        if stat.S_ISREG(mode):
            with opened(name, name):
                pass


def windows(names: Sequence[str], size: int, strict: bool = False) -> Iterator[list[str]]:
    """Yield the lines of all inputs (`-` is standard input) in order, in lists of up to `size`.

    A list ends early when the input pauses for `WAIT_SEC`, so that a line sent into an open pipe is answered at once,
    or when it has waited for further lines for `MAX_WAIT_SEC`.
    A thread reads the next list while the caller works on one.

    Raises:
        DataError: an input cannot be read, or is not UTF-8 and `strict` is set; the lines before it are yielded first.
    """
    lines: queue.Queue[str | BaseException | None] = queue.Queue(maxsize=size)
    threading.Thread(target=_fill, args=(lines, names, strict), daemon=True).start()
    window: list[str] = []
    deadline = latest = 0.0
    while True:
        try:
            item = lines.get(timeout=max(0.0, deadline - time.monotonic()) if window else None)
        except queue.Empty:
            yield window
            window = []
            continue
        if isinstance(item, str):
            now = time.monotonic()
            latest = latest if window else now + MAX_WAIT_SEC
            deadline = min(now + WAIT_SEC, latest)
            window.append(item)
        if window and (len(window) == size or not isinstance(item, str)):
            yield window
            window = []
        if isinstance(item, BaseException):
            raise item
        if item is None:
            return


def lines_of(name: str, strict: bool = False) -> Iterator[str]:
    """Yield the lines of one input (`-` is standard input) without their line ends.

    Raises:
        DataError: the input cannot be read, is not text, or is not UTF-8 and `strict` is set.
    """
    file, shown = (0, "standard input") if name == "-" else (name, name)
    return text_lines(file, shown, None if strict else warn)


def warn(message: str) -> None:
    """Print a warning about bytes that are not text."""
    sys.stderr.write(f"warning: {message}; read as U+FFFD\n")


def count_lines(names: Sequence[str]) -> int | None:
    """Return the total number of lines of regular files; None if an input is a pipe, a device or not text."""
    if not all(os.path.isfile(name) for name in names):  # standard input is none
        return None
    count = 0
    try:
        for name in names:
            with opened(name, name) as content:
                block = b"\n"
                for block in iter(lambda: content.read(2**20), b""):
                    count += block.count(b"\n")
                count += not block.endswith(b"\n")
    except DataError:  # whoever reads the lines says why
        return None
    return count


def zip_with_file(windows: Iterable[list[str]], name: str, strict: bool = False) -> Iterator[list[tuple[str, str]]]:
    """Yield every line of the windows together with the line of the same number in the file `name`.

    Raises:
        DataError: the file cannot be read or has a different number of lines; the lines before that are yielded first.
    """
    partners = lines_of(name, strict)
    count = 0
    for window in windows:
        pairs = list(zip(window, partners, strict=False))
        count += len(pairs)
        if pairs:
            yield pairs
        if len(pairs) < len(window):
            raise DataError(f"{name} has {count} lines, fewer than the input: give one line per input line")
    if next(partners, None) is not None:
        raise DataError(f"{name} has more lines than the input, which has {count}: give one line per input line")


def prompted(windows: Iterator[list[str]]) -> Iterator[list[str]]:
    """Print a prompt on stderr before each window."""
    try:
        while True:
            sys.stderr.write("> ")
            sys.stderr.flush()
            yield next(windows)
    except StopIteration:
        pass
    finally:
        sys.stderr.write("\n")


def _fill(lines: queue.Queue[str | BaseException | None], names: Sequence[str], strict: bool) -> None:
    try:
        for name in names:
            for line in lines_of(name, strict):
                lines.put(line)
        lines.put(None)
    except BaseException as error:
        lines.put(error)
