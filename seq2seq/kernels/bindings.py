"""The compiled kernels as functions of tensors; the headers say what each computes.

They work on CPU tensors of float32, bfloat16 or float64 whose last dimension is contiguous. Sums, cell states and
attention weights have the type `sum_dtype(dtype)`.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from seq2seq.kernels.build import library

_NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float64: "fp64"}
_enabled = True


def enable(enabled: bool) -> None:
    """Let the kernels be used in this process, or not; they are, where nothing is said."""
    global _enabled
    _enabled = enabled


def usable(values: Tensor) -> bool:
    """Tell whether the kernels can be used for such a tensor, under autocast too; the first call compiles them."""
    known = values.is_cpu and values.dtype in _NAMES and compute_dtype(values) in _NAMES
    return _enabled and known and library() is not None


def compute_dtype(values: Tensor) -> torch.dtype:
    """Return the type matrix products run in: autocast's inside its context, else that of `values`."""
    kind = values.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else values.dtype


def sum_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the type in which sums over values of `dtype` are made."""
    return torch.promote_types(dtype, torch.float32)


def cell_forward(
    kind: int,
    product: Float[Tensor, "rows gates"] | None,
    inputs: Float[Tensor, "rows gates"],
    cell_before: Float[Tensor, "rows memory"],
    extra: Float[Tensor, "*extra"] | None,
    norm: Float[Tensor, "2 units hidden"] | None,
    activations: Float[Tensor, "rows kept"],
    cell: Float[Tensor, "rows memory"],
    hidden: Float[Tensor, "rows hidden"],
    output: Float[Tensor, "rows hidden"] | None = None,
    normal: Float[Tensor, "rows gates"] | None = None,
    scales: Float[Tensor, "rows units"] | None = None,
    lengths: Int[Tensor, " rows"] | None = None,
    t: int = 0,
) -> None:
    """One step from `inputs` and `product`, the shares of the gates: fills activations, cell, hidden and output.

    With `norm`, gains and shifts of normalised gates, also `normal` and `scales`, where given, for the way back.
    """
    _function("cell_forward", inputs.dtype)(
        kind, torch.get_num_threads(), *hidden.shape, _pointer(product), inputs.data_ptr(),
        inputs.stride(0), cell_before.data_ptr(), _pointer(extra), _pointer(norm), _pointer(lengths), t,
        activations.data_ptr(), cell.data_ptr(), hidden.data_ptr(), hidden.stride(0), _pointer(output),
        0 if output is None else output.stride(0), _pointer(normal), _pointer(scales),
    )  # fmt: skip


def cell_sequence(
    kind: int,
    weight: Float[Tensor, "gates hidden"],
    extra: Float[Tensor, "*extra"] | None,
    norm: Float[Tensor, "2 units hidden"] | None,
    lengths: Int[Tensor, " rows"] | None,
    reverse: bool,
    gates: Float[Tensor, "len rows gates"],
    activations: Float[Tensor, "len rows kept"],
    cells: Float[Tensor, "len_and_1 rows memory"],
    hiddens: Float[Tensor, "len_and_1 rows hidden"],
    normal: Float[Tensor, "len rows gates"] | None,
    scales: Float[Tensor, "len rows units"] | None,
) -> None:
    """All steps, products included, for a few rows: fills what comes after `gates`, the inputs' share."""
    _function("cell_sequence", gates.dtype)(
        kind, *hiddens[1:].shape, weight.data_ptr(), _pointer(extra), _pointer(norm), _pointer(lengths),
        reverse, gates.data_ptr(), activations.data_ptr(), cells.data_ptr(), hiddens.data_ptr(), _pointer(normal),
        _pointer(scales),
    )  # fmt: skip


def cell_backward(
    kind: int,
    activations: Float[Tensor, "rows kept"],
    cell_before: Float[Tensor, "rows memory"],
    cell: Float[Tensor, "rows memory"],
    extra: Float[Tensor, "*extra"] | None,
    norm: Float[Tensor, "2 units hidden"] | None,
    normal: Float[Tensor, "rows gates"] | None,
    scales: Float[Tensor, "rows units"] | None,
    output_gradient: Float[Tensor, "rows hidden"],
    hidden_gradient: Float[Tensor, "rows hidden"] | None,
    cell_gradient: Float[Tensor, "rows memory"],
    gates_gradient: Float[Tensor, "rows gates"],
    other_gradient: Float[Tensor, "rows gates"] | None,
    norm_gradient: Float[Tensor, "rows 2 units hidden"] | None,
    lengths: Int[Tensor, " rows"] | None = None,
    t: int = 0,
) -> None:
    """Backward of one step: fills the gates' gradients and turns the cell's into that of the cell before.

    `other_gradient` gets that of a GRU's `product`, which differs from that of its inputs; of another cell, where
    given, that of its normalised gates. The gradient of gains and shifts is added to, row by row.
    """
    _function("cell_backward", activations.dtype)(
        kind, torch.get_num_threads(), *output_gradient.shape, activations.data_ptr(),
        cell_before.data_ptr(), cell.data_ptr(), _pointer(extra), _pointer(norm), _pointer(normal), _pointer(scales),
        _pointer(lengths), t, output_gradient.data_ptr(), output_gradient.stride(0),
        _pointer(hidden_gradient), 0 if hidden_gradient is None else hidden_gradient.stride(0),
        cell_gradient.data_ptr(), gates_gradient.data_ptr(), _pointer(other_gradient), _pointer(norm_gradient),
    )  # fmt: skip


def attend_forward(
    query: Float[Tensor, "rows queries attn"],
    keys: Float[Tensor, "rows positions attn"],
    states: Float[Tensor, "rows more_positions enc"],
    energy: Float[Tensor, " attn"] | None,
    coverage: Float[Tensor, " attn"] | None,
    received: Float[Tensor, "rows queries heads positions"] | None,
    lengths: Int[Tensor, " rows"],
    weights: Float[Tensor, "rows queries heads positions"],
    context: Float[Tensor, "rows_queries enc"],
) -> None:
    """Fill the weights of every query and head, and the context of every query.

    Without `energy` a score is the product of query and key; `coverage` is how additive ones see what was received.
    """
    rows, positions, size = keys.shape
    _function("attend_forward", keys.dtype)(
        torch.get_num_threads(), rows, *weights.shape[1:3], positions, size, states.shape[2], query.data_ptr(),
        keys.data_ptr(), states.data_ptr(), states.stride(0), _pointer(energy), _pointer(coverage), _pointer(received),
        lengths.data_ptr(), weights.data_ptr(), context.data_ptr(), context.stride(0),
    )  # fmt: skip


def attend_backward(
    query: Float[Tensor, "rows attn"],
    keys: Float[Tensor, "rows positions attn"],
    states: Float[Tensor, "rows positions enc"],
    energy: Float[Tensor, " attn"] | None,
    coverage: Float[Tensor, " attn"] | None,
    received: Float[Tensor, "rows heads positions"] | None,
    lengths: Int[Tensor, " rows"],
    weights: Float[Tensor, "rows heads positions"],
    weights_gradient: Float[Tensor, "rows heads positions"] | None,
    context_gradient: Float[Tensor, "rows enc"],
    query_gradient: Float[Tensor, "rows attn"],
    keys_gradient: Float[Tensor, "rows positions attn"],
    energy_gradient: Float[Tensor, "rows attn"] | None,
    coverage_gradient: Float[Tensor, "rows attn"] | None,
    received_gradient: Float[Tensor, "rows heads positions"] | None,
) -> None:
    """Backward of one query a sentence: fills the query's gradient, adds to those of keys, energy and coverage vector.

    The gradient of the attention received becomes that of what was received before.
    """
    rows, positions, size = keys.shape
    _function("attend_backward", keys.dtype)(
        torch.get_num_threads(), rows, weights.shape[1], positions, size, states.shape[2], query.data_ptr(),
        keys.data_ptr(), states.data_ptr(), states.stride(0), _pointer(energy), _pointer(coverage), _pointer(received),
        lengths.data_ptr(), weights.data_ptr(), _pointer(weights_gradient), context_gradient.data_ptr(),
        context_gradient.stride(0), query_gradient.data_ptr(), keys_gradient.data_ptr(), _pointer(energy_gradient),
        _pointer(coverage_gradient), _pointer(received_gradient),
    )  # fmt: skip


def cross_entropy(
    logits: Float[Tensor, "rows vocab"],
    targets: Int[Tensor, " rows"],
    smoothing: float,
    loss: Float[Tensor, " rows"],
    nll: Float[Tensor, " rows"],
) -> None:
    """Label-smoothed cross entropy: fills loss and nll and replaces the logits by the gradient of the summed loss."""
    _function("cross_entropy", logits.dtype)(
        torch.get_num_threads(), *logits.shape, logits.data_ptr(), targets.data_ptr(), smoothing,
        loss.data_ptr(), nll.data_ptr(),
    )  # fmt: skip


def dropout(values: Float[Tensor, "*any"], output: Float[Tensor, "*any"], keep: float, seed: int) -> None:
    """Fill `output` with `values`, each kept with probability `keep` and divided by it, or 0; both contiguous."""
    _function("dropout", values.dtype)(
        torch.get_num_threads(), values.numel(), values.data_ptr(), output.data_ptr(), keep, seed
    )


def log_sum_exp(values: Float[Tensor, "*rows columns"]) -> Float[Tensor, "*rows"]:
    """Return log(sum of e^x) over the last dimension, which is contiguous like all the others."""
    output = values.new_empty(values.shape[:-1], dtype=sum_dtype(values.dtype))
    _function("log_sum_exp", values.dtype)(
        torch.get_num_threads(), output.numel(), values.shape[-1], values.data_ptr(), output.data_ptr()
    )
    return output


def best_continuations(
    logits: Float[Tensor, "sentences beam vocab"],
    normaliser: Float[Tensor, "sentences beam"],
    live: Float[Tensor, "sentences beam"],
    only_eos: Bool[Tensor, " sentences"] | None,
    never: Bool[Tensor, " vocab"],
    eos: int,
    totals: Float[Tensor, "sentences best"],
    parents: Int[Tensor, "sentences best"],
    tokens: Int[Tensor, "sentences best"],
    log_probs: Float[Tensor, "sentences best"],
) -> None:
    """Fill the last four with the best continuations by one token; all tensors are contiguous."""
    _function("best_continuations", logits.dtype)(
        torch.get_num_threads(), *logits.shape, totals.shape[1], logits.data_ptr(), normaliser.data_ptr(),
        live.data_ptr(), _pointer(only_eos), never.data_ptr(), eos, totals.data_ptr(), parents.data_ptr(),
        tokens.data_ptr(), log_probs.data_ptr(),
    )  # fmt: skip


def quantise(
    values: Float[Tensor, "rows columns"], output: UInt8[Tensor, "rows columns"], scales: Float[Tensor, " rows"]
) -> None:
    """Fill `output` with 128 + values / scale, rounded, and `scales` with what makes each row fit into 8 bits."""
    _function("quantise", values.dtype)(
        torch.get_num_threads(), *values.shape, values.data_ptr(), output.data_ptr(), scales.data_ptr()
    )


def dequantise(
    product: Float[Tensor, "rows columns"],
    scales: Float[Tensor, " rows"],
    bias: Float[Tensor, " columns"] | None,
    output: Float[Tensor, "rows columns"],
) -> None:
    """Fill `output` with product * scale + bias, a scale for each row."""
    _function("dequantise", output.dtype)(
        torch.get_num_threads(), *product.shape, product.data_ptr(), scales.data_ptr(), _pointer(bias),
        output.data_ptr(),
    )  # fmt: skip


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


_P, _N = ctypes.c_void_p, ctypes.c_int64
_ARGUMENTS: dict[str, list[Any]] = {
    "cell_forward": [ctypes.c_int, ctypes.c_int, _N, _N, _P, _P, _N, *[_P] * 4, _N, *[_P] * 3, _N, _P, _N, _P, _P],
    "cell_sequence": [ctypes.c_int, _N, _N, _N, *[_P] * 4, ctypes.c_int, *[_P] * 6],
    "cell_backward": [ctypes.c_int, ctypes.c_int, _N, _N, *[_P] * 8, _N, _P, _N, _P, _N, *[_P] * 4],
    "attend_forward": [ctypes.c_int, *[_N] * 6, _P, _P, _P, _N, *[_P] * 6, _N],
    "attend_backward": [ctypes.c_int, *[_N] * 5, _P, _P, _P, _N, *[_P] * 7, _N, *[_P] * 5],
    "cross_entropy": [ctypes.c_int, _N, _N, _P, _P, "sum", _P, _P],
    "log_sum_exp": [ctypes.c_int, _N, _N, _P, _P],
    "best_continuations": [ctypes.c_int, _N, _N, _N, _N, _P, _P, _P, _P, _P, _N, _P, _P, _P, _P],
    "quantise": [ctypes.c_int, _N, _N, _P, _P, _P],
    "dequantise": [ctypes.c_int, _N, _N, _P, _P, _P, _P],
    "dropout": [ctypes.c_int, _N, _P, _P, "sum", ctypes.c_uint64],
}


@functools.cache
def _function(name: str, dtype: torch.dtype) -> Callable[..., None]:
    function: Any = getattr(library(), f"{name}_{_NAMES[dtype]}")
    sum_type = ctypes.c_double if dtype == torch.float64 else ctypes.c_float
    function.argtypes = [sum_type if kind == "sum" else kind for kind in _ARGUMENTS[name]]
    function.restype = None
    call: Callable[..., None] = function
    return call
