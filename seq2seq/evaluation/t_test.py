"""Welch's t-test (Welch 1947): do the means of two samples differ, whose variances may differ?"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import numpy as np

STEPS = 2001


def welch_p_value(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return the two-sided p-value of equal means; None if a sample has fewer than two values, or none varies."""
    if min(len(first), len(second)) < 2:
        return None
    a, b = (statistics.variance(sample) / len(sample) for sample in (first, second))
    if a + b == 0:
        return None
    t = abs(statistics.fmean(first) - statistics.fmean(second)) / math.sqrt(a + b)
    freedom = (a + b) ** 2 / (a**2 / (len(first) - 1) + b**2 / (len(second) - 1))
    return two_sided_p_value(t, freedom)


def standard_deviation(values: Sequence[float]) -> float:
    """Return the standard deviation of a sample of at least two values (n - 1); NaN if one is infinite or NaN."""
    return statistics.stdev(values) if all(map(math.isfinite, values)) else math.nan


def two_sided_p_value(t: float, freedom: float) -> float:
    """Return p(|T| ≥ t) of Student's distribution with `freedom` ≥ 1 degrees.

    With T = √freedom · tan θ the density is proportional to cos^(freedom - 1) θ on a finite interval.
    """
    theta = np.linspace(math.atan(t / math.sqrt(freedom)), math.pi / 2, STEPS)
    values = np.cos(theta).clip(0) ** (freedom - 1)
    weights = np.full(STEPS, 2.0)
    weights[1::2], weights[0], weights[-1] = 4, 1, 1  # Simpson's rule
    area = float(values @ weights) * (theta[1] - theta[0]) / 3
    factor = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi)
    return min(1.0, 2 * factor * float(area))
