"""Attention: where the decoder looks in the source at each target step."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import pad

from seq2seq.config.model import AttentionName, ModelConfig

COLUMNS = 32  # a sum over so many source positions, or a multiple, rounds alike whatever zeros follow (CPUs tried)


class AttentionMemory(NamedTuple):
    """What attention reads, computed once per source sentence and shared by every step and every beam.

    There may be more states than the mask has places, and more keys: zeros that fill up the last `COLUMNS`.
    """

    states: Float[Tensor, "batch positions enc"]
    keys: Float[Tensor, "batch src_len attn"]
    mask: Bool[Tensor, "batch src_len"]


class Scoring(NamedTuple):
    """The weights of an attention's scores as the compiled kernels take them; None is a part that it does not have."""

    query: Float[Tensor, "attn query"] | None
    energy: Float[Tensor, " attn"] | None
    coverage: Float[Tensor, " attn"] | None


class Attention(nn.Module):
    """What all attentions share: alpha_i = softmax_j(e_ij), c_i = sum_j alpha_ij h_j; a subclass says what e_ij is.

    With several heads each has scores of its own and weighs its share of the units of h_j. What depends on the source
    alone is computed once, in `memory`.
    """

    heads = 1
    fills_keys = False  # whether scores are one product over all positions

    def keys(self, states: Float[Tensor, "batch src_len enc"]) -> Float[Tensor, "batch src_len attn"]:
        """Return what queries are compared with."""
        raise NotImplementedError

    def energies(
        self,
        query: Float[Tensor, "batch queries query"],
        keys: Float[Tensor, "batch src_len attn"],
        received: Float[Tensor, "batch #queries received_heads received"],
    ) -> Float[Tensor, "batch queries heads src_len"]:
        """Return the score of every source position; `received` is the attention it has had (`coverage`)."""
        raise NotImplementedError

    def for_a_loop(self, memory: AttentionMemory) -> AttentionMemory:
        """Return what a loop of plain steps under teacher forcing reads."""
        return memory

    def scoring(self) -> Scoring | None:
        """Return what the compiled kernels compute the scores from; None where there are none to compute."""
        return None

    def nothing_received(self, memory: AttentionMemory) -> Float[Tensor, "batch one received_heads received"]:
        """Return `received` before the first step; of no size where the scores do not look at it."""
        return memory.keys.new_zeros(len(memory.keys), 1, 0, 0)

    def memory(
        self,
        states: Float[Tensor, "batch src_len enc"],
        summary: Float[Tensor, "batch enc"],
        mask: Bool[Tensor, "batch src_len"],
    ) -> AttentionMemory:
        """Project the encoder states to keys.

        Outside training the states are filled up, so that in fp32, too, a context does not depend on how far the batch
        is padded: weights and context are sums over all positions, and how they are rounded depends on their number.
        """
        fill = 0 if self.training else -states.shape[1] % COLUMNS
        filled = pad(states, (0, 0, 0, fill)) if fill else states
        return AttentionMemory(filled, self.keys(filled if self.fills_keys else states), mask)

    def forward(
        self,
        query: Float[Tensor, "batch queries query"],
        memory: AttentionMemory,
        received: Float[Tensor, "batch #queries received_heads received"],
    ) -> tuple[
        Float[Tensor, "batch queries enc"],
        Float[Tensor, "batch queries src_len"],
        Float[Tensor, "batch #queries received_heads received"],
    ]:
        """Return contexts, attention weights and the attention received, this step's included.

        The weights sum to 1 over real source tokens; of several heads they are the mean.
        """
        src_len = memory.mask.shape[1]
        energies = self.energies(query, memory.keys, received)[..., :src_len]
        energies = energies.masked_fill(~memory.mask[:, None, None], float("-inf"))
        fill = memory.states.shape[1] - src_len
        weights = torch.softmax(pad(energies, (0, fill), value=float("-inf")), dim=-1)
        shares = memory.states.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # batch heads positions share
        context = torch.matmul(weights.transpose(1, 2).to(shares.dtype), shares).transpose(1, 2).flatten(2)
        weights = weights[..., :src_len]
        return context, weights.mean(2), received + weights if received.shape[2] else received


class AdditiveAttention(Attention):
    """Additive attention (Bahdanau et al. 2015, section A.1.2): e_ij = v^T tanh(W q_i + U h_j).

    Several heads cut W q, U h and v into shares, one score each (RNMT+, Chen et al. 2018). With coverage the sum has
    one more term, w a_ij, of the attention a_ij that position j has had from the head before step i (Tu et al. 2016;
    See et al. 2017, eq. 11).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.attention_heads
        self.query = nn.Linear(config.hidden_size, config.attention_size, bias=False)
        self.key = nn.Linear(config.context_size, config.attention_size)
        self.energy = nn.Linear(config.attention_size, 1, bias=False)
        self.coverage = nn.Linear(1, config.attention_size, bias=False) if config.coverage else None

    def keys(self, states: Float[Tensor, "batch src_len enc"]) -> Float[Tensor, "batch src_len attn"]:
        """Return U h_j + b."""
        keys: Tensor = self.key(states)
        return keys

    def for_a_loop(self, memory: AttentionMemory) -> AttentionMemory:
        """Return keys in fp32 or better, so that their gradient, in great part one that cancels, is summed up in it.

        It costs memory: the tanh of every step is kept in fp32, too.
        """
        return memory._replace(keys=memory.keys.to(torch.promote_types(memory.keys.dtype, torch.float32)))

    def scoring(self) -> Scoring:
        """Return W, v and w."""
        coverage = None if self.coverage is None else self.coverage.weight[:, 0]
        return Scoring(self.query.weight, self.energy.weight[0], coverage)

    def nothing_received(self, memory: AttentionMemory) -> Float[Tensor, "batch one received_heads received"]:
        """Return zeros, of no size without coverage."""
        batch, src_len = memory.mask.shape
        heads = self.heads if self.coverage is not None else 0
        exact = torch.promote_types(memory.keys.dtype, torch.float32)
        return memory.keys.new_zeros(batch, 1, heads, src_len if heads else 0, dtype=exact)

    def energies(
        self,
        query: Float[Tensor, "batch queries query"],
        keys: Float[Tensor, "batch src_len attn"],
        received: Float[Tensor, "batch #queries received_heads received"],
    ) -> Float[Tensor, "batch queries heads src_len"]:
        """Return v^T tanh(W q_i + U h_j), for each head of its shares."""
        hidden = self.query(query)[:, :, None] + keys[:, None]  # batch queries src_len attn
        if self.coverage is not None:
            seen = received.permute(0, 1, 3, 2)[..., None] * self.coverage.weight.view(self.heads, -1)
            hidden = hidden + seen.flatten(3)
        shares = (torch.tanh(hidden) * self.energy.weight[0]).unflatten(-1, (self.heads, -1))
        energies: Tensor = shares.sum(-1)  # a product would round by how many rows there are
        return energies.transpose(2, 3)


class ProductAttention(Attention):
    """Luong et al. 2015 (section 3.1): e_ij = q_i^T W h_j (general), or q_i^T h_j (dot, where sizes are equal)."""

    fills_keys = True

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        general = config.attention is AttentionName.general
        self.key = nn.Linear(config.context_size, config.hidden_size, bias=False) if general else nn.Identity()

    def keys(self, states: Float[Tensor, "batch src_len enc"]) -> Float[Tensor, "batch src_len attn"]:
        """Return W h_j, or h_j."""
        keys: Tensor = self.key(states)
        return keys

    def scoring(self) -> Scoring:
        """Return nothing: W is in the keys, and the rest is a product."""
        return Scoring(None, None, None)

    def energies(
        self,
        query: Float[Tensor, "batch queries query"],
        keys: Float[Tensor, "batch src_len attn"],
        received: Float[Tensor, "batch #queries received_heads received"],
    ) -> Float[Tensor, "batch queries heads src_len"]:
        """Return the products; in training's precision, then summed up in fp32 or better by the softmax."""
        return torch.bmm(query.to(keys.dtype), keys.transpose(1, 2))[:, :, None]


class FixedContext(Attention):
    """No attention: every step reads the same summary of the whole source (Cho et al. 2014, section 2.2).

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
        self,
        query: Float[Tensor, "batch queries query"],
        memory: AttentionMemory,
        received: Float[Tensor, "batch #queries received_heads received"],
    ) -> tuple[
        Float[Tensor, "batch queries enc"],
        Float[Tensor, "batch queries src_len"],
        Float[Tensor, "batch #queries received_heads received"],
    ]:
        """Return the summary for each query, with weight 1 on the only position."""
        batch, queries, _ = query.shape
        weights = query.new_ones(batch, queries, 1, dtype=torch.promote_types(query.dtype, torch.float32))
        return memory.states.expand(-1, queries, -1), weights, received


def make_attention(config: ModelConfig) -> Attention:
    """Return the configured attention."""
    match config.attention:
        case AttentionName.additive:
            return AdditiveAttention(config)
        case AttentionName.none:
            return FixedContext()
    return ProductAttention(config)
