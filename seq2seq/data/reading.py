"""Read parallel text from files: two line-aligned ones, or one of tab-separated columns."""

from __future__ import annotations

import io
from collections.abc import Iterable
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
    return _columns(decoded(io.BytesIO(data), name), name)


def _columns(lines: Iterable[str], name: str) -> ParallelText:
    text = ParallelText([], [])
    for number, line in enumerate(lines, start=1):
        columns = line.split("\t", 2) if line.strip() else ["", ""]
        if len(columns) < 2:
            raise DataError(f"{name}, line {number}: no tab; expected source, tab, target")
        text.src.append(columns[0])
        text.tgt.append(columns[1])
    return text


def is_given(files: FilesConfig) -> bool:
    """Return True if any file of a parallel text is set."""
    return any((files.src, files.tgt, files.tsv))


def read_parallel(files: FilesConfig, key: str) -> ParallelText:
    """Read one parallel text; error messages name its config key (`data.train`).

    Raises:
        ConfigError: neither src and tgt alone, nor tsv alone, is given.
        DataError: unreadable files, unequal numbers of lines, or no pair with text on both sides.
    """
    if files.tsv and not (files.src or files.tgt):
        text = _columns(text_lines(Path(files.tsv).expanduser(), files.tsv), files.tsv)
        names = files.tsv
    elif files.src and files.tgt and not files.tsv:
        text = read_pair(files.src, files.tgt)
        names = f"{files.src}, {files.tgt}"
    else:
        raise ConfigError(f"{key}: give either {key}.src and {key}.tgt, or {key}.tsv")
    if not any(src.strip() and tgt.strip() for src, tgt in text):
        complete = f": no pair is complete, all {len(text):,} have a blank side" if len(text) else ""
        raise DataError(f"{key}: no text in {names}{complete}")
    return text


def read_pair(src: str | Path, tgt: str | Path) -> ParallelText:
    """Read two line-aligned files.

    Raises:
        DataError: a file is missing or not UTF-8, or the files differ in their number of lines.
    """
    text = ParallelText(read_lines(src), read_lines(tgt))
    if len(text.src) != len(text.tgt):
        raise DataError(f"{src} has {len(text.src):,} lines but {tgt} has {len(text.tgt):,}: they are not parallel")
    return text
