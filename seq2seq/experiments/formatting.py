"""Short names and rounded numbers, as the tables of sweeps and studies show them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from seq2seq.evaluation.report import TITLES


def short_keys(keys: Iterable[str]) -> dict[str, str]:
    """Return key -> its last part, or the whole key if another key has the same last part."""
    last_parts = {key: key.rpartition(".")[2] for key in keys}
    counts = Counter(last_parts.values())
    return {key: name if counts[name] == 1 else key for key, name in last_parts.items()}


def metric_title(name: str) -> str:
    """Return the column title of a metric: `valid BLEU` for `valid_bleu`."""
    prefix, _, metric = name.rpartition("_")
    return f"{prefix} {TITLES.get(metric, metric)}".strip()


def format_number(value: float | None, digits: int = 2, missing: str = "–") -> str:
    """Return `value` with `digits` decimals, or `missing` for None."""
    return missing if value is None else f"{value:.{digits}f}"
