"""One word for every hypothesis, as fast as a CPU can: `Seq2Seq.step` with prepared weights and compiled kernels.

The products of a step that read different things but add up are one product with their matrices side by side, all
matrices stand in the order oneDNN reads, and converted to the type of the products once for many searches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seq2seq.config.model import CellName
from seq2seq.kernels import calls
from seq2seq.kernels.products import Product, int8_product_with, product_with
from seq2seq.model.attention import AttentionMemory
from seq2seq.model.cells import Cell, State
from seq2seq.model.decoder import DecoderState
from seq2seq.model.layers import RecurrentLayer
from seq2seq.model.network import Seq2Seq
from seq2seq.model.tape import KEPT, extra_of, norm_of

Step = Callable[[Tensor, DecoderState, AttentionMemory], tuple[Tensor, DecoderState, Tensor]]
USUAL_ROWS = 80  # hypotheses for which the matrices are laid out; others are computed as well


def step_of(network: Seq2Seq, cached: Step, int8: bool = False) -> Step:
    """Return what `network.step` computes, the fast way where there is one; for evaluation, without gradients.

    Args:
        network: whose weights must not change while the result is used.
        cached: an earlier result for it, or any step function; returned again where it still holds.
        int8: whether the products are computed in 8 bits.
    """
    weight = network.output.weight
    if not (calls.usable(weight) and has_fast_step(network)):
        return network.step
    dtype = calls.compute_dtype(weight)
    product = int8_product_with if int8 else product_with
    if isinstance(cached, FastStep) and cached.made_from == _version(network, dtype, product):
        return cached
    return FastStep(network, dtype, product)


def has_fast_step(network: Seq2Seq) -> bool:
    """Tell whether the network's parts are among those that `FastStep` knows."""
    return not (network.decoder.bottom.cell.stepwise or network.config.input_feeding)


def _version(network: Seq2Seq, *how: object) -> tuple[object, ...]:
    return *how, *((id(weight), None if weight.is_inference() else weight._version) for weight in network.parameters())


class FastStep:
    """The decoder of a network with its weights prepared; see `Seq2Seq.step` for what a call takes and returns."""

    def __init__(self, network: Seq2Seq, dtype: torch.dtype, product: Callable[..., Product] = product_with) -> None:
        def prepared(bias: Tensor | None, *weights: Tensor) -> Product:
            bias = None if bias is None else bias.to(dtype)
            return product(torch.cat([weight.to(dtype) for weight in weights], dim=1), USUAL_ROWS, bias)

        self._prepared, self._network = prepared, network
        decoder, bottom = network.decoder, network.decoder.bottom
        self.made_from, self.dtype, exact = _version(network, dtype, product), dtype, calls.sum_dtype(dtype)
        self.embedding, self.scale = network.tgt_embedding.weight, math.sqrt(network.config.emb_size)
        self.attention, self.scoring, self.exact = bottom.attention, bottom.attention.scoring(), exact
        if self.scoring is not None:
            query, *vectors = self.scoring
            self.query = None if query is None else prepared(None, query)
            self.energy, self.coverage = (None if one is None else one.to(exact).contiguous() for one in vectors)
        context = network.config.context_size
        recurrent = bottom.recurrent.weight.split([context, bottom.cell.size], dim=1)
        from_inputs = torch.cat([bottom.word_gates.weight, recurrent[0]], dim=1)
        weights = [from_inputs, recurrent[1], bottom.word_gates.bias, None]
        self.layers = [PreparedCell(bottom.cell, prepared, weights, exact)]
        for layer in decoder.upper:
            assert isinstance(layer, RecurrentLayer)
            self.layers.append(PreparedCell(layer.cell(0), prepared, layer.weights(0), exact))
        self.residual = decoder.residual
        self.readout = prepared(decoder.readout.bias, decoder.readout.weight)
        self.output = prepared(network.output.bias, network.output.weight)

    def output_of(self, tokens: Int[Tensor, " words"]) -> Product:
        """Return the part of the vocabulary projection that gives the logits of these tokens."""
        output = self._network.output
        return self._prepared(output.bias[tokens], output.weight[tokens])

    def __call__(
        self,
        last_tokens: Int[Tensor, "batch beam"],
        state: DecoderState,
        memory: AttentionMemory,
        output: Product | None = None,
    ) -> tuple[Float[Tensor, "batch beam words"], DecoderState, Float[Tensor, "batch beam src_len"]]:
        """Return logits (of all tokens, or what `output` makes), the new state and the attention weights."""
        batch, beam = last_tokens.shape
        old_hidden, old_cell = (values.flatten(0, 1).unbind(1) for values in (state.hidden, state.cell))
        words = (nn.functional.embedding(last_tokens.flatten(), self.embedding) * self.scale).to(self.dtype)
        context, attn_weights, received = self._attend(old_hidden[0].view(batch, beam, -1), memory, state.received)
        below, states = words, []
        for number, layer in enumerate(self.layers):
            states.append(layer(torch.cat([below, context], dim=1), old_hidden[number], old_cell[number]))
            said = states[-1].hidden.to(self.dtype)
            below = below + said if self.residual and number else said
        hiddens, cells = (
            torch.stack(one, dim=1).view(batch, beam, len(states), one[0].shape[1]) for one in zip(*states, strict=True)
        )
        readout = torch.tanh(self.readout(torch.cat([words, below, context], dim=1)))
        new_state = state._replace(hidden=hiddens, cell=cells, received=received)
        return (output or self.output)(readout).view(batch, beam, -1), new_state, attn_weights

    def _attend(self, hidden: Tensor, memory: AttentionMemory, received: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the contexts of all hypotheses in a row, their attention weights, and the attention received."""
        hidden, keys, states = hidden.to(self.dtype), memory.keys.to(self.dtype), memory.states.to(self.dtype)
        if self.scoring is None:
            context, attn_weights, received = self.attention(hidden, memory._replace(states=states), received)
            return context.flatten(0, 1), attn_weights, received
        query = hidden if self.query is None else self.query(hidden.flatten(0, 1))
        weights = keys.new_empty(*hidden.shape[:2], self.attention.heads, keys.shape[1], dtype=self.exact)
        context = query.new_empty(hidden.shape[0] * hidden.shape[1], states.shape[2])
        calls.attend_forward(
            *(query.view(*hidden.shape[:2], -1).contiguous(), keys.contiguous(), states.contiguous()),
            *(self.energy, self.coverage, None if self.coverage is None else received.contiguous()),
            *(memory.mask.sum(1), weights, context),
        )
        if self.coverage is not None:
            received = received + weights
        weights = weights[..., : memory.mask.shape[1]]
        return context, weights.mean(2) if self.attention.heads > 1 else weights.squeeze(2), received


class PreparedCell:
    """One step of one layer; a GRU's products are two, as its reset gate stands between them.

    Args:
        cell: the layer's.
        prepared: makes a product of a bias and matrices side by side.
        weights: of what is read and of the state, and their biases (None: the state has none).
        exact: type of sums.
    """

    def __init__(
        self,
        cell: Cell,
        prepared: Callable[..., Product],
        weights: Sequence[Tensor | None],
        exact: torch.dtype,
    ) -> None:
        w_ih, w_hh, b_ih, b_hh = weights
        self.name, self.extra, self.norm, self.exact = cell.name, extra_of(cell, exact), norm_of(cell, exact), exact
        self.from_hidden = prepared(b_hh, w_hh) if cell.name is CellName.gru else None
        if self.from_hidden is None:
            self.from_inputs = prepared(b_ih if b_hh is None or b_ih is None else b_ih + b_hh, w_ih, w_hh)
        else:
            self.from_inputs = prepared(b_ih, w_ih)

    def __call__(
        self,
        inputs: Float[Tensor, "rows in"],
        hidden: Float[Tensor, "rows hidden"],
        cell: Float[Tensor, "rows memory"],
    ) -> State:
        """Return the state after the step; a GRU's stays in the type of sums, which it is added up in."""
        rounded = hidden.to(inputs.dtype)
        if self.from_hidden is None:
            gates, product = self.from_inputs(torch.cat([inputs, rounded], dim=1)), None
        else:
            gates, product = self.from_inputs(inputs), self.from_hidden(rounded)
        gru = self.name is CellName.gru
        before = (hidden if gru else cell).to(self.exact).contiguous()
        after, said = torch.empty_like(before), gates.new_empty(hidden.shape)
        kept = gates.new_empty(len(gates), KEPT[self.name] * hidden.shape[1]) if self.name in KEPT else gates
        calls.cell_forward(self.name, product, gates, before, self.extra, self.norm, kept, after, said)
        return State(after, cell) if gru else State(said, after)
