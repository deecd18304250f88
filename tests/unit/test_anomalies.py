"""Losses that are no numbers, and losses that jump."""

from __future__ import annotations

import random
import statistics

import pytest

from seq2seq.errors import Seq2SeqError
from seq2seq.training.anomalies import WINDOW, is_spike, skip
from seq2seq.training.checkpoint import Progress


def test_the_run_ends_with_the_last_skip_that_is_allowed() -> None:
    progress = Progress()
    for _ in range(2):
        skip(progress, most=3)
    with pytest.raises(Seq2SeqError, match=r"3 updates in a row .*training\.max_skipped"):
        skip(progress, most=3)
    assert progress.skipped == progress.skipped_in_a_row == 3


def losses(count: int, seed: int = 1) -> list[float]:
    numbers = random.Random(seed)
    return [4.0 + numbers.gauss(0, 0.2) for _ in range(count)]


def test_mean_and_variance_of_the_first_updates_are_the_plain_ones() -> None:
    progress, values = Progress(), losses(WINDOW)
    for value in values:
        is_spike(progress, value)
    assert progress.loss_mean == pytest.approx(statistics.mean(values))
    assert progress.loss_variance == pytest.approx(statistics.pvariance(values))


def test_a_jump_is_a_spike_and_noise_is_not() -> None:
    progress = Progress()
    assert not any(is_spike(progress, value) for value in losses(1000))
    mean = progress.loss_mean
    assert is_spike(progress, 8.0)
    assert progress.loss_mean == pytest.approx(mean, abs=0.02)  # one spike does not hide the next
    assert is_spike(progress, 8.0)


def test_a_level_that_stays_is_soon_no_spike_any_more() -> None:
    progress = Progress()
    for value in losses(200):
        is_spike(progress, value)
    spikes = [is_spike(progress, 8.0) for _ in range(WINDOW)]
    assert spikes[0]
    assert not spikes[-1]


def test_the_first_updates_are_never_spikes() -> None:
    progress = Progress()
    assert not any(is_spike(progress, value) for value in [4.0] * (WINDOW - 1) + [9.0])
