"""Learning curves: one panel per metric, one line per run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from seq2seq.pictures.figure import new_figure, style
from seq2seq.pictures.fonts import printable
from seq2seq.pictures.run_metrics import AXES, METRICS, Curves, Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_INCHES = 4.6, 2.7
FEW_POINTS = 50  # up to this number of points, a line has markers: without them a single point is invisible
FEW_ROWS = 6  # up to which a legend stands above the panels
MAX_NAME = 160
LINE_STYLES = ("-", "--", ":", "-.")  # the next style after ten runs, because there are ten colours


def curves_figure(runs: Sequence[Curves], names: Sequence[str], axis: str = "steps") -> Figure:
    """Draw metrics of runs.

    Args:
        runs: one line each.
        names: of the metrics, keys of `METRICS`, one panel each.
        axis: a key of `AXES`.

    Raises:
        ConfigError: Matplotlib is not installed.
    """
    with style():
        columns = min(2, len(names))
        rows = math.ceil(len(names) / columns)
        figure = new_figure(PANEL_INCHES[0] * columns, PANEL_INCHES[1] * rows, layout="constrained")
        panels = figure.subplots(rows, columns, sharex=True, squeeze=False).flatten()
        for panel, name in zip(panels, names, strict=False):
            _draw_panel(panel, runs, METRICS[name], axis)
        for panel in panels[len(names) :]:
            panel.remove()
        _name_runs(figure, panels[0], runs)
    return figure


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
    names = [printable(run.name, MAX_NAME) for run in runs]
    if len(runs) == 1:
        figure.suptitle(names[0], parse_math=False)
        return
    width, height = figure.get_size_inches()
    columns = max(1, min(len(runs), int(width * 11) // (max(map(len, names)) + 8)))
    rows = math.ceil(len(runs) / columns)
    # Below the panels if it is long, so that the curves are seen first.
    place: Any = "outside upper center" if rows <= FEW_ROWS else "outside lower center"
    legend = figure.legend(panel.lines, [""] * len(runs), loc=place, ncols=columns, frameon=False)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_parse_math(False)
        text.set_text(name)
    figure.set_size_inches(width, height + 0.2 * rows)
