"""Pairwise testing: few combinations that cover every pair of factor values, since most faults need at most two."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = dict[str, Any]


def covering_set(factors: Mapping[str, Sequence[Any]], allowed: Callable[[Row], bool] = lambda row: True) -> list[Row]:
    """Return allowed rows that cover every pair of values found in an allowed row, chosen greedily."""
    rows = [dict(zip(factors, values, strict=True)) for values in itertools.product(*factors.values())]
    rows = [row for row in rows if allowed(row)]
    bits: dict[object, int] = {}
    pairs = [sum(1 << bits.setdefault(pair, len(bits)) for pair in pairs_of(row)) for row in rows]
    uncovered, selected = (1 << len(bits)) - 1, []
    while uncovered:
        best = max(range(len(rows)), key=lambda number: (pairs[number] & uncovered).bit_count())
        uncovered &= ~pairs[best]
        selected.append(rows[best])
    return selected


def pairs_of(row: Row) -> list[object]:
    """Return every pair of (factor, value) in a row."""
    return list(itertools.combinations(row.items(), 2))


def name_of(row: Row) -> str:
    """Return the test id of a row."""
    return "-".join(f"{key}={getattr(value, 'name', value)}" for key, value in row.items())
