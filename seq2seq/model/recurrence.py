"""The recurrent layers' fast path on a CPU: all steps of a layer as one node of the graph, with its own way back.

What does not depend on the recurrence is one product over all steps: the inputs' share of the gates before the loop,
the weights' gradients after it. The loop itself is products with packed weights and compiled kernels. Tensors are
time-major here, so that a step is a block of memory. The plain steps (`cells.Cell`, `AttentionalLayer.step`) are the
reference.

The kernels carry a state from step to step in the type of sums (`calls.sum_dtype`), whatever the products' type: the
memory of an LSTM, the hidden state of a GRU. That is `cells` here; a tanh layer has none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from seq2seq.kernels import calls
from seq2seq.kernels.products import product_with
from seq2seq.model.cells import GATES, Cell, State
from seq2seq.model_config import CellName

FEW_ROWS = 2  # up to which a product is done faster than asked for
KEPT = {CellName.gru: 4}  # blocks that the way back needs; elsewhere as many as there are gates


def run_fused(
    cell: Cell,
    inputs: Float[Tensor, "batch len in"],
    weights: Sequence[Tensor],
    start: State | None = None,
    lengths: Int[Tensor, " batch"] | None = None,
    reverse: bool = False,
) -> Float[Tensor, "batch len hidden"]:
    """Run one direction of a layer and return its hidden states, as `CellSequence` does but batch first.

    Args:
        cell: its kind and, of peepholes, weights.
        inputs: of all steps.
        weights: those of a direction: input, recurrent, and their biases.
        start: state before the first step; absent: zeros.
        lengths: of each row, beyond which its states are zero.
        reverse: whether each row is read from its end to its beginning.
    """
    dtype = calls.compute_dtype(inputs)
    w_ih, w_hh, b_ih, b_hh = (weight.to(dtype) for weight in weights)
    bias, extra = _bias_and_extra(cell, b_ih, b_hh)
    inputs = inputs.to(dtype).transpose(0, 1).contiguous()  # no copy where the layer below has made them
    hidden, memory = start or (None, None)
    lengths = None if lengths is None else lengths.long().contiguous()
    arguments = (cell.name, inputs, w_ih, w_hh, bias, extra, hidden, memory, lengths, reverse)
    hiddens: Tensor = CellSequence.apply(*arguments)  # type: ignore[no-untyped-call]
    return hiddens.transpose(0, 1)


def _bias_and_extra(cell: Cell, b_ih: Tensor, b_hh: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return the gates' bias and what else the kernels need: peepholes, or what a GRU's reset gate multiplies, too."""
    exact = calls.sum_dtype(b_ih.dtype)
    if cell.name is CellName.gru:
        gates, new = b_hh.split([2 * cell.size, cell.size])
        return b_ih + torch.nn.functional.pad(gates, (0, cell.size)), new.to(exact)
    return b_ih + b_hh, extra_of(cell, exact)


def extra_of(cell: Cell, dtype: torch.dtype) -> Tensor | None:
    """Return a cell's peephole weights as the kernels take them."""
    peepholes = cell.peepholes()
    return None if peepholes is None else peepholes.to(dtype)


class CellSequence(torch.autograd.Function):
    """One direction of a recurrent layer over a whole sequence."""

    @staticmethod
    def forward(
        ctx: Any,
        name: CellName,
        inputs: Float[Tensor, "len rows in"],
        w_ih: Float[Tensor, "gates in"],
        w_hh: Float[Tensor, "gates hidden"],
        bias: Float[Tensor, " gates"],
        extra: Float[Tensor, "*extra"] | None,
        hidden: Float[Tensor, "rows hidden"] | None,
        memory: Float[Tensor, "rows memory"] | None,
        lengths: Int[Tensor, " rows"] | None,
        reverse: bool,
    ) -> Float[Tensor, "len rows hidden"]:
        """Return the hidden states; zeros from a row's length on. In reverse each row begins at its own end.

        The first state is zero where it is not given.
        """
        steps, rows, _ = inputs.shape
        size = w_hh.shape[1]
        gates = torch.addmm(bias, inputs.flatten(0, 1), w_ih.t()).view(steps, rows, -1)
        activations, cells, hiddens = _buffers(name, gates, size)
        _begin(name, hidden, memory, hiddens[steps if reverse else 0], cells[steps if reverse else 0])
        if rows <= FEW_ROWS:
            weight = w_hh.contiguous()
            calls.cell_sequence(name, weight, extra, lengths, reverse, gates, activations, cells, hiddens)
        else:
            recurrent = product_with(w_hh, rows)
            back, ahead = (1, 0) if reverse else (0, 1)  # state before step t is at t + back
            for number, t in enumerate(range(steps)[:: -1 if reverse else 1]):
                product = None if hidden is None and number == 0 else recurrent(hiddens[t + back])
                calls.cell_forward(
                    *(name, product, gates[t], cells[t + back], extra, activations[t], cells[t + ahead]),
                    *(hiddens[t + ahead], None, lengths, t),
                )
        ctx.save_for_backward(inputs, w_ih, w_hh, extra, activations, hiddens, cells, lengths)
        ctx.name, ctx.reverse, ctx.given = name, reverse, hidden is not None
        return hiddens[:-1] if reverse else hiddens[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of inputs, weights, bias, extra and first state."""
        inputs, w_ih, w_hh, extra, activations, hiddens, cells, lengths = ctx.saved_tensors
        steps, rows, _ = gradient.shape
        gradient = gradient.contiguous()
        dgates, dproducts = _gate_gradients(ctx.name, activations, w_hh.shape[1])
        dcell = torch.zeros_like(cells[0])
        dhidden: Tensor | None = None
        back, ahead = (1, 0) if ctx.reverse else (0, 1)
        recurrent = product_with(w_hh.t(), rows)
        last = steps - 1 if ctx.reverse else 0
        for t in range(steps)[:: 1 if ctx.reverse else -1]:
            calls.cell_backward(
                *(ctx.name, activations[t], cells[t + back], cells[t + ahead], extra, gradient[t], dhidden, dcell),
                *(dgates[t], None if dproducts is dgates else dproducts[t], lengths, t),
            )
            dhidden = recurrent(dproducts[t]) if t != last or ctx.given else None
        before = hiddens[1:] if ctx.reverse else hiddens[:-1]
        memories = (cells[1:], cells[:-1]) if ctx.reverse else (cells[:-1], cells[1:])
        flat = dgates.flatten(0, 1)
        return (
            None,
            (flat @ w_ih).view_as(inputs) if ctx.needs_input_grad[1] else None,
            flat.t() @ inputs.flatten(0, 1),
            dproducts.flatten(0, 1).t() @ before.flatten(0, 1),
            flat.sum(0),
            None if extra is None else _extra_gradient(ctx.name, dproducts, *memories),
            *(_first_state_gradients(ctx.name, dhidden, dcell) if ctx.given else (None, None)),
            None,
            None,
        )


class AttentionalSequence(torch.autograd.Function):
    """The attentional layer over a whole target under teacher forcing: `AttentionalLayer.step` at every step."""

    @staticmethod
    def forward(
        ctx: Any,
        name: CellName,
        heads: int,
        words: Float[Tensor, "len rows emb"],
        w_words: Float[Tensor, "gates emb"],
        bias: Float[Tensor, " gates"],
        w_recurrent: Float[Tensor, "gates enc_hidden"],
        extra: Float[Tensor, "*extra"] | None,
        w_query: Float[Tensor, "attn hidden"] | None,
        energy: Float[Tensor, " attn"] | None,
        coverage: Float[Tensor, " attn"] | None,
        keys: Float[Tensor, "rows src_len attn"],
        states: Float[Tensor, "rows src_len enc"],
        lengths: Int[Tensor, " rows"],
        hidden: Float[Tensor, "rows hidden"],
        memory: Float[Tensor, "rows memory"],
        received: Float[Tensor, "rows received_heads received"],
    ) -> tuple[
        Float[Tensor, "len rows hidden"], Float[Tensor, "len rows enc"], Float[Tensor, "len rows heads src_len"]
    ]:
        """Return hidden states, contexts and attention weights.

        The query is the hidden state itself without `w_query`; `kernels.calls.attend_forward` says what is a score.
        """
        (steps, rows, _), (_, positions, attn), enc, size = words.shape, keys.shape, states.shape[2], hidden.shape[1]
        gates = torch.addmm(bias, words.flatten(0, 1), w_words.t()).view(steps, rows, -1)
        activations, cells, hiddens = _buffers(name, gates, size)
        queries = gates.new_empty(steps, rows, attn)
        reads = gates.new_empty(steps + 1, rows, enc + size)  # what the recurrent product reads: [context, hidden]
        energy, coverage = (None if vector is None else vector.to(cells.dtype) for vector in (energy, coverage))
        weights = cells.new_empty(steps, rows, heads, positions)
        had = None if coverage is None else cells.new_empty(steps + 1, rows, heads, positions)
        if had is not None:
            had[0] = received
        _begin(name, hidden, memory, hiddens[0], cells[0])
        reads[0, :, enc:] = hidden
        query = None if w_query is None else product_with(w_query, rows)
        recurrent = _reading(name, w_recurrent, enc, rows)
        for t in range(steps):
            queries[t] = hiddens[t] if query is None else query(hiddens[t])
            calls.attend_forward(
                *(queries[t][:, None], keys, states, energy, coverage, None if had is None else had[t][:, None]),
                *(lengths, weights[t][:, None], reads[t, :, :enc]),
            )
            if had is not None:
                torch.add(had[t], weights[t], out=had[t + 1])
            product = recurrent(reads[t], gates[t])
            calls.cell_forward(
                *(name, product, gates[t], cells[t], extra, activations[t], cells[t + 1]),
                *(reads[t + 1, :, enc:], hiddens[t + 1]),
            )
        saved = (words, w_words, w_recurrent, extra, w_query, energy, coverage, keys, states, lengths)
        ctx.save_for_backward(*saved, activations, cells, hiddens, reads, queries, weights, had)
        ctx.set_materialize_grads(False)
        ctx.name = name
        return hiddens[1:], reads[:-1, :, :enc], weights

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, dhiddens: Tensor | None, dcontexts: Tensor | None, dweights: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        """Return the gradients of all arguments but the names and lengths."""
        words, w_words, w_recurrent, extra, w_query, energy, coverage, keys, states, lengths = ctx.saved_tensors[:10]
        activations, cells, hiddens, reads, queries, weights, had = ctx.saved_tensors[10:]
        (steps, rows, attn), enc = queries.shape, states.shape[2]
        dhiddens = torch.zeros_like(hiddens[1:]) if dhiddens is None else dhiddens.contiguous()
        dcontexts = reads.new_zeros(steps, rows, enc) if dcontexts is None else dcontexts.contiguous()
        dweights = None if dweights is None else dweights.contiguous()
        dgates, dproducts = _gate_gradients(ctx.name, activations, hiddens.shape[2])
        dqueries, dcell = torch.empty_like(queries), torch.zeros_like(cells[0])
        dkeys = torch.zeros_like(keys, dtype=cells.dtype)
        denergy, dcoverage = (None if one is None else one.new_zeros(rows, attn) for one in (energy, coverage))
        dhad = None if had is None else torch.zeros_like(had[0])
        query = None if w_query is None else product_with(w_query.t(), rows)
        read = _reading_back(ctx.name, w_recurrent, enc, rows)
        dcontext, dhidden = torch.empty_like(dcontexts), None
        for t in reversed(range(steps)):
            calls.cell_backward(
                *(ctx.name, activations[t], cells[t], cells[t + 1], extra, dhiddens[t], dhidden, dcell, dgates[t]),
                None if dproducts is dgates else dproducts[t],
            )
            from_context, from_hidden = read(dgates[t], dproducts[t])
            torch.add(from_context, dcontexts[t], out=dcontext[t])
            calls.attend_backward(
                *(queries[t], keys, states, energy, coverage, None if had is None else had[t], lengths, weights[t]),
                *(None if dweights is None else dweights[t], dcontext[t], dqueries[t], dkeys),
                *(denergy, dcoverage, dhad),
            )
            dhidden = (dqueries[t] if query is None else query(dqueries[t])).add(from_hidden)
        flat = dgates.flatten(0, 1)
        return (
            None,
            None,
            (flat @ w_words).view_as(words),
            flat.t() @ words.flatten(0, 1),
            flat.sum(0),
            _reading_gradient(dgates, dproducts, reads[:-1], enc),
            None if extra is None else _extra_gradient(ctx.name, dproducts, cells[:-1], cells[1:]),
            None if query is None else dqueries.flatten(0, 1).t() @ hiddens[:-1].flatten(0, 1),
            None if denergy is None else denergy.sum(0),
            None if dcoverage is None else dcoverage.sum(0),
            dkeys.to(keys.dtype),
            _states_gradient(weights, dcontext),
            None,
            *_first_state_gradients(ctx.name, dhidden, dcell),
            dhad,
        )


# --- what differs from cell to cell ----------------------------------------------------------------------------------


def _buffers(name: CellName, gates: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return activations (in the place of the gates where they are as many), cells and hidden states, one step more."""
    steps, rows, _ = gates.shape
    activations = gates.new_empty(steps, rows, KEPT[name] * size) if name in KEPT else gates
    carried = 0 if name is CellName.rnn else size
    cells = gates.new_empty(steps + 1, rows, carried, dtype=calls.sum_dtype(gates.dtype))
    return activations, cells, gates.new_empty(steps + 1, rows, size)


def _begin(name: CellName, hidden: Tensor | None, memory: Tensor | None, to_hidden: Tensor, to_cell: Tensor) -> None:
    """Write the first state."""
    if hidden is None or memory is None:
        to_hidden.zero_()
        to_cell.zero_()
    else:
        to_hidden.copy_(hidden)
        to_cell.copy_(hidden if name is CellName.gru else memory)


def _gate_gradients(name: CellName, activations: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return room for the gradients of the inputs' and of the hidden state's gates: the same, but for a GRU."""
    dgates = activations.new_empty(*activations.shape[:2], GATES[name] * size)
    return dgates, torch.empty_like(dgates) if name is CellName.gru else dgates


def _extra_gradient(name: CellName, dproducts: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Return the gradient of peepholes, or of what a GRU's reset gate multiplies beside the product."""
    size = before.shape[2]
    if name is CellName.gru:
        return dproducts[..., 2 * size :].sum((0, 1), dtype=before.dtype)
    gates = dproducts.unflatten(-1, (4, size)).to(before.dtype).unbind(2)
    return torch.stack([(gate * seen).sum((0, 1)) for gate, seen in zip(gates, (before,) * 3 + (after,), strict=True)])


def _first_state_gradients(
    name: CellName, dhidden: Tensor | None, dcell: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    if name is CellName.gru:
        return dcell if dhidden is None else dhidden + dcell, None
    return dhidden, None if name is CellName.rnn else dcell


def _reading(name: CellName, weight: Tensor, enc: int, rows: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the product of the attentional layer with [context, hidden].

    A GRU needs the two apart: there the context's share is added to the gates, and the hidden state's returned.
    """
    if name is not CellName.gru:
        whole = product_with(weight, rows)
        return lambda reads, gates: whole(reads)
    from_context, from_hidden = product_with(weight[:, :enc], rows), product_with(weight[:, enc:], rows)

    def apart(reads: Tensor, gates: Tensor) -> Tensor:
        gates += from_context(reads[:, :enc].contiguous())
        return from_hidden(reads[:, enc:].contiguous())

    return apart


def _reading_back(name: CellName, weight: Tensor, enc: int, rows: int) -> Callable[[Tensor, Tensor], Sequence[Tensor]]:
    """Return the way back of `_reading`: gradients of the gates and of the product -> those of context and hidden."""
    if name is not CellName.gru:
        whole = product_with(weight.t(), rows)
        return lambda dgates, dproduct: whole(dgates).split([enc, weight.shape[1] - enc], dim=1)
    to_context, to_hidden = product_with(weight[:, :enc].t(), rows), product_with(weight[:, enc:].t(), rows)
    return lambda dgates, dproduct: (to_context(dgates), to_hidden(dproduct))


def _reading_gradient(dgates: Tensor, dproducts: Tensor, reads: Tensor, enc: int) -> Tensor:
    if dproducts is dgates:
        return dgates.flatten(0, 1).t() @ reads.flatten(0, 1)
    parts = ((dgates, reads[..., :enc]), (dproducts, reads[..., enc:]))
    return torch.cat([gates.flatten(0, 1).t() @ read.flatten(0, 1) for gates, read in parts], dim=1)


def _states_gradient(
    weights: Float[Tensor, "len rows heads src_len"], dcontext: Float[Tensor, "len rows enc"]
) -> Float[Tensor, "rows src_len enc"]:
    """Return the gradient of the encoder states as the attention weights read them."""
    heads = weights.shape[2]
    by_head = dcontext.unflatten(-1, (heads, -1)).permute(1, 2, 0, 3)  # rows heads len share
    return torch.matmul(weights.permute(1, 2, 3, 0).to(dcontext.dtype), by_head).transpose(1, 2).flatten(2)
