"""One word for every hypothesis, as fast as a CPU can: `Seq2Seq.step` with prepared weights and compiled kernels.

The products of a step that read different things but add up are one product with their matrices side by side, all
matrices stand in the order oneDNN reads, and converted to the type of the products once for many searches.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seq2seq.kernels import calls
from seq2seq.kernels.products import Product, int8_product_with, product_with
from seq2seq.model.attention import AdditiveAttention, AttentionMemory
from seq2seq.model.decoder import DecoderState
from seq2seq.model.network import Seq2Seq

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
    if not (calls.usable(weight) and isinstance(network.decoder.bottom.attention, AdditiveAttention)):
        return network.step
    dtype = calls.compute_dtype(weight)
    if isinstance(cached, FastStep) and cached.made_from == _version(network, dtype):
        return cached
    return FastStep(network, dtype, int8_product_with if int8 else product_with)


def _version(network: Seq2Seq, dtype: torch.dtype) -> tuple[object, ...]:
    return dtype, *((id(weight), None if weight.is_inference() else weight._version) for weight in network.parameters())


class FastStep:
    """The decoder of a network with its weights prepared; see `Seq2Seq.step` for what a call takes and returns."""

    def __init__(self, network: Seq2Seq, dtype: torch.dtype, product: Callable[..., Product] = product_with) -> None:
        def prepared(bias: Tensor | None, *weights: Tensor) -> Product:
            bias = None if bias is None else bias.to(dtype)
            return product(torch.cat([weight.to(dtype) for weight in weights], dim=1), USUAL_ROWS, bias)

        self._prepared, self._network = prepared, network
        decoder, bottom = network.decoder, network.decoder.bottom
        assert isinstance(bottom.attention, AdditiveAttention)
        self.made_from, self.dtype = _version(network, dtype), dtype
        self.embedding, self.scale = network.tgt_embedding.weight, math.sqrt(network.config.emb_size)
        self.query = prepared(None, bottom.attention.query.weight)
        self.energy = bottom.attention.energy.weight[0].to(calls.sum_dtype(dtype))
        self.bottom = prepared(bottom.word_gates.bias, bottom.word_gates.weight, bottom.recurrent.weight)
        self.upper = []
        for layer in decoder.upper:
            w_ih, w_hh, b_ih, b_hh = layer.parameters()
            self.upper.append(prepared(b_ih + b_hh, w_ih, w_hh))
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
        old_hidden, old_cell = (values.flatten(0, 1).unbind(1) for values in state)
        words = (nn.functional.embedding(last_tokens.flatten(), self.embedding) * self.scale).to(self.dtype)
        bottom = old_hidden[0].to(self.dtype)
        context, attn_weights = self._attend(self.query(bottom).view(batch, beam, -1), memory)
        layers = [lstm_step(self.bottom(torch.cat([words, context, bottom], dim=1)), old_cell[0])]
        for number, product in enumerate(self.upper, start=1):
            inputs = torch.cat([layers[-1][0], context, old_hidden[number].to(self.dtype)], dim=1)
            layers.append(lstm_step(product(inputs), old_cell[number]))
        hiddens, cells = (
            torch.stack(one, dim=1).view(batch, beam, len(layers), -1) for one in zip(*layers, strict=True)
        )
        readout = torch.tanh(self.readout(torch.cat([words, layers[-1][0], context], dim=1)))
        return (output or self.output)(readout).view(batch, beam, -1), DecoderState(hiddens, cells), attn_weights

    def _attend(self, query: Tensor, memory: AttentionMemory) -> tuple[Tensor, Tensor]:
        keys, states = memory.keys.to(self.dtype).contiguous(), memory.states.to(self.dtype).contiguous()
        weights = self.energy.new_empty(*query.shape[:2], keys.shape[1])
        context = query.new_empty(query.shape[0] * query.shape[1], states.shape[2])
        calls.attend_forward(query.contiguous(), keys, states, self.energy, memory.mask.sum(1), weights, context)
        return context, weights


def lstm_step(
    gates: Float[Tensor, "rows gates"], cell: Float[Tensor, "rows hidden"]
) -> tuple[Float[Tensor, "rows hidden"], Float[Tensor, "rows hidden"]]:
    """Return (hidden, cell) after one step, as `decoder.lstm_update`; the gates are overwritten."""
    cell = cell.to(calls.sum_dtype(gates.dtype)).contiguous()
    new_cell, hidden = torch.empty_like(cell), gates.new_empty(cell.shape)
    calls.lstm_forward(None, gates, cell, gates, new_cell, hidden)
    return hidden, new_cell
