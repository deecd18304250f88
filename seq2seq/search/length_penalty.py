"""Length and coverage penalties: what makes scores of hypotheses of different lengths comparable."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Bool, Float
from torch import Tensor

from seq2seq.config.decode import NormalizationName

# Number of tokens, EOS included -> divisor of log p. Must not decrease with length: early stopping relies on it.
LengthPenalty = Callable[[int], float]

MIN_COVERAGE = 1e-10  # keeps the logarithm finite for a source position without attention


def length_penalty(kind: NormalizationName, alpha: float) -> LengthPenalty:
    """Return lp(Y): gnmt, ((5 + |Y|) / 6)^alpha (Wu et al. 2016, eq. 14); average, |Y|^alpha; none, 1.

    Raises:
        ValueError: alpha is negative, so lp would decrease with length.
    """
    if alpha < 0:
        raise ValueError(f"length_penalty={alpha} must not be negative")
    if kind is NormalizationName.gnmt:
        return lambda length: float(((5 + length) / 6) ** alpha)
    if kind is NormalizationName.average:
        return lambda length: float(length**alpha)
    return lambda length: 1.0


def coverage_penalty(
    coverage: Float[Tensor, "batch beam src_len"], mask: Bool[Tensor, "batch src_len"]
) -> Float[Tensor, "batch beam"]:
    """Return cp(X, Y) = sum_i log(min(sum_j a_ij, 1)) over real source positions (Wu et al. 2016, eq. 14).

    `coverage` is sum_j a_ij: the attention on source position i, summed over all output tokens, EOS included.
    The result is at most 0.
    """
    logs = coverage.clamp(MIN_COVERAGE, 1.0).log()
    return logs.masked_fill(~mask[:, None], 0.0).sum(dim=2)
