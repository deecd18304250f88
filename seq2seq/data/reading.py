"""Read parallel text from files: two line-aligned ones, or one of tab-separated columns."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path

from seq2seq.config.data import FilesConfig
from seq2seq.data.corpus import ParallelText
from seq2seq.data.text_file import decoded, text_lines
from seq2seq.errors import ConfigError, DataError


def read_lines(path: str | Path) -> list[str]:
    """Read a text file, one sentence per line.

    Raises:
        DataError: a missing or unreadable file, or one that is not UTF-8 text.
    """
    return list(text_lines(Path(path).expanduser(), str(path)))


def parse_tsv(data: bytes, name: str) -> ParallelText:
    """Return the first two columns of tab-separated lines; a blank line is a pair of blank sentences.

    Raises:
        DataError: a line with fewer than two columns; the message names it.
    """
    return ParallelText.from_pairs(list(_columns(decoded(io.BytesIO(data), name), name)))


def _columns(lines: Iterable[str], name: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(lines, start=1):
        columns = line.split("\t", 2) if line.strip() else ["", ""]
        if len(columns) < 2:
            raise DataError(f"{name}, line {number}: no tab; expected source, tab, target")
        yield columns[0], columns[1]


def is_given(files: FilesConfig) -> bool:
    """Return True if any file of a parallel text is set."""
    return any((files.src, files.tgt, files.tsv))


def read_parallel(files: FilesConfig, key: str) -> ParallelText:
    """Read one parallel text into memory; raises as `read_pairs`."""
    return ParallelText.from_pairs(list(read_pairs(files, key)))


def read_pairs(files: FilesConfig, key: str) -> Iterator[tuple[str, str]]:
    """Yield the pairs of one parallel text as they are read; error messages name its config key (`data.train`).

    Raises:
        ConfigError: neither src and tgt alone, nor tsv alone, is given.
        DataError: unreadable files, unequal numbers of lines, or no pair with text on both sides.
    """
    if files.tsv and not (files.src or files.tgt):
        pairs, names = _columns(text_lines(Path(files.tsv).expanduser(), files.tsv), files.tsv), files.tsv
    elif files.src and files.tgt and not files.tsv:
        pairs, names = _aligned(files.src, files.tgt), f"{files.src}, {files.tgt}"
    else:
        raise ConfigError(f"{key}: give either {key}.src and {key}.tgt, or {key}.tsv")
    total, complete = 0, False
    for pair in pairs:
        total += 1
        complete = complete or all(map(str.strip, pair))
        yield pair
    if not complete:
        problem = f": no pair is complete, all {total:,} have a blank side" if total else ""
        raise DataError(f"{key}: no text in {names}{problem}")


def read_pair(src: str | Path, tgt: str | Path) -> ParallelText:
    """Read two line-aligned files.

    Raises:
        DataError: a file is missing or not UTF-8, or the files differ in their number of lines.
    """
    return ParallelText.from_pairs(list(_aligned(src, tgt)))


def _aligned(src: str | Path, tgt: str | Path) -> Iterator[tuple[str, str]]:
    """Yield the pairs of two line-aligned files; raises as `read_pair`."""
    counts = [0, 0]
    sides = (text_lines(Path(path).expanduser(), str(path)) for path in (src, tgt))
    for source, target in zip_longest(*sides):
        counts[0] += source is not None
        counts[1] += target is not None
        if source is not None and target is not None:
            yield source, target
    if counts[0] != counts[1]:
        raise DataError(f"{src} has {counts[0]:,} lines but {tgt} has {counts[1]:,}: they are not parallel")
