"""One decoder step for all hypotheses, with packed weights and compiled kernels; `Seq2Seq.step` is the reference.

Products that are added are merged into one product of concatenated operands. Matrices are cast and packed once, and
reused by later searches while the weights stay the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seq2seq.kernels import bindings
from seq2seq.kernels.bindings import Kernel
from seq2seq.model.attention import AttentionMemory
from seq2seq.model.cells import EPSILON, Cell, State
from seq2seq.model.cpu import fixed_order
from seq2seq.model.cpu.cell_adapters import ADAPTERS, norm_weights, peephole_weights
from seq2seq.model.cpu.fixed_order import fixed_order_linear
from seq2seq.model.cpu.packed_linear import Linear, int8_linear, packed_linear
from seq2seq.model.cpu.weight_state import WeightState
from seq2seq.model.decoder import DecoderState
from seq2seq.model.layers import RecurrentLayer
from seq2seq.model.network import Seq2Seq

Step = Callable[[Tensor, DecoderState, AttentionMemory], tuple[Tensor, DecoderState, Tensor]]
USUAL_ROWS = 80  # hypotheses for which the matrices are packed; another number gives the same result


class CompiledStep:
    """The decoder of a network with its weights prepared; a call takes and returns what `Seq2Seq.step` does."""

    def __init__(self, network: Seq2Seq, dtype: torch.dtype, linear: Callable[..., Linear] = packed_linear) -> None:
        def prepared(bias: Tensor | None, *weights: Tensor) -> Linear:
            bias = None if bias is None else bias.to(dtype)
            return linear(torch.cat([weight.to(dtype) for weight in weights], dim=1), USUAL_ROWS, bias)

        self._prepared, self._network = prepared, network
        decoder, bottom = network.decoder, network.decoder.bottom
        self._states, self._linear = [WeightState(weight) for weight in network.parameters()], linear
        self.dtype, exact = dtype, bindings.sum_dtype(dtype)
        scale = math.sqrt(network.config.emb_size)
        self.embedding = (network.tgt_embedding.weight.detach() * scale).to(dtype)
        self.attention, self.scoring, self.exact = bottom.attention, bottom.attention.scoring(), exact
        if self.scoring is not None:
            query, *vectors = self.scoring
            self.query = None if query is None else prepared(None, query)
            energy, self.coverage_weight = (None if one is None else one.to(exact).contiguous() for one in vectors)
            scores = {"heads": self.attention.heads, "energy": energy, "coverage_weight": self.coverage_weight}
            self.attend = Kernel("attend_forward", dtype, **scores)
        context = network.config.context_size
        recurrent = bottom.recurrent.weight.split([context, bottom.cell.size], dim=1)
        from_inputs = torch.cat([bottom.word_gates.weight, recurrent[0]], dim=1)
        weights = [from_inputs, recurrent[1], bottom.word_gates.bias, None]
        self.layers = [CompiledCellStep(bottom.cell, prepared, weights, dtype)]
        for layer in decoder.upper:
            assert isinstance(layer, RecurrentLayer)
            self.layers.append(CompiledCellStep(layer.cell(0), prepared, layer.weights(0), dtype))
        self.residual = decoder.residual
        self.readout = prepared(decoder.readout.bias, decoder.readout.weight)
        self.output = prepared(network.output.bias, network.output.weight)

    @classmethod
    def current(cls, network: Seq2Seq, cached: Any, int8: bool) -> CompiledStep:
        """Return `cached` if it was made from the current weights of this network, or a new step."""
        weight = network.output.weight
        dtype = bindings.compute_dtype(weight)
        linear = int8_linear if int8 else fixed_order_linear if fixed_order.supports(weight) else packed_linear
        if isinstance(cached, cls) and cached._is_current(network, dtype, linear):
            return cached
        return cls(network, dtype, linear)

    def _is_current(self, network: Seq2Seq, dtype: torch.dtype, linear: Callable[..., Linear]) -> bool:
        weights = list(network.parameters())
        same = (self.dtype, self._linear, len(self._states)) == (dtype, linear, len(weights))
        return same and all(state.is_state_of(one) for state, one in zip(self._states, weights, strict=True))

    def output_of(self, tokens: Int[Tensor, " words"]) -> Linear:
        """Return the part of the vocabulary projection that gives the logits of these tokens."""
        output = self._network.output
        return self._prepared(output.bias[tokens], output.weight[tokens])

    def __call__(
        self,
        last_tokens: Int[Tensor, "batch beam"],
        state: DecoderState,
        memory: AttentionMemory,
        output: Linear | None = None,
    ) -> tuple[Float[Tensor, "batch beam words"], DecoderState, Float[Tensor, "batch beam src_len"]]:
        """Return logits (of all tokens, or those that `output` computes), the new state and the attention weights."""
        batch, beam = last_tokens.shape
        old_hidden, old_cell = (values.flatten(0, 1).unbind(1) for values in (state.hidden, state.cell))
        words = self.embedding.index_select(0, last_tokens.flatten())
        context, attn_weights, coverage = self._attend(old_hidden[0].view(batch, beam, -1), memory, state.coverage)
        below, states = words, []
        for number, layer in enumerate(self.layers):
            previous = State(old_hidden[number], old_cell[number])
            states.append(layer((below, context), previous))
            hidden = states[-1].hidden.to(self.dtype)
            below = below + hidden if self.residual and number else hidden
        hiddens, cells = (
            torch.stack(one, dim=1).view(batch, beam, len(states), one[0].shape[1]) for one in zip(*states, strict=True)
        )
        readout = self.readout(words, below, context).tanh_()
        new_state = state._replace(hidden=hiddens, cell=cells, coverage=coverage)
        return (output or self.output)(readout).view(batch, beam, -1), new_state, attn_weights

    def _attend(self, hidden: Tensor, memory: AttentionMemory, coverage: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the contexts [batch * beam, enc] of all hypotheses, their attention weights and the new coverage."""
        hidden, keys, states = hidden.to(self.dtype), memory.keys.to(self.dtype), memory.states.to(self.dtype)
        if self.scoring is None:
            context, attn_weights, coverage = self.attention(hidden, memory._replace(states=states), coverage)
            return context.flatten(0, 1), attn_weights, coverage
        query = hidden if self.query is None else self.query(hidden.flatten(0, 1))
        weights = keys.new_empty(*hidden.shape[:2], self.attention.heads, keys.shape[1], dtype=self.exact)
        context = query.new_empty(hidden.shape[0] * hidden.shape[1], states.shape[2])
        keys, states = keys.contiguous(), states.contiguous()
        self.attend(
            rows=hidden.shape[0],
            queries=hidden.shape[1],
            positions=keys.shape[1],
            size=keys.shape[2],
            context_size=states.shape[2],
            query=query.contiguous(),
            keys=keys,
            states=states,
            states_stride=states.stride(0),
            coverage=None if self.coverage_weight is None else coverage.contiguous(),
            lengths=memory.mask.sum(1),
            weights=weights,
            context=context,
            context_stride=context.stride(0),
        )
        if self.coverage_weight is not None:
            coverage = coverage + weights
        weights = weights[..., : memory.mask.shape[1]]
        return context, weights.mean(2) if self.attention.heads > 1 else weights.squeeze(2), coverage


class CompiledCellStep:
    """One step of one layer.

    Args:
        cell: of the layer.
        linear: makes a linear map of a bias and of matrices side by side.
        weights: of inputs and hidden state, and their biases (None: the hidden state has none).
        dtype: of elements.
    """

    def __init__(
        self,
        cell: Cell,
        linear: Callable[..., Linear],
        weights: Sequence[Tensor | None],
        dtype: torch.dtype,
    ) -> None:
        self.adapter, self.exact = ADAPTERS[cell.name], bindings.sum_dtype(dtype)
        own = {"peepholes": peephole_weights(cell, self.exact), "norm": norm_weights(cell, self.exact)}
        self.step = Kernel("cell_forward", dtype, kind=self.adapter.kind, size=cell.size, epsilon=EPSILON, **own)
        self.products = self.adapter.step_products(linear, weights)

    def __call__(self, inputs: tuple[Float[Tensor, "rows _"], ...], previous: State) -> State:
        """Return the state after the step with these parts of the inputs."""
        adapter, (rows, size) = self.adapter, previous.hidden.shape
        gates, product = self.products(inputs, previous.hidden.to(inputs[0].dtype))
        before = adapter.first_carried(previous).to(self.exact).contiguous()
        carried, output = torch.empty_like(before), gates.new_empty(rows, size)
        activations = gates if adapter.saved == adapter.gates else gates.new_empty(rows, adapter.saved * size)
        self.step(
            rows=rows,
            product=product,
            inputs=gates,
            carried_before=before,
            activations=activations,
            carried_after=carried,
            hidden=output,
        )
        return adapter.state(output, carried, previous)
