"""Recognise a file of columns by its content and yield its pairs."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator
from pathlib import Path

from seq2seq.data.files.text_file import PARQUET, REFUSED, UTF_16, decoded, opened, rejoined
from seq2seq.data.formats.columns import Columns
from seq2seq.data.formats.compression import ENDINGS
from seq2seq.data.formats.delimited import csv_delimiter, csv_pairs, tsv_pairs
from seq2seq.data.formats.json_lines import is_json_object, json_pairs
from seq2seq.data.formats.parquet import parquet_pairs
from seq2seq.data.formats.tmx import tmx_pairs
from seq2seq.errors import DataError

HEAD_BYTES = 1 << 20  # of the first line that are looked at
KINDS = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".tmx": "tmx", ".xml": "tmx"} | dict.fromkeys(
    (".jsonl", ".ndjson", ".json"), "json"
)


def table_pairs(file: str | Path | int, name: str, columns: Columns) -> Iterator[tuple[str, str]]:
    """Yield the pairs of a file of columns: CSV, TSV, JSON Lines, TMX or Parquet, plain or compressed.

    The content decides; the ending of the name decides between formats that the first line does not tell apart.

    Args:
        file: a path, or the number of an open file.
        name: of the file in messages.
        columns: the columns to yield.

    Raises:
        DataError: the file cannot be read, is damaged, of no known format, or lacks the columns.
    """
    with opened(file, name, allowed=(PARQUET, *UTF_16)) as stream:
        head = stream.readline(HEAD_BYTES)
        if head.startswith(PARQUET):
            yield from _parquet(file, name, columns)
            return
        content = rejoined(head, stream)
        if head.startswith(UTF_16):
            if not _is_utf_16_xml(head):
                raise DataError(f"{name}: {REFUSED[head[:2]]}")
            yield from tmx_pairs(content, name, columns)
            return
        line = head.removeprefix(codecs.BOM_UTF8).decode("utf-8", "ignore").rstrip("\r\n")
        kind = _kind(line, name, columns)
        if kind == "tmx":
            yield from tmx_pairs(content, name, columns)
        elif kind == "json":
            yield from json_pairs(decoded(content, name), name, columns)
        elif kind == "csv":
            yield from csv_pairs(decoded(content, name), name, columns, csv_delimiter(line, columns) or ",")
        else:
            yield from tsv_pairs(decoded(content, name), name, columns)


def _parquet(file: str | Path | int, name: str, columns: Columns) -> Iterator[tuple[str, str]]:
    with open(file, "rb", closefd=not isinstance(file, int)) as raw:
        if not raw.seekable() or raw.seek(0) or raw.read(len(PARQUET)) != PARQUET:
            raise DataError(f"{name}: Parquet in a pipe or a compressed file cannot be read: name a plain file")
        yield from parquet_pairs(raw, name, columns)


def _is_utf_16_xml(head: bytes) -> bool:
    return head[:4] in (b"\xff\xfe<\0", b"\xfe\xff\0<")


def _kind(line: str, name: str, columns: Columns) -> str:
    """Return the kind of a text file: what its first line shows, else what its name says."""
    ending = _ending(name)
    start = line.lstrip()
    if start.startswith(("<?xml", "<!DOCTYPE", "<tmx")) or (ending == "tmx" and start.startswith("<")):
        return "tmx"
    if is_json_object(line) or (ending == "json" and start.startswith(("{", "["))):
        return "json"
    delimiter = csv_delimiter(line, columns)
    if "\t" in line and (ending != "csv" or '"' not in line):
        return "tsv"
    if ending == "tsv":
        return "csv" if delimiter and _is_surely_csv(line, delimiter, columns) else "tsv"
    return "csv" if delimiter else ending or "tsv"


def _is_surely_csv(line: str, delimiter: str, columns: Columns) -> bool:
    """Return True if a first line without a tab is quoted, or names the columns: a sentence has commas, too."""
    cells = next(csv.reader([line], delimiter=delimiter))
    return columns.are_named_in(cells) or line.count('"') >= 2 * len(cells)


def _ending(name: str) -> str:
    path = Path(name.lower())
    return KINDS.get((path.with_suffix("") if path.suffix in ENDINGS else path).suffix, "")
