"""Write several text files that appear together, when all of the work is done; a name in .gz is compressed."""

from __future__ import annotations

import contextlib
import gzip
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from seq2seq.atomic_files import write_atomically

STDOUT = "-"
COMPRESSES = (".gz",)
"""For `output_file.check_output`."""
_Result = TypeVar("_Result")


def write_texts(names: Sequence[str], work: Callable[[list[Any]], _Result], opened: Sequence[Any] = ()) -> _Result:
    """Open every file, do the work and return its result; -: standard output, which is written to at once.

    Raises:
        StorageError: a file cannot be written; the old files are unchanged.
    """
    if not names:
        return work(list(opened))
    if names[0] == STDOUT:
        return write_texts(names[1:], work, [*opened, sys.stdout])
    results: list[_Result] = []

    def fill(path: Path) -> None:
        with _text_file(path, names[0]) as file:
            results.append(write_texts(names[1:], work, [*opened, file]))

    write_atomically(Path(names[0]), fill)
    return results[0]


@contextlib.contextmanager
def _text_file(path: Path, name: str) -> Iterator[io.TextIOWrapper]:
    """Open `path`, the temporary form of the file `name`; that name tells whether it is compressed."""
    with contextlib.ExitStack() as stack:
        raw: Any = stack.enter_context(open(path, "wb"))
        if name.lower().endswith(COMPRESSES):
            raw = stack.enter_context(gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=0))
        yield stack.enter_context(io.TextIOWrapper(raw, encoding="utf-8", newline="\n"))
