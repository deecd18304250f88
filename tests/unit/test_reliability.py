"""Reliability: bins and expected calibration error, against values computed by hand."""

from __future__ import annotations

import math
import random

import pytest

from seq2seq.evaluation.reliability import Bin, reliability


def test_by_hand() -> None:
    """Bins 0.5-1: (0.6 + 0.8) / 2 = 0.7 against 1/2; 0-0.5: 0.2 against 0. ECE = (2 × 0.2 + 1 × 0.2) / 3."""
    found = reliability([0.6, 0.2, 0.8], [True, False, False], bins=2)
    assert [(part.low, part.high, part.count, part.share_right) for part in found.bins] == [
        (0, 0.5, 1, 0),
        (0.5, 1, 2, 0.5),
    ]
    assert [part.mean_probability for part in found.bins] == pytest.approx([0.2, 0.7])
    assert found.expected_calibration_error == pytest.approx(0.2)
    assert found.count == 3
    plain = found.to_dict()
    assert plain["expected_calibration_error"] == pytest.approx(0.2)
    assert Bin(**plain["bins"][1]) == found.bins[1]


def test_the_ends_belong_to_the_outer_bins() -> None:
    found = reliability([0.0, 1.0], [False, True])
    assert [(part.low, part.high) for part in found.bins] == [(0, 0.1), (0.9, 1)]
    assert found.expected_calibration_error == 0


def test_calibrated_probabilities_have_nearly_no_error_and_others_do() -> None:
    numbers = random.Random(1)
    probabilities = [numbers.random() for _ in range(50_000)]
    outcomes = [numbers.random() < probability for probability in probabilities]
    assert reliability(probabilities, outcomes).expected_calibration_error < 0.01
    too_sure = [probability**3 for probability in probabilities]
    assert reliability(too_sure, outcomes).expected_calibration_error > 0.2


def test_nothing_and_nonsense() -> None:
    nothing = reliability([], [])
    assert math.isnan(nothing.expected_calibration_error)
    assert nothing.to_dict() == {"expected_calibration_error": None, "count": 0, "bins": []}
    for probability in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="not a probability"):
            reliability([probability], [True])
    with pytest.raises(ValueError, match="shorter"):
        reliability([0.5, 0.5], [True])
