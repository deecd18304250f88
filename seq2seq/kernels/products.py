"""Products of one matrix with many small ones in turn: a recurrence's."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

Product = Callable[[Tensor], Tensor]


def product_with(weight: Float[Tensor, "out in"], rows: int, bias: Float[Tensor, " out"] | None = None) -> Product:
    """Return x -> x W^T + b for x of about `rows` rows; no gradient flows through it.

    Where oneDNN is there, W is brought into the order its kernels read once and not in every product, which for some
    tens of rows costs as much as the product itself.
    """
    if weight.dtype in (torch.float32, torch.bfloat16) and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        mkldnn = torch.ops.mkldnn
        packed = mkldnn._reorder_linear_weight(weight.detach().contiguous(), rows)
        return lambda x: mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
    return lambda x: linear(x, weight, bias)
