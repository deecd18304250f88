"""Read parallel text from files: line-aligned ones, or files of columns, block by block."""

from __future__ import annotations

import io
import itertools
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from seq2seq.config.text_files import FilesConfig
from seq2seq.data.corpus import ParallelText
from seq2seq.data.files.text_file import decoded, text_lines
from seq2seq.data.formats.columns import Columns
from seq2seq.data.formats.delimited import tsv_pairs
from seq2seq.data.formats.paths import expand
from seq2seq.data.formats.table import table_pairs
from seq2seq.errors import ConfigError, DataError

log = logging.getLogger(__name__)


def read_lines(path: str | Path) -> list[str]:
    """Read a text file, one sentence per line.

    Raises:
        DataError: a missing or unreadable file, or one that is not UTF-8 text.
    """
    return list(_lines(path))


def parse_tsv(data: bytes, name: str) -> ParallelText:
    """Return the first two columns of tab-separated lines; a blank line is a pair of blank sentences.

    Raises:
        DataError: a line with fewer than two columns; the message names it.
    """
    return _in_memory(tsv_pairs(decoded(io.BytesIO(data), name), name, Columns(), header=False))


def is_given(files: FilesConfig) -> bool:
    """Return True if any file of a parallel text is set."""
    return any((files.src, files.tgt, files.tsv, files.table))


def read_parallel(files: FilesConfig, key: str, languages: tuple[str, str] | None = None) -> ParallelText:
    """Return the pairs of `read_pairs`, in memory; raises as it does."""
    return _in_memory(read_pairs(files, key, languages))


def read_pairs(
    files: FilesConfig, key: str, languages: tuple[str, str] | None = None, options: tuple[str, str] | None = None
) -> Iterator[tuple[str, str]]:
    """Return an iterator over the pairs of one parallel text, which reads its files block by block.

    Args:
        files: the text.
        key: its config key (`data.train`) in messages.
        languages: codes of source and target, which name columns, and languages of TMX.
        options: what messages call `src_column` and `tgt_column`; None: their config keys.

    Raises:
        ConfigError: none, or several, of src with tgt, tsv and table are given; at once.
        DataError: no file matches a pattern, or unequal numbers of files; at once. Unreadable or damaged files, unequal
            numbers of lines, or no pair with text on both sides; when the iterator comes to it.
    """
    if bool(files.src) != bool(files.tgt) or sum(map(bool, (files.src, files.tsv, files.table))) != 1:
        raise ConfigError(f"{key}: give either {key}.src and {key}.tgt, or {key}.tsv, or {key}.table")
    options = options or (f"{key}.src_column", f"{key}.tgt_column")
    columns = Columns(files.src_column, files.tgt_column, languages, options)
    if files.src:
        if columns.given:
            raise ConfigError(f"{options[0]} {columns.src} needs one file of columns, not line-aligned files")
        names, pairs = _line_aligned(files, key)
    else:
        name = "tsv" if files.tsv else "table"
        names = expand(getattr(files, name), f"{key}.{name}")
        read = _tsv if files.tsv else table_pairs
        pairs = itertools.chain.from_iterable(read(os.path.expanduser(file), file, columns) for file in names)
    return with_text(pairs, key, names)


def read_pair(src: str | Path, tgt: str | Path) -> ParallelText:
    """Read two line-aligned files.

    Raises:
        DataError: a file is missing or not UTF-8, or the files differ in their number of lines.
    """
    return _in_memory(_aligned(src, tgt))


def with_text(pairs: Iterator[tuple[str, str]], key: str, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield all pairs.

    Raises:
        DataError: no pair has text on both sides.
    """
    count = 0
    for src, tgt in pairs:
        count += 1
        yield src, tgt
        if src.strip() and tgt.strip():
            yield from pairs
            return
    shown = ", ".join(names[:2]) + (f" and {len(names) - 2:,} more" if len(names) > 2 else "")
    complete = f": no pair is complete, all {count:,} have a blank side" if count else ""
    raise DataError(f"{key}: no text in {shown}{complete}")


def _lines(path: str | Path) -> Iterator[str]:
    return text_lines(os.path.expanduser(path), str(path))


def _line_aligned(files: FilesConfig, key: str) -> tuple[list[str], Iterator[tuple[str, str]]]:
    """Return the names of all files and their pairs."""
    sides = [expand(value, f"{key}.{side}") for side, value in (("src", files.src), ("tgt", files.tgt))]
    src, tgt = sides
    if len(src) != len(tgt):
        longer = max(sides, key=len)[min(map(len, sides))]
        raise DataError(f"{key}.src has {len(src):,} files but {key}.tgt has {len(tgt):,}: {longer} has no partner")
    if len(src) > 1:
        log.info("%s: %d pairs of files, %s with %s to %s with %s", key, len(src), src[0], tgt[0], src[-1], tgt[-1])
    return [*itertools.chain(*zip(src, tgt, strict=True))], itertools.chain.from_iterable(map(_aligned, src, tgt))


def _aligned(src: str | Path, tgt: str | Path) -> Iterator[tuple[str, str]]:
    sides = _lines(src), _lines(tgt)
    for count, pair in enumerate(itertools.zip_longest(*sides)):
        if pair[0] is None or pair[1] is None:
            rest = [count + (line is not None) + sum(1 for _ in lines) for line, lines in zip(pair, sides, strict=True)]
            raise DataError(f"{src} has {rest[0]:,} lines but {tgt} has {rest[1]:,}: they are not parallel")
        yield pair


def _tsv(file: str, name: str, columns: Columns) -> Iterator[tuple[str, str]]:
    return tsv_pairs(text_lines(file, name), name, columns, header=False)


def _in_memory(pairs: Iterator[tuple[str, str]]) -> ParallelText:
    return ParallelText.from_pairs(list(pairs))
