"""The exponential moving average of a network's weights."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from seq2seq.training.ema import MovingAverage
from seq2seq.training.records import Validation
from tiny_trainer import random_data, same_weights, tiny_trainer, weights_of


def set_weight(network: nn.Linear, value: float) -> None:
    with torch.no_grad():
        network.weight.fill_(value)


def test_the_average_equals_one_worked_out_by_hand() -> None:
    network = nn.Linear(1, 1, bias=False)
    set_weight(network, 8.0)
    average = MovingAverage(network, decay=0.25)
    for step, value in ((1, 0.0), (2, 4.0), (3, 4.0)):  # decays 2/11, 3/12 and 0.25 (4/13 is above it)
        set_weight(network, value)
        average.update(step)
    expected = ((8 * 2 / 11) * 0.25 + 4 * 0.75) * 0.25 + 4 * 0.75
    torch.testing.assert_close(average.average[0].item(), expected)


def test_the_network_has_the_average_inside_the_block_and_its_own_weights_after_it() -> None:
    network = nn.Linear(2, 1)
    average = MovingAverage(network, decay=0.5)
    before = network.weight.detach().clone()
    set_weight(network, 7.0)
    version = network.weight._version
    with average.applied():
        assert torch.equal(network.weight, before)
        assert network.weight._version > version  # invalidates what is cached for the weights
    assert torch.equal(network.weight, torch.full_like(before, 7.0))
    assert torch.equal(average.average[0], before)


def test_a_run_validates_the_average_and_trains_the_weights(tmp_path: Path) -> None:
    """With a decay of 0 the average equals the weights; with a high decay it does not."""
    validated: dict[float | None, dict[str, torch.Tensor]] = {}
    final = {}
    for decay in (None, 0.0, 0.9):

        def validate(decay: float | None = decay) -> Validation:
            validated[decay] = weights_of(trainer)
            return Validation(1.0, 2.7, 1.0, 1.0)

        with tiny_trainer(tmp_path / str(decay), random_data(4), validate, max_steps=6, ema=decay) as trainer:
            trainer.fit()
        final[decay] = weights_of(trainer)
    assert same_weights(validated[0.0], validated[None])
    assert not same_weights(validated[0.9], validated[None])
    assert same_weights(final[0.9], final[None])
