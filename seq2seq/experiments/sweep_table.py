"""The table at the end of a sweep: the scores of each point, with mean and deviation over seeds and folds."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence

from seq2seq.config.literal import quoted
from seq2seq.config.training import MonitorName
from seq2seq.evaluation.report import print_table
from seq2seq.experiments.formatting import format_number, metric_title, short_keys
from seq2seq.experiments.sweep_points import Sweep
from seq2seq.experiments.sweep_rows import REPETITIONS, Row, mean_rows, row_of, sort_rows
from seq2seq.filesystem.atomic_files import write_atomically

SUMMARY_NAME = "summary.tsv"


def report(sweep: Sweep) -> None:
    """Write the table to standard output and to the sweep's folder, and print the command that continues the sweep."""
    assert sweep.folder is not None
    points = list(sweep.points.values())
    monitors = {point.monitor for point in points if point.monitor}
    monitor = monitors.pop() if len(monitors) == 1 else MonitorName.bleu  # scores of several are not comparable
    keys = list(points[0].values)
    rows = sort_rows([row_of(point, monitor) for point in points], monitor)
    means = sort_rows(mean_rows(rows, keys), monitor)
    score_names = list(dict.fromkeys(name for row in rows for name in row.scores))
    _print_points(rows, keys, score_names)
    if means:
        _print_means(means, keys, score_names)
    path, text = sweep.folder / SUMMARY_NAME, _tsv([*rows, *means], keys, score_names)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    sys.stdout.write(f"\nTable: {path}\nTo continue this sweep, or to add values:\n  {_command(sweep)}\n")


def _print_points(rows: Sequence[Row], keys: Sequence[str], score_names: Sequence[str]) -> None:
    head = [*(short_keys(keys).values() or ["point"]), *map(metric_title, score_names), "updates", "minutes", "status"]
    body = [
        [
            *(row.values or [row.name]),
            *(format_number(row.scores.get(name)) for name in score_names),
            format_number(row.updates, digits=0),
            format_number(row.minutes, digits=1),
            str(row.status),
        ]
        for row in rows
    ]
    sys.stdout.write("\n")
    print_table(head, body)


def _print_means(rows: Sequence[Row], keys: Sequence[str], score_names: Sequence[str]) -> None:
    shown = [i for i, key in enumerate(keys) if key not in REPETITIONS]
    titles = list(short_keys(keys).values())
    head = [*(titles[i] for i in shown), "runs", *map(metric_title, score_names)]
    body = [
        [
            *(row.values[i] for i in shown),
            str(row.count),
            *(f"{format_number(row.scores.get(n))} ± {format_number(row.deviations.get(n))}" for n in score_names),
        ]
        for row in rows
    ]
    sys.stdout.write("\nMean ± sample standard deviation\n")
    print_table(head, body)


def _tsv(rows: Sequence[Row], keys: Sequence[str], score_names: Sequence[str]) -> str:
    """Return the rows as tab-separated text; a mean has an empty folder name."""
    head = ["point", *keys, "status", "runs", *(part for name in score_names for part in (name, f"{name}_sd"))]
    lines = [[*head, "updates", "minutes"]]
    for row in rows:
        cells = [row.name, *(" ".join(value.split()) for value in row.values), str(row.status), str(row.count)]
        for name in score_names:
            cells += [format_number(scores.get(name), 4, "") for scores in (row.scores, row.deviations)]
        lines.append([*cells, format_number(row.updates, 0, ""), format_number(row.minutes, 2, "")])
    return "".join("\t".join(line) + "\n" for line in lines)


def _command(sweep: Sweep) -> str:
    """Return the command of the sweep with its folder as hydra.sweep.dir."""
    folder = str(sweep.folder)
    if not re.fullmatch(r"[\w/.+:-]+", folder):  # needs the quotes of Hydra's grammar
        folder = quoted(folder)
    arguments = [argument for argument in sweep.arguments if not argument.startswith("hydra.sweep.dir=")]
    # Next to another override: argparse takes KEY=VALUE arguments in one block, before or after the options.
    place = next((i for i, argument in enumerate(arguments) if "=" in argument and argument[0] != "-"), len(arguments))
    return "python -m seq2seq.train " + shlex.join(
        [*arguments[:place], f"hydra.sweep.dir={folder}", *arguments[place:]]
    )
