"""Learning-rate schedules at points worked out by hand, and the updates of Adam and AdamW."""

import math

import pytest
import torch
from torch import nn

from seq2seq.config.training import OptimizerName, ScheduleName, TrainingConfig
from seq2seq.training.optimizer import learning_rate, make_optimizer

PEAK, FLOOR, WARMUP = 0.4, 0.1, 100


def rate(schedule: ScheduleName, step: int, progress: float, plateau_scale: float = 1.0, **settings: object) -> float:
    """The learning rate as a share of the peak."""
    given = {"warmup_steps": WARMUP, "min_rate_ratio": FLOOR, "learning_rate": PEAK, **settings}
    return learning_rate(TrainingConfig(schedule=schedule, **given), step, progress, plateau_scale) / PEAK  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("schedule", "step", "progress", "expected"),
    [
        (ScheduleName.constant, 100, 0.0, 1.0),
        (ScheduleName.constant, 9999, 1.0, 1.0),
        (ScheduleName.linear, 100, 0.0, 1.0),
        (ScheduleName.linear, 500, 0.5, 0.55),
        (ScheduleName.linear, 500, 0.75, 0.325),
        (ScheduleName.linear, 500, 1.0, 0.1),
        (ScheduleName.linear, 500, 1.5, 0.1),
        (ScheduleName.cosine, 100, 0.0, 1.0),
        (ScheduleName.cosine, 500, 0.5, 0.55),
        (ScheduleName.cosine, 500, 1 / 3, 0.1 + 0.9 * 0.75),
        (ScheduleName.cosine, 500, 1.0, 0.1),
        (ScheduleName.inverse_sqrt, 100, 0.2, 1.0),
        (ScheduleName.inverse_sqrt, 400, 0.9, 0.5),
        (ScheduleName.inverse_sqrt, 1600, 0.9, 0.25),
        (ScheduleName.inverse_sqrt, 10**6, 0.9, 0.1),
    ],
)
def test_after_warm_up(schedule: ScheduleName, step: int, progress: float, expected: float) -> None:
    assert rate(schedule, step, progress) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("schedule", ScheduleName)
def test_warm_up_is_linear_from_the_first_update_to_the_peak(schedule: ScheduleName) -> None:
    rates = [rate(schedule, step, 0.0) for step in (1, 25, 50, 100)]
    assert rates == pytest.approx([0.01, 0.25, 0.5, 1.0], abs=1e-12)


@pytest.mark.parametrize("schedule", ScheduleName)
def test_no_warm_up_starts_at_the_peak(schedule: ScheduleName) -> None:
    assert rate(schedule, 1, 0.0, warmup_steps=0) == pytest.approx(1.0, abs=1e-12)


def test_inverse_square_root_without_warm_up() -> None:
    assert rate(ScheduleName.inverse_sqrt, 4, 0.0, warmup_steps=0) == pytest.approx(0.5, abs=1e-12)


def test_plateau_multiplies_down_to_the_floor() -> None:
    rates = [rate(ScheduleName.plateau, 500, 0.5, scale) for scale in (1.0, 0.5, 0.25, 0.01)]
    assert rates == pytest.approx([1.0, 0.5, 0.25, 0.1], abs=1e-12)
    assert rate(ScheduleName.plateau, 50, 0.5, 0.5) == pytest.approx(0.25, abs=1e-12)


@pytest.mark.parametrize("schedule", ScheduleName)
def test_the_rate_never_falls_below_the_floor_after_warm_up_nor_exceeds_the_peak(schedule: ScheduleName) -> None:
    for step in range(1, 2000, 7):
        share = rate(schedule, step, step / 1500, plateau_scale=0.9**step)
        assert FLOOR * min(1.0, step / WARMUP) - 1e-12 <= share <= 1 + 1e-12


@pytest.mark.parametrize("name", OptimizerName)
def test_weight_decay_is_a_gradient_term_in_adam_and_decoupled_in_adamw(name: OptimizerName) -> None:
    """One update without a gradient: Adam's first update has the length of the rate whatever the gradient is."""
    weight = nn.Parameter(torch.tensor([2.0]))
    config = TrainingConfig(optimizer=name, learning_rate=0.1, weight_decay=0.05)
    optimizer = make_optimizer([weight], config)
    weight.grad = torch.zeros(1)
    optimizer.step()
    expected = {OptimizerName.adam: 2.0 - 0.1, OptimizerName.adamw: 2.0 - 0.1 * 0.05 * 2.0}[name]
    assert weight.item() == pytest.approx(expected, abs=1e-6)


def test_beta2_is_adams_second_moment_decay() -> None:
    """The second update by hand: gradients 1 then 3 with beta1 = 0.9."""
    beta2, rate_ = 0.7, 0.01
    weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = make_optimizer([weight], TrainingConfig(learning_rate=rate_, beta2=beta2))
    m = v = position = 0.0
    for step, gradient in enumerate([1.0, 3.0], start=1):
        m, v = 0.9 * m + 0.1 * gradient, beta2 * v + (1 - beta2) * gradient**2
        position -= rate_ * (m / (1 - 0.9**step)) / math.sqrt(v / (1 - beta2**step))
        weight.grad = torch.full((1,), gradient, dtype=torch.float64)
        optimizer.step()
    assert weight.item() == pytest.approx(position, rel=1e-6)
