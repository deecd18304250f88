"""One adapter for each kind of cell: all that the fast forms must know about how cells differ.

The compiled kernels carry one tensor from step to step in the type of sums (`bindings.sum_dtype`), whatever the type of
the products: the memory cell of an LSTM, the hidden state of a GRU, nothing of a tanh cell. It is called `carried`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from seq2seq.config.model import CellName
from seq2seq.kernels import bindings
from seq2seq.model.cells import Cell, State
from seq2seq.model.cpu.packed_linear import Linear, packed_linear

StepProducts = Callable[[tuple[Tensor, ...], Tensor], tuple[Tensor, Tensor | None]]


class CellAdapter:
    """A cell whose gates depend only on the sum of both products, which is computed as one product of [inputs, hidden].

    Attributes:
        kind: the cell's name in kernels.h.
        carries_hidden: whether `carried` is the hidden state, unrounded.
    """

    kind: str
    carries_hidden = False

    @functools.cached_property
    def gates(self) -> int:
        """Blocks of the products."""
        return bindings.blocks(self.kind)[0]

    @functools.cached_property
    def saved(self) -> int:
        """Blocks of activations that backward needs."""
        return bindings.blocks(self.kind)[1]

    def carried_size(self, size: int) -> int:
        """Return the units of `carried` of a cell of `size` units."""
        return size

    def first_carried(self, state: State) -> Tensor:
        """Return what the first step reads as `carried`."""
        return state.cell

    def state(self, output: Tensor, carried: Tensor, previous: State) -> State:
        """Return the state after a step from its hidden state, rounded to the products' type, and `carried`."""
        return State(output, carried)

    def state_gradient(self, hidden: Tensor | None, carried: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Return the gradients of the first hidden state and memory cell from those of the first step's operands."""
        return hidden, carried

    def biases(self, b_ih: Tensor, b_hh: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the bias of the gates, and a GRU's separate bias of the candidate (else None)."""
        return b_ih + b_hh, None

    def product_gradient(self, gates_gradient: Tensor) -> Tensor | None:
        """Return a buffer for the gradient of the hidden state's product; None if it equals that of the gates."""
        return None

    def step_products(self, linear: Callable[..., Linear], weights: Sequence[Tensor | None]) -> StepProducts:
        """Return (parts of the inputs, hidden) -> (gates, product) of one step without gradients.

        Args:
            linear: makes a linear map of a bias and of matrices side by side.
            weights: of inputs and hidden state, and their biases (None: the state has none).
        """
        w_ih, w_hh, b_ih, b_hh = weights
        both = linear(b_ih if b_hh is None or b_ih is None else b_ih + b_hh, w_ih, w_hh)
        return lambda inputs, hidden: (both(*inputs, hidden), None)

    def context_product(self, weight: Tensor, context: int, rows: int) -> Callable[[Tensor, Tensor], Tensor]:
        """Return ([context, hidden], gates) -> product: what the kernels add to the gates of an attentional layer."""
        whole = packed_linear(weight, rows)
        return lambda reads, gates: whole(reads)

    def context_product_backward(
        self, weight: Tensor, context: int, rows: int
    ) -> Callable[[Tensor, Tensor], Sequence[Tensor]]:
        """Return (gradient of the gates, of the product) -> gradients of (context, hidden)."""
        whole = packed_linear(weight.t(), rows)
        return lambda dgates, dproduct: whole(dgates).split([context, weight.shape[1] - context], dim=1)

    def context_weight_gradient(self, dgates: Tensor, dproducts: Tensor, reads: Tensor, context: int) -> Tensor:
        """Return the gradient of the weight of `context_product` over all steps."""
        return dgates.flatten(0, 1).t() @ reads.flatten(0, 1)


class LSTMAdapter(CellAdapter):
    """LSTM, with and without peepholes: carries its memory cell."""

    kind = "LSTM"


class RNNAdapter(CellAdapter):
    """Tanh cell: carries nothing."""

    kind = "RNN"

    def carried_size(self, size: int) -> int:
        """Return 0."""
        return 0

    def state_gradient(self, hidden: Tensor | None, carried: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Return the hidden state's gradient alone."""
        return hidden, None


class GRUAdapter(CellAdapter):
    """GRU: its reset gate multiplies the hidden state's share of the candidate alone, so the two products stay apart.

    It carries its hidden state unrounded, because the new state is a sum with the previous one.
    """

    kind = "GRU"
    carries_hidden = True

    def first_carried(self, state: State) -> Tensor:
        """Return the hidden state."""
        return state.hidden

    def state(self, output: Tensor, carried: Tensor, previous: State) -> State:
        """Return the unrounded hidden state."""
        return State(carried, previous.cell)

    def state_gradient(self, hidden: Tensor | None, carried: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Return the sum of the gradients through the product and through the update gate."""
        return carried if hidden is None else hidden + carried, None

    def biases(self, b_ih: Tensor, b_hh: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return b_ih + b_hh without the candidate's share of b_hh, and that share."""
        size = len(b_hh) // 3
        gates, candidate = b_hh.split([2 * size, size])
        return b_ih + pad(gates, (0, size)), candidate.to(bindings.sum_dtype(b_ih.dtype))

    def product_gradient(self, gates_gradient: Tensor) -> Tensor | None:
        """Return a separate buffer."""
        return torch.empty_like(gates_gradient)

    def step_products(self, linear: Callable[..., Linear], weights: Sequence[Tensor | None]) -> StepProducts:
        """Return two products."""
        w_ih, w_hh, b_ih, b_hh = weights
        from_inputs, from_hidden = linear(b_ih, w_ih), linear(b_hh, w_hh)
        return lambda inputs, hidden: (from_inputs(*inputs), from_hidden(hidden))

    def context_product(self, weight: Tensor, context: int, rows: int) -> Callable[[Tensor, Tensor], Tensor]:
        """Add the context's product to the gates in place and return that of the hidden state."""
        from_context, from_hidden = packed_linear(weight[:, :context], rows), packed_linear(weight[:, context:], rows)

        def products(reads: Tensor, gates: Tensor) -> Tensor:
            gates += from_context(reads[:, :context].contiguous())
            return from_hidden(reads[:, context:].contiguous())

        return products

    def context_product_backward(
        self, weight: Tensor, context: int, rows: int
    ) -> Callable[[Tensor, Tensor], Sequence[Tensor]]:
        """Return the gradient of the context from the gates' and that of the hidden state from the product's."""
        to_context = packed_linear(weight[:, :context].t(), rows)
        to_hidden = packed_linear(weight[:, context:].t(), rows)
        return lambda dgates, dproduct: (to_context(dgates), to_hidden(dproduct))

    def context_weight_gradient(self, dgates: Tensor, dproducts: Tensor, reads: Tensor, context: int) -> Tensor:
        """Return the two products' gradients side by side."""
        parts = ((dgates, reads[..., :context]), (dproducts, reads[..., context:]))
        return torch.cat([gates.flatten(0, 1).t() @ read.flatten(0, 1) for gates, read in parts], dim=1)


ADAPTERS: dict[CellName, CellAdapter] = {
    CellName.lstm: LSTMAdapter(),
    CellName.peephole_lstm: LSTMAdapter(),
    CellName.gru: GRUAdapter(),
    CellName.rnn: RNNAdapter(),
}


def peephole_weights(cell: Cell, dtype: torch.dtype) -> Float[Tensor, "4 hidden"] | None:
    """Return the peephole weights of i, f, g and o as the kernels read them; None without peepholes."""
    peepholes = cell.peepholes()
    return None if peepholes is None else peepholes.to(dtype)


def norm_weights(cell: Cell, dtype: torch.dtype) -> Float[Tensor, "2 units hidden"] | None:
    """Return gains and shifts of the normalised gates as the kernels read them; None without layer normalisation."""
    return torch.stack([cell.gain, cell.shift]).to(dtype) if cell.layer_norm else None
