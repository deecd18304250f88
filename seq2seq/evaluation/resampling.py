"""Bootstrap intervals and paired tests of one metric, with the draws, scores and p-values of `sacrebleu.significance`.

sacreBLEU holds the statistics of all trials at once: 100,000 resamples of 3,000 sentences take many gigabytes. Here
memory does not grow with the number of trials.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from sacrebleu.metrics.base import Metric
from sacrebleu.significance import _compute_p_value, estimate_ci

BLOCK = 2**20
"""Sentences that are drawn at once."""

Statistics = Sequence[Sequence[Any]]
"""What a metric counts in each sentence of one output."""


def interval(metric: Metric, statistics: Statistics, trials: int, seed: int | None) -> dict[str, float]:
    """Return `mean` and `ci` (see `Figure`) of one output, as `sacrebleu --confidence` computes them."""
    (scores,) = _resampled(metric, [statistics], trials, seed)
    mean = scores.dtype.type(scores.mean(dtype="float64"))
    return {"mean": float(mean), "ci": float(estimate_ci(scores)[1])}


def paired_tests(
    metric: Metric, outputs: Sequence[Statistics], bootstrap: int, randomization: int, seed: int | None
) -> list[dict[str, float]]:
    """Return `mean` and `ci` of each output; of all but the first, the p-values of their differences from it, too."""
    first, *others = outputs
    observed = [metric._aggregate_and_compute([*map(list, statistics)]).score for statistics in outputs]
    resampled = _resampled(metric, outputs, bootstrap, seed)
    shuffled = _shuffled_differences(metric, first, others, randomization, seed)
    found = []
    for scores in resampled:
        mean, ci = estimate_ci(scores)
        found.append({"mean": float(mean), "ci": float(ci)})
    for i, other in enumerate(others, start=1):
        difference = abs(observed[0] - observed[i])
        apart = np.abs(resampled[i] - resampled[0])
        least = _least_p_value(first, other) if difference else 1.0
        found[i]["p_bootstrap"] = max(least, _compute_p_value(apart - apart.mean(), difference))
        found[i]["p_randomization"] = max(least, _compute_p_value(shuffled[i - 1], difference))
    return found


def _least_p_value(first: Statistics, second: Statistics) -> float:
    """Return the lowest p-value that the differences between two outputs allow.

    sacreBLEU counts the trials with a difference above the observed one, and not those that equal it: where few
    sentences differ, hardly any trial counts. Of the 2^k ways to exchange k sentences, at least two differ as much as
    the outputs do: no exchange, and that of all.
    """
    differing = sum(list(one) != list(other) for one, other in zip(first, second, strict=True))
    return min(1.0, 2.0 ** (1 - differing))


def _resampled(metric: Metric, outputs: Sequence[Statistics], trials: int, seed: int | None) -> list[Any]:
    """Return an array for each output: its scores on sentences drawn with replacement."""
    draw = np.random.default_rng(seed)
    counts = [np.array(statistics, dtype="float32") for statistics in outputs]
    sentences = len(counts[0])
    scores: list[list[float]] = [[] for _ in outputs]
    for size in _blocks(trials, sentences):
        for chosen in draw.choice(sentences, size=(size, sentences), replace=True):
            for found, own in zip(scores, counts, strict=True):
                found.append(metric._compute_score_from_stats(own[chosen].sum(0)).score)
    return [np.array(found) for found in scores]


def _shuffled_differences(
    metric: Metric, first: Statistics, others: Sequence[Statistics], trials: int, seed: int | None
) -> list[Any]:
    """Return an array for each of the others: its differences from the first after a random exchange of sentences."""
    draw = np.random.default_rng(seed)
    one: Any = np.array(first)
    counts: list[Any] = [np.array(other) for other in others]
    sentences = len(first)
    differences: list[list[float]] = [[] for _ in others]
    for size in _blocks(trials, sentences):
        kept = draw.integers(2, size=(size, sentences), dtype=bool)
        for found, other in zip(differences, counts, strict=True):
            sides = kept @ one + ~kept @ other, ~kept @ one + kept @ other
            scores = [np.array([metric._aggregate_and_compute(row).score for row in side[:, None]]) for side in sides]
            found.extend(np.abs(scores[0] - scores[1]))
    return [np.array(found) for found in differences]


def _blocks(trials: int, sentences: int) -> Iterator[int]:
    """Yield the numbers of trials that are drawn at once: multiples of 32, which leave no random bit unused."""
    size = max(32, BLOCK // sentences // 32 * 32)
    for begin in range(0, trials, size):
        yield min(size, trials - begin)
