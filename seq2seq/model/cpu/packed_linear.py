"""Linear maps of one matrix that is multiplied many times: packed in floating point, or in 8 bits."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from seq2seq.errors import NotFiniteError
from seq2seq.kernels import bindings
from seq2seq.model.cpu import probes

Linear = Callable[[Tensor], Tensor]


def packed_linear(weight: Float[Tensor, "out in"], rows: int, bias: Float[Tensor, " out"] | None = None) -> Linear:
    """Return x -> x W^T + b for x of about `rows` rows; no gradient flows through it.

    Where torch has oneDNN, W is brought into the order that oneDNN's kernels read once, and not in every product, which
    for some tens of rows costs as much as the product itself.
    """
    if probes.has_packed_linear(weight.dtype):
        mkldnn = torch.ops.mkldnn
        packed = mkldnn._reorder_linear_weight(weight.detach().contiguous(), rows)
        return lambda x: mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
    return lambda x: linear(x, weight, bias)


def int8_linear(weight: Float[Tensor, "out in"], rows: int, bias: Float[Tensor, " out"] | None = None) -> Linear:
    """Return x -> x W^T + b computed in 8 bits, with a scale for each row of W and for each row of x.

    Since every row of x has its own scale, its result does not depend on other rows. Dettmers et al. 2022 (section 2.1)
    call this vector-wise quantisation; docs/explanation/performance.md has its cost in
    quality.

    Raises:
        TypeError: the weight is float64.
        NotFiniteError: the weight has NaN or infinity, which 8 bits cannot hold.
    """
    if weight.dtype == torch.float64:
        raise TypeError("8-bit products stand in for fp32 or bf16 products, not for float64")
    onednn = torch.ops.onednn
    exact = weight.detach().float()
    if not exact.isfinite().all():
        raise NotFiniteError("the model has weights that are not finite (NaN or infinity), which int8 cannot hold")
    scales = exact.abs().amax(dim=1).clamp(min=1e-12) / 127
    whole = torch.round(exact / scales[:, None]).to(torch.int8)
    packed = onednn.qlinear_prepack(whole.contiguous(), [rows, whole.shape[1]])
    zeros, exact_bias = torch.zeros(len(whole), dtype=torch.int64), None if bias is None else bias.float()

    def product(x: Tensor) -> Tensor:
        x = x.contiguous()
        small, row_scales = torch.empty_like(x, dtype=torch.uint8), torch.empty(len(x), dtype=torch.float32)
        bindings.quantise(x, small, row_scales)
        sums = onednn.qlinear_pointwise(
            *(small, 1.0, 128, packed, scales, zeros, None, 1.0, 0, torch.float32, "none", [], "")
        )
        output = x.new_empty(sums.shape)
        bindings.dequantise(sums, row_scales, exact_bias, output)
        return output

    return product


@functools.cache
def has_int8() -> bool:
    """Return whether this build of torch, with the kernels, computes products in 8 bits."""
    if not bindings.usable(torch.zeros(0)):
        return False
    largest = torch.full((16, 16), 127.0)

    def try_it() -> bool:  # without 8-bit instructions oneDNN adds pairs in 16 bits, which the largest values overflow
        return torch.allclose(int8_linear(largest, 16)(largest), largest @ largest)

    return probes.works("oneDNN's 8-bit products", "none", try_it)
