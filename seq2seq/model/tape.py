"""What a recurrent layer's cell does at every step with the compiled kernels: forwards onto a tape, and back along it.

The kernels carry a state from step to step in the type of sums (`calls.sum_dtype`), whatever the products' type: the
memory of an LSTM, the hidden state of a GRU. That is `cells` here; a tanh layer has none.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seq2seq.config.model import CellName
from seq2seq.kernels import calls
from seq2seq.model.cells import GATES, Cell

KEPT = {CellName.gru: 4}  # blocks that the way back needs; elsewhere as many as there are gates


def extra_of(cell: Cell, dtype: torch.dtype) -> Tensor | None:
    """Return a cell's peephole weights as the kernels take them."""
    peepholes = cell.peepholes()
    return None if peepholes is None else peepholes.to(dtype)


def norm_of(cell: Cell, dtype: torch.dtype) -> Float[Tensor, "2 units hidden"] | None:
    """Return gains and shifts of a cell's normalised gates as the kernels take them."""
    return torch.stack([cell.gain, cell.shift]).to(dtype) if cell.layer_norm else None


class Tape(NamedTuple):
    """The steps of one layer, time-major; states have one place more than there are steps, for the first one.

    `extra` and `norm` are weights, the others what the steps fill. In reverse a layer's first state is its last place.
    """

    extra: Float[Tensor, "*extra"] | None
    norm: Float[Tensor, "2 units hidden"] | None
    activations: Float[Tensor, "len rows kept"]
    cells: Float[Tensor, "len_and_1 rows memory"]
    hiddens: Float[Tensor, "len_and_1 rows hidden"]
    normal: Float[Tensor, "len rows gates"] | None
    scales: Float[Tensor, "len rows units"] | None

    def begin(self, name: CellName, hidden: Tensor | None, memory: Tensor | None, place: int = 0) -> None:
        """Write the first state; absent: zeros."""
        if hidden is None or memory is None:
            self.hiddens[place].zero_()
            self.cells[place].zero_()
        else:
            self.hiddens[place].copy_(hidden)
            self.cells[place].copy_(hidden if name is CellName.gru else memory)

    def step(
        self,
        name: CellName,
        t: int,
        product: Float[Tensor, "rows gates"] | None,
        gates: Float[Tensor, "rows gates"],
        output: Float[Tensor, "rows hidden"] | None = None,
        lengths: Int[Tensor, " rows"] | None = None,
        reverse: bool = False,
    ) -> None:
        """Take step t from the two shares of its gates; the hidden state goes to `output`, too."""
        before, after = (t + 1, t) if reverse else (t, t + 1)
        calls.cell_forward(
            name, product, gates, self.cells[before], self.extra, self.norm, self.activations[t], self.cells[after],
            self.hiddens[after], output, _at(self.normal, t), _at(self.scales, t), lengths, t,
        )  # fmt: skip


def new_tape(
    name: CellName, gates: Float[Tensor, "len rows gates"], size: int, extra: Tensor | None, norm: Tensor | None
) -> Tape:
    """Return room for the steps of a layer; the activations are in the place of the gates where they are as many."""
    steps, rows, _ = gates.shape
    activations = gates.new_empty(steps, rows, KEPT[name] * size) if name in KEPT else gates
    carried = 0 if name is CellName.rnn else size
    cells = gates.new_empty(steps + 1, rows, carried, dtype=calls.sum_dtype(gates.dtype))
    normal = None if norm is None else torch.empty_like(gates)
    scales = None if norm is None else cells.new_empty(steps, rows, GATES[name])
    return Tape(extra, norm, activations, cells, gates.new_empty(steps + 1, rows, size), normal, scales)


class WayBack:
    """The way back along a tape, from its last step to its first.

    Attributes:
        gates: gradient of the inputs' share of the gates, filled step by step.
        products: that of the hidden state's share; the same tensor, but for a GRU.
    """

    def __init__(
        self, name: CellName, tape: Tape, lengths: Int[Tensor, " rows"] | None = None, reverse: bool = False
    ) -> None:
        self._name, self._tape, self._lengths, self._reverse = name, tape, lengths, reverse
        steps, rows, size = tape.hiddens[1:].shape
        self.gates = tape.activations.new_empty(steps, rows, GATES[name] * size)
        # What the kernels fill beside them: of peepholes the gates after normalisation, which they are added to.
        apart = name is CellName.gru or (tape.extra is not None and tape.norm is not None)
        self._other = torch.empty_like(self.gates) if apart else None
        self.products = self._other if self._other is not None and name is CellName.gru else self.gates
        self._cell = torch.zeros_like(tape.cells[0])
        self._norm = None if tape.norm is None else tape.norm.new_zeros(rows, *tape.norm.shape)

    def step(self, t: int, output: Float[Tensor, "rows hidden"], hidden: Float[Tensor, "rows hidden"] | None) -> None:
        """Go back over step t, given the gradient of its output and that of its state from the step after it."""
        tape, (before, after) = self._tape, (t + 1, t) if self._reverse else (t, t + 1)
        calls.cell_backward(
            self._name, tape.activations[t], tape.cells[before], tape.cells[after], tape.extra, tape.norm,
            _at(tape.normal, t), _at(tape.scales, t), output, hidden, self._cell, self.gates[t], _at(self._other, t),
            self._norm, self._lengths, t,
        )  # fmt: skip

    def weights(self) -> tuple[Tensor | None, Tensor | None]:
        """Return the gradients of `extra` and `norm`."""
        norm = None if self._norm is None else self._norm.sum(0)
        if self._tape.extra is None:
            return None, norm
        before, after = self._tape.cells[:-1], self._tape.cells[1:]
        if self._reverse:
            before, after = after, before
        gates, size = self.gates if self._other is None else self._other, before.shape[2]
        if self._name is CellName.gru:  # what its reset gate multiplies beside the product
            return gates[..., 2 * size :].sum((0, 1), dtype=before.dtype), norm
        seen = zip(gates.unflatten(-1, (4, size)).to(before.dtype).unbind(2), (before,) * 3 + (after,), strict=True)
        return torch.stack([(gate * memory).sum((0, 1)) for gate, memory in seen]), norm

    def first_state(self, hidden: Float[Tensor, "rows hidden"] | None) -> tuple[Tensor | None, Tensor | None]:
        """Return the gradients of the first state, given that of its hidden state from the first step's product."""
        if self._name is CellName.gru:
            return self._cell if hidden is None else hidden + self._cell, None
        return hidden, None if self._name is CellName.rnn else self._cell


def _at(values: Tensor | None, t: int) -> Tensor | None:
    return None if values is None else values[t]
