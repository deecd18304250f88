"""Fit the confidence of a model to translations with references, and assess it on others.

Two logistic regressions, for sentences and for words, on the features of `inference.output_features`. Their ridge
penalty and smoothed targets (Platt 1999) keep the probabilities of a few sentences, or of sentences that are all good,
away from 0 and 1.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2seq.errors import DataError
from seq2seq.evaluation.correctness import GOOD_CHRF, sentence_chrf, words_right
from seq2seq.evaluation.reliability import Reliability, reliability
from seq2seq.inference.confidence import Confidence
from seq2seq.inference.output_features import Features
from seq2seq.inference.translator import Translator
from seq2seq.storage.calibration import Calibration, LogisticRegression, Weight

FOLDS = 5
RIDGE = 1.0
"""Weight of the penalty on squared weights, with features scaled to a variance of 1."""
FEW_PAIRS = 100
"""With fewer pairs, the probabilities are rough."""
MAX_NEWTON_STEPS = 50


@dataclass(frozen=True)
class Observation:
    """One output that was compared with its reference: features, chrF in points, and which words are right."""

    features: Features
    chrf: float
    right: list[bool]


@dataclass(frozen=True)
class Rated:
    """One output with its confidence, compared with its reference."""

    confidence: Confidence
    chrf: float
    right: list[bool]


@dataclass(frozen=True)
class Assessment:
    """How well confidence fits outputs that were compared with references.

    Attributes:
        sentences: probabilities that sentences are good, against how many are.
        words: probabilities that words are right, against how many are.
        mean_chrf: of all sentences, in points.
        worst_tenth_chrf: of the tenth of the sentences with the lowest confidence.
        good_chrf: chrF from which a sentence counts as good.
    """

    sentences: Reliability
    words: Reliability
    mean_chrf: float
    worst_tenth_chrf: float
    good_chrf: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "good_chrf": self.good_chrf,
            "mean_chrf": round(self.mean_chrf, 2),
            "worst_tenth_chrf": round(self.worst_tenth_chrf, 2),
            "sentences": self.sentences.to_dict(),
            "words": self.words.to_dict(),
        }


def observe(
    translator: Translator, sources: Sequence[str], references: Sequence[str], tgt_lang: str | None = None
) -> list[Observation]:
    """Translate with the model's own search and compare; lines that are blank or too long for one search are left out.

    Raises:
        Seq2SeqError: as `Translator.translate`.
    """
    outputs = [best for best, *_ in translator.translate_n_best(sources, tgt_lang=tgt_lang)]
    found = translator.features(sources, outputs, tgt_lang=tgt_lang)
    scores = sentence_chrf([output.text for output in outputs], references)
    return [
        Observation(features, score, words_right(output.text, reference))
        for features, score, output, reference in zip(found, scores, outputs, references, strict=True)
        if features is not None
    ]


def rate(
    translator: Translator, sources: Sequence[str], references: Sequence[str], tgt_lang: str | None = None
) -> list[Rated]:
    """Translate with confidence and compare.

    Raises:
        Seq2SeqError: as `Translator.translate`; the model must be calibrated.
    """
    outputs = [best for best, *_ in translator.translate_n_best(sources, tgt_lang=tgt_lang, confidence=True)]
    scores = sentence_chrf([output.text for output in outputs], references)
    return [
        Rated(output.confidence, score, words_right(output.text, reference))
        for output, score, reference in zip(outputs, scores, references, strict=True)
        if output.confidence is not None
    ]


def assess(rated: Sequence[Rated], good_chrf: float) -> Assessment:
    """Compare confidence with outcomes.

    Raises:
        DataError: there are no outputs.
    """
    if not rated:
        raise DataError("confidence cannot be checked: there are no sentences")
    sentences = [row.confidence.sentence for row in rated]
    words = [*itertools.chain.from_iterable(row.confidence.words for row in rated)]
    scores = [row.chrf for row in rated]
    lowest = sorted(range(len(rated)), key=sentences.__getitem__)[: math.ceil(len(rated) / 10)]
    return Assessment(
        reliability(sentences, [score >= good_chrf for score in scores]),
        reliability(words, [*itertools.chain.from_iterable(row.right for row in rated)]),
        math.fsum(scores) / len(scores),
        math.fsum(scores[i] for i in lowest) / len(lowest),
        good_chrf,
    )


def fit(observations: Sequence[Observation], good_chrf: float = GOOD_CHRF) -> Calibration:
    """Fit a calibration, and estimate its errors by cross-validation.

    Raises:
        DataError: there are no outputs.
    """
    if not observations:
        raise DataError("confidence cannot be calibrated: there are no sentences, or only blank or very long ones")
    calibration = _fit(observations, good_chrf)
    if len(observations) < FEW_PAIRS:
        return calibration
    rated: list[Rated] = []
    for fold in range(FOLDS):
        held_out = observations[fold::FOLDS]
        others = [row for number, row in enumerate(observations) if number % FOLDS != fold]
        trial = _fit(others, good_chrf)
        rated += [Rated(row.features.confidence(trial), row.chrf, row.right) for row in held_out]
    found = assess(rated, good_chrf)
    errors = [
        None if math.isnan(part.expected_calibration_error) else round(part.expected_calibration_error, 4)
        for part in (found.sentences, found.words)
    ]
    return Calibration(calibration.sentence, calibration.word, good_chrf, len(observations), *errors)


def _fit(observations: Sequence[Observation], good_chrf: float) -> Calibration:
    sentences = [row.features.sentence._asdict() for row in observations]
    words = [word._asdict() for row in observations for word in row.features.words]
    return Calibration(
        fit_regression(sentences, [row.chrf >= good_chrf for row in observations]),
        fit_regression(words, [*itertools.chain.from_iterable(row.right for row in observations)]),
        good_chrf,
        len(observations),
    )


def fit_regression(rows: Sequence[dict[str, float]], outcomes: Sequence[bool]) -> LogisticRegression:
    """Fit a logistic regression of outcomes on features; features that never change get no weight."""
    if not rows:
        return LogisticRegression(0.0, {})
    values = np.array([[*row.values()] for row in rows], dtype=np.float64)
    low, high, mean, deviation = values.min(0), values.max(0), values.mean(0), values.std(0)
    changes = deviation > 1e-9 * (1 + np.abs(mean))
    scaled = (values[:, changes] - mean[changes]) / deviation[changes]
    right = np.array(outcomes, dtype=np.float64)
    targets = np.where(right > 0, (right.sum() + 1) / (right.sum() + 2), 1 / (len(right) - right.sum() + 2))
    bias, *weights = _minimum(np.column_stack([np.ones(len(scaled)), scaled]), targets)
    raw = weights / deviation[changes]
    names = [name for name, change in zip(rows[0], changes, strict=True) if change]
    ends = zip(low[changes].tolist(), high[changes].tolist(), strict=True)
    return LogisticRegression(
        float(bias - raw @ mean[changes]),
        {name: Weight(weight, *end) for name, weight, end in zip(names, raw.tolist(), ends, strict=True)},
    )


def _minimum(inputs: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the coefficients that minimise cross-entropy plus RIDGE / 2 × squared weights, by Newton's method.

    The first input is the constant, whose coefficient has no penalty. A step that does not lower the loss is halved.
    """
    penalty = np.full(inputs.shape[1], RIDGE)
    penalty[0] = 0.0

    def loss(coefficients: NDArray[np.float64]) -> float:
        logits = inputs @ coefficients
        return float((np.logaddexp(0, logits) - targets * logits).sum() + (penalty * coefficients**2).sum() / 2)

    coefficients = np.zeros(inputs.shape[1])
    for _ in range(MAX_NEWTON_STEPS):
        probabilities = 1 / (1 + np.exp(-(inputs @ coefficients)))
        gradient = inputs.T @ (probabilities - targets) + penalty * coefficients
        curvature = (inputs.T * (probabilities * (1 - probabilities))) @ inputs + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        before = loss(coefficients)
        while loss(coefficients - step) > before and np.abs(step).max() > 1e-10:
            step = step / 2
        coefficients = coefficients - step
        if np.abs(step).max() <= 1e-10:
            break
    return coefficients
