"""Columns separated by tabs (TSV, without quotes), or by commas or semicolons (CSV, with quotes)."""

from __future__ import annotations

import contextlib
import csv
import itertools
import logging
import operator
from collections.abc import Iterable, Iterator

from seq2seq.data.formats.columns import Columns, one_line
from seq2seq.errors import DataError

DELIMITERS = (",", ";")
log = logging.getLogger(__name__)


def tsv_pairs(lines: Iterable[str], name: str, columns: Columns, header: bool = True) -> Iterator[tuple[str, str]]:
    """Yield two columns of tab-separated lines; a blank line is a pair of blank sentences.

    Args:
        lines: of the file.
        name: of the file in messages.
        columns: the columns to yield.
        header: take a first line of usual names (src, tgt) as a header.

    Raises:
        DataError: a line has too few columns, or the header lacks a column.
    """
    lines = iter(lines)
    first = [*itertools.islice(lines, 1)]
    src, tgt, has_header = _places([cell for line in first for cell in line.split("\t")], name, columns, header)
    least = max(src, tgt) + 1
    for number, line in enumerate(lines if has_header else itertools.chain(first, lines), start=1 + has_header):
        cells = line.split("\t", least) if line.strip() else [""] * least
        if len(cells) < least:
            raise DataError(f"{name}, line {number}: {_too_few(cells, 'tab', least)}")
        yield cells[src], cells[tgt]


def csv_pairs(
    lines: Iterable[str], name: str, columns: Columns, delimiter: str = DELIMITERS[0]
) -> Iterator[tuple[str, str]]:
    """Yield two columns of a CSV file; a line break in a quoted field becomes a space.

    Raises:
        DataError: a record with too few columns or wrong quotes, or the header lacks a column.
    """
    rows = csv.reader(map(operator.add, lines, itertools.repeat("\n")), delimiter=delimiter, strict=True)
    try:
        first = [*itertools.islice(rows, 1)]
        src, tgt, has_header = _places([cell for row in first for cell in row], name, columns, header=True)
        least = max(src, tgt) + 1
        for cells in rows if has_header else itertools.chain(first, rows):
            if len(cells) < least:
                if cells:
                    raise DataError(f"{name}, line {rows.line_num}: {_too_few(cells, 'comma', least)}")
                cells = [""] * least
            yield one_line(cells[src]), one_line(cells[tgt])
    except csv.Error as error:
        hint = 'a field with quotes or line breaks is quoted, and a quote in it doubled: "a ""b"" c"'
        raise DataError(f"{name}, line {rows.line_num}: {error}; {hint}") from None


def csv_delimiter(line: str, columns: Columns) -> str | None:
    """Return the delimiter that divides a first line into columns, at best those asked for; None if it has only one."""
    found = []
    for delimiter in DELIMITERS:
        with contextlib.suppress(csv.Error):
            cells = next(csv.reader([line], delimiter=delimiter, strict=True), [])
            if columns.are_named_in(cells):
                return delimiter
            if len(cells) > 1:
                found.append(delimiter)
    return found[0] if found else None


def _places(first: list[str], name: str, columns: Columns, header: bool) -> tuple[int, int, bool]:
    """Return the indices of source and target column, and whether the first line is a header."""
    if columns.given and columns.are_places:
        src, tgt = (int(column) - 1 for column in columns.given)
        return src, tgt, False
    named = columns.choose(first, f"{name}, line 1") if columns.given else columns.found(first) if header else None
    if named:
        log.info("%s: the first line is a header; source %s, target %s", name, *named)
    return (first.index(named[0]), first.index(named[1]), True) if named else (0, 1, False)


def _too_few(cells: list[str], separator: str, least: int) -> str:
    if len(cells) > 1:
        return f"{len(cells)} columns; expected at least {least}"
    return f"no {separator}; expected source, {separator}, target" if least == 2 else f"no {separator}"
