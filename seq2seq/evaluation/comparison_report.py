"""Tables of a comparison: the scores of each system, the differences from the baseline, and the scores by group."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from seq2seq.data.text.visible import visible
from seq2seq.evaluation.comparison import ALPHA, Comparison, Figure, System, is_better, mean_figures
from seq2seq.evaluation.metrics import DECIMALS
from seq2seq.evaluation.report import FIGURES, TITLES, print_table

P_VALUES = ("p bootstrap", "p randomization", "p runs")


def print_comparisons(results: Mapping[str, Comparison]) -> None:
    """Print for each test set its tables, and the signatures of metrics and tests."""
    for i, (test, comparison) in enumerate(results.items()):
        sys.stdout.write("\n" if i else "")
        _print(test, comparison)


def _print(test: str, comparison: Comparison) -> None:
    names = list(comparison.baseline.figures)
    _heading(f"{test}: {comparison.sentences:,} sentences")
    head = ["system", *map(_title, names), "±"]
    print_table(head, [[s.name, *(_value(s, name) for name in names), _spread(s)] for s in comparison.systems])
    if len(comparison.systems) > 1:
        sys.stdout.write("\n")
        _heading(f"differences from {comparison.baseline.name}")
        print_table(["system", "metric", "difference", *P_VALUES, ""], _tests(comparison))
    if comparison.groups:
        sys.stdout.write("\n")
        _heading("groups")
        print_table(["group", "system", *map(_title, names), "sentences"], _groups(comparison, names))
    sys.stdout.write("\n")
    for name, signature in comparison.signatures().items():
        sys.stdout.write(f"{TITLES.get(name, name)}: {signature}\n")
    if len(comparison.systems) > 1:
        sys.stdout.write(f"better, worse: all tests reject equality at {ALPHA:g}, corrected for their number (Holm)\n")


def _heading(text: str) -> None:
    sys.stdout.write(f"{visible(text, None)}\n")


def _title(name: str) -> str:
    return TITLES.get(name) or FIGURES[name]


def _number(name: str, value: float, sign: str = "") -> str:
    return f"{value:{sign}.{DECIMALS.get(name, 2)}f}"


def _value(system: System, name: str) -> str:
    figure = system.figures.get(name)
    if figure is None:
        return ""
    spread = figure.ci if figure.ci is not None else figure.deviation
    return _number(name, figure.value) + ("" if spread is None else f" ± {_number(name, spread)}")


def _spread(system: System) -> str:
    """Return what the numbers behind ± are."""
    return "95 % interval" if len(system.runs) == 1 else f"deviation of {len(system.runs)} runs"


def _tests(comparison: Comparison) -> list[list[str]]:
    return [
        [
            system.name,
            _title(name),
            _number(name, figure.difference, "+"),
            *(_probability(p) for p in (figure.p_bootstrap, figure.p_randomization, figure.p_runs)),
            _verdict(name, figure),
        ]
        for system in comparison.systems
        for name, figure in system.figures.items()
        if figure.difference is not None and name in TITLES
    ]


def _probability(p_value: float | None) -> str:
    return "" if p_value is None else f"{p_value:.4f}"


def _verdict(name: str, figure: Figure) -> str:
    if figure.significant is None or figure.difference is None:
        return "not tested"
    if not figure.significant:
        return "not significant"
    return "better" if is_better(name, figure.difference) else "worse"


def _groups(comparison: Comparison, names: list[str]) -> list[list[str]]:
    rows = []
    for group, systems in comparison.groups.items():
        for name, runs in systems.items():
            means = mean_figures(runs)
            cells = (_number(figure, means[figure]) if figure in means else "" for figure in names)
            rows.append([group, name, *cells, f"{runs[0].sentences:,}"])
    return rows
