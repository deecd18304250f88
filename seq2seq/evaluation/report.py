"""A table of scores, with a row per test set and a column per metric, and the metrics' signatures."""

from __future__ import annotations

import sys

from seq2seq.data.robustness import clean_name, ignores_case
from seq2seq.evaluation.metrics import Scores

TITLES = {"bleu": "BLEU", "chrf": "chrF", "ter": "TER", "bleu_tok_lc": "BLEU tok lc"}


def print_scores(results: dict[str, Scores]) -> None:
    """Print one row per test set, then the signatures; for variants of a test set, also the BLEU that they lose."""
    names = list(next(iter(results.values())).metrics())
    head = ["test set", *(TITLES[name] for name in names), "sentences"]
    rows = [
        [test, *(f"{scores.metrics()[name].value:.2f}" for name in names), f"{scores.sentences:,}"]
        for test, scores in results.items()
    ]
    if any(map(clean_name, results)):
        head.append("BLEU lost")
        rows = [[*row, _lost(test, results)] for row, test in zip(rows, results, strict=True)]
    print_table(head, rows)
    sys.stdout.write("\n")
    for name, metric in next(iter(results.values())).metrics().items():  # the same for all clean test sets
        sys.stdout.write(f"{TITLES[name]}: {metric.signature}\n")
    if caseless := list(filter(ignores_case, results)):
        for name in ("bleu", "chrf"):
            signature = results[caseless[0]].metrics()[name].signature
            sys.stdout.write(f"{TITLES[name]} of {', '.join(caseless)}: {signature}\n")


def _lost(test: str, results: dict[str, Scores]) -> str:
    """Return by how much the BLEU of a variant is below that of its clean set, both computed in the same way."""
    clean = results.get(clean_name(test) or "")
    if clean is None:
        return ""
    before = clean.bleu_tok_lc if ignores_case(test) else clean.bleu
    return f"{before.value - results[test].bleu.value:.2f}"


def print_table(head: list[str], rows: list[list[str]]) -> None:
    """Print rows to standard output: a drawn table on a terminal, else aligned text."""
    if sys.stdout.isatty():
        _draw(head, rows)
    else:
        _align([head, *rows])


def _draw(head: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for i, title in enumerate(head):
        table.add_column(title, justify="right" if i else "left")
    for row in rows:
        table.add_row(*row)
    Console(markup=False, highlight=False).print(table)


def _align(rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *numbers in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(numbers, widths[1:], strict=True))]
        sys.stdout.write("  ".join(cells) + "\n")
