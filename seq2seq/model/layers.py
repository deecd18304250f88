"""A recurrent layer over whole sequences: its weights, and the loop over its steps that defines it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import linear

from seq2seq.config.model import ModelConfig
from seq2seq.model.cells import Cell, State, zero_state
from seq2seq.model.cpu import dispatch
from seq2seq.model.dropout import Dropout
from seq2seq.model.padding import Weights, run_directions


class RecurrentLayer(nn.Module):
    """One layer that reads in one direction or in both; the two directions' outputs stand side by side.

    Weights are named and laid out as those of `nn.LSTM`, `nn.GRU` and `nn.RNN`. In training, weight-drop (Merity et al.
    2018) zeroes entries of `weight_hh`, the same ones at every step.
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
        """Return the bias of the inputs of a direction."""
        bias: Tensor = getattr(self, _name("bias_ih", direction))
        return bias

    def weights(self, direction: int) -> list[Tensor]:
        """Return the weights of a direction; in training, each call draws a new weight-drop mask for `weight_hh`."""
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
            lengths: of each row; states past it are zero, and the reverse direction starts at the row's last real
                position. None: all rows have full length, and there is one direction.
            start: initial state, only without `lengths`; default: zeros.
        """
        directions = range(len(self.cells))
        return run([self.cell(d) for d in directions], [self.weights(d) for d in directions], inputs, lengths, start)


def run(
    cells: Sequence[Cell],
    weights: Sequence[Weights],
    inputs: Float[Tensor, "batch len in"],
    lengths: Int[Tensor, " batch"] | None = None,
    start: State | None = None,
) -> Float[Tensor, "batch len out"]:
    """Return the hidden states of a layer of one cell for each direction, computed by the fastest form there is."""
    fast = dispatch.recurrent_layer(cells[0], inputs)
    if fast is not None:
        return fast(cells, weights, inputs, lengths, start)
    return run_directions(run_steps, cells, weights, inputs, lengths, start)


def run_steps(
    cell: Cell, inputs: Float[Tensor, "batch len in"], weights: Weights, start: State | None = None
) -> Float[Tensor, "batch len hidden"]:
    """Run one direction step by step, from the first column to the last: the definition."""
    w_ih, w_hh, b_ih, b_hh = weights
    state = start or zero_state(cell, inputs)
    hiddens = []
    for x in linear(inputs, w_ih, b_ih).unbind(1):
        state = cell(x, linear(state.hidden, w_hh, b_hh), state)
        hiddens.append(state.hidden)
    return torch.stack(hiddens, dim=1)


def make_cell(config: ModelConfig, size: int) -> Cell:
    """Return a cell of the configured kind."""
    return Cell(config.cell, size, config.layer_norm, config.peephole_candidate)


def _name(name: str, direction: int) -> str:
    return f"{name}_l0" + ("_reverse" if direction else "")
