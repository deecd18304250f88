"""The moving average of a network's weights."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from seq2seq.training.ema import MovingAverage
from seq2seq.training.trainer import Validation
from tiny_trainer import random_data, same_weights, tiny_trainer, weights_of


def set_weight(network: nn.Linear, value: float) -> None:
    with torch.no_grad():
        network.weight.fill_(value)


def test_the_average_is_the_one_worked_out_by_hand() -> None:
    network = nn.Linear(1, 1, bias=False)
    set_weight(network, 8.0)
    average = MovingAverage(network, decay=0.25)
    for step, value in ((1, 0.0), (2, 4.0), (3, 4.0)):  # decays 2/11, 3/12 and 0.25 (4/13 is above it)
        set_weight(network, value)
        average.update(step)
    expected = ((8 * 2 / 11) * 0.25 + 4 * 0.75) * 0.25 + 4 * 0.75
    torch.testing.assert_close(average.average[0].item(), expected)


def test_inside_the_block_the_network_is_the_average_and_after_it_itself() -> None:
    network = nn.Linear(2, 1)
    average = MovingAverage(network, decay=0.5)
    before = network.weight.detach().clone()
    set_weight(network, 7.0)
    version = network.weight._version
    with average.in_place():
        assert torch.equal(network.weight, before)
        assert network.weight._version > version  # what is prepared from the weights is made anew
    assert torch.equal(network.weight, torch.full_like(before, 7.0))
    assert torch.equal(average.average[0], before)


def test_a_run_validates_and_keeps_the_average_and_trains_the_weights(tmp_path: Path) -> None:
    """With a decay of 0 the average is the weights themselves; with a high one it is another network."""
    seen: dict[float | None, dict[str, torch.Tensor]] = {}
    ends = {}
    for decay in (None, 0.0, 0.9):

        def validate(decay: float | None = decay) -> Validation:
            seen[decay] = weights_of(made)
            return Validation(1.0, 2.7, 1.0, 1.0)

        with tiny_trainer(tmp_path / str(decay), random_data(4), validate, max_steps=6, ema=decay) as made:
            made.fit()
        ends[decay] = weights_of(made)
    assert same_weights(seen[0.0], seen[None])
    assert not same_weights(seen[0.9], seen[None])
    assert same_weights(ends[0.9], ends[None])
