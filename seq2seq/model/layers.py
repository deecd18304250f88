"""A recurrent layer over whole sequences: the weights, and the fastest way to run them that the machine has."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seq2seq.config.model import CellName, ModelConfig
from seq2seq.kernels import calls
from seq2seq.model.cells import Cell, State
from seq2seq.model.dropout import Dropout
from seq2seq.model.recurrence import run_fused

Weights = Sequence[Tensor]  # of inputs and hidden state, then their biases, as torch orders and names them


class RecurrentLayer(nn.Module):
    """One layer, read in one direction or in both, whose outputs stand side by side.

    Weights are named and laid out as those of `nn.LSTM`, `nn.GRU` and `nn.RNN`. In training some of the recurrent ones
    are dropped, the same ones at every step (weight-drop, Merity et al. 2018).
    """

    def __init__(self, config: ModelConfig, input_size: int, hidden_size: int, directions: int = 1) -> None:
        super().__init__()
        self.cells = nn.ModuleList(make_cell(config, hidden_size) for _ in range(directions))
        units = self.cell(0).gates * hidden_size
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (units, input_size), "weight_hh": (units, hidden_size)}
        shapes |= {"bias_ih": (units,), "bias_hh": (units,)}
        for direction in range(directions):
            for name, shape in shapes.items():
                self.register_parameter(_name(name, direction), nn.Parameter(torch.empty(shape)))
        self.weight_drop = Dropout(config.dropout.recurrent)

    def cell(self, direction: int) -> Cell:
        """Return the cell of a direction."""
        cell = self.cells[direction]
        assert isinstance(cell, Cell)
        return cell

    def bias(self, direction: int) -> Tensor:
        """Return the inputs' bias of a direction."""
        bias: Tensor = getattr(self, _name("bias_ih", direction))
        return bias

    def weights(self, direction: int) -> list[Tensor]:
        """Return the weights of a direction; in training with some of the recurrent ones dropped, others each time."""
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        w_ih, w_hh, *biases = (getattr(self, _name(name, direction)) for name in names)
        return [w_ih, self.weight_drop(w_hh), *biases]

    def forward(
        self,
        inputs: Float[Tensor, "batch len in"],
        lengths: Int[Tensor, " batch"] | None = None,
        start: State | None = None,
    ) -> Float[Tensor, "batch len out"]:
        """Return the hidden states of all steps.

        Args:
            inputs: of all steps.
            lengths: of each row: its states are zero beyond, and the reverse direction begins at its end. Absent: all
                rows are read to the end of the batch, in one direction.
            start: state before the first step; absent: zeros.
        """
        if lengths is None:
            return run(self.cell(0), inputs, self.weights(0), start)
        if not self.cell(0).stepwise and calls.usable(inputs):
            return run_compiled(self, inputs, lengths)
        if self.cell(0).in_library and inputs.is_cuda:
            return run_packed(self, inputs, lengths)
        return run_padded(self, inputs, lengths)


def make_cell(config: ModelConfig, size: int) -> Cell:
    """Return a cell of the configured kind."""
    return Cell(config.cell, size, config.layer_norm, config.peephole_candidate)


def run(
    cell: Cell, inputs: Float[Tensor, "batch len in"], weights: Weights, start: State | None = None
) -> Float[Tensor, "batch len hidden"]:
    """Run one direction over rows that are real from end to end, the fastest way there is."""
    if not cell.stepwise and calls.usable(inputs):
        return run_fused(cell, inputs, weights, start)
    return (run_library if cell.in_library else run_steps)(cell, inputs, weights, start)


def run_steps(
    cell: Cell, inputs: Float[Tensor, "batch len in"], weights: Weights, start: State | None = None
) -> Float[Tensor, "batch len hidden"]:
    """Run the cell step by step: the definition."""
    w_ih, w_hh, b_ih, b_hh = weights
    state = start or zeros(cell, inputs)
    hiddens = []
    for x in linear(inputs, w_ih, b_ih).unbind(1):
        state = cell(x, linear(state.hidden, w_hh, b_hh), state)
        hiddens.append(state.hidden)
    return torch.stack(hiddens, dim=1)


def run_library(
    cell: Cell, inputs: Float[Tensor, "batch len in"], weights: Weights, start: State | None = None
) -> Float[Tensor, "batch len hidden"]:
    """Run one direction with torch's fused layer."""
    start, weights = start or zeros(cell, inputs), list(weights)
    autocast = inputs.is_cpu and torch.is_autocast_enabled("cpu")
    if autocast and cell.name is CellName.lstm and not autocasts_lstm(torch.get_autocast_dtype("cpu")):
        with torch.autocast("cpu", enabled=False):  # in fp32, as torch runs the other cells under autocast
            exact = State(*(values.float() for values in start))
            return run_library(cell, inputs.float(), [weight.float() for weight in weights], exact)
    hidden, memory = (values[None].contiguous() for values in start)
    if cell.name is CellName.lstm:
        return torch.lstm(inputs, (hidden, memory), weights, True, 1, 0.0, cell.training, False, True)[0]
    function = torch.gru if cell.name is CellName.gru else torch.rnn_tanh
    return function(inputs, hidden, weights, True, 1, 0.0, cell.training, False, True)[0]


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


def run_compiled(
    layer: RecurrentLayer, inputs: Float[Tensor, "batch len in"], lengths: Int[Tensor, " batch"]
) -> Float[Tensor, "batch len out"]:
    """Run every direction with the compiled kernels."""
    found = [
        run_fused(layer.cell(d), inputs, layer.weights(d), lengths=lengths, reverse=d == 1).transpose(0, 1)
        for d in range(len(layer.cells))
    ]
    return torch.cat(found, dim=-1).transpose(0, 1)


def run_packed(
    layer: RecurrentLayer, inputs: Float[Tensor, "batch len in"], lengths: Int[Tensor, " batch"]
) -> Float[Tensor, "batch len out"]:
    """Run both directions over packed sequences with torch's fused layer: the fast path with cuDNN."""
    cell, directions = layer.cell(0), len(layer.cells)
    # lengths.cpu() waits for the device, once a layer
    packed = pack_padded_sequence(inputs, lengths.cpu(), batch_first=True, enforce_sorted=False)
    weights = [weight for d in range(directions) for weight in layer.weights(d)]
    zero = inputs.new_zeros(directions, len(inputs), cell.size)
    options = (weights, True, 1, 0.0, layer.training, directions == 2)
    if cell.name is CellName.lstm:
        states = torch.lstm(packed.data, packed.batch_sizes, (zero, zero), *options)[0]
    else:
        function = torch.gru if cell.name is CellName.gru else torch.rnn_tanh
        states = function(packed.data, packed.batch_sizes, zero, *options)[0]
    padded, _ = pad_packed_sequence(packed._replace(data=states), batch_first=True, total_length=inputs.shape[1])
    return padded


def run_padded(
    layer: RecurrentLayer, inputs: Float[Tensor, "batch len in"], lengths: Int[Tensor, " batch"]
) -> Float[Tensor, "batch len out"]:
    """Run every direction over padded sequences: on a CPU about twice as fast as packed ones.

    The reverse direction reads each sentence reversed within its own length, so in both directions the padding comes
    after the last real token, where it can change no real state; its outputs are zeroed.
    """
    index, mask = reversal(lengths, inputs.shape[1])
    way = run_library if layer.cell(0).in_library else run_steps
    found = [way(layer.cell(0), inputs, layer.weights(0))]
    if len(layer.cells) == 2:
        backward = way(layer.cell(1), _reorder(inputs, index), layer.weights(1))
        found.append(_reorder(backward, index))
    return torch.cat(found, dim=-1) * mask[..., None]


def zeros(cell: Cell, inputs: Float[Tensor, "batch len in"]) -> State:
    """Return the state before the first step."""
    return State(inputs.new_zeros(len(inputs), cell.size), inputs.new_zeros(len(inputs), cell.memory_size))


def reversal(
    lengths: Int[Tensor, " batch"], max_length: int
) -> tuple[Int[Tensor, "batch len"], Bool[Tensor, "batch len"]]:
    """Return the index that reverses each row within its length (its own inverse) and the mask of real positions."""
    positions = torch.arange(max_length, device=lengths.device)
    mask = positions < lengths[:, None]
    return torch.where(mask, lengths[:, None] - 1 - positions, positions), mask


def _reorder(
    values: Float[Tensor, "batch len size"], index: Int[Tensor, "batch len"]
) -> Float[Tensor, "batch len size"]:
    return values.gather(1, index[..., None].expand_as(values))


def _name(name: str, direction: int) -> str:
    return f"{name}_l0" + ("_reverse" if direction else "")
