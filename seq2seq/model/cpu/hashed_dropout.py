"""Dropout whose mask is a hash: computed twice rather than stored.

On a CPU, drawing a mask with `nn.Dropout` takes longer than using it; the hash is several times faster.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from seq2seq.kernels import bindings


def run_hashed(input: Float[Tensor, "*any"], p: float) -> Float[Tensor, "*any"]:
    """Return the values, each kept with probability 1 - p and then divided by that.

    The mask is a hash of each element's place and of a seed drawn from torch's generator, so `torch.manual_seed` makes
    a run reproducible.
    """
    seed = int(torch.randint(2**63 - 1, ()))
    dropped: Tensor = HashedDropout.apply(input, 1 - p, seed)  # type: ignore[no-untyped-call]
    return dropped


class HashedDropout(torch.autograd.Function):
    """Dropout by a hash (kernels/elements.h) of an element's place in memory; the gradient takes the same layout."""

    @staticmethod
    def forward(ctx: Any, values: Float[Tensor, "*any"], keep: float, seed: int) -> Float[Tensor, "*any"]:
        """Return the values that are kept, scaled."""
        output = torch.empty_like(values)  # in the order of the values, without their gaps
        values = values if values.stride() == output.stride() else torch.empty_like(output).copy_(values)
        ctx.keep, ctx.seed, ctx.layout = keep, seed, (output.shape, output.stride())
        bindings.dropout(_flat(values), _flat(output), keep, seed)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of the elements that were kept, scaled."""
        result = torch.empty_strided(*ctx.layout, dtype=gradient.dtype)
        if gradient.stride() != result.stride():
            gradient = torch.empty_like(result).copy_(gradient)
        bindings.dropout(_flat(gradient), _flat(result), ctx.keep, ctx.seed)
        return result, None, None


def _flat(values: Float[Tensor, "*any"]) -> Float[Tensor, " count"]:
    """Return the elements of a tensor without gaps in the order of memory."""
    return values.as_strided((values.numel(),), (1,))
