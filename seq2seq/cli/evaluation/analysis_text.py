"""An analysis as text: its tables, then its lists of sentences, in which nothing is obeyed by a terminal."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterable
from pathlib import Path

from seq2seq.data.text.visible import visible
from seq2seq.evaluation.analysis.structure import Analysis, Cell, Example
from seq2seq.evaluation.report import print_table
from seq2seq.filesystem.atomic_files import write_atomically
from seq2seq.storage.metrics_file import to_json

LIMIT = 500
"""Characters of a sentence; the rest is cut off."""


def write_analysis(analysis: Analysis, as_json: bool, output: str | None) -> None:
    """Print an analysis, or write it to a file.

    Raises:
        StorageError: the file cannot be written.
    """
    if output is None or output == "-":
        _print(analysis, as_json)
        return
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        _print(analysis, as_json)
    content = text.getvalue().encode("utf-8", "backslashreplace")
    write_atomically(Path(output), lambda temporary: temporary.write_bytes(content))


def _print(analysis: Analysis, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(to_json(analysis.to_dict()) + "\n")
        return
    for number, section in enumerate(analysis.sections):
        sys.stdout.write("\n" * (number > 0))
        _write_heading(section.title, section.note)
        print_table(_shown(section.columns), [_shown(row) for row in section.rows])
    for examples in analysis.examples:
        sys.stdout.write("\n")
        _write_heading(examples.title, examples.note)
        for row in examples.rows:
            _write_example(row)


def _write_heading(title: str, note: str) -> None:
    sys.stdout.write(f"{visible(title)}\n{visible(note, LIMIT)}\n")


def _write_example(row: Example) -> None:
    lines = [("source", row.src), ("reference", row.ref)]
    for name, output in row.outputs.items():
        lines.append((f"{name} {row.scores[name]:.1f}", output))
        if name in row.details:
            lines.append(("", f"({row.details[name]})"))
    names = [visible(name) for name, _ in lines]
    width = max(map(len, names))
    sys.stdout.write(f"line {row.line:,}\n")
    for name, (_, text) in zip(names, lines, strict=True):
        sys.stdout.write(f"  {name.ljust(width)}  {visible(text, LIMIT)}".rstrip() + "\n")


def _shown(cells: Iterable[Cell]) -> list[str]:
    return [_cell(cell) for cell in cells]


def _cell(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, str):
        return visible(cell)
    return f"{cell:,}" if isinstance(cell, int) else f"{cell:.2f}"
