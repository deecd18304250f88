"""Draw learning curves: `python -m seq2seq.curves RUN...`, one panel per metric, one line per run."""

from __future__ import annotations

import argparse
import io
import math
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.atomic_files import write_atomically
from seq2seq.cli import exit_status
from seq2seq.cli.output_file import check_output
from seq2seq.cli.process_options import CommandParser, path_type
from seq2seq.errors import ConfigError, DataError
from seq2seq.reporting.learning_curves import AXES, METRICS, Curves, Metric, read_run, run_names
from seq2seq.storage.run_folder import METRICS_NAME

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DESCRIPTION = """\
Draw the learning curves of one or several runs, finished or not, from their metrics.jsonl.

Training loss, learning rate and gradient norm are means over the updates since the previous logged line; perplexity,
BLEU and chrF are those of the validation set. A value that is not finite leaves a gap in the line.
"""


FORMATS = (".svg", ".png", ".pdf")
# Without dates, so that the same curves give the same file.
UNDATED: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {}}
PANEL_INCHES = 4.6, 2.7
FEW_POINTS = 50  # up to this number of points, a line has markers: without them a single point is invisible
LINE_STYLES = ("-", "--", ":", "-.")  # the next style after ten runs, because there are ten colours


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
    ending = path.suffix.lower()
    if ending not in FORMATS:
        raise ConfigError(f"--output {path}: the name must end in {', '.join(FORMATS)}")
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
    image = draw(runs, shown, args.x, ending)
    write_atomically(path, lambda temporary: temporary.write_bytes(image))
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


# --- drawing ---------------------------------------------------------------------------------------------------------


def draw(runs: Sequence[Curves], names: Sequence[str], axis: str, ending: str) -> bytes:
    """Return the bytes of an image in the format of `ending`; the same curves give the same bytes.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ConfigError(f"drawing needs {error.name}: pip install 'seq2seq-lstm[plots]'") from error

    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()  # ignore a matplotlibrc, which differs between machines
        matplotlib.rcParams["svg.fonttype"] = "none"  # keep text as text: smaller and searchable
        matplotlib.rcParams["svg.hashsalt"] = "seq2seq"  # ids in the SVG are hashes with this salt instead of random
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # a run name in a script that the font lacks
        columns = min(2, len(names))
        rows = math.ceil(len(names) / columns)
        # Without pyplot no window or backend is needed: savefig uses that of the format, for PNG Agg.
        figure = Figure(figsize=(PANEL_INCHES[0] * columns, PANEL_INCHES[1] * rows), layout="constrained")
        panels = figure.subplots(rows, columns, sharex=True, squeeze=False).flatten()
        for panel, name in zip(panels, names, strict=False):
            _draw_panel(panel, runs, METRICS[name], axis)
        for panel in panels[len(names) :]:
            panel.remove()
        _name_runs(figure, panels[0], runs)
        file = io.BytesIO()
        figure.savefig(file, format=ending[1:], metadata=UNDATED[ending], dpi=150, bbox_inches="tight")
    return file.getvalue()


def _draw_panel(axes: Axes, runs: Sequence[Curves], metric: Metric, axis: str) -> None:
    from matplotlib.ticker import LogLocator

    shown: list[float] = []
    for number, run in enumerate(runs):
        positions, values = run.points(metric, axis)
        style, marker = LINE_STYLES[number // 10 % len(LINE_STYLES)], "." if len(positions) <= FEW_POINTS else ""
        gid = f"{metric.field}-{number}"  # id of the line in an SVG
        axes.plot(positions, values, style, color=f"C{number % 10}", marker=marker, linewidth=1.2, gid=gid)
        shown += [value for value in values if not math.isnan(value)]
    low, high = min(shown), max(shown)
    if metric.logarithmic and 0 < 5 * low < high:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5) if high < 1000 * low else (1,)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
    axes.set_title(metric.title, fontsize="medium")
    axes.set_xlabel(AXES[axis])
    axes.tick_params(labelbottom=True)
    axes.grid(color="0.9")


def _name_runs(figure: Figure, panel: Axes, runs: Sequence[Curves]) -> None:
    """Write the name of a single run above the panels, or a legend of several; names may contain any character."""
    if len(runs) == 1:
        figure.suptitle(runs[0].name, parse_math=False)
        return
    width, height = figure.get_size_inches()
    columns = max(1, min(len(runs), int(width * 11) // (max(len(run.name) for run in runs) + 8)))
    legend = figure.legend(panel.lines, [""] * len(runs), loc="outside upper center", ncols=columns, frameon=False)
    for text, run in zip(legend.get_texts(), runs, strict=True):
        text.set_parse_math(False)
        text.set_text(run.name)
    figure.set_size_inches(width, height + 0.2 * math.ceil(len(runs) / columns))


if __name__ == "__main__":
    sys.exit(main())
