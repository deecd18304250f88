"""Try each undocumented function of torch once per process before it is used.

A function that is missing, or whose arguments have changed in this version of torch, is logged once and not used.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable

import torch

from seq2seq.config.model import CellName
from seq2seq.model.cpu.torch_layers import FUNCTIONS, try_function

log = logging.getLogger(__name__)
FAILURES = (AttributeError, RuntimeError, TypeError, ValueError, NotImplementedError)


def works(what: str, instead: str, try_it: Callable[[], bool]) -> bool:
    """Return whether `try_it`, outside autocast and autograd, returns true; log one line if it raises."""
    try:
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            return try_it()
    except FAILURES as error:
        first = str(error).strip().partition("\n")[0]
        level = logging.INFO if "cpu support" in first else logging.WARNING  # many CPUs have no bf16 products
        log.log(level, "%s cannot be used with torch %s, using %s: %s", what, torch.__version__, instead, first)
        return False


@functools.cache
def has_packed_linear(dtype: torch.dtype) -> bool:
    """Return whether oneDNN has packed products of this type on this machine."""
    if dtype not in (torch.float32, torch.bfloat16) or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    ones = torch.ones(16, 16, dtype=dtype)

    def try_it() -> bool:
        packed = torch.ops.mkldnn._reorder_linear_weight(ones, 16)
        products = (torch.ops.mkldnn._linear_pointwise(ones, packed, None, then, [], "") for then in ("none", "tanh"))
        return all(map(torch.equal, products, (torch.full_like(ones, 16), ones)))

    return works(f"oneDNN's packed products ({str(dtype).removeprefix('torch.')})", "ordinary products", try_it)


@functools.cache
def has_torch_layer(name: CellName) -> bool:
    """Return whether torch's fused layer of this cell takes the arguments that `torch_layers` gives it."""
    return name in FUNCTIONS and works(f"torch's fused {name.name} layer", "plain steps", lambda: try_function(name))
