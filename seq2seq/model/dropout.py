"""Dropout (Srivastava et al. 2014) whose mask is computed twice rather than stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from seq2seq.kernels import calls


class Dropout(nn.Dropout):
    """`nn.Dropout`, several times faster on a CPU, where drawing the mask takes longer than using it.

    With the compiled kernels the mask is a hash of each element's place and a seed drawn from torch's generator. The
    masks are other ones than those of `nn.Dropout`, and the results of a run as reproducible.

    Args:
        p: probability of a zero.
        variational: whether all positions of a sentence have one mask (Gal and Ghahramani 2016); values are then
            [batch, position, unit].
    """

    def __init__(self, p: float, variational: bool = False) -> None:
        super().__init__(p)
        self.variational = variational

    def forward(self, input: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Return the values, each kept with probability 1 - p and then divided by that; in evaluation, all."""
        if not self.training or self.p == 0:
            return input
        return self.for_sentences(input)(input) if self.variational else self._dropped(input)

    def for_sentences(self, like: Float[Tensor, "batch positions units"]) -> Callable[[Tensor], Tensor]:
        """Return what drops out units of one position after another: with one mask where it is variational."""
        if not self.variational or not self.training or self.p == 0:
            return self
        mask = self._dropped(torch.ones_like(like[:, :1]))
        return lambda values: values * mask

    def _dropped(self, input: Tensor) -> Tensor:
        if self.p == 1 or not calls.usable(input):
            return super().forward(input)
        seed = int(torch.randint(2**63 - 1, ()))
        dropped: Tensor = HashedDropout.apply(input, 1 - self.p, seed)  # type: ignore[no-untyped-call]
        return dropped


class HashedDropout(torch.autograd.Function):
    """Dropout by hash (kernels/elements.h) of an element's place in memory, so the gradient takes the same layout."""

    @staticmethod
    def forward(ctx: Any, values: Float[Tensor, "*any"], keep: float, seed: int) -> Float[Tensor, "*any"]:
        """Return the values that are kept, scaled."""
        output = torch.empty_like(values)  # in the order of the values, without their gaps
        values = values if values.stride() == output.stride() else torch.empty_like(output).copy_(values)
        ctx.keep, ctx.seed, ctx.layout = keep, seed, (output.shape, output.stride())
        calls.dropout(values, output, keep, seed)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of the elements that were kept, scaled."""
        result = torch.empty_strided(*ctx.layout, dtype=gradient.dtype)
        if gradient.stride() != result.stride():
            gradient = torch.empty_like(result).copy_(gradient)
        calls.dropout(gradient, result, ctx.keep, ctx.seed)
        return result, None, None
