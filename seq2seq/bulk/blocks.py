"""Blocks: the parts of the input files that are translated and written one by one.

A block of plain text is a range of bytes: its lines are those that begin in it. A row group of a Parquet file is a
block, and so is a compressed text, which cannot be read from its middle.
"""

from __future__ import annotations

import contextlib
import glob
import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seq2seq.cli.line_reader import check_inputs
from seq2seq.data.files.text_file import decoded, text_lines
from seq2seq.data.formats.compression import COMPRESSIONS, ENDINGS
from seq2seq.errors import ConfigError, DataError, first_line

PARQUET, JSONL, TEXT = "parquet", "jsonl", "text"
SUFFIXES = {PARQUET: ".parquet", JSONL: ".jsonl", TEXT: ".txt"}


@dataclass(frozen=True)
class Block:
    """A part of an input file, and the file of its translations.

    Attributes:
        source: the input file.
        kind: parquet, jsonl or text.
        begin: first byte of text, or the number of the row group.
        end: the byte after the last; None: the end of a compressed file.
        output: file of the translations.
    """

    source: str
    kind: str
    begin: int
    end: int | None
    output: str

    def __str__(self) -> str:
        unit = "row group" if self.kind == PARQUET else "byte"
        return f"{self.source}, from {unit} {self.begin}"


def find_files(patterns: Sequence[str]) -> list[str]:
    """Return the absolute names of the files that match, sorted, each once.

    Raises:
        DataError: a pattern matches no file, or a file cannot be read.
    """
    found = set()
    for pattern in patterns:
        names = [name for name in glob.glob(pattern, recursive=True) if not os.path.isdir(name)]
        if not names:
            raise DataError(f"--input {pattern}: no such file")
        found |= {os.path.abspath(name) for name in names}
    check_inputs([name for name in sorted(found) if _kind(name) != PARQUET])
    return sorted(found)


def relative_names(files: Sequence[str]) -> list[str]:
    """Return the names of the files below the folder that contains all of them."""
    common = os.path.commonpath([os.path.dirname(file) for file in files])
    return [os.path.relpath(file, common) for file in files]


def list_blocks(files: Sequence[str], folder: str, block_bytes: int) -> list[Block]:
    """Return the blocks of all files in order; their outputs, sorted by name, have the order of the input.

    Raises:
        ConfigError: two files would have the same outputs.
        DataError: a Parquet file cannot be read.
    """
    blocks: list[Block] = []
    stems: dict[str, str] = {}
    for file, name in zip(files, relative_names(files), strict=True):
        kind = _kind(file)
        stem = os.path.join(folder, _uncompressed(name).removesuffix(SUFFIXES[kind]))
        if (other := stems.setdefault(stem + SUFFIXES[kind], file)) != file:
            raise ConfigError(f"{other} and {file} would have the same outputs: translate them into two folders")
        for i, (begin, end) in enumerate(_ranges(file, kind, block_bytes)):
            blocks.append(Block(file, kind, begin, end, f"{stem}-{i:06}{SUFFIXES[kind]}"))
    return blocks


def read_lines(block: Block, warn: Callable[[str], None] | None) -> list[str]:
    """Return the lines of a block of text.

    Raises:
        DataError: as `data.text_file.text_lines`.
    """
    if block.end is None:
        return list(text_lines(block.source, block.source, warn))
    return list(decoded(io.BytesIO(b"".join(_raw_lines(block, block.end))), str(block), warn))


def read_table(block: Block, column: str) -> tuple[Any, list[str | None]]:
    """Return the table of a row group, and the texts of its column.

    Raises:
        ConfigError: there is no such column of text.
        DataError: the file cannot be read.
    """
    import pyarrow as pa

    with _parquet(block.source) as content:
        table = content.read_row_group(block.begin)
    if column not in table.column_names:
        raise ConfigError(f"{block.source} has no column {column}: give --column {', '.join(table.column_names)}")
    texts = table.column(column)
    kind = texts.type.value_type if pa.types.is_dictionary(texts.type) else texts.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise ConfigError(f"{block.source}: --column {column} is {texts.type}, not text")
    return table, texts.to_pylist()


def _kind(name: str) -> str:
    return next((kind for kind in (PARQUET, JSONL) if _uncompressed(name).endswith(SUFFIXES[kind])), TEXT)


def _uncompressed(name: str) -> str:
    stem, suffix = os.path.splitext(name)
    return stem if suffix in ENDINGS else name


def _ranges(file: str, kind: str, block_bytes: int) -> Iterator[tuple[int, int | None]]:
    if kind == PARQUET:
        with _parquet(file) as content:
            yield from ((i, i + 1) for i in range(content.num_row_groups))
        return
    with open(file, "rb") as content:
        compressed = content.read(max(map(len, COMPRESSIONS))).startswith(tuple(COMPRESSIONS))
    size = os.path.getsize(file)
    if compressed:
        yield 0, None
    else:
        yield from ((begin, min(begin + block_bytes, size)) for begin in range(0, max(size, 1), block_bytes))


def _raw_lines(block: Block, end: int) -> Iterator[bytes]:
    with open(block.source, "rb") as content:
        if block.begin:
            content.seek(block.begin - 1)
            content.readline()  # the rest of a line that begins before the block
        while content.tell() < end and (line := content.readline()):
            yield line


@contextlib.contextmanager
def _parquet(file: str) -> Iterator[Any]:
    """Open a Parquet file during the block.

    Raises:
        ConfigError: pyarrow is not installed.
        DataError: the file is not Parquet, or damaged where the block reads it.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise ConfigError(f"{file}: Parquet files need pyarrow: pip install 'attentional-lstm[data]'") from error
    try:
        with pq.ParquetFile(file) as content:
            yield content
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"cannot read {file}: {first_line(error)}") from error


def write_table(path: Path, table: Any) -> None:
    """Write a Parquet file."""
    import pyarrow.parquet as pq

    pq.write_table(table, path)
