"""What the benchmark reports: the spread of each figure over its measurements, and the table; does not import torch."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any

Measured = dict[str, Any]  # result of one measuring process
Figures = dict[str, dict[str, float]]  # name -> median, min, max
Results = dict[str, Figures]  # column of the table -> its figures


def spread(values: Iterable[float]) -> dict[str, float]:
    """Return median, minimum and maximum, rounded to four digits."""
    rounded = [float(f"{value:.4g}") for value in values]
    return {"median": statistics.median(rounded), "min": min(rounded), "max": max(rounded)}


def spread_of(measured: Iterable[Measured], name: str) -> dict[str, float]:
    """Return the spread of one figure."""
    return spread(run[name] for run in measured)


def total(steps: Iterable[Measured], key: str) -> float:
    """Return the sum of one field over all steps."""
    return float(sum(step[key] for step in steps))


def table(results: Results) -> list[str]:
    """Return the lines of a Markdown table with a row per figure and a column per part of the results."""
    names = list(dict.fromkeys(name for figures in results.values() for name in figures))
    rows = [[name, *(cell(figures.get(name)) for figures in results.values())] for name in names]
    lines = [["median (min–max)", *results], ["---"] * (1 + len(results)), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def cell(figure: dict[str, float] | None) -> str:
    """Format a figure with its spread."""
    if figure is None:
        return ""
    median, low, high = (f"{value:,.0f}" if value >= 100 else f"{value:.3g}" for value in figure.values())
    return f"{median} ({low}–{high})"
