"""One decoder step for all hypotheses, with packed weights and compiled kernels; `Seq2Seq.step` is the reference.

Products that are added are merged into one product of concatenated operands. Matrices are cast and packed once, and
reused by later searches while the weights stay the same.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seq2seq.kernels import bindings
from seq2seq.kernels.bindings import Kernel
from seq2seq.kernels.replay import Replay
from seq2seq.model.attention import AttentionMemory
from seq2seq.model.cells import EPSILON, Cell, State
from seq2seq.model.cpu import fixed_order
from seq2seq.model.cpu.cell_adapters import ADAPTERS, norm_weights, peephole_weights
from seq2seq.model.cpu.fixed_order import fixed_order_linear
from seq2seq.model.cpu.packed_linear import USUAL_ROWS, Linear, int8_linear, packed_linear
from seq2seq.model.cpu.weight_state import WeightState
from seq2seq.model.decoder import DecoderState
from seq2seq.model.layers import RecurrentLayer
from seq2seq.model.network import Seq2Seq

Step = Callable[[Tensor, DecoderState, AttentionMemory], tuple[Tensor, DecoderState, Tensor]]
Advanced = tuple[Tensor, list[State], Tensor, Tensor]  # what `CompiledStep.advance` returns


class CompiledStep:
    """The decoder of a network with its weights prepared; a call takes and returns what `Seq2Seq.step` does."""

    def __init__(self, network: Seq2Seq, dtype: torch.dtype, linear: Callable[..., Linear] = packed_linear) -> None:
        def prepared(bias: Tensor | None, *weights: Tensor, tanh: bool = False) -> Linear:
            bias = None if bias is None else bias.to(dtype)
            return linear(torch.cat([weight.to(dtype) for weight in weights], dim=1), USUAL_ROWS, bias, tanh)

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
        self.readout = prepared(decoder.readout.bias, decoder.readout.weight, tanh=True)
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

    @property
    def kernels_alone(self) -> bool:
        """Whether all that `advance` computes is computed by kernels."""
        plain = self.scoring is not None and self.coverage_weight is None and not self.residual
        return plain and self._linear is int8_linear and not any(one.adapter.carries_hidden for one in self.layers)

    def __call__(
        self,
        last_tokens: Int[Tensor, "batch beam"],
        state: DecoderState,
        memory: AttentionMemory,
        advance: Callable[..., Advanced] | None = None,
    ) -> tuple[Float[Tensor, "batch beam words"], DecoderState, Float[Tensor, "batch beam src_len"]]:
        """Return logits, the new state and the attention weights.

        `advance` is the result of `advance_with` for this memory; None: it is made here, for all tokens.
        """
        batch, beam = last_tokens.shape
        words = self.embedding.index_select(0, last_tokens.flatten())
        layers = (one for values in (state.hidden, state.cell) for one in values.flatten(0, 1).unbind(1))
        advance = advance or self.advance_with(memory)
        logits, states, weights, coverage = advance(words, state.coverage, *layers)
        hiddens, cells = (
            torch.stack(one, dim=1).view(batch, beam, len(states), one[0].shape[1]) for one in zip(*states, strict=True)
        )
        attn_weights = weights[..., : memory.mask.shape[1]]
        attn_weights = attn_weights.mean(2) if self.attention.heads > 1 else attn_weights.squeeze(2)
        new_state = state._replace(hidden=hiddens, cell=cells, coverage=coverage)
        return logits.view(batch, beam, -1), new_state, attn_weights

    def advance_with(self, memory: AttentionMemory, output: Linear | None = None) -> Callable[..., Advanced]:
        """Return `advance` with this memory in the types that it reads, and this output in place of all tokens'."""
        keys, states = (values.to(self.dtype).contiguous() for values in (memory.keys, memory.states))
        memory = AttentionMemory(states, keys, memory.mask)
        return functools.partial(self.advance, memory, memory.mask.sum(1), output or self.output)

    def advance(
        self,
        memory: AttentionMemory,
        lengths: Int[Tensor, " batch"],
        output: Linear,
        words: Float[Tensor, "rows emb"],
        coverage: Tensor,
        *old: Float[Tensor, "rows _"],
    ) -> Advanced:
        """Return logits, states of the layers, attention weights of each head, and coverage.

        `old` are the hidden states of the layers, then their memory cells.
        """
        context, weights, coverage = self._attend(old[0].to(self.dtype), memory, lengths, coverage)
        below, states = words, []
        for number, layer in enumerate(self.layers):
            states.append(layer((below, context), State(old[number], old[len(self.layers) + number])))
            new_hidden = states[-1].hidden.to(self.dtype)
            below = below + new_hidden if self.residual and number else new_hidden
        return output(self.readout(words, below, context)), states, weights, coverage

    def _attend(
        self, hidden: Tensor, memory: AttentionMemory, lengths: Tensor, coverage: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the contexts [rows, enc] of all hypotheses, their attention weights and the new coverage."""
        (states, keys, _), batch = memory, len(lengths)
        if self.scoring is None:
            queries = hidden.view(batch, -1, hidden.shape[1])
            context, attn_weights, coverage = self.attention(queries, memory, coverage)
            return context.flatten(0, 1), attn_weights[:, :, None], coverage
        beam = len(hidden) // batch
        query = hidden if self.query is None else self.query(hidden)
        weights = keys.new_empty(batch, beam, self.attention.heads, keys.shape[1], dtype=self.exact)
        context = query.new_empty(batch * beam, states.shape[2])
        self.attend(
            rows=batch,
            queries=beam,
            positions=keys.shape[1],
            size=keys.shape[2],
            context_size=states.shape[2],
            query=query.contiguous(),
            keys=keys,
            states=states,
            states_stride=states.stride(0),
            coverage=None if self.coverage_weight is None else coverage.contiguous(),
            lengths=lengths,
            weights=weights,
            context=context,
            context_stride=context.stride(0),
        )
        return context, weights, coverage if self.coverage_weight is None else coverage + weights


class SearchStep:
    """The step function of one network in one search.

    Args:
        step: of the network.
        union: token ids whose logits are returned; None: all.
    """

    def __init__(self, step: Step, union: Int[Tensor, " words"] | None) -> None:
        self._step, self._union = step, union
        self._output = step.output_of(union) if isinstance(step, CompiledStep) and union is not None else None
        self._memory: AttentionMemory | None = None
        self._advance: Callable[..., Advanced] | None = None

    def __call__(
        self, last_tokens: Int[Tensor, "batch beam"], state: DecoderState, memory: AttentionMemory
    ) -> tuple[Float[Tensor, "batch beam words"], DecoderState, Float[Tensor, "batch beam src_len"]]:
        """Return what the step returns; the next call may overwrite the logits and the attention weights."""
        if not isinstance(self._step, CompiledStep):
            logits, state, attn_weights = self._step(last_tokens, state, memory)
            return logits if self._union is None else logits[:, :, self._union], state, attn_weights
        if self._memory is not memory:
            advance = self._step.advance_with(memory, self._output)
            self._memory, self._advance = memory, Replay(advance) if self._step.kernels_alone else advance
        return self._step(last_tokens, state, memory, self._advance)


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
