"""Dropout (Srivastava et al. 2014), with one mask for each value or for each sentence."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seq2seq.model.cpu import dispatch


class Dropout(nn.Dropout):
    """`nn.Dropout` with variational masks and a fast form, whose masks differ from those of `nn.Dropout`.

    Args:
        p: probability of a zero.
        variational: whether all positions of a sentence share one mask (Gal and Ghahramani 2016); values are then
            [batch, position, unit].
    """

    def __init__(self, p: float, variational: bool = False) -> None:
        super().__init__(p)
        self.variational = variational

    def forward(self, input: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return the values, each kept with probability 1 - p and then divided by that; in evaluation, unchanged."""
        if not self.training or self.p == 0:
            return input
        return self.for_sentences(input)(input) if self.variational else self._dropped(input)

    def for_sentences(self, like: Float[Tensor, "batch positions units"]) -> Callable[[Tensor], Tensor]:
        """Return a dropout function to call once per position; variational: all calls share one mask per sentence."""
        if not self.variational or not self.training or self.p == 0:
            return self
        mask = self._dropped(torch.ones_like(like[:, :1]))
        return lambda values: values * mask

    def _dropped(self, input: Tensor) -> Tensor:
        fast = dispatch.dropout(input, self.p)
        return super().forward(input) if fast is None else fast(input, self.p)
