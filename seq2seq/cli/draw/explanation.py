"""`draw explanation`: what moved each word of a translation, from the JSON of `seq2seq.explain`."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from seq2seq.cli.output_file import check_output
from seq2seq.cli.process_options import CommandParser, path_type, whole_number
from seq2seq.errors import DataError
from seq2seq.pictures.figure import FORMATS, check_ending

DESCRIPTION = """\
Draw heat maps side by side: occlusion, saliency, attention and, if FILE has them, integrated gradients.

FILE has one object per line, as python -m seq2seq.explain --json prints them.
"""


def add_parser(subparsers: argparse._SubParsersAction[CommandParser]) -> CommandParser:
    """Add the parser of the subcommand and return it."""
    made = subparsers.add_parser(
        "explanation",
        help="what moved each word of a translation",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("file", type=path_type, metavar="FILE", help="JSON of seq2seq.explain; -: standard input")
    made.add_argument(
        "--line", type=whole_number(1, 10**9), default=1, metavar="N", help="line of FILE to draw (default: 1)"
    )
    made.add_argument(
        "--output", type=path_type, required=True, metavar="FILE", help=f"image to write, {', '.join(FORMATS)}"
    )
    return made


def main(args: argparse.Namespace) -> None:
    """Read the explanation and draw it.

    Raises:
        ConfigError: matplotlib is not installed, or the output is not possible.
        DataError: the file cannot be read as explanations.
        StorageError: the image cannot be written.
    """
    from seq2seq.cli.aligned_files import read_aligned
    from seq2seq.pictures.explanation import explanation_figure
    from seq2seq.pictures.figure import save

    check_ending(args.output)
    check_output(args.output, [args.file])
    (lines,) = read_aligned([args.file])
    name = f"{'standard input' if args.file == '-' else args.file}:{args.line}"
    if args.line > len(lines):
        raise DataError(f"{name}: the file has {len(lines)} lines")
    try:
        figure = explanation_figure(_explanation(lines[args.line - 1], name))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        raise DataError(f"{name} is not an explanation: write the file with seq2seq.explain --json") from None
    save(figure, args.output)
    sys.stdout.write(f"{args.output}\n")


def _explanation(line: str, name: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except RecursionError:
        raise DataError(f"{name} is not valid JSON") from None
    if not isinstance(found, dict):
        raise TypeError
    if "error" in found:
        raise DataError(f"{name} has no explanation: {found['error']}")
    return found
