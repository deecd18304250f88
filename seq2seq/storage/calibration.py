"""The calibration of a model's confidence: two logistic regressions, stored in the model file as JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

LARGEST = 1e100
"""Of the numbers of a calibration: the products of two, and the sum of these, are finite."""


class Weight(NamedTuple):
    """The weight of one feature.

    Attributes:
        weight: the factor.
        low: lower values of the feature count as `low`, so that text unlike that of the calibration is not
            extrapolated to.
        high: higher values count as `high`.
    """

    weight: float
    low: float
    high: float


@dataclass(frozen=True)
class LogisticRegression:
    """log(p / (1 - p)) = bias + Σ weight × feature."""

    bias: float
    weights: dict[str, Weight]

    def probability(self, features: Mapping[str, float]) -> float:
        """Return the probability of what the regression was fitted to.

        Raises:
            KeyError: a feature is missing.
        """
        logit = math.fsum([self.bias, *(self._term(features[name], *self.weights[name]) for name in self.weights)])
        return 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0

    @staticmethod
    def _term(value: float, weight: float, low: float, high: float) -> float:
        return weight * min(max(value, low), high)


@dataclass(frozen=True)
class Calibration:
    """From features of an output to probabilities.

    Attributes:
        sentence: that the sentence is good: chrF of at least `good_chrf` against the reference.
        word: that a word is right (`evaluation.correctness.words_right`).
        good_chrf: in points.
        pairs: number of sentence pairs that it was fitted to.
        sentence_error: expected calibration error of sentences in cross-validation; None: too few pairs.
        word_error: the same for words.
    """

    sentence: LogisticRegression
    word: LogisticRegression
    good_chrf: float
    pairs: int
    sentence_error: float | None = None
    word_error: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; `from_dict` reads them back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, plain: Any) -> Calibration:
        """Read the values of `to_dict`.

        Raises:
            ValueError: they are not a calibration.
        """
        try:
            made = cls(**{**plain, "sentence": _regression(plain["sentence"]), "word": _regression(plain["word"])})
            errors = (error for error in (made.sentence_error, made.word_error) if error is not None)
            numbers: list[Any] = [made.good_chrf, made.pairs, *errors]
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"not a calibration: {error}") from None
        _check(numbers)
        return made


def _regression(plain: Mapping[str, Any]) -> LogisticRegression:
    made = LogisticRegression(plain["bias"], {name: Weight(*values) for name, values in plain["weights"].items()})
    _check([made.bias, *(number for weight in made.weights.values() for number in weight)])
    return made


def _check(numbers: Iterable[Any]) -> None:
    for number in numbers:
        is_number = isinstance(number, int | float) and not isinstance(number, bool)
        if not (is_number and abs(number) <= LARGEST):  # NaN, too, is not <=
            raise ValueError(f"not a calibration: {repr(number)[:40]} is not a number up to {LARGEST:g}")
