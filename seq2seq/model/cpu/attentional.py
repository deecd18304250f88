"""The attentional layer over a whole target with compiled kernels; `AttentionalLayer.step` is the definition."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from seq2seq.config.model import CellName
from seq2seq.kernels import bindings
from seq2seq.kernels.bindings import Kernel
from seq2seq.model.attention import Attention, AttentionMemory
from seq2seq.model.cells import Cell, State
from seq2seq.model.cpu.cell_adapters import ADAPTERS, norm_weights, peephole_weights
from seq2seq.model.cpu.packed_linear import packed_linear
from seq2seq.model.cpu.saved_activations import Backward, SavedActivations, new_activations


def run_compiled(
    cell: Cell,
    attention: Attention,
    word_gates: nn.Linear,
    recurrent: Float[Tensor, "gates enc_hidden"],
    words: Float[Tensor, "batch tgt_len emb"],
    memory: AttentionMemory,
    start: State,
    coverage: Float[Tensor, "batch covered_heads covered"],
) -> tuple[
    Float[Tensor, "batch tgt_len hidden"], Float[Tensor, "batch tgt_len enc"], Float[Tensor, "batch tgt_len src_len"]
]:
    """Return hidden states, contexts and attention weights (the mean over heads) of all steps."""
    dtype, scoring = bindings.compute_dtype(words), attention.scoring()
    exact = bindings.sum_dtype(dtype)
    assert scoring is not None
    outputs = AttentionalSequence.apply(  # type: ignore[no-untyped-call]
        cell.name,
        attention.heads,
        words.to(dtype).transpose(0, 1).contiguous(),
        *(weight.to(dtype) for weight in (word_gates.weight, word_gates.bias, recurrent)),
        peephole_weights(cell, exact),
        norm_weights(cell, exact),
        None if scoring.query_weight is None else scoring.query_weight.to(dtype),
        scoring.energy_weight,
        scoring.coverage_weight,
        memory.keys.to(dtype).contiguous(),
        memory.states.to(dtype).contiguous()[:, : memory.keys.shape[1]],
        memory.mask.sum(1),
        *start,
        coverage,
    )
    hiddens, contexts, attn_weights = (values.transpose(0, 1) for values in outputs)
    attn_weights = attn_weights[..., : memory.mask.shape[1]]
    return hiddens, contexts, attn_weights.mean(2) if attention.heads > 1 else attn_weights.squeeze(2)


class SavedAttention(NamedTuple):
    """What an attentional layer saves for backward, beside the activations of its cell.

    `reads` are the operands of the recurrent product, with one place more than there are steps.
    """

    words: Float[Tensor, "len rows emb"]
    w_words: Float[Tensor, "gates emb"]
    w_recurrent: Float[Tensor, "gates enc_hidden"]
    w_query: Float[Tensor, "attn hidden"] | None
    energy: Float[Tensor, " attn"] | None
    coverage_weight: Float[Tensor, " attn"] | None
    keys: Float[Tensor, "rows src_len attn"]
    states: Float[Tensor, "rows src_len enc"]
    lengths: Int[Tensor, " rows"]
    reads: Float[Tensor, "len_and_1 rows enc_hidden"]
    queries: Float[Tensor, "len rows attn"]
    weights: Float[Tensor, "len rows heads src_len"]
    coverage: Float[Tensor, "len_and_1 rows heads src_len"] | None


class AttentionalSequence(torch.autograd.Function):
    """The attentional layer over a whole target under teacher forcing, as one node of the graph."""

    @staticmethod
    def forward(
        ctx: Any,
        name: CellName,
        heads: int,
        words: Float[Tensor, "len rows emb"],
        w_words: Float[Tensor, "gates emb"],
        bias: Float[Tensor, " gates"],
        w_recurrent: Float[Tensor, "gates enc_hidden"],
        peepholes: Float[Tensor, "4 hidden"] | None,
        norm: Float[Tensor, "2 units hidden"] | None,
        w_query: Float[Tensor, "attn hidden"] | None,
        energy: Float[Tensor, " attn"] | None,
        coverage_weight: Float[Tensor, " attn"] | None,
        keys: Float[Tensor, "rows src_len attn"],
        states: Float[Tensor, "rows src_len enc"],
        lengths: Int[Tensor, " rows"],
        hidden: Float[Tensor, "rows hidden"],
        memory_cell: Float[Tensor, "rows memory"],
        first_coverage: Float[Tensor, "rows covered_heads covered"],
    ) -> tuple[
        Float[Tensor, "len rows hidden"], Float[Tensor, "len rows enc"], Float[Tensor, "len rows heads src_len"]
    ]:
        """Return hidden states, contexts and attention weights.

        Without `w_query` the query is the hidden state itself; kernels/attention.h defines the scores.
        """
        adapter, enc, size = ADAPTERS[name], states.shape[2], hidden.shape[1]
        (steps, rows, _), (_, positions, attn) = words.shape, keys.shape
        gates = torch.addmm(bias, words.flatten(0, 1), w_words.t()).view(steps, rows, -1)
        saved = new_activations(adapter, gates, size, peepholes, None, norm)
        saved.begin(adapter, State(hidden, memory_cell))
        queries = gates.new_empty(steps, rows, attn)
        reads = gates.new_empty(steps + 1, rows, enc + size)  # operand of the recurrent product: [context, hidden]
        reads[0, :, enc:] = hidden
        exact = saved.carried.dtype
        energy, coverage_weight = (None if one is None else one.to(exact) for one in (energy, coverage_weight))
        weights = gates.new_empty(steps, rows, heads, positions, dtype=exact)
        coverage = None if coverage_weight is None else weights.new_empty(steps + 1, rows, heads, positions)
        if coverage is not None:
            coverage[0] = first_coverage
        query = None if w_query is None else packed_linear(w_query, rows)
        recurrent = adapter.context_product(w_recurrent, enc, rows)
        attend = Kernel(
            "attend_forward",
            gates.dtype,
            **_attention_fields(heads, keys, states),
            queries=1,
            query=queries,
            energy=energy,
            coverage_weight=coverage_weight,
            coverage=coverage,
            lengths=lengths,
            weights=weights,
            context=reads,
            context_stride=reads.stride(1),
        )
        step = saved.steps(adapter, gates, output=reads[1:, :, enc:])
        for t in range(steps):
            queries[t] = saved.hiddens[t] if query is None else query(saved.hiddens[t])
            attend(t=t)
            if coverage is not None:
                torch.add(coverage[t], weights[t], out=coverage[t + 1])
            step(t=t, product=recurrent(reads[t], gates[t]))
        operands = (words, w_words, w_recurrent, w_query, energy, coverage_weight, keys, states, lengths)
        ctx.save_for_backward(*SavedAttention(*operands, reads, queries, weights, coverage), *saved)
        ctx.set_materialize_grads(False)
        ctx.name = name
        return saved.hiddens[1:], reads[:-1, :, :enc], weights

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, dhiddens: Tensor | None, dcontexts: Tensor | None, dweights: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        """Return the gradients of all arguments but the name, the heads and the lengths."""
        tensors, own = ctx.saved_tensors, len(SavedAttention._fields)
        attention, saved = SavedAttention(*tensors[:own]), SavedActivations(*tensors[own:])
        energy, coverage_weight, coverage = attention.energy, attention.coverage_weight, attention.coverage
        words, keys, states, weights = attention.words, attention.keys, attention.states, attention.weights
        reads, queries, w_query, adapter = attention.reads, attention.queries, attention.w_query, ADAPTERS[ctx.name]
        (steps, rows, attn), enc = queries.shape, states.shape[2]
        dhiddens = torch.zeros_like(saved.hiddens[1:]) if dhiddens is None else dhiddens.contiguous()
        dcontexts = reads.new_zeros(steps, rows, enc) if dcontexts is None else dcontexts.contiguous()
        dweights = None if dweights is None else dweights.contiguous()
        dkeys, dqueries = torch.zeros_like(keys, dtype=weights.dtype), torch.empty_like(queries)
        denergy, dcoverage_weight = (
            None if one is None else one.new_zeros(rows, attn) for one in (energy, coverage_weight)
        )
        dcoverage = None if coverage is None else torch.zeros_like(coverage[0])
        query = None if w_query is None else packed_linear(w_query.t(), rows)
        back = Backward(adapter, saved, dhiddens)
        read = adapter.context_product_backward(attention.w_recurrent, enc, rows)
        dcontext, dhidden = torch.empty_like(dcontexts), None
        attend = Kernel(
            "attend_backward",
            reads.dtype,
            **_attention_fields(weights.shape[2], keys, states),
            query=queries,
            energy=energy,
            coverage_weight=coverage_weight,
            coverage=coverage,
            lengths=attention.lengths,
            weights=weights,
            weights_gradient=dweights,
            context_gradient=dcontext,
            query_gradient=dqueries,
            keys_gradient=dkeys,
            energy_gradient=denergy,
            coverage_weight_gradient=dcoverage_weight,
            coverage_gradient=dcoverage,
        )
        for t in reversed(range(steps)):
            back.step(t, dhidden)
            from_context, from_hidden = read(back.gates[t], back.products[t])
            torch.add(from_context, dcontexts[t], out=dcontext[t])
            attend(t=t)
            dhidden = (dqueries[t] if query is None else query(dqueries[t])).add_(from_hidden)
        flat = back.gates.flatten(0, 1)
        dpeepholes, _, dnorm = back.weights()
        return (
            None,
            None,
            (flat @ attention.w_words).view_as(words),
            flat.t() @ words.flatten(0, 1),
            flat.sum(0),
            adapter.context_weight_gradient(back.gates, back.products, reads[:-1], enc),
            dpeepholes,
            dnorm,
            None if query is None else dqueries.flatten(0, 1).t() @ saved.hiddens[:-1].flatten(0, 1),
            None if denergy is None else denergy.sum(0),
            None if dcoverage_weight is None else dcoverage_weight.sum(0),
            dkeys.to(keys.dtype),
            _states_gradient(weights, dcontext),
            None,
            *back.first_state(dhidden),
            dcoverage,
        )


def _attention_fields(heads: int, keys: Tensor, states: Tensor) -> dict[str, Any]:
    """Return the fields of kernels.h that describe the source."""
    rows, positions, size = keys.shape
    shape = {"rows": rows, "heads": heads, "positions": positions, "size": size, "context_size": states.shape[2]}
    return {**shape, "keys": keys, "states": states, "states_stride": states.stride(0)}


def _states_gradient(
    weights: Float[Tensor, "len rows heads src_len"], dcontext: Float[Tensor, "len rows enc"]
) -> Float[Tensor, "rows src_len enc"]:
    """Return the gradient of the encoder states through the contexts of all steps."""
    heads = weights.shape[2]
    by_head = dcontext.unflatten(-1, (heads, -1)).permute(1, 2, 0, 3)  # rows heads len share
    return torch.matmul(weights.permute(1, 2, 3, 0).to(dcontext.dtype), by_head).transpose(1, 2).flatten(2)
