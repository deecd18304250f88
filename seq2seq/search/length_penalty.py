"""What makes hypotheses of different length comparable, and what asks for the whole source to be translated."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Bool, Float
from torch import Tensor

from seq2seq.config.decode import NormalizationName

# Number of tokens, EOS counted -> what log p is divided by. It must never fall: the search stops early by it.
LengthPenalty = Callable[[int], float]

LEAST_ATTENTION = 1e-10  # keeps the logarithm finite where a source position got none


def length_penalty(kind: NormalizationName, alpha: float) -> LengthPenalty:
    """Return lp(Y): gnmt, ((5 + |Y|) / 6)^alpha (Wu et al. 2016, eq. 14); average, |Y|^alpha; none, 1.

    Raises:
        ValueError: alpha is negative, so longer outputs would be punished and no search could end early.
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

    `coverage` is the attention that each source position got from all output tokens, EOS included. At most 0.
    """
    logs = coverage.clamp(LEAST_ATTENTION, 1.0).log()
    return logs.masked_fill(~mask[:, None], 0.0).sum(dim=2)
