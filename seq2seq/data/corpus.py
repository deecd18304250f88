"""Parallel text: reading it from files, checking it, cleaning it.

A line ends at a line feed and nowhere else: U+2028, U+0085 and the like occur inside real sentences, and
`str.splitlines` would shift every later line against the other language. Nothing but surrounding white space is
altered here; SentencePiece normalises when it encodes.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from seq2seq.config.data import FilesConfig
from seq2seq.errors import ConfigError, DataError

BOM = "\ufeff"


@dataclass
class ParallelText:
    """Line-aligned sentences of two languages."""

    src: list[str]
    tgt: list[str]

    def __len__(self) -> int:
        return len(self.src)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return zip(self.src, self.tgt, strict=True)

    def first(self, limit: int | None) -> ParallelText:
        """Return the first `limit` pairs (None: all)."""
        return self if limit is None else ParallelText(self.src[:limit], self.tgt[:limit])

    def swapped(self) -> ParallelText:
        """Return the opposite direction."""
        return ParallelText(self.tgt, self.src)

    @classmethod
    def from_pairs(cls, pairs: list[tuple[str, str]]) -> ParallelText:
        """Turn a list of (source, target) into two lists."""
        return cls([src for src, _ in pairs], [tgt for _, tgt in pairs])


@dataclass
class Corpus:
    """What a run reads: training and validation text, the named test sets, and what the tokenizer learns from."""

    train: ParallelText
    valid: ParallelText
    tests: dict[str, ParallelText]
    pieces: ParallelText | None = None  # None: from `train`


def split_lines(data: bytes, name: str) -> list[str]:
    """Decode strict UTF-8 and cut at line feeds; drops a byte-order mark and the CR of Windows line ends.

    Raises:
        DataError: invalid UTF-8; the message names the line.
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
    """Read a text file, one sentence a line; a name ending in .gz is decompressed.

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


def read_tsv(data: bytes, name: str) -> ParallelText:
    """Read the first two columns of tab-separated lines.

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
    """Tell whether any file of a parallel text is set."""
    return any((files.src, files.tgt, files.tsv))


def read_parallel(files: FilesConfig, what: str) -> ParallelText:
    """Read one parallel text; `what` is its config key (`data.train`), for messages.

    Raises:
        ConfigError: not exactly one of (src and tgt) or tsv is given.
        DataError: unreadable, empty or unequal files.
    """
    if files.tsv and not (files.src or files.tgt):
        text = read_tsv(_read_bytes(Path(files.tsv).expanduser()), files.tsv)
        names = files.tsv
    elif files.src and files.tgt and not files.tsv:
        text = read_pair(files.src, files.tgt)
        names = f"{files.src}, {files.tgt}"
    else:
        raise ConfigError(f"{what}: give either {what}.src and {what}.tgt, or {what}.tsv")
    if not any(line.strip() for line in text.src):
        raise DataError(f"{what}: no text in {names}")
    return text


def read_pair(src: str, tgt: str) -> ParallelText:
    """Read two files that belong together line by line.

    Raises:
        DataError: a file is missing, not UTF-8, or the two have different numbers of lines.
    """
    text = ParallelText(read_lines(src), read_lines(tgt))
    check_aligned(text, src, tgt)
    return text


def check_aligned(text: ParallelText, src: str, tgt: str) -> None:
    """Raise DataError unless both sides have the same number of lines."""
    if len(text.src) != len(text.tgt):
        raise DataError(f"{src} has {len(text.src):,} lines but {tgt} has {len(text.tgt):,}: they are not parallel")


def clean(text: ParallelText) -> tuple[ParallelText, int]:
    """Strip surrounding white space and drop pairs with a blank side; return the rest and how many were dropped.

    For training text only: a validation or test set keeps every line, since its line count is its identity.

    Raises:
        DataError: nothing is left.
    """
    pairs = [(src.strip(), tgt.strip()) for src, tgt in text]
    kept = ParallelText.from_pairs([pair for pair in pairs if all(pair)])
    if pairs and not len(kept):
        raise DataError(f"no training pairs: all {len(pairs):,} have a blank side")
    return kept, len(pairs) - len(kept)
