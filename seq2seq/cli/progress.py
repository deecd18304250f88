"""A bar for the person who waits, and nothing for anyone else."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence

from seq2seq.cli.line_reader import count_lines


@contextlib.contextmanager
def progress(inputs: Sequence[str], output: str, done: int) -> Iterator[Callable[[int], None]]:
    """Yield a function that is told how many more lines are done.

    A bar shows them where stderr is a terminal that the output is not written to, and the end of the inputs is known.

    Args:
        inputs: the files.
        output: where the lines go; -: standard output.
        done: lines that were done before.
    """
    watched = sys.stderr.isatty() and not (output == "-" and sys.stdout.isatty())
    total = count_lines(inputs) if watched and inputs else None
    if total is None:
        yield lambda lines: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total, completed=done)
        yield lambda lines: bar.advance(task, lines)
