"""A few settings of many factors in which every two values that may meet do meet: most faults need no more than two."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = dict[str, Any]


def covering_set(factors: Mapping[str, Sequence[Any]], allowed: Callable[[Row], bool] = lambda row: True) -> list[Row]:
    """Return rows with every pair of values of different factors that an allowed row has; the greediest row first."""
    rows = [dict(zip(factors, values, strict=True)) for values in itertools.product(*factors.values())]
    rows = [row for row in rows if allowed(row)]
    bits: dict[object, int] = {}
    pairs = [sum(1 << bits.setdefault(pair, len(bits)) for pair in pairs_of(row)) for row in rows]
    missing, chosen = (1 << len(bits)) - 1, []
    while missing:
        best = max(range(len(rows)), key=lambda number: (pairs[number] & missing).bit_count())
        missing &= ~pairs[best]
        chosen.append(rows[best])
    return chosen


def pairs_of(row: Row) -> list[object]:
    return list(itertools.combinations(row.items(), 2))


def name_of(row: Row) -> str:
    """Return a row as the name of a test."""
    return "-".join(f"{key}={getattr(value, 'name', value)}" for key, value in row.items())
