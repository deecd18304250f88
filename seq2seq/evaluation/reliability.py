"""Reliability of probabilities: whether of the events with a probability of 0.7, 70 % happen (Guo et al. 2017).

Importing this module loads neither torch nor NumPy.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Bin:
    """The probabilities from `low` to `high`; `high` itself belongs to the next bin, except for 1.

    Attributes:
        low: lower end.
        high: upper end.
        count: number of probabilities in the bin.
        mean_probability: of those.
        share_right: share of their outcomes that are true.
    """

    low: float
    high: float
    count: int
    mean_probability: float
    share_right: float


@dataclass(frozen=True)
class Reliability:
    """Probabilities compared with outcomes.

    Attributes:
        bins: of equal width, from low to high; bins without probabilities are left out.
    """

    bins: list[Bin]

    @property
    def count(self) -> int:
        """Number of probabilities."""
        return sum(part.count for part in self.bins)

    @property
    def expected_calibration_error(self) -> float:
        """Return the mean over all probabilities of |mean probability - share right| of their bin; NaN without any.

        0 is perfect. Probabilities that are all right on average but do not differ are perfect, too: this error does
        not measure how well right and wrong are told apart.
        """
        gaps = (part.count * abs(part.mean_probability - part.share_right) for part in self.bins)
        return math.fsum(gaps) / self.count if self.bins else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; NaN is None."""
        error = self.expected_calibration_error
        return {
            "expected_calibration_error": None if math.isnan(error) else error,
            "count": self.count,
            "bins": [dataclasses.asdict(part) for part in self.bins],
        }


def reliability(probabilities: Sequence[float], outcomes: Sequence[bool], bins: int = 10) -> Reliability:
    """Compare probabilities with outcomes, in bins of equal width.

    Raises:
        ValueError: a probability is not in [0, 1], or the numbers of probabilities and outcomes differ.
    """
    members: list[list[tuple[float, bool]]] = [[] for _ in range(bins)]
    for probability, outcome in zip(probabilities, outcomes, strict=True):
        if not 0 <= probability <= 1:
            raise ValueError(f"{probability} is not a probability")
        members[min(int(probability * bins), bins - 1)].append((probability, outcome))
    return Reliability([_bin(number, bins, inside) for number, inside in enumerate(members) if inside])


def _bin(number: int, bins: int, inside: Sequence[tuple[float, bool]]) -> Bin:
    count = len(inside)
    mean = math.fsum(probability for probability, _ in inside) / count
    right = sum(outcome for _, outcome in inside) / count
    return Bin(number / bins, (number + 1) / bins, count, mean, right)
