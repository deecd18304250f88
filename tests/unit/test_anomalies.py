"""Updates that are not finite, and spikes of the loss."""

from __future__ import annotations

import random
import statistics

import pytest

from seq2seq.errors import Seq2SeqError
from seq2seq.training.anomalies import WINDOW, record_loss, record_skip
from seq2seq.training.progress import Progress


def test_the_run_ends_at_the_limit_of_skipped_updates() -> None:
    progress = Progress()
    for _ in range(2):
        record_skip(progress, 1, max_skipped=3)
    with pytest.raises(Seq2SeqError, match=r"3 updates in a row .*training\.max_skipped"):
        record_skip(progress, 1, max_skipped=3)
    assert progress.skipped == progress.skipped_in_a_row == 3


def test_halving_the_loss_scale_counts_only_below_one() -> None:
    progress = Progress()
    for halvings in range(1, 17):
        record_skip(progress, halvings, max_skipped=2, lowered_to=2.0 ** (16 - halvings))
    assert (progress.skipped, progress.skipped_in_a_row) == (16, 0)
    record_skip(progress, 17, max_skipped=2, lowered_to=0.5)
    with pytest.raises(Seq2SeqError, match="2 updates in a row"):
        record_skip(progress, 18, max_skipped=2, lowered_to=0.25)


def losses(count: int, seed: int = 1) -> list[float]:
    numbers = random.Random(seed)
    return [4.0 + numbers.gauss(0, 0.2) for _ in range(count)]


def test_mean_and_variance_of_the_first_updates_are_not_weighted() -> None:
    progress, values = Progress(), losses(WINDOW)
    for value in values:
        record_loss(progress, 1, value)
    assert progress.loss_mean == pytest.approx(statistics.mean(values))
    assert progress.loss_variance == pytest.approx(statistics.pvariance(values))


def test_a_jump_is_a_spike_and_noise_is_not() -> None:
    progress = Progress()
    assert not any(record_loss(progress, 1, value) for value in losses(1000))
    mean = progress.loss_mean
    assert record_loss(progress, 1, 8.0)
    assert progress.loss_mean == pytest.approx(mean, abs=0.02)  # one spike does not hide the next
    assert record_loss(progress, 1, 8.0)


def test_a_loss_that_stays_high_soon_is_no_spike() -> None:
    progress = Progress()
    for value in losses(200):
        record_loss(progress, 1, value)
    spikes = [record_loss(progress, 1, 8.0) for _ in range(WINDOW)]
    assert spikes[0]
    assert not spikes[-1]


def test_the_first_updates_are_never_spikes() -> None:
    progress = Progress()
    assert not any(record_loss(progress, 1, value) for value in [4.0] * (WINDOW - 1) + [9.0])
