"""Line-aligned input files, one of which may be standard input."""

from __future__ import annotations

from collections.abc import Sequence

from seq2seq.cli.line_reader import lines_of
from seq2seq.data.files.reading import read_lines
from seq2seq.errors import ConfigError, DataError


def read_aligned(names: Sequence[str]) -> list[list[str]]:
    """Return the lines of each file; `-` is standard input. Bytes that are not UTF-8 are an error.

    Raises:
        ConfigError: standard input is named twice.
        DataError: a file is missing or not UTF-8, or the files differ in their number of lines.
    """
    check_standard_input(names)
    texts = [list(lines_of(name, strict=True)) if name == "-" else read_lines(name) for name in names]
    for name, lines in zip(names[1:], texts[1:], strict=True):
        if len(lines) != len(texts[0]):
            raise DataError(
                f"{shown(names[0])} has {len(texts[0]):,} lines but {shown(name)} has {len(lines):,}: they are not "
                "parallel"
            )
    return texts


def check_standard_input(names: Sequence[str]) -> None:
    """Check that standard input is at most one of the files of a command, which are not all read together.

    Raises:
        ConfigError: it is named twice.
    """
    if list(names).count("-") > 1:
        raise ConfigError("standard input (-) can be only one of the files: name a file for the others")


def shown(name: str) -> str:
    """Return the name of an input for messages."""
    return "standard input" if name == "-" else name
