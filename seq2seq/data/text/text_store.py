"""Parallel text on disk, read block by block: a text of any size takes a few megabytes of memory.

A text NAME is two files of UTF-8 lines, NAME.src and NAME.tgt, and NAME.json: their numbers of pairs, hashes and the
offset of every BLOCK_LINES-th line.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from seq2seq.data.corpus import SIDES, Pair, ParallelText, line_bytes
from seq2seq.data.files.chunks import chunks
from seq2seq.errors import DataError
from seq2seq.filesystem.atomic_files import new_part_folder, part_folder, storage_errors
from seq2seq.filesystem.file_locks import hold
from seq2seq.filesystem.temporary_files import IN_USE_NAME

BLOCK_LINES = 1_000
READ_BLOCKS = 16
BUCKET_PAIRS = 200_000
Numbers = NDArray[np.integer[Any]]
_Text = TypeVar("_Text", str, bytes)


class _Folder:
    """A folder that is removed when nothing refers to this object, at the latest at the end of the process.

    Until then it is locked: to a process on another machine it looks abandoned while it is read only.
    """

    def __init__(self, path: Path) -> None:
        weakref.finalize(self, _remove, path, hold(path / IN_USE_NAME))

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        return object, ()  # another process does not remove it


def _remove(folder: Path, release: Callable[[], object]) -> None:
    release()  # Windows does not remove a file that is open
    shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class _File:
    """One side of a stored text."""

    path: Path
    lines: int
    offsets: tuple[int, ...]  # of every BLOCK_LINES-th line, and the end
    digest: str
    owner: _Folder | None = None  # of a temporary file
    block_lines: int = field(default_factory=lambda: BLOCK_LINES)  # here, so that another process has the same

    def read(self, first: int, last: int) -> bytes:
        """Return blocks `first` to `last` - 1."""
        begin, end = self.offsets[first], self.offsets[last]
        try:
            with self.path.open("rb") as file:
                file.seek(begin)
                content = file.read(end - begin)
        except OSError as error:
            raise DataError(f"{self.path}: {error.strerror or error}") from None
        if len(content) != end - begin:
            raise DataError(f"{self.path} was cut while it was in use: start again")
        return content

    def blocks(self, view: range) -> Iterator[tuple[bytes, slice]]:
        """Yield parts of the file that have the lines `view`, and which lines of each part they are."""
        start, stop, block = view.start, view.stop, self.block_lines
        for first in range(start - start % block, stop, READ_BLOCKS * block):
            last = min(first + READ_BLOCKS * block, stop)
            yield self.read(first // block, -(-last // block)), slice(max(0, start - first), last - first)


class StoredLines(Sequence[str]):
    """Lines of a file; a slice without a step is a view, whose lines are read when they are used."""

    def __init__(self, file: _File, view: range | None = None) -> None:
        """`view` are the numbers of the lines in the file; default: all."""
        self._file = file
        self._view = range(file.lines) if view is None else view

    @property
    def digest(self) -> str | None:
        """The hash that `corpus.lines_digest` returns, if it is known: that of the whole file."""
        return self._file.digest if len(self) == self._file.lines else None

    @property
    def bytes(self) -> int | None:
        """The number that `corpus.text_bytes` returns, if it is known: that of the whole file."""
        return self._file.offsets[-1] if len(self) == self._file.lines else None

    @property
    def folder(self) -> Path:
        """The folder of the file."""
        return self._file.path.parent

    def __len__(self) -> int:
        return len(self._view)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        """Return one line, a view of neighbouring lines, or a list of lines that are not neighbours."""
        if isinstance(index, int):
            block, line = divmod(self._view[index], self._file.block_lines)
            return _decoded(self._file.read(block, block + 1))[line]
        view = self._view[index]
        if view.step == 1:
            return StoredLines(self._file, view)
        return list(islice(self, *index.indices(len(self)))) if view.step > 0 else list(self)[index]

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(_decoded(content)[rows] for content, rows in self._file.blocks(self._view))

    def encoded(self) -> list[Any]:
        """Return the lines as `bytes`, as they are in the file; `encoded` does so for any lines."""
        return [line for content, rows in self._file.blocks(self._view) for line in content.split(b"\n")[rows]]

    def __eq__(self, other: object) -> bool:
        """Compare line by line with any sequence."""
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]


def _decoded(content: bytes) -> list[str]:
    return content.decode("utf-8", "surrogatepass").split("\n")


def encoded(lines: Sequence[str]) -> list[bytes]:
    """Return lines as UTF-8, without decoding those of a file."""
    if isinstance(lines, StoredLines):
        return lines.encoded()
    return [line.encode("utf-8", "surrogatepass") for line in lines]


def write_text(folder: Path, name: str, pairs: Iterable[Pair]) -> int:
    """Write the text `name` into `folder` and return its number of pairs; a line feed in a sentence becomes a space."""

    def content_of(lines: Sequence[str]) -> bytes:
        content = line_bytes(lines)
        if content.count(b"\n") == len(lines):
            return content
        return line_bytes([line.replace("\n", " ") for line in lines])

    return _write(folder, name, pairs, content_of)


def _write(
    folder: Path, name: str, pairs: Iterable[tuple[_Text, _Text]], content_of: Callable[[Sequence[_Text]], bytes]
) -> int:
    """Write a text whose lines are turned into the bytes of a file by `content_of`; return its number of pairs."""
    total = 0
    offsets, digests = {side: [0] for side in SIDES}, {side: hashlib.sha256() for side in SIDES}
    with (folder / f"{name}.src").open("wb") as src_file, (folder / f"{name}.tgt").open("wb") as tgt_file:
        for block in chunks(pairs, BLOCK_LINES):
            total += len(block)
            for side, file, lines in zip(SIDES, (src_file, tgt_file), zip(*block, strict=True), strict=True):
                content = content_of(lines)
                file.write(content)
                digests[side].update(content)
                offsets[side].append(offsets[side][-1] + len(content))
    index = {side: {"offsets": offsets[side], "digest": digests[side].hexdigest()} for side in SIDES}
    (folder / f"{name}.json").write_text(json.dumps({"pairs": total, **index}), encoding="utf-8")
    return total


def open_text(folder: Path, name: str, owner: _Folder | None = None) -> ParallelText:
    """Return the text that `write_text` wrote; it keeps `owner` alive."""
    index = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    files = (
        _File(folder / f"{name}.{side}", index["pairs"], tuple(index[side]["offsets"]), index[side]["digest"], owner)
        for side in SIDES
    )
    return ParallelText(*map(StoredLines, files))


def is_stored(text: ParallelText) -> bool:
    """Return True if the text is on disk."""
    return isinstance(text.src, StoredLines)


def collected(pairs: Iterable[Pair], beside: ParallelText) -> ParallelText:
    """Return `pairs` as a text: in memory if the text `beside` is, else in a temporary folder."""
    if not isinstance(beside.src, StoredLines):
        return ParallelText.from_pairs(list(pairs))
    return temporary_text(beside.src.folder.parent, lambda folder: write_text(folder, "text", pairs), ["text"])["text"]


def temporary_text(parent: Path, write: Callable[[Path], object], names: Sequence[str]) -> dict[str, ParallelText]:
    """Return the texts `names` that `write` writes into a folder, which is removed when none of them is in use.

    If this process is killed, a later one removes the folder.

    Raises:
        StorageError: the folder cannot be written.
    """
    with storage_errors(parent):
        folder = new_part_folder(parent)
        owner = _Folder(folder)
        write(folder)
    return {name: open_text(folder, name, owner) for name in names}


def taken(text: ParallelText, rows: Numbers) -> ParallelText:
    """Return the pairs with the numbers `rows`, in that order, each number at most once."""
    if not isinstance(text.src, StoredLines):
        return ParallelText.from_pairs([(text.src[i], text.tgt[i]) for i in rows.tolist()])
    parent = text.src.folder.parent
    return temporary_text(parent, lambda folder: write_rows(folder, text, {"text": rows}), ["text"])["text"]


def write_rows(folder: Path, text: ParallelText, parts: Mapping[str, Numbers]) -> None:
    """Write texts by name into `folder`: the pairs of `text` with these numbers, in that order, none of them twice.

    `text` is read once, from beginning to end, and its pairs are written to files of BUCKET_PAIRS of the result, which
    are then read and sorted one by one.
    """
    buckets = {
        name: [rows[start : start + BUCKET_PAIRS] for start in range(0, len(rows), BUCKET_PAIRS)]
        for name, rows in parts.items()
    }
    with part_folder(folder) as temporary:
        files = iter(_distributed(text, [*chain.from_iterable(buckets.values())], temporary))
        for name, own in buckets.items():
            pairs = chain.from_iterable(_sorted_pairs(rows, *next(files)) for rows in own)
            _write(folder, name, pairs, _joined)


def _distributed(text: ParallelText, buckets: Sequence[Numbers], folder: Path) -> list[tuple[Path, Path]]:
    """Write the pairs of each bucket, in the order of the text, to the two files that are returned."""
    bucket_of = np.full(len(text), -1, np.int32)
    for number, rows in enumerate(buckets):
        bucket_of[rows] = number
    files = [(folder / f"{number}.src", folder / f"{number}.tgt") for number in range(len(buckets))]
    for start in range(0, len(text), BUCKET_PAIRS):
        own = bucket_of[start : start + BUCKET_PAIRS]
        by_bucket = np.argsort(own, kind="stable")
        bounds = np.searchsorted(own[by_bucket], np.arange(len(buckets) + 1)).tolist()
        order = by_bucket.tolist()
        for side, lines in enumerate((text.src, text.tgt)):
            chunk = encoded(lines[start : start + BUCKET_PAIRS])
            for paths, (begin, end) in zip(files, pairwise(bounds), strict=True):
                with paths[side].open("ab") as file:
                    file.write(_joined([chunk[i] for i in order[begin:end]]))
    return files


def _sorted_pairs(rows: Numbers, src: Path, tgt: Path) -> Iterator[tuple[bytes, bytes]]:
    """Return the pairs of a bucket in the order of `rows`, and remove its files."""
    places = np.empty(len(rows), np.int64)  # in the files, whose lines are in the order of the text
    places[np.argsort(rows)] = np.arange(len(rows))
    order = places.tolist()
    sides = []
    for path in (src, tgt):
        lines = path.read_bytes().split(b"\n")
        path.unlink()
        sides.append(map(lines.__getitem__, order))
    return zip(*sides, strict=True)


def _joined(lines: Sequence[bytes]) -> bytes:
    return b"\n".join([*lines, b""])
