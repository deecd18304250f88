"""Matrix products of a search outside the decoder's step: each weight is cast and packed once, not for every sentence.

fp32 products are in a fixed order (`fixed_order.py`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seq2seq.kernels import bindings
from seq2seq.model.cpu import fixed_order
from seq2seq.model.cpu.packed_linear import USUAL_ROWS, packed_linear
from seq2seq.model.cpu.weight_state import WeightState

Made = TypeVar("Made")

_active: ContextVar[Products | None] = ContextVar("products", default=None)


class Products:
    """The prepared weights of one network, each made at its first product and again after the weight has changed."""

    def __init__(self) -> None:
        # By what is made and by the weight's id, which the state keeps.
        self._made: dict[tuple[object, int], tuple[WeightState, Any]] = {}

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Use these products in the network's layers inside the block, where the kernels can be used."""
        token = _active.set(self)
        try:
            yield
        finally:
            _active.reset(token)

    def cast(self, weight: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the weight in this type."""
        return weight if weight.dtype == dtype else self._current(dtype, weight, lambda values: values.to(dtype))

    def packed(self, weight: Float[Tensor, "out in"]) -> Tensor:
        """Return the weight as the kernels' products in a fixed order read it."""
        return self._current("packed", weight, bindings.pack)

    def multiply(
        self, x: Float[Tensor, "*rows in"], weight: Float[Tensor, "out in"], bias: Float[Tensor, " out"] | None
    ) -> Float[Tensor, "*rows out"]:
        """Return x W^T + b."""
        if fixed_order.supports(x):
            return bindings.packed_product(x, self.packed(weight), len(weight), bias)
        output = self._current("linear", weight, lambda values: packed_linear(values, USUAL_ROWS))(x)
        return output if bias is None else output.add_(bias)

    def _current(self, kind: object, weight: Tensor, make: Callable[[Tensor], Made]) -> Made:
        known = self._made.get((kind, id(weight)))
        if known is None or not known[0].is_state_of(weight):
            known = self._made[kind, id(weight)] = WeightState(weight), make(weight.detach())
        made: Made = known[1]
        return made


def products(values: Tensor) -> Products | None:
    """Return the active products if the kernels can be used for such a tensor."""
    active = _active.get()
    return active if active is not None and bindings.usable(values) else None


def apply(layer: nn.Module, values: Float[Tensor, "*rows in"]) -> Float[Tensor, "*rows out"]:
    """Return `layer(values)`, by the active products if the layer is linear."""
    active = products(values)
    if active is None or not isinstance(layer, nn.Linear):
        output: Tensor = layer(values)
        return output
    dtype = bindings.compute_dtype(values)
    bias = None if layer.bias is None else active.cast(layer.bias, dtype)
    return active.multiply(values.to(dtype), active.cast(layer.weight, dtype), bias)
