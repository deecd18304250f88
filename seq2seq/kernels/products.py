"""Products of one matrix with many small ones in turn: a recurrence's, in floating point or in 8 bits."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from seq2seq.kernels import calls

Product = Callable[[Tensor], Tensor]


def product_with(weight: Float[Tensor, "out in"], rows: int, bias: Float[Tensor, " out"] | None = None) -> Product:
    """Return x -> x W^T + b for x of about `rows` rows; no gradient flows through it.

    Where oneDNN is there, W is brought into the order its kernels read once and not in every product, which for some
    tens of rows costs as much as the product itself.
    """
    if _packs(weight.dtype):
        mkldnn = torch.ops.mkldnn
        packed = mkldnn._reorder_linear_weight(weight.detach().contiguous(), rows)
        return lambda x: mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
    return lambda x: linear(x, weight, bias)


@functools.cache
def _packs(dtype: torch.dtype) -> bool:
    """Tell whether oneDNN has packed products of this type on this machine."""
    if dtype not in (torch.float32, torch.bfloat16) or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    try:
        torch.ops.mkldnn._reorder_linear_weight(torch.zeros(16, 16, dtype=dtype), 16)
    except (AttributeError, RuntimeError):
        return False
    return True


def int8_product_with(weight: Float[Tensor, "out in"], rows: int, bias: Float[Tensor, " out"] | None = None) -> Product:
    """Return x -> x W^T + b computed in 8 bits, with a scale for each row of W and for each row of x.

    Since every row of x has its own scale, its result does not depend on the others. Dettmers et al. 2022 (section 2.1)
    call this vector-wise quantisation; what it costs in quality stands in docs/performance.md.
    """
    if weight.dtype == torch.float64:
        raise TypeError("8-bit products stand in for fp32 or bf16 ones, not for float64")
    onednn = torch.ops.onednn
    exact = weight.detach().float()
    scales = exact.abs().amax(dim=1).clamp(min=1e-12) / 127
    whole = torch.round(exact / scales[:, None]).to(torch.int8)
    packed = onednn.qlinear_prepack(whole.contiguous(), [rows, whole.shape[1]])
    zeros, exact_bias = torch.zeros(len(whole), dtype=torch.int64), None if bias is None else bias.float()

    def product(x: Tensor) -> Tensor:
        x = x.contiguous()
        small, row_scales = torch.empty_like(x, dtype=torch.uint8), torch.empty(len(x), dtype=torch.float32)
        calls.quantise(x, small, row_scales)
        sums = onednn.qlinear_pointwise(
            *(small, 1.0, 128, packed, scales, zeros, None, 1.0, 0, torch.float32, "none", [], "")
        )
        output = x.new_empty(sums.shape)
        calls.dequantise(sums, row_scales, exact_bias, output)
        return output

    return product


@functools.cache
def has_int8() -> bool:
    """Tell whether this build of torch, with the kernels, computes products in 8 bits."""
    if not calls.usable(torch.zeros(0)):
        return False
    largest = torch.full((16, 16), 127.0)
    try:  # without instructions for it, oneDNN adds pairs in 16 bits, which the largest values overflow
        return torch.allclose(int8_product_with(largest, 16)(largest), largest @ largest)
    except (AttributeError, RuntimeError):
        return False
