"""Linear maps of one matrix that is multiplied many times: packed in floating point, or in 8 bits."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear, pad

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
    exact = weight.detach().float()
    if not exact.isfinite().all():
        raise NotFiniteError("the model has weights that are not finite (NaN or infinity), which int8 cannot hold")
    scales = exact.abs().amax(dim=1).clamp(min=1e-12) / 127
    whole = torch.round(exact / scales[:, None]).to(torch.int8)
    make = _onednn_product if not bindings.has_int8_dot_product() and has_onednn_int8() else _compiled_product
    multiply = make(whole, scales, None if bias is None else bias.float(), rows)

    def product(x: Tensor) -> Tensor:
        x = x.contiguous()
        small, row_scales = torch.empty_like(x, dtype=torch.uint8), torch.empty(len(x), dtype=torch.float32)
        bindings.quantise(x, small, row_scales)
        output = x.new_empty(len(x), len(whole))
        multiply(small, row_scales, output)
        return output

    return product


def _onednn_product(whole: Tensor, scales: Tensor, bias: Tensor | None, rows: int) -> Callable[..., None]:
    """Return (rows in 8 bits, their scales, output) -> None, which fills the output."""
    onednn, zeros = torch.ops.onednn, torch.zeros(len(whole), dtype=torch.int64)
    packed = onednn.qlinear_prepack(whole.contiguous(), [rows, whole.shape[1]])

    def multiply(small: Tensor, row_scales: Tensor, output: Tensor) -> None:
        sums = onednn.qlinear_pointwise(
            *(small, 1.0, 128, packed, scales, zeros, None, 1.0, 0, torch.float32, "none", [], "")
        )
        bindings.dequantise(sums, row_scales, bias, output)

    return multiply


def _compiled_product(whole: Tensor, scales: Tensor, bias: Tensor | None, rows: int) -> Callable[..., None]:
    """Return the same with the package's own kernel; `rows` is ignored."""
    panel, group = bindings.int8_layout()
    filled = pad(whole, (0, -whole.shape[1] % group, 0, -len(whole) % panel))
    packed = filled.view(len(filled) // panel, panel, -1, group).transpose(1, 2).contiguous()
    return lambda small, row_scales, output: bindings.int8_product(small, row_scales, packed, scales, bias, output)


@functools.cache
def has_onednn_int8() -> bool:
    """Return whether oneDNN's products in 8 bits are exact on this machine.

    Without 8-bit instructions oneDNN adds pairs of products in 16 bits, which the largest values overflow.
    """
    largest, scales = torch.full((16, 16), 127, dtype=torch.int8), torch.ones(16)

    def try_it() -> bool:
        output = torch.empty(16, 16)
        _onednn_product(largest, scales, None, 16)(torch.full((16, 16), 255, dtype=torch.uint8), scales, output)
        return bool((output == 16 * 127 * 127).all())

    return probes.works("oneDNN's 8-bit products", "the package's own", try_it)


@functools.cache
def has_int8() -> bool:
    """Return whether this machine computes products in 8 bits fast: by oneDNN, or by the package's kernel."""
    return bindings.usable(torch.zeros(0)) and (bindings.has_int8_product() or has_onednn_int8())
