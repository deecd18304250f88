"""The recurrent layers' fast path on a CPU: all steps of a layer as one node of the graph, with its own way back.

What does not depend on the recurrence is one product over all steps: the inputs' share of the gates before the loop,
the weights' gradients after it. The loop itself is products with packed weights and compiled kernels. Tensors are
time-major here, so that a step is a block of memory. The plain steps (`cells.Cell`, `AttentionalLayer.step`) are the
reference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from seq2seq.config.model import CellName
from seq2seq.kernels import calls
from seq2seq.kernels.products import product_with
from seq2seq.model.cells import Cell, State
from seq2seq.model.tape import Tape, WayBack, extra_of, new_tape, norm_of

FEW_ROWS = 2  # up to which a product is done faster than asked for


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
    norm = norm_of(cell, calls.sum_dtype(dtype))
    arguments = (cell.name, inputs, w_ih, w_hh, bias, extra, norm, hidden, memory, lengths, reverse)
    hiddens: Tensor = CellSequence.apply(*arguments)  # type: ignore[no-untyped-call]
    return hiddens.transpose(0, 1)


def _bias_and_extra(cell: Cell, b_ih: Tensor, b_hh: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return the gates' bias and what else the kernels need: peepholes, or what a GRU's reset gate multiplies, too."""
    exact = calls.sum_dtype(b_ih.dtype)
    if cell.name is CellName.gru:
        gates, new = b_hh.split([2 * cell.size, cell.size])
        return b_ih + torch.nn.functional.pad(gates, (0, cell.size)), new.to(exact)
    return b_ih + b_hh, extra_of(cell, exact)


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
        norm: Float[Tensor, "2 units hidden"] | None,
        hidden: Float[Tensor, "rows hidden"] | None,
        memory: Float[Tensor, "rows memory"] | None,
        lengths: Int[Tensor, " rows"] | None,
        reverse: bool,
    ) -> Float[Tensor, "len rows hidden"]:
        """Return the hidden states; zeros from a row's length on. In reverse each row begins at its own end.

        The first state is zero where it is not given.
        """
        steps, rows, _ = inputs.shape
        gates = torch.addmm(bias, inputs.flatten(0, 1), w_ih.t()).view(steps, rows, -1)
        tape = new_tape(name, gates, w_hh.shape[1], extra, norm)
        tape.begin(name, hidden, memory, steps if reverse else 0)
        if rows <= FEW_ROWS:
            calls.cell_sequence(name, w_hh.contiguous(), extra, norm, lengths, reverse, gates, *tape[2:])
        else:
            recurrent = product_with(w_hh, rows)
            for number, t in enumerate(range(steps)[:: -1 if reverse else 1]):
                product = None if hidden is None and number == 0 else recurrent(tape.hiddens[t + reverse])
                tape.step(name, t, product, gates[t], lengths=lengths, reverse=reverse)
        ctx.save_for_backward(inputs, w_ih, w_hh, lengths, *tape)
        ctx.name, ctx.reverse, ctx.given = name, reverse, hidden is not None
        return tape.hiddens[:-1] if reverse else tape.hiddens[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of inputs, weights, bias, extra, norm and first state."""
        inputs, w_ih, w_hh, lengths = ctx.saved_tensors[:4]
        tape, reverse = Tape(*ctx.saved_tensors[4:]), ctx.reverse
        steps, rows, _ = gradient.shape
        gradient, dhidden = gradient.contiguous(), None
        back, recurrent = WayBack(ctx.name, tape, lengths, reverse), product_with(w_hh.t(), rows)
        last = steps - 1 if reverse else 0
        for t in range(steps)[:: 1 if reverse else -1]:
            back.step(t, gradient[t], dhidden)
            dhidden = recurrent(back.products[t]) if t != last or ctx.given else None
        before, flat = tape.hiddens[1:] if reverse else tape.hiddens[:-1], back.gates.flatten(0, 1)
        return (
            None,
            (flat @ w_ih).view_as(inputs) if ctx.needs_input_grad[1] else None,
            flat.t() @ inputs.flatten(0, 1),
            back.products.flatten(0, 1).t() @ before.flatten(0, 1),
            flat.sum(0),
            *back.weights(),
            *(back.first_state(dhidden) if ctx.given else (None, None)),
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
        norm: Float[Tensor, "2 units hidden"] | None,
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
        tape = new_tape(name, gates, size, extra, norm)
        tape.begin(name, hidden, memory)
        queries = gates.new_empty(steps, rows, attn)
        reads = gates.new_empty(steps + 1, rows, enc + size)  # what the recurrent product reads: [context, hidden]
        reads[0, :, enc:] = hidden
        exact = tape.cells.dtype
        energy, coverage = (None if vector is None else vector.to(exact) for vector in (energy, coverage))
        weights = gates.new_empty(steps, rows, heads, positions, dtype=exact)
        had = None if coverage is None else weights.new_empty(steps + 1, rows, heads, positions)
        if had is not None:
            had[0] = received
        query = None if w_query is None else product_with(w_query, rows)
        recurrent = _reading(name, w_recurrent, enc, rows)
        for t in range(steps):
            queries[t] = tape.hiddens[t] if query is None else query(tape.hiddens[t])
            calls.attend_forward(
                queries[t][:, None], keys, states, energy, coverage, None if had is None else had[t][:, None], lengths,
                weights[t][:, None], reads[t, :, :enc],
            )  # fmt: skip
            if had is not None:
                torch.add(had[t], weights[t], out=had[t + 1])
            tape.step(name, t, recurrent(reads[t], gates[t]), gates[t], reads[t + 1, :, enc:])
        saved = (words, w_words, w_recurrent, w_query, energy, coverage, keys, states, lengths)
        ctx.save_for_backward(*saved, reads, queries, weights, had, *tape)
        ctx.set_materialize_grads(False)
        ctx.name = name
        return tape.hiddens[1:], reads[:-1, :, :enc], weights

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, dhiddens: Tensor | None, dcontexts: Tensor | None, dweights: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        """Return the gradients of all arguments but the names and lengths."""
        words, w_words, w_recurrent, w_query, energy, coverage, keys, states, lengths = ctx.saved_tensors[:9]
        (reads, queries, weights, had), tape = ctx.saved_tensors[9:13], Tape(*ctx.saved_tensors[13:])
        (steps, rows, attn), enc = queries.shape, states.shape[2]
        dhiddens = torch.zeros_like(tape.hiddens[1:]) if dhiddens is None else dhiddens.contiguous()
        dcontexts = reads.new_zeros(steps, rows, enc) if dcontexts is None else dcontexts.contiguous()
        dweights = None if dweights is None else dweights.contiguous()
        dkeys, dqueries = torch.zeros_like(keys, dtype=weights.dtype), torch.empty_like(queries)
        denergy, dcoverage = (None if one is None else one.new_zeros(rows, attn) for one in (energy, coverage))
        dhad = None if had is None else torch.zeros_like(had[0])
        query = None if w_query is None else product_with(w_query.t(), rows)
        back, read = WayBack(ctx.name, tape), _reading_back(ctx.name, w_recurrent, enc, rows)
        dcontext, dhidden = torch.empty_like(dcontexts), None
        for t in reversed(range(steps)):
            back.step(t, dhiddens[t], dhidden)
            from_context, from_hidden = read(back.gates[t], back.products[t])
            torch.add(from_context, dcontexts[t], out=dcontext[t])
            calls.attend_backward(
                queries[t], keys, states, energy, coverage, None if had is None else had[t], lengths, weights[t],
                None if dweights is None else dweights[t], dcontext[t], dqueries[t], dkeys, denergy, dcoverage, dhad,
            )  # fmt: skip
            dhidden = (dqueries[t] if query is None else query(dqueries[t])).add_(from_hidden)
        flat = back.gates.flatten(0, 1)
        return (
            None,
            None,
            (flat @ w_words).view_as(words),
            flat.t() @ words.flatten(0, 1),
            flat.sum(0),
            _reading_gradient(back.gates, back.products, reads[:-1], enc),
            *back.weights(),
            None if query is None else dqueries.flatten(0, 1).t() @ tape.hiddens[:-1].flatten(0, 1),
            None if denergy is None else denergy.sum(0),
            None if dcoverage is None else dcoverage.sum(0),
            dkeys.to(keys.dtype),
            _states_gradient(weights, dcontext),
            None,
            *back.first_state(dhidden),
            dhad,
        )


# --- the products inside the loop of the attentional layer -----------------------------------------------------------


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
