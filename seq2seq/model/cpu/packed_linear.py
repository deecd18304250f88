"""Linear maps of one matrix that is multiplied many times: packed in floating point, or in 8 bits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from seq2seq.errors import NotFiniteError
from seq2seq.kernels import bindings
from seq2seq.model.cpu import probes

USUAL_ROWS = 80  # of a search, for which its matrices are packed; another number gives the same result
Linear = Callable[..., Tensor]  # of x, or of parts that are the columns of x side by side


def packed_linear(
    weight: Float[Tensor, "out in"], rows: int, bias: Float[Tensor, " out"] | None = None, tanh: bool = False
) -> Linear:
    """Return x -> x W^T + b, or its tanh, for x of about `rows` rows; no gradient flows through it.

    Where torch has oneDNN, W is brought into the order that oneDNN's kernels read once, and not in every product, which
    for some tens of rows costs as much as the product itself.
    """
    if probes.has_packed_linear(weight.dtype):
        mkldnn = torch.ops.mkldnn
        packed = mkldnn._reorder_linear_weight(weight.detach().contiguous(), rows)
        then = "tanh" if tanh else "none"
        return lambda *parts: mkldnn._linear_pointwise(joined(parts), packed, bias, then, [], "")
    return lambda *parts: linear(joined(parts), weight, bias).tanh() if tanh else linear(joined(parts), weight, bias)


def int8_linear(
    weight: Float[Tensor, "out in"], rows: int, bias: Float[Tensor, " out"] | None = None, tanh: bool = False
) -> Linear:
    """Return x -> x W^T + b, or its tanh, computed in 8 bits, with a scale for each row of W and for each row of x.

    Dettmers et al. 2022 (section 2.1) call this vector-wise quantisation; docs/explanation/performance.md has its cost
    in quality.

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
    return bindings.Int8Product(whole, scales, None if bias is None else bias.float(), weight.dtype, tanh)


def joined(parts: tuple[Tensor, ...]) -> Tensor:
    """Return the parts side by side."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
