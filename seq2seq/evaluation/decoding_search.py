"""Find the length penalty and the weights of rerankers that maximise a corpus metric on lists of hypotheses.

The score of a hypothesis is linear in the weights, so that along any line through the weight space the metric changes
only where the best hypothesis of some sentence changes. Och 2003 ("Minimum error rate training in statistical machine
translation", section 4) finds these points exactly, as the corners of an upper envelope of lines, one per hypothesis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_WEIGHT = 10.0
RESTARTS = 8
LEAST_GAIN = 1e-9  # of the metric; less is rounding
Floats = NDArray[np.float64]
Metric = Callable[[Floats], float]
"""The corpus metric of the sum of the statistics of all sentences."""


@dataclass(frozen=True)
class Lists:
    """The hypotheses of each sentence; a shorter list is filled up with hypotheses that are not `valid`.

    Attributes:
        log_probs: of each model, the first of which found the hypotheses: [sentence, hypothesis, model].
        tokens: whose probability it is, EOS included, of the same shape.
        extra: terms of the score of the search that no length penalty divides: [sentence, hypothesis].
        valid: [sentence, hypothesis].
        statistics: what the metric counts: [sentence, hypothesis, count].
    """

    log_probs: Floats
    tokens: Floats
    extra: Floats
    valid: NDArray[np.bool_]
    statistics: Floats

    def scores(self, penalty: Callable[[int], float]) -> Floats:
        """Return the score that each model gives each hypothesis: [sentence, hypothesis, model].

        A model that could not score all hypotheses of a sentence gives 0.
        """
        sizes = np.unique(self.tokens)
        divisors = np.array([penalty(max(1, int(size))) for size in sizes])[np.searchsorted(sizes, self.tokens)]
        scores = self.log_probs / divisors
        unscored = np.isnan(scores).any(axis=1, keepdims=True)
        scores = np.where(unscored, 0.0, scores)
        scores[:, :, 0] += self.extra
        scores[~self.valid] = -np.inf
        return scores

    def chosen(self, scores: Floats, weights: Floats) -> Floats:
        """Return the statistics of the best hypothesis of each sentence; of equal ones, the first."""
        best = combined(scores, weights).argmax(axis=1)
        found: Floats = self.statistics[np.arange(len(best)), best]
        return found


def combined(scores: Floats, weights: Floats) -> Floats:
    """Return the weighted sum over the models; a model of weight 0 does not count, whatever its score is."""
    used = weights != 0
    total: Floats = scores[..., used] @ weights[used] if used.any() else np.zeros(scores.shape[:-1])
    return total


def upper_envelope(offsets: Floats, slopes: Floats) -> tuple[list[int], list[float]]:
    """Return which of the lines offset + t · slope is the highest for each t.

    Returns:
        the lines from t = -infinity on, and where each of them but the first begins.
    """
    order = np.lexsort((np.arange(len(slopes)), -offsets, slopes))
    lines: list[int] = []
    begins: list[float] = []
    for line in order.tolist():
        if lines and slopes[line] == slopes[lines[-1]]:
            continue  # parallel to a line that is at least as high
        while lines:
            last = lines[-1]
            begin = float((offsets[last] - offsets[line]) / (slopes[line] - slopes[last]))
            if len(lines) == 1 or begin > begins[-1]:
                begins.append(begin)
                break
            lines.pop()
            begins.pop()
        lines.append(line)
    return lines, begins


def line_search(
    lists: Lists, scores: Floats, weights: Floats, direction: Floats, low: float, high: float, metric: Metric
) -> tuple[float, float]:
    """Return the t in [low, high], low < high, with the highest metric of weights + t · direction, and the metric.

    It is about the middle of the first interval between two changes of a best hypothesis with this metric.
    """
    offsets, slopes = combined(scores, weights), combined(scores, direction)
    total = np.zeros(lists.statistics.shape[2])
    changes: list[tuple[float, int, int, int]] = []
    for sentence, valid in enumerate(lists.valid):
        rows = np.flatnonzero(valid & np.isfinite(offsets[sentence]) & np.isfinite(slopes[sentence]))
        if not len(rows):
            total += lists.statistics[sentence, 0]
            continue
        lines, begins = upper_envelope(offsets[sentence, rows], slopes[sentence, rows])
        own = rows[lines].tolist()
        first = sum(begin <= low for begin in begins)
        total += lists.statistics[sentence, own[first]]
        changes += [(begins[i], sentence, own[i], own[i + 1]) for i in range(first, len(begins)) if begins[i] < high]
    begin = at = low
    intervals = [*sorted(changes), (high, -1, 0, 0)]
    found = -np.inf
    for end, sentence, before, after in intervals:
        if end > begin:
            value = metric(total)
            if value > found + LEAST_GAIN:
                found, at = value, _inside(begin, end)
            begin = end
        if sentence >= 0:
            total = total + lists.statistics[sentence, after] - lists.statistics[sentence, before]
    return at, float(found)


def _inside(low: float, high: float) -> float:
    """Return the middle of an interval with as few digits, at least 4, as keep it inside."""
    middle = (low + high) / 2
    rounded = (float(f"{middle:.{digits}g}") for digits in range(4, 17))
    return next((value for value in rounded if low < value < high), middle)


def best_weights(lists: Lists, scores: Floats, metric: Metric, seed: int = 1) -> tuple[Floats, float]:
    """Return the weights, that of the first model being 1, with the highest metric found, and the metric.

    Coordinate ascent by exact line searches, from weights of 0, of 1, and from random ones.
    """
    models = scores.shape[2]
    starts = [np.eye(models)[0], np.ones(models)][:models]
    draw = np.random.default_rng(seed)
    starts += [np.r_[1.0, draw.uniform(0, 2, models - 1).round(4)] for _ in range(RESTARTS if models > 1 else 0)]
    best, found = starts[0], -np.inf
    for start in starts:
        weights, value = _ascent(lists, scores, metric, start)
        if value > found + LEAST_GAIN:
            best, found = weights, value
    return best, found


def _ascent(lists: Lists, scores: Floats, metric: Metric, weights: Floats) -> tuple[Floats, float]:
    value, better = metric(lists.chosen(scores, weights).sum(0)), True
    while better:
        better = False
        for model in range(1, len(weights)):
            direction = np.eye(len(weights))[model]
            base = weights * (1 - direction)  # from weight 0, so that t is the weight
            weight, reached = line_search(lists, scores, base, direction, 0.0, MAX_WEIGHT, metric)
            if reached > value + LEAST_GAIN:
                weights, value, better = base + weight * direction, reached, True
    return weights, value


def metric_of_sums(metric: Any) -> Metric:
    """Return the function from summed statistics to the score of a metric of sacreBLEU."""

    def value(sums: Floats) -> float:
        return float(metric._compute_score_from_stats(sums.tolist()).score)

    return value


def statistics(metric: Any, rows: Sequence[Sequence[str]]) -> Floats:
    """Return what a metric of sacreBLEU, with its references, counts in each text of each sentence; rows are filled up.

    Args:
        metric: with the references in its cache.
        rows: the texts of each sentence, at least one.
    """
    longest = max(map(len, rows))
    columns = [[row[min(k, len(row) - 1)] for row in rows] for k in range(longest)]
    counted: Floats = np.stack(
        [np.array(metric._extract_corpus_statistics(c, None), np.float64) for c in columns], axis=1
    )
    return counted
