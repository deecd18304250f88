"""Torch's own fused layers: on a CPU without the compiled kernels, and on a GPU with cuDNN."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seq2seq.config.model import CellName
from seq2seq.model.cells import Cell, State, zero_state
from seq2seq.model.padding import Weights, run_directions

FUNCTIONS: dict[CellName, Callable[..., tuple[Tensor, ...]]] = {
    CellName.lstm: torch.lstm,
    CellName.gru: torch.gru,
    CellName.rnn: torch.rnn_tanh,
}


def run_torch(
    cells: Sequence[Cell],
    weights: Sequence[Weights],
    inputs: Float[Tensor, "batch len in"],
    lengths: Int[Tensor, " batch"] | None,
    start: State | None,
) -> Float[Tensor, "batch len out"]:
    """Run each direction over padded rows, in a call of its own.

    On a CPU this is about twice as fast as over packed rows. On a GPU, packing reads the lengths: the host waits for
    the device. And torch chooses cuDNN's persistent kernels only for one direction of one layer whose rows are not
    packed, in fp16, with at most 1,024 units, sizes in multiples of 128 and up to 128 rows in multiples of 8
    (use_persist_common_heuristics in aten/src/ATen/native/cudnn/RNN.cpp).
    """
    return run_directions(_direction, cells, weights, inputs, lengths, start)


def _direction(
    cell: Cell, inputs: Float[Tensor, "batch len in"], weights: Weights, start: State | None
) -> Float[Tensor, "batch len hidden"]:
    start = start or zero_state(cell, inputs)
    autocast = inputs.is_cpu and torch.is_autocast_enabled("cpu")
    if autocast and cell.name is CellName.lstm and not autocasts_lstm(torch.get_autocast_dtype("cpu")):
        with torch.autocast("cpu", enabled=False):  # in fp32, as torch runs the other cells under autocast
            exact = State(*(values.float() for values in start))
            return _direction(cell, inputs.float(), [weight.float() for weight in weights], exact)
    state = _states(cell, *(values[None].contiguous() for values in start))
    return FUNCTIONS[cell.name](inputs, state, list(weights), True, 1, 0.0, has_backward(cell, inputs), False, True)[0]


@functools.cache
def autocasts_lstm(dtype: torch.dtype) -> bool:
    """Return whether torch's fused LSTM runs under autocast to `dtype` on this CPU; in bf16 it needs AVX512."""
    size = 16
    values, bias = torch.zeros(1, 1, size), torch.zeros(4 * size)
    matrix = torch.zeros(4 * size, size)
    try:
        with torch.autocast("cpu", dtype):
            torch.lstm(values, (values, values), [matrix, matrix, bias, bias], True, 1, 0.0, False, False, True)
    except RuntimeError:
        return False
    return True


def has_backward(cell: Cell, inputs: Tensor) -> bool:
    """Return whether the layer must keep what its backward pass reads, in evaluation mode if its inputs need gradients.

    cuDNN raises an error for a backward pass of a layer that was not told so. Without dropout the states are the same.
    """
    return cell.training or (torch.is_grad_enabled() and inputs.requires_grad)


def _states(cell: Cell, hidden: Tensor, memory: Tensor) -> Tensor | tuple[Tensor, Tensor]:
    return (hidden, memory) if cell.memory_size else hidden


def try_function(name: CellName) -> bool:
    """Return whether torch's function gives states of the right shape for two rows of two steps."""
    cell = Cell(name, 3)
    weights = [torch.zeros(cell.gates * 3, 3), torch.zeros(cell.gates * 3, 3), *torch.zeros(2, cell.gates * 3)]
    return _direction(cell, torch.zeros(2, 2, 3), weights, None).shape == (2, 2, 3)
