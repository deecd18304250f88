"""Exponential moving average of the weights: while the learning rate is high, it translates better than the weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn


class MovingAverage:
    """Exponential moving average of a network's weights (Polyak and Juditsky 1992; Kingma and Ba 2015, section 7.2).

    After update n: average = d average + (1 - d) weights with d = min(decay, (1 + n) / (10 + n)), so that the random
    initial weights are soon forgotten.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._weights, self._decay = list(network.parameters()), decay
        self.average = [weight.detach().clone() for weight in self._weights]

    @torch.no_grad()
    def update(self, step: int, applied: Bool[Tensor, ""] | None = None) -> None:
        """Average in the weights after update number `step`.

        Where `applied`, on the device of the weights, is false, the update was skipped and the average is unchanged:
        the host does not wait for it.
        """
        decay = min(self._decay, (1 + step) / (10 + step))
        share: Any = 1 - decay if applied is None else applied.to(self.average[0]) * (1 - decay)
        for average, weight in zip(self.average, self._weights, strict=True):
            average.lerp_(weight, share)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Swap the average into the network for the block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for weight, average in zip(self._weights, self.average, strict=True):
            own = weight.clone()
            weight.copy_(average)
            average.copy_(own)

    @torch.no_grad()
    def load(self, average: list[Tensor]) -> None:
        """Restore a saved average."""
        for own, saved in zip(self.average, average, strict=True):
            own.copy_(saved)
