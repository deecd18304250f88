"""Attention: where the decoder looks in the source at each target step."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import pad

from seq2seq.kernels import calls

COLUMNS = 32  # a sum over so many source positions, or a multiple, rounds alike whatever zeros follow (CPUs tried)


class AttentionMemory(NamedTuple):
    """What attention reads, computed once per source sentence and shared by every step and every beam.

    There may be more states than keys: zeros that fill up the last `COLUMNS`.
    """

    states: Float[Tensor, "batch positions enc"]
    keys: Float[Tensor, "batch src_len attn"]
    mask: Bool[Tensor, "batch src_len"]


class AdditiveAttention(nn.Module):
    """Additive attention (Bahdanau et al. 2015, section A.1.2).

    e_ij = v^T tanh(W q_i + U h_j), alpha_i = softmax_j(e_ij), c_i = sum_j alpha_ij h_j. The keys U h_j do not depend on
    the target and are projected once, in `memory`.
    """

    def __init__(self, query_size: int, encoder_size: int, attention_size: int) -> None:
        super().__init__()
        self.query = nn.Linear(query_size, attention_size, bias=False)
        self.key = nn.Linear(encoder_size, attention_size)
        self.energy = nn.Linear(attention_size, 1, bias=False)

    def memory(
        self,
        states: Float[Tensor, "batch src_len enc"],
        summary: Float[Tensor, "batch enc"],
        mask: Bool[Tensor, "batch src_len"],
    ) -> AttentionMemory:
        """Project the encoder states to keys.

        Outside training the states are filled up, so that in fp32, too, a context does not depend on how far the batch
        is padded: weights and context are sums over all positions, and how they are rounded depends on their number.
        The compiled kernels read real positions alone.
        """
        fill = 0 if self.training or calls.usable(states) else -states.shape[1] % COLUMNS
        return AttentionMemory(pad(states, (0, 0, 0, fill)) if fill else states, self.key(states), mask)

    def forward(
        self, query: Float[Tensor, "batch queries query"], memory: AttentionMemory
    ) -> tuple[Float[Tensor, "batch queries enc"], Float[Tensor, "batch queries src_len"]]:
        """Return the context of each query and its attention weights (which sum to 1 over real source tokens)."""
        hidden = torch.tanh(self.query(query)[:, :, None] + memory.keys[:, None])  # batch queries src_len attn
        energies = self.energy(hidden).squeeze(-1)
        energies = energies.masked_fill(~memory.mask[:, None], float("-inf"))
        fill = memory.states.shape[1] - energies.shape[2]
        attn_weights = torch.softmax(pad(energies, (0, fill), value=float("-inf")), dim=-1)
        context = torch.bmm(attn_weights.to(memory.states.dtype), memory.states)
        return context, attn_weights[:, :, : energies.shape[2]]


class FixedContext(nn.Module):
    """No attention: every step reads the same summary of the whole source (Cho et al. 2014, eq. 8).

    It is attention over a memory of one position, so decoder, beam search and plots need no special case.
    """

    def memory(
        self,
        states: Float[Tensor, "batch src_len enc"],
        summary: Float[Tensor, "batch enc"],
        mask: Bool[Tensor, "batch src_len"],
    ) -> AttentionMemory:
        """Keep the summary alone; `states` and `mask` are not needed any more."""
        return AttentionMemory(summary[:, None], summary[:, None, :0], mask[:, :1])

    def forward(
        self, query: Float[Tensor, "batch queries query"], memory: AttentionMemory
    ) -> tuple[Float[Tensor, "batch queries enc"], Float[Tensor, "batch queries src_len"]]:
        """Return the summary for each query, with weight 1 on the only position."""
        batch, queries, _ = query.shape
        return memory.states.expand(-1, queries, -1), torch.ones(batch, queries, 1, device=query.device)
