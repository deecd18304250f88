"""Och's line search: the envelope and the weights equal those of a brute-force grid."""

from __future__ import annotations

import numpy as np
import pytest
from sacrebleu import BLEU

from seq2seq.config.decode import NormalizationName
from seq2seq.evaluation.decoding_search import (
    Lists,
    best_weights,
    combined,
    line_search,
    metric_of_sums,
    statistics,
    upper_envelope,
)
from seq2seq.evaluation.metrics import bleu
from seq2seq.search.length_penalty import length_penalty

LP = length_penalty(NormalizationName.gnmt, 1.0)


def random_lists(seed: int, sentences: int = 12, hypotheses: int = 5, models: int = 3) -> Lists:
    """Random scores on a coarse grid, so that some are equal; the metric is the share of right words."""
    draw = np.random.default_rng(seed)
    shape = sentences, hypotheses, models
    valid = draw.random(shape[:2]) < 0.8
    valid[:, 0] = True
    right = draw.integers(0, 10, (sentences, hypotheses, 1)).astype(float)
    return Lists(
        -draw.integers(0, 12, shape).astype(float),
        draw.integers(1, 9, shape).astype(float),
        np.zeros(shape[:2]),
        valid,
        np.concatenate([right, np.full_like(right, 10)], axis=2),
    )


def share(sums: np.ndarray) -> float:
    return float(100 * sums[0] / sums[1])


@pytest.mark.parametrize("seed", range(20))
def test_the_envelope_is_the_highest_line(seed: int) -> None:
    draw = np.random.default_rng(seed)
    offsets, slopes = (draw.integers(-4, 5, 7).astype(float) for _ in range(2))
    lines, begins = upper_envelope(offsets, slopes)
    assert begins == sorted(begins)
    for t in np.linspace(-20, 20, 401) + 1e-3:
        active = lines[sum(begin <= t for begin in begins)]
        assert offsets[active] + t * slopes[active] == pytest.approx(max(offsets + t * slopes))


@pytest.mark.parametrize("seed", range(15))
def test_the_line_search_is_as_good_as_a_fine_grid(seed: int) -> None:
    lists = random_lists(seed)
    scores = lists.scores(LP)
    weights, direction = np.array([1.0, 0.3, 0.0]), np.array([0.0, 0.0, 1.0])
    at, found = line_search(lists, scores, weights, direction, 0.0, 5.0, share)
    assert 0 <= at <= 5
    assert found == pytest.approx(share(lists.chosen(scores, weights + at * direction).sum(0)))
    grid = [share(lists.chosen(scores, weights + t * direction).sum(0)) for t in np.arange(0.0005, 5, 0.001)]
    assert found >= max(grid) - 1e-9


@pytest.mark.parametrize("seed", range(4))
def test_the_weights_are_as_good_as_a_grid(seed: int) -> None:
    lists = random_lists(seed, models=2)
    scores = lists.scores(LP)
    weights, found = best_weights(lists, scores, share)
    assert weights[0] == 1
    assert found == pytest.approx(share(lists.chosen(scores, weights).sum(0)))
    grid = [share(lists.chosen(scores, np.array([1.0, w])).sum(0)) for w in np.arange(0, 10, 0.002)]
    assert found >= max(grid) - 1e-9


def test_without_rerankers_the_weights_are_those_of_the_search() -> None:
    lists = random_lists(1, models=1)
    weights, found = best_weights(lists, lists.scores(LP), share)
    assert weights.tolist() == [1.0]
    assert found == share(lists.chosen(lists.scores(LP), weights).sum(0))


def test_hypotheses_that_are_not_valid_and_models_of_weight_0_do_not_count() -> None:
    lists = random_lists(2, models=2)
    scores = lists.scores(LP)
    scores[:, :, 1] = -np.inf
    total = combined(scores, np.array([1.0, 0.0]))
    assert np.isfinite(total[lists.valid]).all()
    assert np.isneginf(total[~lists.valid]).all()


def test_a_model_that_cannot_score_a_sentence_gives_0() -> None:
    lists = random_lists(3, models=2)
    lists.log_probs[4, 0, 1] = np.nan
    scores = lists.scores(LP)
    assert (scores[4, :, 1][lists.valid[4]] == 0).all()
    assert np.isfinite(scores[lists.valid]).all()


def test_the_statistics_give_the_corpus_bleu() -> None:
    references = ["the cat sat on the mat", "a dog ran home", "we are all here now"]
    rows = [["the cat sat on mat", "cat"], ["a dog ran home"], ["we are here now", "all here", "we are all here now"]]
    metric = BLEU(references=[references])
    counted = statistics(metric, rows)
    chosen = [rows[0][0], rows[1][0], rows[2][2]]
    value = metric_of_sums(metric)(counted[[0, 1, 2], [0, 0, 2]].sum(0))
    assert value == pytest.approx(bleu(chosen, references))
