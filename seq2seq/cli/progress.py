"""A progress bar on stderr, only if a person watches."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence

from seq2seq.cli.line_reader import count_lines


@contextlib.contextmanager
def progress(
    inputs: Sequence[str], output: str, done: int, total: int | None = None
) -> Iterator[Callable[[int], None]]:
    """Yield a function that advances the progress bar by a number of lines.

    The bar is shown if stderr is a terminal that the output is not written to, and the number of lines is known: all
    inputs are regular files, or `total` is given.

    Args:
        inputs: the input files.
        output: the output file; -: standard output.
        done: lines finished before (`--resume`).
        total: number of lines; default: the inputs are counted.
    """
    watched = sys.stderr.isatty() and not (output == "-" and sys.stdout.isatty())
    if watched and total is None and inputs:
        total = count_lines(inputs)
    if total is None or not watched:
        yield lambda lines: None
        return
    with bar(total, done) as advance:
        yield advance


@contextlib.contextmanager
def bar(total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on stderr and yield a function that advances it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as shown:
        task = shown.add_task("", total=total, completed=done)
        yield lambda steps: shown.advance(task, steps)
