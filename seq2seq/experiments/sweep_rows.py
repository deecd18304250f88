"""The rows of a sweep's table: one for each point, one for each mean over seeds and folds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from seq2seq.config.training import MonitorName
from seq2seq.experiments.sweep_points import Point, Status
from seq2seq.experiments.sweep_results import read_result

REPETITIONS = ("training.seed", "data.fold")  # runs that differ in these alone are averaged
Scores = dict[str, float | None]
"""Name, such as valid_bleu, -> score; None if it is not finite."""


@dataclass
class Row:
    """A point, or the mean of points that differ in seed or fold only."""

    values: list[str]
    """Of the swept keys."""
    status: Status
    scores: Scores = field(default_factory=dict)
    updates: float | None = None
    minutes: float | None = None
    name: str = ""
    """Folder of a point; empty for a mean."""
    deviations: Scores = field(default_factory=dict)
    """Sample standard deviations; empty for a point."""
    count: int = 1


def row_of(point: Point, monitor: MonitorName) -> Row:
    """Return the row of a point, read from its run folder; without scores if it failed."""
    row = Row(list(point.values.values()), point.status, name=point.folder.name)
    if point.status in (Status.failed, Status.broken):
        return row
    result = read_result(point.folder)
    row.updates, row.minutes = float(result.updates), result.minutes
    if best := result.validation:
        row.scores = {f"valid_{monitor}": best.get(monitor.name), "perplexity": best.get("perplexity")}
    row.scores |= {f"{test}_bleu": bleu for test, bleu in result.tests.items()}
    return row


def mean_rows(rows: Sequence[Row], keys: Sequence[str]) -> list[Row]:
    """Return a mean of each group of finished rows that differ in seed or fold only; these values become `*`."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if row.status is Status.finished:
            values = ("*" if key in REPETITIONS else value for key, value in zip(keys, row.values, strict=True))
            groups.setdefault(tuple(values), []).append(row)
    return [_mean(list(values), group) for values, group in groups.items() if len(group) > 1]


def sort_rows(rows: list[Row], monitor: MonitorName) -> list[Row]:
    """Return the rows by status, finished ones first, then by the monitored score, the best first."""
    sign = 1 if monitor is MonitorName.loss else -1
    order = list(Status)

    def sort_key(row: Row) -> tuple[int, float, float]:
        score, perplexity = row.scores.get(f"valid_{monitor}"), row.scores.get("perplexity")
        return (
            order.index(row.status),
            math.inf if score is None else sign * score,
            math.inf if perplexity is None else perplexity,
        )

    return sorted(rows, key=sort_key)


def _mean(values: list[str], rows: list[Row]) -> Row:
    mean = Row(
        values,
        Status.finished,
        updates=statistics.fmean(row.updates or 0 for row in rows),
        minutes=statistics.fmean(row.minutes or 0 for row in rows),
        count=len(rows),
    )
    for name in rows[0].scores:
        scores = [score for row in rows if (score := row.scores.get(name)) is not None]
        complete = len(scores) == len(rows)
        mean.scores[name] = statistics.fmean(scores) if complete else None
        mean.deviations[name] = statistics.stdev(scores) if complete else None
    return mean
