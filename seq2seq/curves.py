"""Draw learning curves: `python -m seq2seq.curves RUN...`, one panel per metric, one line per run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from seq2seq.cli import exit_status
from seq2seq.cli.output_file import check_output
from seq2seq.cli.process_options import CommandParser, path_type
from seq2seq.errors import ConfigError, DataError
from seq2seq.pictures.figure import FORMATS, check_ending, save
from seq2seq.pictures.learning_curves import curves_figure
from seq2seq.pictures.run_metrics import AXES, METRICS, read_run, run_names
from seq2seq.storage.run_folder import METRICS_NAME

DESCRIPTION = """\
Draw the learning curves of one or several runs, finished or not, from their metrics.jsonl.

Training loss, learning rate and gradient norm are means over the updates since the previous logged line; perplexity,
BLEU and chrF are those of the validation set. A value that is not finite leaves a gap in the line.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return exit_status.run(lambda: curves(parser().parse_args(argv)))


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    command = CommandParser(
        prog="seq2seq-curves", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_argument(
        "runs", nargs="+", type=path_type, metavar="RUN", help="run folder; for a sweep its points, runs/sweep_X/*/"
    )
    command.add_argument(
        "--label", action="append", metavar="NAME", help="name of a run in the legend; repeat it for each run, in order"
    )
    command.add_argument(
        "--metrics",
        metavar="A,B",
        help=f"panels to draw: {', '.join(METRICS)} (default: all metrics with values)",
    )
    command.add_argument("--x", choices=tuple(AXES), default="steps", help="horizontal axis (default: steps)")
    command.add_argument(
        "--output",
        type=path_type,
        default="curves.svg",
        metavar="FILE",
        help=f"image to write, {', '.join(FORMATS)} (default: curves.svg)",
    )
    return command


def curves(args: argparse.Namespace) -> None:
    """Read the runs, draw their curves, write the image and print its name.

    Raises:
        ConfigError: an invalid option, or matplotlib is not installed.
        DataError: a folder is not a run folder, or there is nothing to draw.
        StorageError: the image cannot be written.
    """
    path = Path(args.output)
    check_ending(args.output)
    check_output(args.output, [str(Path(run, METRICS_NAME)) for run in args.runs])
    requested = metric_names(args.metrics)
    names = args.label or run_names(args.runs)
    if len(names) != len(args.runs):
        raise ConfigError(f"--label: {len(names)} names for {len(args.runs)} runs; give one for each run or none")
    runs = [read_run(Path(folder), name) for folder, name in zip(args.runs, names, strict=True)]
    shown = [name for name in requested if any(run.points(METRICS[name], args.x)[0] for run in runs)]
    if args.metrics and shown != requested:
        missing = ", ".join(name for name in requested if name not in shown)
        raise DataError(f"--metrics {missing}: no run has values")
    if not shown:
        raise DataError(f"{', '.join(args.runs)}: nothing to draw, {METRICS_NAME} has no values yet")
    save(curves_figure(runs, shown, args.x), path, bbox_inches="tight")
    sys.stdout.write(f"{path}\n")


def metric_names(text: str | None) -> list[str]:
    """Return the metrics of a comma-separated list without duplicates; all metrics if `text` is None.

    Raises:
        ConfigError: unknown metric.
    """
    names = list(dict.fromkeys(text.split(","))) if text is not None else list(METRICS)
    for name in names:
        if name not in METRICS:
            raise ConfigError(f"--metrics {name}: unknown; choose from {', '.join(METRICS)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
