"""A table of scores, with a row per test set and a column per metric, and the metrics' signatures."""

from __future__ import annotations

import sys
from collections.abc import Callable

from seq2seq.data.text.robustness import clean_name, ignores_case
from seq2seq.data.text.visible import visible
from seq2seq.evaluation.metrics import DECIMALS, Scores

TITLES = {"bleu": "BLEU", "chrf": "chrF", "ter": "TER", "bleu_tok_lc": "BLEU tok lc", "comet": "COMET"}
FIGURES = {"exact_match": "exact %", "length_ratio": "length", "perplexity": "ppl"}


def print_scores(results: dict[str, Scores]) -> None:
    """Print one row per test set, then the signatures; for variants of a test set, also the BLEU that they lose."""
    names = list(next(iter(results.values())).metrics())
    figures = [name for name in FIGURES if any(name in scores.figures() for scores in results.values())]
    head = ["test set", *(TITLES[name] for name in names), *(FIGURES[name] for name in figures), "sentences"]
    rows = [
        [
            test,
            *(f"{scores.metrics()[name].value:.2f}" for name in names),
            *(_figure(name, scores.figures().get(name)) for name in figures),
            f"{scores.sentences:,}",
        ]
        for test, scores in results.items()
    ]
    if any(map(clean_name, results)):
        head.append("BLEU lost")
        rows = [[*row, _lost(test, results)] for row, test in zip(rows, results, strict=True)]
    print_table(head, rows)
    sys.stdout.write("\n")
    for name in names:
        by_signature: dict[str, list[str]] = {}  # test sets of several languages may differ in their tokenizer
        for test, scores in results.items():
            by_signature.setdefault(scores.metrics()[name].signature, []).append(test)
        for signature, tests in by_signature.items():
            where = f" ({', '.join(visible(test, None) for test in tests)})" if len(by_signature) > 1 else ""
            sys.stdout.write(f"{TITLES[name]}{where}: {signature}\n")


def _figure(name: str, value: float | None) -> str:
    return "" if value is None else f"{value:.{DECIMALS[name]}f}"


def _lost(test: str, results: dict[str, Scores]) -> str:
    """Return by how much the BLEU of a variant is below that of its clean set, both computed in the same way."""
    clean = results.get(clean_name(test) or "")
    if clean is None:
        return ""
    before = clean.bleu_tok_lc if ignores_case(test) else clean.bleu
    return f"{before.value - results[test].bleu.value:.2f}"


def print_table(head: list[str], rows: list[list[str]], *, stderr: bool = False) -> None:
    """Print rows to standard output or error: a drawn table on a terminal, else aligned text.

    Names of systems, groups and files come from anywhere: what is invisible in a cell is an escape.
    """
    head, *rows = ([visible(cell, None) for cell in row] for row in (head, *rows))
    if (sys.stderr if stderr else sys.stdout).isatty():
        _draw(head, rows, stderr)
    else:
        _align([head, *rows], (sys.stderr if stderr else sys.stdout).write)


def _draw(head: list[str], rows: list[list[str]], stderr: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for i, title in enumerate(head):
        table.add_column(title, justify="right" if i else "left")
    for row in rows:
        table.add_row(*row)
    Console(markup=False, highlight=False, stderr=stderr).print(table)


def _align(rows: list[list[str]], write: Callable[[str], object]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *numbers in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(numbers, widths[1:], strict=True))]
        write("  ".join(cells) + "\n")
