"""Confidence: the probability that an output sentence is good, and that each of its words is right."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Confidence:
    """Calibrated probabilities of one output line.

    Attributes:
        sentence: probability that the line is good (`evaluation.correctness`).
        words: probability that each word of `word_spans(text)` is right.
    """

    sentence: float
    words: list[float] = field(default_factory=list)
