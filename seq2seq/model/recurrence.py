"""The recurrent layers' fast path on a CPU: all steps of a layer as one node of the graph, with its own way back.

What does not depend on the recurrence is one product over all steps: the inputs' share of the gates before the loop,
the weights' gradients after it. The loop itself is products with packed weights and compiled kernels. Tensors are
time-major here, so that a step is a block of memory. The plain layers beside it (`encoder.run_padded`,
`AttentionalLSTM.step`) are the reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from seq2seq.kernels import calls
from seq2seq.kernels.products import product_with

FEW_ROWS = 2  # up to which a product is done faster than asked for


def run_lstm(
    inputs: Float[Tensor, "batch len in"],
    weights: Sequence[Tensor],
    start: tuple[Float[Tensor, "batch hidden"], Float[Tensor, "batch hidden"]] | None = None,
    lengths: Int[Tensor, " batch"] | None = None,
    reverse: bool = False,
) -> Float[Tensor, "batch len hidden"]:
    """Run one direction of an LSTM layer and return its hidden states, as `LSTMSequence` does but batch first.

    Args:
        inputs: of all steps.
        weights: those of an `nn.LSTM` direction: input, recurrent, and their biases.
        start: hidden and cell state before the first step; absent: zeros.
        lengths: of each row, beyond which its states are zero.
        reverse: whether each row is read from its end to its beginning.
    """
    dtype = calls.compute_dtype(inputs)
    w_ih, w_hh, b_ih, b_hh = (weight.to(dtype) for weight in weights)
    inputs = inputs.to(dtype).transpose(0, 1).contiguous()  # no copy where the layer below has made them
    hidden, cell = start or (None, None)
    lengths = None if lengths is None else lengths.long().contiguous()
    hiddens: Tensor = LSTMSequence.apply(inputs, w_ih, w_hh, b_ih + b_hh, hidden, cell, lengths, reverse)  # type: ignore[no-untyped-call]
    return hiddens.transpose(0, 1)


class LSTMSequence(torch.autograd.Function):
    """One direction of an LSTM layer over a whole sequence."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Float[Tensor, "len rows in"],
        w_ih: Float[Tensor, "gates in"],
        w_hh: Float[Tensor, "gates hidden"],
        bias: Float[Tensor, " gates"],
        hidden: Float[Tensor, "rows hidden"] | None,
        cell: Float[Tensor, "rows hidden"] | None,
        lengths: Int[Tensor, " rows"] | None,
        reverse: bool,
    ) -> Float[Tensor, "len rows hidden"]:
        """Return the hidden states; zeros from a row's length on. In reverse each row begins at its own end.

        The first state is zero where it is not given.
        """
        steps, rows, _ = inputs.shape
        size = w_hh.shape[1]
        gates = torch.addmm(bias, inputs.flatten(0, 1), w_ih.t()).view(steps, rows, 4 * size)
        hiddens = gates.new_empty(steps + 1, rows, size)
        cells = gates.new_empty(steps + 1, rows, size, dtype=calls.sum_dtype(gates.dtype))
        begin = steps if reverse else 0
        if hidden is None or cell is None:
            hiddens[begin], cells[begin] = 0, 0
        else:
            hiddens[begin], cells[begin] = hidden, cell
        if rows <= FEW_ROWS:
            calls.lstm_sequence(w_hh.contiguous(), lengths, reverse, gates, cells, hiddens)
        else:
            _run_steps(w_hh, lengths, reverse, gates, cells, hiddens, from_zero=hidden is None)
        ctx.save_for_backward(inputs, w_ih, w_hh, gates, hiddens, cells)
        ctx.reverse, ctx.given = reverse, hidden is not None
        return hiddens[:-1] if reverse else hiddens[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of inputs, weights, bias and first state."""
        inputs, w_ih, w_hh, activations, hiddens, cells = ctx.saved_tensors
        steps, rows, _ = gradient.shape
        gradient = gradient.contiguous()
        dgates = torch.empty_like(activations)
        dcell = torch.zeros_like(cells[0])
        dhidden: Tensor | None = None
        back, ahead = (1, 0) if ctx.reverse else (0, 1)
        recurrent = product_with(w_hh.t(), rows)
        last = steps - 1 if ctx.reverse else 0
        for t in range(steps)[:: 1 if ctx.reverse else -1]:
            calls.lstm_backward(
                activations[t], cells[t + back], cells[t + ahead], gradient[t], dhidden, dcell, dgates[t]
            )
            dhidden = recurrent(dgates[t]) if t != last or ctx.given else None
        flat, before = dgates.flatten(0, 1), hiddens[1:] if ctx.reverse else hiddens[:-1]
        dinputs = (flat @ w_ih).view_as(inputs) if ctx.needs_input_grad[0] else None
        dw_ih, dw_hh = flat.t() @ inputs.flatten(0, 1), flat.t() @ before.flatten(0, 1)
        return dinputs, dw_ih, dw_hh, flat.sum(0), dhidden, dcell if ctx.given else None, None, None


def _run_steps(
    w_hh: Tensor, lengths: Tensor | None, reverse: bool, gates: Tensor, cells: Tensor, hiddens: Tensor, from_zero: bool
) -> None:
    """Do what `calls.lstm_sequence` does, with a product over all rows at each step."""
    recurrent = product_with(w_hh, gates.shape[1])
    back, ahead = (1, 0) if reverse else (0, 1)  # state before step t is at t + back
    for number, t in enumerate(range(len(gates))[:: -1 if reverse else 1]):
        product = None if from_zero and number == 0 else recurrent(hiddens[t + back])
        calls.lstm_forward(
            *(product, gates[t], cells[t + back], gates[t], cells[t + ahead], hiddens[t + ahead]), lengths=lengths, t=t
        )  # the activations take the place of the gates


class AttentionalSequence(torch.autograd.Function):
    """The attentional layer over a whole target under teacher forcing: `AttentionalLSTM.step` at every step."""

    @staticmethod
    def forward(
        ctx: Any,
        words: Float[Tensor, "len rows emb"],
        w_words: Float[Tensor, "gates emb"],
        bias: Float[Tensor, " gates"],
        w_recurrent: Float[Tensor, "gates enc_hidden"],
        w_query: Float[Tensor, "attn hidden"],
        energy: Float[Tensor, " attn"],
        keys: Float[Tensor, "rows src_len attn"],
        states: Float[Tensor, "rows src_len enc"],
        lengths: Int[Tensor, " rows"],
        hidden: Float[Tensor, "rows hidden"],
        cell: Float[Tensor, "rows hidden"],
    ) -> tuple[Float[Tensor, "len rows hidden"], Float[Tensor, "len rows enc"], Float[Tensor, "len rows src_len"]]:
        """Return hidden states, contexts and attention weights."""
        (steps, rows, _), (attn, size), enc = words.shape, w_query.shape, states.shape[2]
        gates = torch.addmm(bias, words.flatten(0, 1), w_words.t()).view(steps, rows, 4 * size)
        cells = gates.new_empty(steps + 1, rows, size, dtype=calls.sum_dtype(gates.dtype))
        hiddens, queries = gates.new_empty(steps + 1, rows, size), gates.new_empty(steps, rows, attn)
        reads = gates.new_empty(steps + 1, rows, enc + size)  # what the recurrent product reads: [context, hidden]
        weights = cells.new_empty(steps, rows, keys.shape[1])
        hiddens[0], cells[0], reads[0, :, enc:] = hidden, cell, hidden
        recurrent, query = product_with(w_recurrent, rows), product_with(w_query, rows)
        energy = energy.to(cells.dtype)
        for t in range(steps):
            queries[t] = query(hiddens[t])
            contexts = reads[t, :, :enc]
            calls.attend_forward(queries[t][:, None], keys, states, energy, lengths, weights[t][:, None], contexts)
            product = recurrent(reads[t])
            calls.lstm_forward(
                *(product, gates[t], cells[t], gates[t], cells[t + 1], reads[t + 1, :, enc:], hiddens[t + 1])
            )
        saved = (words, w_words, w_recurrent, w_query, energy, keys, states, lengths)
        ctx.save_for_backward(*saved, gates, cells, hiddens, reads, queries, weights)
        ctx.set_materialize_grads(False)
        return hiddens[1:], reads[:-1, :, :enc], weights

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, dhiddens: Tensor | None, dcontexts: Tensor | None, dweights: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        """Return the gradients of all arguments but the lengths."""
        words, w_words, w_recurrent, w_query, energy, keys, states, lengths = ctx.saved_tensors[:8]
        activations, cells, hiddens, reads, queries, weights = ctx.saved_tensors[8:]
        (steps, rows, attn), enc = queries.shape, states.shape[2]
        dhiddens = torch.zeros_like(hiddens[1:]) if dhiddens is None else dhiddens.contiguous()
        dcontexts = reads.new_zeros(steps, rows, enc) if dcontexts is None else dcontexts.contiguous()
        dweights = None if dweights is None else dweights.contiguous()
        dgates, dqueries = torch.empty_like(activations), torch.empty_like(queries)
        dcell = torch.zeros_like(cells[0])
        dkeys, denergy = torch.zeros_like(keys, dtype=cells.dtype), cells.new_zeros(rows, attn)
        recurrent, query = product_with(w_recurrent.t(), rows), product_with(w_query.t(), rows)
        dcontext, dhidden = torch.empty_like(dcontexts), None
        for t in reversed(range(steps)):
            calls.lstm_backward(*(activations[t], cells[t], cells[t + 1], dhiddens[t], dhidden, dcell, dgates[t]))
            dreads = recurrent(dgates[t])
            torch.add(dreads[:, :enc], dcontexts[t], out=dcontext[t])
            calls.attend_backward(
                *(queries[t], keys, states, energy, lengths, weights[t], None if dweights is None else dweights[t]),
                *(dcontext[t], dqueries[t], dkeys, denergy),
            )
            dhidden = query(dqueries[t]).add_(dreads[:, enc:])
        flat = dgates.flatten(0, 1)
        dstates = torch.bmm(weights.permute(1, 2, 0).to(dcontext.dtype), dcontext.transpose(0, 1))
        return (
            (flat @ w_words).view_as(words),
            flat.t() @ words.flatten(0, 1),
            flat.sum(0),
            flat.t() @ reads[:-1].flatten(0, 1),
            dqueries.flatten(0, 1).t() @ hiddens[:-1].flatten(0, 1),
            denergy.sum(0),
            dkeys.to(keys.dtype),
            dstates,
            None,
            dhidden,
            dcell,
        )
