"""Matrix products for a search, whose results must not depend on the batch: in a fixed order of summation.

A library's product rounds a row by the number of rows beside it. `product.h` sums up the terms of every output in the
same order, whatever the number of rows and of threads is; docs/explanation/performance.md has its speed.
"""

from __future__ import annotations

import platform

import torch
from jaxtyping import Float
from torch import Tensor

from seq2seq.kernels import bindings
from seq2seq.model.cpu.packed_linear import Linear, joined


def supports(values: Tensor) -> bool:
    """Return whether products with such a tensor can be computed in a fixed order, under autocast too.

    Only on x86 are the kernels known to be as fast as the library; bf16 products are left to it everywhere.
    """
    known = bindings.compute_dtype(values) != torch.bfloat16 and platform.machine() in ("x86_64", "AMD64")
    return known and bindings.usable(values)


def fixed_order_linear(
    weight: Float[Tensor, "out in"], rows: int = 0, bias: Float[Tensor, " out"] | None = None, tanh: bool = False
) -> Linear:
    """Return x -> x W^T + b, or its tanh, in a fixed order of summation, with W packed once; `rows` is ignored."""
    packed = bindings.pack(weight.detach())

    def product(*parts: Tensor) -> Tensor:
        output = bindings.packed_product(joined(parts), packed, len(weight), bias)
        return output.tanh_() if tanh else output

    return product
