"""Confidence: the probability that an output sentence is good, and that each of its words is right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Confidence:
    """Calibrated probabilities of one output line.

    Attributes:
        sentence: probability that the line is good (`storage.calibration.Calibration`).
        words: probability that each word of `word_spans(text)` is right.
    """

    sentence: float
    words: list[float] = field(default_factory=list)


BLANK = Confidence(1.0)
"""Of a blank line, whose translation is blank."""


def join_confidences(parts: Sequence[Confidence]) -> Confidence:
    """Return the confidence of a line from those of its parts: the words of all, the mean weighted by their number."""
    sizes = [max(1, len(part.words)) for part in parts]
    sentence = math.fsum(size * part.sentence for size, part in zip(sizes, parts, strict=True)) / sum(sizes)
    return Confidence(sentence, [word for part in parts for word in part.words])
