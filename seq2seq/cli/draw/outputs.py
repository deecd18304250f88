"""Where pictures are written: one file, or a folder with a file for each line number."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterable, Sequence

from seq2seq.cli.output_file import check_output
from seq2seq.cli.process_options import path_type
from seq2seq.errors import ConfigError, DataError
from seq2seq.pictures.figure import FORMATS, check_ending

MAX_PICTURES = 200


def add_picture_output(parser: argparse._ActionsContainer) -> None:
    """Add `--output` and `--format`, of which the second is for folders."""
    parser.add_argument(
        "--output",
        type=path_type,
        required=True,
        metavar="FILE",
        help=f"image to write, {', '.join(FORMATS)}; or a folder, for an image NUMBER.svg of each sentence",
    )
    parser.add_argument(
        "--format", choices=[ending[1:] for ending in FORMATS], help="of the images in a folder (default: svg)"
    )


def add_lines(parser: argparse._ActionsContainer) -> None:
    """Add `--lines`."""
    parser.add_argument(
        "--lines",
        type=line_numbers,
        metavar="N,N-N",
        help=f"draw these lines of the files, counted from 1, such as 3,17-19 (default: all, up to {MAX_PICTURES})",
    )


def line_numbers(text: str) -> list[int]:
    """Read the value of --lines, 3,17-19: line numbers from 1; an argparse type."""
    numbers: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"([0-9]{1,12})(?:-([0-9]{1,12}))?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last:
            raise argparse.ArgumentTypeError(f"{part[:40]!r} is not a line number from 1, or a range such as 17-19")
        if last - first >= MAX_PICTURES:
            raise argparse.ArgumentTypeError(f"{part} is more than {MAX_PICTURES} lines")
        numbers += range(first, last + 1)
    return list(dict.fromkeys(numbers))


def choose_lines(numbers: Sequence[int] | None, count: int, name: str) -> list[int]:
    """Return the line numbers to draw, from 1: the given ones, or all lines of a file.

    Raises:
        DataError: the file lacks a line, has none, or has too many to draw all.
    """
    if numbers is None:
        if not 1 <= count <= MAX_PICTURES:
            raise DataError(f"{name} has {count:,} lines: choose 1 to {MAX_PICTURES} of them with --lines")
        return list(range(1, count + 1))
    if missing := [number for number in numbers if number > count]:
        raise DataError(f"--lines {missing[0]}: {name} has {count:,} lines")
    return list(numbers)


def picture_paths(args: argparse.Namespace, numbers: Sequence[int], inputs: Iterable[str]) -> list[str]:
    """Return the file of each picture: the output, or, if that is a folder, NUMBER.svg in it.

    Raises:
        ConfigError: an unknown ending, several pictures for one file, or --format for a file.
        DataError: a file is an input of the command.
    """
    output, inputs = args.output, list(inputs)
    if os.path.isdir(output) or output.endswith(("/", os.sep)) or not os.path.splitext(output)[1]:
        paths = [os.path.join(output, f"{number}.{args.format or 'svg'}") for number in numbers]
    else:
        check_ending(output)
        if args.format is not None:
            raise ConfigError(f"--format has no effect with --output {output}, a file: its ending is the format")
        if len(numbers) > 1:
            raise ConfigError(f"--output {output} is one file for {len(numbers)} pictures: name a folder")
        paths = [output]
    for path in paths:
        check_output(path, inputs)
    return paths
