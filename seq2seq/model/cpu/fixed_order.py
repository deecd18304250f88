"""Matrix products for a search, whose results must not depend on the batch: in a fixed order of summation.

A library's product rounds a row by the number of rows beside it. `product.h` sums up the terms of every output in the
same order, whatever the number of rows and of threads is; docs/explanation/performance.md has its speed.
"""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator
from contextvars import ContextVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seq2seq.kernels import bindings
from seq2seq.model.cpu.packed_linear import Linear, joined
from seq2seq.model.cpu.weight_state import WeightState

_active: ContextVar[Products | None] = ContextVar("products", default=None)


def supports(values: Tensor) -> bool:
    """Return whether products with such a tensor can be computed in a fixed order, under autocast too.

    Only on x86 are the kernels known to be as fast as the library; bf16 and 8-bit products are left to it everywhere.
    """
    known = bindings.compute_dtype(values) != torch.bfloat16 and platform.machine() in ("x86_64", "AMD64")
    return known and bindings.usable(values)


def fixed_order_linear(
    weight: Float[Tensor, "out in"], rows: int = 0, bias: Float[Tensor, " out"] | None = None
) -> Linear:
    """Return x -> x W^T + b in a fixed order of summation, with W packed once; `rows` is ignored."""
    packed = bindings.pack(weight.detach())

    def product(*parts: Tensor) -> Tensor:
        return bindings.packed_product(joined(parts), packed, len(weight), bias)

    return product


class Products:
    """The packed weights of one network, each made at its first product and again after the weight has changed."""

    def __init__(self) -> None:
        self._packed: dict[int, tuple[WeightState, Tensor]] = {}  # by the weight's id, which the state keeps

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Use these products in the network's layers inside the block, where they are supported."""
        token = _active.set(self)
        try:
            yield
        finally:
            _active.reset(token)

    def packed(self, weight: Float[Tensor, "out in"]) -> Tensor:
        """Return the weight as the kernels read it."""
        known = self._packed.get(id(weight))
        if known is None or not known[0].is_state_of(weight):
            known = self._packed[id(weight)] = WeightState(weight), bindings.pack(weight.detach())
        return known[1]

    def multiply(
        self, x: Float[Tensor, "*rows in"], weight: Float[Tensor, "out in"], bias: Float[Tensor, " out"] | None
    ) -> Float[Tensor, "*rows out"]:
        """Return x W^T + b."""
        return bindings.packed_product(x, self.packed(weight), len(weight), bias)


def products(values: Tensor) -> Products | None:
    """Return the active products if they support such a tensor."""
    active = _active.get()
    return active if active is not None and supports(values) else None


def apply(layer: nn.Module, values: Float[Tensor, "*rows in"]) -> Float[Tensor, "*rows out"]:
    """Return `layer(values)`, by the active products if the layer is linear."""
    active = products(values)
    if active is None or not isinstance(layer, nn.Linear):
        output: Tensor = layer(values)
        return output
    return active.multiply(values, layer.weight, layer.bias)
