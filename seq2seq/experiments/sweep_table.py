"""The table at the end of a sweep: what each point has reached, with mean and deviation over seeds and folds."""

from __future__ import annotations

import math
import re
import shlex
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from seq2seq.atomic_files import write_atomically
from seq2seq.config.training import MonitorName
from seq2seq.evaluation.report import TITLES, print_table
from seq2seq.experiments.sweep_points import Point, Status, Sweep, short_keys
from seq2seq.experiments.sweep_results import read_result

SUMMARY_NAME = "summary.tsv"
REPETITIONS = ("training.seed", "data.fold")  # another value is another run of the same settings
Scores = dict[str, float | None]
"""By name, such as valid_bleu; None where it is not finite."""


@dataclass
class Row:
    """A point, or the mean of several that differ in seed or fold only."""

    values: list[str]
    """Of the swept keys."""
    status: Status
    scores: Scores
    updates: float | None = None
    minutes: float | None = None
    name: str = ""
    deviations: Scores | None = None
    """Sample standard deviations; None for a point."""
    count: int = 1


def report(sweep: Sweep) -> None:
    """Write the table to standard output and into the sweep's folder, and say how the sweep goes on."""
    assert sweep.folder is not None
    points = list(sweep.points.values())
    monitors = {point.monitor for point in points if point.monitor}
    monitor = monitors.pop() if len(monitors) == 1 else MonitorName.bleu  # two cannot be compared
    keys = list(points[0].values)
    rows = _sorted([_row(point, monitor) for point in points], monitor)
    means = _sorted(_means(rows, keys), monitor)
    names = list(dict.fromkeys(name for row in rows for name in row.scores))
    _print_points(rows, keys, names)
    if means:
        _print_means(means, keys, names)
    path, text = sweep.folder / SUMMARY_NAME, _tsv([*rows, *means], keys, names)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    sys.stdout.write(f"\nTable: {path}\nTo go on with this sweep, or to add values:\n  {_command(sweep)}\n")


def _row(point: Point, monitor: MonitorName) -> Row:
    row = Row(list(point.values.values()), point.status, {}, name=point.folder.name)
    if point.status in (Status.failed, Status.broken):
        return row
    result = read_result(point.folder)
    row.updates, row.minutes = float(result.updates), result.minutes
    if best := result.validation:
        row.scores = {f"valid_{monitor}": best[monitor.name], "perplexity": best["perplexity"]}
    row.scores |= {f"{test}_bleu": bleu for test, bleu in result.tests.items()}
    return row


def _means(rows: Sequence[Row], keys: Sequence[str]) -> list[Row]:
    """Return a row for each setting that is finished with several seeds or folds, in which these are `*`."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if row.status is Status.finished:
            setting = ("*" if key in REPETITIONS else value for key, value in zip(keys, row.values, strict=True))
            groups.setdefault(tuple(setting), []).append(row)
    return [_mean(list(setting), group) for setting, group in groups.items() if len(group) > 1]


def _mean(values: list[str], rows: list[Row]) -> Row:
    means: Scores = {}
    deviations: Scores = {}
    for name in rows[0].scores:
        scores = [score for row in rows if (score := row.scores.get(name)) is not None]
        whole = len(scores) == len(rows)
        means[name] = statistics.fmean(scores) if whole else None
        deviations[name] = statistics.stdev(scores) if whole else None
    return Row(
        values,
        Status.finished,
        means,
        updates=statistics.fmean(row.updates or 0 for row in rows),
        minutes=statistics.fmean(row.minutes or 0 for row in rows),
        deviations=deviations,
        count=len(rows),
    )


def _sorted(rows: list[Row], monitor: MonitorName) -> list[Row]:
    """Return the rows with the best first; those that are not finished come behind the others."""
    sign = 1 if monitor is MonitorName.loss else -1
    order = list(Status)

    def rank(row: Row) -> tuple[int, float, float]:
        score, perplexity = row.scores.get(f"valid_{monitor}"), row.scores.get("perplexity")
        return (
            order.index(row.status),
            math.inf if score is None else sign * score,
            math.inf if perplexity is None else perplexity,
        )

    return sorted(rows, key=rank)


def _print_points(rows: Sequence[Row], keys: Sequence[str], names: Sequence[str]) -> None:
    head = [*(short_keys(keys).values() or ["point"]), *map(_title, names), "updates", "minutes", "status"]
    body = [
        [
            *(row.values or [row.name]),
            *(_figure(row.scores.get(name)) for name in names),
            _figure(row.updates, digits=0),
            _figure(row.minutes, digits=1),
            str(row.status),
        ]
        for row in rows
    ]
    sys.stdout.write("\n")
    print_table(head, body)


def _print_means(rows: Sequence[Row], keys: Sequence[str], names: Sequence[str]) -> None:
    kept = [i for i, key in enumerate(keys) if key not in REPETITIONS]
    short = list(short_keys(keys).values())
    head = [*(short[i] for i in kept), "runs", *map(_title, names)]
    body = [
        [
            *(row.values[i] for i in kept),
            str(row.count),
            *(f"{_figure(row.scores.get(name))} ± {_figure((row.deviations or {}).get(name))}" for name in names),
        ]
        for row in rows
    ]
    sys.stdout.write("\nMean ± sample standard deviation\n")
    print_table(head, body)


def _tsv(rows: Sequence[Row], keys: Sequence[str], names: Sequence[str]) -> str:
    """Return all rows, those of means without a folder's name and behind those of points."""
    head = ["point", *keys, "status", "runs", *(part for name in names for part in (name, f"{name}_sd"))]
    lines = [[*head, "updates", "minutes"]]
    for row in rows:
        deviations = row.deviations or {}
        cells = [row.name, *(" ".join(value.split()) for value in row.values), str(row.status), str(row.count)]
        for name in names:
            cells += [_figure(scores.get(name), 4, "") for scores in (row.scores, deviations)]
        lines.append([*cells, _figure(row.updates, 0, ""), _figure(row.minutes, 2, "")])
    return "".join("\t".join(line) + "\n" for line in lines)


def _title(name: str) -> str:
    what, _, metric = name.rpartition("_")
    return f"{what} {TITLES.get(metric, metric)}".strip()


def _figure(value: float | None, digits: int = 2, nothing: str = "–") -> str:
    return nothing if value is None else f"{value:.{digits}f}"


def _command(sweep: Sweep) -> str:
    """Return the command of the sweep with its folder."""
    folder = str(sweep.folder)
    if not re.fullmatch(r"[\w/.+:-]+", folder):  # Hydra's own quotes
        folder = "'" + folder.replace("'", "\\'") + "'"
    given = [argument for argument in sweep.arguments if not argument.startswith("hydra.sweep.dir=")]
    # Beside the others: the command line takes its KEY=VALUE in one piece, before or behind the options.
    place = next((i for i, argument in enumerate(given) if "=" in argument and argument[0] != "-"), len(given))
    return "python -m seq2seq.train " + shlex.join([*given[:place], f"hydra.sweep.dir={folder}", *given[place:]])
