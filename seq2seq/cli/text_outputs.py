"""Write several text files that appear together, when all of the work is done; a name in .gz is compressed."""

from __future__ import annotations

import contextlib
import gzip
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from seq2seq.filesystem.atomic_files import replacing, storage_errors

if TYPE_CHECKING:
    from typing_extensions import Buffer

STDOUT = "-"
COMPRESSES = (".gz",)
"""For `output_file.check_output`."""
BUFFER_BYTES = 2**16
_Result = TypeVar("_Result")


def write_texts(names: Sequence[str], work: Callable[[list[Any]], _Result]) -> _Result:
    """Open every file, do the work and return its result; -: standard output, which is written to at once.

    The files appear when all of them are complete: after an error, those of two sides are still line-aligned.

    Raises:
        StorageError: a file cannot be written; unless the message says otherwise, the old files are unchanged.
    """
    with (
        replacing(*(Path(name) for name in names if name != STDOUT)) as temporaries,
        contextlib.ExitStack() as stack,
    ):
        unused = iter(temporaries)
        return work(
            [sys.stdout if name == STDOUT else stack.enter_context(_text_file(next(unused), name)) for name in names]
        )


class _File(io.FileIO):
    """The temporary form of the file `shown`, which names it in errors: the work that writes may have others."""

    def __init__(self, path: Path, shown: str) -> None:
        super().__init__(path, "wb")
        self._shown = Path(shown)

    def write(self, data: Buffer, /) -> int:
        """Write as `FileIO`; raises StorageError."""
        with storage_errors(self._shown):
            return super().write(data)


@contextlib.contextmanager
def _text_file(path: Path, name: str) -> Iterator[io.TextIOWrapper]:
    """Open `path`, the temporary form of the file `name`; that name tells whether it is compressed."""
    with contextlib.ExitStack() as stack:
        raw: Any = stack.enter_context(io.BufferedWriter(_File(path, name), BUFFER_BYTES))
        if name.lower().endswith(COMPRESSES):
            raw = stack.enter_context(gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=0))
        yield stack.enter_context(io.TextIOWrapper(raw, encoding="utf-8", newline="\n"))
