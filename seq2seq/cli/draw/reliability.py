"""`draw reliability`: whether events with a probability of 0.7 happen 70 % of the time."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import re
import sys
from collections.abc import Iterator, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

from seq2seq.cli.output_file import check_output
from seq2seq.cli.process_options import CommandParser, path_type, whole_number
from seq2seq.errors import ConfigError, DataError
from seq2seq.pictures.figure import FORMATS, check_ending

if TYPE_CHECKING:
    from seq2seq.evaluation.reliability import Reliability

OUTCOMES = {"0": False, "1": True, "false": False, "true": True}

DESCRIPTION = """\
Draw a reliability diagram: the share of right outcomes against the probability, and how many probabilities there are.

FILE is JSON with the bins of a reliability, or text with a probability and an outcome (0 or 1) on each line.
"""


def add_parser(subparsers: argparse._SubParsersAction[CommandParser]) -> CommandParser:
    """Add the parser of the subcommand and return it."""
    made = subparsers.add_parser(
        "reliability",
        help="probabilities against outcomes",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("file", type=path_type, metavar="FILE", help="probabilities and outcomes; -: standard input")
    made.add_argument("--name", metavar="KEY", help="which reliability to draw, if the JSON has several, such as words")
    made.add_argument(
        "--bins", type=whole_number(1, 1000), metavar="N", help="number of bins, for a file of text (default: 10)"
    )
    made.add_argument("--title", metavar="TEXT", help="title of the picture (default: the name)")
    made.add_argument(
        "--output", type=path_type, required=True, metavar="FILE", help=f"image to write, {', '.join(FORMATS)}"
    )
    return made


def main(args: argparse.Namespace) -> None:
    """Read the probabilities and draw them.

    Raises:
        ConfigError: matplotlib is not installed, or the output or an option is not possible.
        DataError: the file cannot be read as probabilities.
        StorageError: the image cannot be written.
    """
    from seq2seq.cli.aligned_files import read_aligned
    from seq2seq.pictures.figure import save
    from seq2seq.pictures.reliability import reliability_figure

    check_ending(args.output)
    check_output(args.output, [args.file])
    (lines,) = read_aligned([args.file])
    shown = "standard input" if args.file == "-" else args.file
    name = args.name or ""
    if next((line for line in lines if line.strip()), "").lstrip().startswith("{"):
        if args.bins:
            raise ConfigError(f"--bins has no effect: {shown} has the bins")
        name, reliability = from_json("\n".join(lines), shown, args.name)
    else:
        if args.name:
            raise ConfigError(f"--name has no effect: {shown} has one list of probabilities")
        reliability = from_text(lines, shown, args.bins or 10)
    save(reliability_figure(reliability, title=name if args.title is None else args.title), args.output)
    sys.stdout.write(f"{args.output}\n")


def from_text(lines: Sequence[str], name: str, bins: int) -> Reliability:
    """Read a probability and an outcome from each line; blank lines are skipped.

    Raises:
        DataError: names the line.
    """
    from seq2seq.evaluation.reliability import reliability

    probabilities: list[float] = []
    outcomes: list[bool] = []
    for number, line in enumerate(lines, start=1):
        fields = re.split(r"[\s,;]+", line.strip())
        if fields == [""]:
            continue
        probability = float("nan")
        with contextlib.suppress(ValueError):
            probability = float(fields[0])
        if len(fields) != 2 or not 0 <= probability <= 1 or fields[1].lower() not in OUTCOMES:
            raise DataError(
                f"{name}:{number}: {line.strip()[:40]!r} is not a probability and an outcome, such as 0.7 1"
            )
        probabilities.append(probability)
        outcomes.append(OUTCOMES[fields[1].lower()])
    return reliability(probabilities, outcomes, bins)


def from_json(text: str, name: str, key: str | None) -> tuple[str, Reliability]:
    """Return the name and the content of a reliability, `Reliability.to_dict()` anywhere in a JSON object.

    Raises:
        DataError: the text has none, several without a `key`, or damaged ones.
    """
    from seq2seq.evaluation.reliability import Bin, Reliability

    try:
        found = dict(_reliabilities(json.loads(text), ()))
    except (ValueError, RecursionError):
        raise DataError(f"{name} is not valid JSON") from None
    chosen = [path for path in found if key is None or key == path or path.endswith(f".{key}")]
    if len(chosen) != 1:
        names = f": choose one with --name {', '.join(found)}" if found else ""
        raise DataError(f"{name} has {len(chosen)} reliabilities{f' named {key}' if key else ''}{names}")
    try:
        bins = [Bin(**{**part, "count": int(part["count"])}) for part in found[chosen[0]]]
        if not all(isfinite(value) for part in bins for value in dataclasses.astuple(part)):
            raise ValueError
    except (TypeError, ValueError, KeyError):
        raise DataError(
            f"{name}: the bins need the numbers low, high, count, mean_probability and share_right"
        ) from None
    return chosen[0], Reliability(bins)


def _reliabilities(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, list[Any]]]:
    """Yield name and bins of each object with "bins", whose name is the keys that lead to it."""
    if isinstance(value, dict):
        if isinstance(value.get("bins"), list):
            yield ".".join(path), value["bins"]
        for key, inner in value.items():
            yield from _reliabilities(inner, (*path, str(key)))
