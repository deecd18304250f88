"""Recurrent cells: what the gates of a layer do with its state at one step, in plain operations.

A layer computes the matrix products, its cell the element-wise rest. At step t the cell receives x = W x_t + b and
h = U h_{t-1} + b', with one block of units per gate, and the previous state; it returns the new state. s is the
logistic sigmoid, * the element-wise product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seq2seq.config.model import CellName

GATES = {CellName.lstm: 4, CellName.peephole_lstm: 4, CellName.gru: 3, CellName.rnn: 1}
EPSILON = 1e-5  # of layer normalisation

# Called with the gates' activations by name and the new state, after every step of a cell with a `watcher` (set
# by `model.tracing`).
Watcher = Callable[[dict[str, Tensor], "State"], None]


class State(NamedTuple):
    """What a cell carries from step to step: its hidden state, and the memory cell of the LSTMs (size 0 elsewhere)."""

    hidden: Float[Tensor, "*rows hidden"]
    cell: Float[Tensor, "*rows memory"]


class Cell(nn.Module):
    """One kind of cell, with the weights that its layer does not own: peepholes and layer normalisation.

    Layer normalisation (Ba et al. 2016) gives the units of each gate mean 0 and variance 1 before the activation
    function, then a learned gain and shift, as in RNMT+ (Chen et al. 2018).

    Args:
        name: the kind.
        size: units.
        layer_norm: whether gates are normalised.
        peephole_candidate: whether the candidate of a peephole LSTM reads the memory cell, too.

    Attributes:
        watcher: called after every step. A cell with a `watcher` (set by `model.tracing`) runs step by step in
            plain operations.
    """

    def __init__(self, name: CellName, size: int, layer_norm: bool = False, peephole_candidate: bool = False) -> None:
        super().__init__()
        self.name, self.size, self.gates, self.layer_norm = name, size, GATES[name], layer_norm
        self.memory_size = size if name in (CellName.lstm, CellName.peephole_lstm) else 0
        self.watcher: Watcher | None = None
        if name is CellName.peephole_lstm:  # of i, f, o and, last, the candidate
            self.peephole = nn.Parameter(torch.zeros(3 + peephole_candidate, size))
        if layer_norm:
            self.gain = nn.Parameter(torch.ones(self.gates, size))
            self.shift = nn.Parameter(torch.zeros(self.gates, size))

    @property
    def separate_products(self) -> bool:
        """Whether x and h must stay apart: a GRU's reset gate multiplies h alone. Other cells read only x + h."""
        return self.name is CellName.gru

    def forward(self, x: Float[Tensor, "*rows gates"], h: Float[Tensor, "*rows gates"], state: State) -> State:
        """Return the state after one step."""
        step = {CellName.lstm: self._lstm, CellName.peephole_lstm: self._lstm, CellName.gru: self._gru}
        state, gates = step.get(self.name, self._rnn)(x, h, state)
        if self.watcher is not None:
            self.watcher(gates, state)
        return state

    def _rnn(self, x: Tensor, h: Tensor, state: State) -> tuple[State, dict[str, Tensor]]:
        """h_t = tanh(W x_t + U h_{t-1} + b) (Elman 1990)."""
        return State(torch.tanh(self._normalised(x + h, 0)), state.cell), {}

    def _lstm(self, x: Tensor, h: Tensor, state: State) -> tuple[State, dict[str, Tensor]]:
        """Long short-term memory (Hochreiter and Schmidhuber 1997, forget gate of Gers et al. 2000).

        The gates are in the order i, f, g, o.
        i = s(x_i + h_i + p_i * c_{t-1}), f = s(x_f + h_f + p_f * c_{t-1}), g = tanh(x_g + h_g),
        c_t = f * c_{t-1} + i * g, o = s(x_o + h_o + p_o * c_t), h_t = o * tanh(c_t).
        The peepholes p (Gers et al. 2002) are diagonal: a gate reads the memory of its own unit. Without them p = 0.
        With `peephole_candidate`, g = tanh(x_g + h_g + p_g * c_{t-1}).
        """
        i, f, g, o = self._normalised(x + h, 0).chunk(4, dim=-1)
        weights = self.peepholes()
        p_i, p_f, p_g, p_o = (None,) * 4 if weights is None else weights
        i = torch.sigmoid(_with_peephole(i, p_i, state.cell))
        f = torch.sigmoid(_with_peephole(f, p_f, state.cell))
        cell = f * state.cell + i * torch.tanh(_with_peephole(g, p_g, state.cell))
        o = torch.sigmoid(_with_peephole(o, p_o, cell))
        return State(o * torch.tanh(cell), cell), {"input": i, "forget": f, "output": o}

    def _gru(self, x: Tensor, h: Tensor, state: State) -> tuple[State, dict[str, Tensor]]:
        """Gated recurrent unit (Cho et al. 2014), gates in the order r, z, n.

        r = s(x_r + h_r), z = s(x_z + h_z), n = tanh(x_n + r * h_n), h_t = (1 - z) * n + z * h_{t-1}.
        The reset gate r multiplies after the product, as in cuDNN and torch, where the paper multiplies before it.
        """
        x_gates, x_new = x.split([2 * self.size, self.size], dim=-1)
        h_gates, h_new = h.split([2 * self.size, self.size], dim=-1)
        r, z = torch.sigmoid(self._normalised(x_gates + h_gates, 0)).chunk(2, dim=-1)
        n = torch.tanh(self._normalised(x_new + r * h_new, 2))
        return State((1 - z) * n + z * state.hidden, state.cell), {"reset": r, "update": z}

    def _normalised(self, values: Tensor, first: int) -> Tensor:
        """Normalise each gate on its own, in fp32 or better; `values` begins with gate number `first`."""
        if not self.layer_norm:
            return values
        gates = values.unflatten(-1, (-1, self.size))
        exact = gates.to(torch.promote_types(gates.dtype, torch.float32))
        normal = nn.functional.layer_norm(exact, (self.size,), eps=EPSILON)
        last = first + gates.shape[-2]
        return (normal * self.gain[first:last] + self.shift[first:last]).flatten(-2)

    def peepholes(self) -> Float[Tensor, "4 hidden"] | None:
        """Return the peephole weights of i, f, g and o; None for a cell without peepholes."""
        if self.name is not CellName.peephole_lstm:
            return None
        i, f, o, *g = self.peephole.unbind(0)
        return torch.stack([i, f, *(g or [torch.zeros_like(i)]), o])


def zero_state(cell: Cell, inputs: Float[Tensor, "batch len in"]) -> State:
    """Return the state before the first step."""
    return State(inputs.new_zeros(len(inputs), cell.size), inputs.new_zeros(len(inputs), cell.memory_size))


def _with_peephole(gate: Tensor, weight: Tensor | None, memory: Tensor) -> Tensor:
    return gate if weight is None else gate + weight * memory
