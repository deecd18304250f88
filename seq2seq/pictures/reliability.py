"""Reliability diagram: the share of right outcomes against the probability, per bin, and how many are in each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from seq2seq.errors import DataError
from seq2seq.evaluation.reliability import Reliability
from seq2seq.pictures.figure import new_figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZE_INCHES = 4.4, 5.2
MARGINS = {"left": 0.15, "right": 0.96, "bottom": 0.1, "top": 0.91, "hspace": 0.08}


def reliability_figure(reliability: Reliability, *, title: str = "") -> Figure:
    """Draw for each bin the share of right outcomes at its mean probability, with the bin's count below.

    On the diagonal, probabilities are calibrated; below it they are too high. Vertical lines are the gaps, whose mean
    over all probabilities is the expected calibration error (ECE).

    Raises:
        ConfigError: Matplotlib is not installed.
        DataError: there are no probabilities.
    """
    if not reliability.bins:
        raise DataError("nothing to draw: there are no probabilities")
    bins, error = reliability.bins, reliability.expected_calibration_error
    with style():
        figure = new_figure(*SIZE_INCHES)
        upper, lower = figure.subplots(2, sharex=True, height_ratios=(3, 1), gridspec_kw=MARGINS)
        middles, widths = [(part.low + part.high) / 2 for part in bins], [part.high - part.low for part in bins]
        means, shares = [part.mean_probability for part in bins], [part.share_right for part in bins]
        upper.bar(middles, shares, widths, color="#9ecae1", edgecolor="white")
        upper.plot([0, 1], [0, 1], "--", color="0.4", linewidth=1)
        upper.vlines(means, shares, means, color="#d1602c", linewidth=1.2)
        upper.plot(means, shares, "o", color="#1f5fa8", markersize=5, gid="bins")
        upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="share that is right")
        # 3 standard errors of a share near 0.5 from few outcomes are most of the axis: the counts tell what to trust.
        lower.bar(middles, [part.count for part in bins], widths, color="0.7", edgecolor="white")
        lower.set(xlabel="probability", ylabel="count")
        lower.ticklabel_format(axis="y", style="plain")
        lower.yaxis.get_major_locator().set_params(integer=True, nbins=4)
        named = f"{title}\n" if title else ""
        shown = "" if math.isnan(error) else f"ECE {error:.3f}, "
        count = sum(part.count for part in bins)
        upper.set_title(f"{named}{shown}{count:,} probabilities", fontsize=10, parse_math=False)
        for axes in (upper, lower):
            axes.grid(axis="y", color="0.9")
            axes.set_axisbelow(True)
    return figure
