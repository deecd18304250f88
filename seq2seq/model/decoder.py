"""Recurrent decoder with attention at its bottom layer and a deep-output readout."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from seq2seq.config.model import ModelConfig
from seq2seq.model.attention import AttentionMemory, FixedContext, make_attention
from seq2seq.model.cells import State
from seq2seq.model.cpu import dispatch, fixed_order
from seq2seq.model.dropout import Dropout
from seq2seq.model.layers import RecurrentLayer, make_cell, run


class DecoderState(NamedTuple):
    """What the decoder carries from step to step; the beam dimension is 1 under teacher forcing and before a search.

    A part that the network does not have is of size 0: the memory cells of a GRU, the readout without input feeding,
    the coverage (the attention that each source position received so far) without coverage.
    """

    hidden: Float[Tensor, "batch beam layers hidden"]
    cell: Float[Tensor, "batch beam layers memory"]
    readout: Float[Tensor, "batch beam fed emb"]
    coverage: Float[Tensor, "batch beam heads src_len_or_0"]

    def layer(self, number: int) -> State:
        """Return the recurrent state of one layer, the bottom one being 0."""
        return State(self.hidden[:, :, number], self.cell[:, :, number])


ReadoutStep = Callable[
    [Tensor, DecoderState, AttentionMemory],
    tuple[Float[Tensor, "batch beam emb"], DecoderState, Float[Tensor, "batch beam src_len"]],
]


class AttentionalLayer(nn.Module):
    """Recurrent layer over [embedding of the last target token; context].

    The previous hidden state is the attention query: c_t = attend(h_{t-1}); h_t = cell([y_t; c_t], h_{t-1}), the order
    of Bahdanau et al. 2015 (A.1.2). The word's share of the gates does not depend on the recurrence and is computed by
    `word_gates` for all steps at once. With input feeding (Luong et al. 2015, section 3.3) it also reads the previous
    step's readout.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.cell = make_cell(config, config.hidden_size)
        units = self.cell.gates * config.hidden_size
        self.attention = make_attention(config)
        self.word_gates = nn.Linear(config.emb_size, units)
        self.recurrent = nn.Linear(config.context_size + config.hidden_size, units, bias=False)
        self.readout_gates = nn.Linear(config.emb_size, units, bias=False) if config.input_feeding else None
        self.weight_drop = Dropout(config.dropout.recurrent)

    def recurrent_weight(self) -> Float[Tensor, "gates enc_hidden"]:
        """Return the weights of context and state.

        In training, each call draws a new weight-drop mask for the hidden state's columns.
        """
        if not self.training or self.weight_drop.p == 0:
            return self.recurrent.weight
        context = self.recurrent.in_features - self.cell.size
        from_context, from_hidden = self.recurrent.weight.split([context, self.cell.size], dim=1)
        return torch.cat([from_context, self.weight_drop(from_hidden)], dim=1)

    def step(
        self,
        word_gates: Float[Tensor, "batch beam gates"],
        state: DecoderState,
        memory: AttentionMemory,
        weight: Float[Tensor, "gates enc_hidden"],
    ) -> tuple[
        State,
        Float[Tensor, "batch beam enc"],
        Float[Tensor, "batch beam src_len"],
        Float[Tensor, "batch beam heads covered"],
    ]:
        """Return the new state, the context and attention weights it was computed from, and the new coverage."""
        before = state.layer(0)
        context, attn_weights, coverage = self.attention(before.hidden, memory, state.coverage)
        hidden = before.hidden.to(context.dtype)
        if self.readout_gates is not None:
            word_gates = word_gates + self.readout_gates(state.readout[:, :, 0])
        if self.cell.separate_products:
            from_context, from_hidden = weight.split([context.shape[-1], hidden.shape[-1]], dim=1)
            after = self.cell(word_gates + linear(context, from_context), linear(hidden, from_hidden), before)
        else:
            after = self.cell(word_gates, linear(torch.cat([context, hidden], dim=-1), weight), before)
        return after, context, attn_weights, coverage

    def forward(
        self, words: Float[Tensor, "batch tgt_len emb"], state: DecoderState, memory: AttentionMemory
    ) -> tuple[
        Float[Tensor, "batch tgt_len hidden"],
        Float[Tensor, "batch tgt_len enc"],
        Float[Tensor, "batch tgt_len src_len"],
    ]:
        """Run all steps under teacher forcing, without input feeding; return states, contexts, attention weights."""
        if isinstance(self.attention, FixedContext):
            return self._forward_fixed(words, state, memory)
        fast = dispatch.attentional_layer(self.cell, words)
        if fast is not None:
            gates, weight, start = self.word_gates, self.recurrent_weight(), State(*(v[:, 0] for v in state.layer(0)))
            return fast(self.cell, self.attention, gates, weight, words, memory, start, state.coverage[:, 0])
        weight, steps, memory = self.recurrent_weight(), [], self.attention.with_exact_keys(memory)
        for word_gates in self.word_gates(words).split(1, dim=1):
            after, context, attn_weights, coverage = self.step(word_gates, state, memory, weight)
            state = state._replace(hidden=after.hidden[:, :, None], cell=after.cell[:, :, None], coverage=coverage)
            steps.append((after.hidden, context, attn_weights))
        hiddens, contexts, weights = zip(*steps, strict=True)
        return torch.cat(hiddens, dim=1), torch.cat(contexts, dim=1), torch.cat(weights, dim=1)

    def _forward_fixed(
        self, words: Tensor, state: DecoderState, memory: AttentionMemory
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Without attention every context is known before the first step: a plain recurrent layer."""
        contexts = memory.states.expand(-1, words.shape[1], -1)
        split = [contexts.shape[2], self.cell.size]
        from_context, from_hidden = self.recurrent_weight().split(split, dim=1)
        bias = self.word_gates.bias
        weights = (torch.cat([self.word_gates.weight, from_context], dim=1), from_hidden, bias, torch.zeros_like(bias))
        inputs = torch.cat([words.to(contexts.dtype), contexts], dim=-1)
        start = State(*(values[:, 0] for values in state.layer(0)))
        hiddens = run([self.cell], [weights], inputs, start=start)
        return hiddens, contexts, words.new_ones(*words.shape[:2], 1)


class Decoder(nn.Module):
    """Attentional layer, plain layers above it that read [below; context], and a deep-output readout.

    Only the bottom layer attends (as in GNMT, Wu et al. 2016), so under teacher forcing each layer above runs over the
    whole sequence at once. With input feeding all layers run step by step.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        hidden, context = config.hidden_size, config.context_size
        self.num_layers, self.hidden_size, self.emb_size = config.decoder_layers, hidden, config.emb_size
        self.input_feeding, self.residual = config.input_feeding, config.residual
        self.bottom = AttentionalLayer(config)
        states = hidden + self.bottom.cell.memory_size
        self.bridge = nn.Linear(context, self.num_layers * states)
        self.upper = nn.ModuleList(
            RecurrentLayer(config, hidden + context, hidden) for _ in range(config.decoder_layers - 1)
        )
        self.readout = nn.Linear(config.emb_size + hidden + context, config.emb_size)
        self.dropout = Dropout(config.dropout.layers, config.dropout.variational)

    def initial_state(self, summary: Float[Tensor, "batch enc"], memory: AttentionMemory) -> DecoderState:
        """Bridge the encoder's summary to every layer's state: tanh(W s + b).

        Bahdanau et al. 2015 (A.2.2) have one layer, and in place of the summary the backward direction's last state.
        """
        kinds = self.bridge.out_features // (self.num_layers * self.hidden_size)  # hidden and, of an LSTM, cell
        bridged = torch.tanh(fixed_order.apply(self.bridge, summary)).view(
            len(summary), 1, kinds, self.num_layers, self.hidden_size
        )
        hidden, cell = bridged[:, :, 0], bridged[:, :, 1] if kinds == 2 else bridged[:, :, 0, :, :0]
        readout = bridged.new_zeros(len(summary), 1, int(self.input_feeding), self.emb_size)
        return DecoderState(hidden, cell, readout, self.bottom.attention.no_coverage(memory))

    def forward(
        self, words: Float[Tensor, "batch tgt_len emb"], state: DecoderState, memory: AttentionMemory
    ) -> tuple[Float[Tensor, "batch tgt_len emb"], Float[Tensor, "batch tgt_len src_len"]]:
        """Return the readouts of all steps under teacher forcing, and the attention weights."""
        if self.input_feeding:
            return self._forward_stepwise(words, state, memory)
        outputs, contexts, attn_weights = self.bottom(words, state, memory)
        for number, layer in enumerate(self.upper, start=1):
            start = State(*(values[:, 0] for values in state.layer(number)))
            above = layer(torch.cat([self.dropout(outputs), contexts], dim=-1), start=start)
            outputs = outputs + above if self.residual else above
        return self._read_out(words, outputs, contexts), attn_weights

    def _forward_stepwise(self, words: Tensor, state: DecoderState, memory: AttentionMemory) -> tuple[Tensor, Tensor]:
        step, steps, memory = self.stepper(words), [], self.bottom.attention.with_exact_keys(memory)
        for word in words.split(1, dim=1):
            readout, state, attn_weights = step(word, state, memory)
            steps.append((readout, attn_weights))
        readouts, weights = zip(*steps, strict=True)
        return torch.cat(readouts, dim=1), torch.cat(weights, dim=1)

    def step(
        self, words: Float[Tensor, "batch beam emb"], state: DecoderState, memory: AttentionMemory
    ) -> tuple[Float[Tensor, "batch beam emb"], DecoderState, Float[Tensor, "batch beam src_len"]]:
        """Advance every hypothesis by one word; return its readout, the new state and the attention weights."""
        return self.stepper(words)(words, state, memory)

    def stepper(self, words: Float[Tensor, "batch beam emb"]) -> ReadoutStep:
        """Return a function like `step` with one weight-drop mask and one variational mask per layer for all steps.

        `words` is the first step's input.
        """
        bottom_weight = self.bottom.recurrent_weight()
        like = words.new_empty(len(words), 1, self.hidden_size)
        layers = [
            (layer.cell(0), layer.weights(0), self.dropout.for_sentences(like))
            for layer in self.upper
            if isinstance(layer, RecurrentLayer)
        ]

        def step(words: Tensor, state: DecoderState, memory: AttentionMemory) -> tuple[Tensor, DecoderState, Tensor]:
            gates = self.bottom.word_gates(words)
            after, context, attn_weights, coverage = self.bottom.step(gates, state, memory, bottom_weight)
            states, output = [after], after.hidden
            for number, (cell, (w_ih, w_hh, b_ih, b_hh), dropout) in enumerate(layers, start=1):
                inputs, before = torch.cat([dropout(output), context], dim=-1), state.layer(number)
                after = cell(linear(inputs, w_ih, b_ih), linear(before.hidden, w_hh, b_hh), before)
                states.append(after)
                output = output + after.hidden if self.residual else after.hidden
            hidden, memory_cell = (torch.stack(one, dim=2) for one in zip(*states, strict=True))
            readout = self._read_out(words, output, context)
            fed = readout[:, :, None] if self.input_feeding else state.readout
            return readout, DecoderState(hidden, memory_cell, fed, coverage), attn_weights

        return step

    def _read_out(self, words: Tensor, outputs: Tensor, contexts: Tensor) -> Tensor:
        """Deep output (Pascanu et al. 2014): tanh of a projection of word, state and context."""
        return torch.tanh(self.readout(torch.cat([words.to(outputs.dtype), outputs, contexts], dim=-1)))
