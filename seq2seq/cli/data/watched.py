"""A progress bar while the pairs of files are read."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator

from seq2seq.cli.data.overrides import is_override
from seq2seq.cli.progress import progress

ADVANCED = 1000  # pairs between two updates
NOT_LINES = (".parquet", ".tmx")


def watched(pairs: Iterable[tuple[str, str]], args: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Yield the pairs with a progress bar on stderr, if a person watches and the input is text of one pair a line."""
    first = [] if is_override(args.inputs[0]) or args.inputs[0].endswith(NOT_LINES) else args.inputs[:1]
    with progress(first, "", 0) as advance:
        number = 0
        for number, pair in enumerate(pairs, start=1):
            yield pair
            if number % ADVANCED == 0:
                advance(ADVANCED)
        advance(number % ADVANCED)
