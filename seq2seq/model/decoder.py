"""LSTM decoder with attention at its bottom layer and a deep-output readout."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from seq2seq.kernels import calls
from seq2seq.model.attention import AdditiveAttention, AttentionMemory, FixedContext
from seq2seq.model.dropout import Dropout
from seq2seq.model.recurrence import AttentionalSequence, run_lstm


class DecoderState(NamedTuple):
    """Recurrent state of every layer, bottom first; teacher forcing and a fresh encoding have one beam."""

    hidden: Float[Tensor, "batch beam layers hidden"]
    cell: Float[Tensor, "batch beam layers hidden"]


class AttentionalLSTM(nn.Module):
    """LSTM layer whose input at each step is the target word and the context its previous state attends to.

    c_t = attend(h_{t-1}); (h_t, s_t) = LSTM([y_t; c_t], (h_{t-1}, s_{t-1})), the order of Bahdanau et al. 2015 (A.1.2)
    with an LSTM in place of the GRU. The word's share of the gates does not depend on the recurrence and is
    computed by `word_gates` for all steps at once.
    """

    def __init__(
        self, input_size: int, context_size: int, hidden_size: int, attention: AdditiveAttention | FixedContext
    ) -> None:
        super().__init__()
        self.attention = attention
        self.word_gates = nn.Linear(input_size, 4 * hidden_size)
        self.recurrent = nn.Linear(context_size + hidden_size, 4 * hidden_size, bias=False)

    def step(
        self,
        word_gates: Float[Tensor, "batch beam gates"],
        hidden: Float[Tensor, "batch beam hidden"],
        cell: Float[Tensor, "batch beam hidden"],
        memory: AttentionMemory,
    ) -> tuple[
        Float[Tensor, "batch beam hidden"],
        Float[Tensor, "batch beam hidden"],
        Float[Tensor, "batch beam enc"],
        Float[Tensor, "batch beam src_len"],
    ]:
        """Return the new hidden state and cell, and the context and attention weights they were made from."""
        context, attn_weights = self.attention(hidden, memory)
        gates = word_gates + self.recurrent(torch.cat([context, hidden.to(context.dtype)], dim=-1))
        hidden, cell = lstm_update(gates, cell)
        return hidden, cell, context, attn_weights

    def forward(
        self,
        words: Float[Tensor, "batch tgt_len emb"],
        hidden: Float[Tensor, "batch hidden"],
        cell: Float[Tensor, "batch hidden"],
        memory: AttentionMemory,
    ) -> tuple[
        Float[Tensor, "batch tgt_len hidden"],
        Float[Tensor, "batch tgt_len enc"],
        Float[Tensor, "batch tgt_len src_len"],
    ]:
        """Run all steps under teacher forcing; return hidden states, contexts and attention weights."""
        if isinstance(self.attention, AdditiveAttention) and calls.usable(words):
            return self._forward_fused(self.attention, words, hidden, cell, memory)
        steps, hidden, cell = [], hidden[:, None], cell[:, None]
        for word_gates in self.word_gates(words).split(1, dim=1):
            hidden, cell, context, attn_weights = self.step(word_gates, hidden, cell, memory)
            steps.append((hidden, context, attn_weights))
        hiddens, contexts, weights = zip(*steps, strict=True)
        return torch.cat(hiddens, dim=1), torch.cat(contexts, dim=1), torch.cat(weights, dim=1)

    def _forward_fused(
        self, attention: AdditiveAttention, words: Tensor, hidden: Tensor, cell: Tensor, memory: AttentionMemory
    ) -> tuple[Tensor, Tensor, Tensor]:
        dtype = calls.compute_dtype(words)
        weights = (self.word_gates.weight, self.word_gates.bias, self.recurrent.weight, attention.query.weight)
        found = AttentionalSequence.apply(  # type: ignore[no-untyped-call]
            words.to(dtype).transpose(0, 1).contiguous(),
            *(weight.to(dtype) for weight in weights),
            attention.energy.weight[0],
            memory.keys.to(dtype).contiguous(),
            memory.states.to(dtype).contiguous()[:, : memory.keys.shape[1]],
            memory.mask.sum(1),
            hidden,
            cell,
        )
        hiddens, contexts, attn_weights = (values.transpose(0, 1) for values in found)
        return hiddens, contexts, attn_weights


def lstm_update(
    gates: Float[Tensor, "*rows gates"], cell: Float[Tensor, "*rows hidden"]
) -> tuple[Float[Tensor, "*rows hidden"], Float[Tensor, "*rows hidden"]]:
    """Return (hidden, cell) after one LSTM step, from the summed gate inputs in torch's order i, f, g, o.

    c_t = f * c_{t-1} + i * g; h_t = o * tanh(c_t) (Hochreiter and Schmidhuber 1997, forget gate of Gers et al. 2000).
    """
    i, f, g, o = gates.chunk(4, dim=-1)
    cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(cell), cell


class Decoder(nn.Module):
    """Attentional LSTM, plain LSTM layers above it that read [below; context], and a deep-output readout.

    Only the bottom layer attends (as GNMT, Wu et al. 2016), so under teacher forcing only it lives in the step loop:
    the layers above run fused over the whole sequence. `step` and `forward` use the same weights and equations.
    """

    def __init__(
        self,
        emb_size: int,
        context_size: int,
        hidden_size: int,
        num_layers: int,
        attention: AdditiveAttention | FixedContext,
        dropout_layers: float,
    ) -> None:
        super().__init__()
        self.num_layers, self.hidden_size = num_layers, hidden_size
        self.bridge = nn.Linear(context_size, 2 * num_layers * hidden_size)
        self.bottom = AttentionalLSTM(emb_size, context_size, hidden_size, attention)
        self.upper = nn.ModuleList(
            nn.LSTM(hidden_size + context_size, hidden_size, batch_first=True) for _ in range(num_layers - 1)
        )
        self.readout = nn.Linear(emb_size + hidden_size + context_size, emb_size)
        self.dropout = Dropout(dropout_layers)

    def initial_state(self, summary: Float[Tensor, "batch enc"]) -> DecoderState:
        """Bridge the encoder's summary to every layer's state: tanh(W s), as Bahdanau et al. 2015 (A.2.2)."""
        bridged = torch.tanh(self.bridge(summary)).view(len(summary), 1, 2, self.num_layers, self.hidden_size)
        return DecoderState(bridged[:, :, 0], bridged[:, :, 1])

    def forward(
        self, words: Float[Tensor, "batch tgt_len emb"], state: DecoderState, memory: AttentionMemory
    ) -> tuple[Float[Tensor, "batch tgt_len emb"], Float[Tensor, "batch tgt_len src_len"]]:
        """Return the readouts of all steps under teacher forcing, and the attention weights."""
        hidden, cell = state.hidden[:, 0], state.cell[:, 0]
        outputs, contexts, attn_weights = self.bottom(words, hidden[:, 0], cell[:, 0], memory)
        for number, layer in enumerate(self.upper, start=1):
            assert isinstance(layer, nn.LSTM)
            inputs, start = torch.cat([self.dropout(outputs), contexts], dim=-1), (hidden[:, number], cell[:, number])
            if calls.usable(inputs):
                outputs = run_lstm(inputs, list(layer.parameters()), start)
            else:
                outputs, _ = layer(inputs, tuple(state[None].contiguous() for state in start))
        return self._read_out(words, outputs, contexts), attn_weights

    def step(
        self, words: Float[Tensor, "batch beam emb"], state: DecoderState, memory: AttentionMemory
    ) -> tuple[Float[Tensor, "batch beam emb"], DecoderState, Float[Tensor, "batch beam src_len"]]:
        """Advance every hypothesis by one word; return its readout, the new state and the attention weights."""
        output, cell, context, attn_weights = self.bottom.step(
            self.bottom.word_gates(words), state.hidden[:, :, 0], state.cell[:, :, 0], memory
        )
        hiddens, cells = [output], [cell]
        for number, layer in enumerate(self.upper, start=1):
            assert isinstance(layer, nn.LSTM)
            inputs = torch.cat([self.dropout(output), context], dim=-1)
            w_ih, w_hh, b_ih, b_hh = layer.parameters()
            gates = linear(inputs, w_ih, b_ih) + linear(state.hidden[:, :, number], w_hh, b_hh)
            output, cell = lstm_update(gates, state.cell[:, :, number])
            hiddens.append(output)
            cells.append(cell)
        state = DecoderState(torch.stack(hiddens, dim=2), torch.stack(cells, dim=2))
        return self._read_out(words, output, context), state, attn_weights

    def _read_out(self, words: Tensor, outputs: Tensor, contexts: Tensor) -> Tensor:
        """Deep output (Pascanu et al. 2014): tanh of a projection of word, state and context."""
        return torch.tanh(self.readout(torch.cat([words.to(outputs.dtype), outputs, contexts], dim=-1)))
