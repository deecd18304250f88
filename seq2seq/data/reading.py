"""Read parallel text from files: plain, gzip or tab-separated; the only separator of lines is a line feed.

U+2028, U+0085 and similar characters occur inside real sentences. `str.splitlines` would split there and misalign
every later line with the other language.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from seq2seq.config.data import FilesConfig
from seq2seq.data.corpus import ParallelText
from seq2seq.errors import ConfigError, DataError

BOM = "\ufeff"


def split_lines(data: bytes, name: str) -> list[str]:
    """Decode UTF-8 strictly and split at line feeds; remove a byte-order mark and the CR of Windows line ends.

    Raises:
        DataError: invalid UTF-8; the message names `name` and the line.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{name}, line {line}: not valid UTF-8 (byte 0x{data[error.start]:02x})") from None
    lines = text.removeprefix(BOM).split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def read_lines(path: str | Path) -> list[str]:
    """Read a text file, one sentence per line; decompress it if its name ends in .gz.

    Raises:
        DataError: missing or unreadable file, corrupt gzip, invalid UTF-8.
    """
    return split_lines(_read_bytes(Path(path).expanduser()), str(path))


def _read_bytes(path: Path) -> bytes:
    try:
        if path.suffix != ".gz":
            return path.read_bytes()
        with gzip.open(path) as file:
            return file.read()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: truncated or corrupt gzip file ({error})") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path}: {reason[:1].lower()}{reason[1:]}") from None


def parse_tsv(data: bytes, name: str) -> ParallelText:
    """Return the first two columns of tab-separated lines.

    Raises:
        DataError: a line with fewer than two columns; the message names it.
    """
    text = ParallelText([], [])
    for number, line in enumerate(split_lines(data, name), start=1):
        columns = line.split("\t", 2)
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
        DataError: unreadable or empty files, or unequal numbers of lines.
    """
    if files.tsv and not (files.src or files.tgt):
        text = parse_tsv(_read_bytes(Path(files.tsv).expanduser()), files.tsv)
        names = files.tsv
    elif files.src and files.tgt and not files.tsv:
        text = read_pair(files.src, files.tgt)
        names = f"{files.src}, {files.tgt}"
    else:
        raise ConfigError(f"{key}: give either {key}.src and {key}.tgt, or {key}.tsv")
    if not any(line.strip() for line in text.src):
        raise DataError(f"{key}: no text in {names}")
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
