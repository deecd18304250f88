"""Attention: how much of each source position the decoder reads at each target step."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import pad

from seq2seq.config.model import AttentionName, ModelConfig
from seq2seq.model.cpu import search_products

PAD_MULTIPLE = 32  # source positions: sums over a multiple of it round the same whatever zeros follow (measured)


class AttentionMemory(NamedTuple):
    """What attention reads, computed once per source sentence and shared by every step and every beam.

    States, and keys of some attentions, are padded with zeros to a multiple of `PAD_MULTIPLE` positions; the mask
    is not.
    """

    states: Float[Tensor, "batch positions enc"]
    keys: Float[Tensor, "batch src_len attn"]
    mask: Bool[Tensor, "batch src_len"]


class Scoring(NamedTuple):
    """The weights that scores are computed from: W, v and w of `AdditiveAttention`; None: a term is absent."""

    query_weight: Float[Tensor, "attn query"] | None
    energy_weight: Float[Tensor, " attn"] | None
    coverage_weight: Float[Tensor, " attn"] | None


class Attention(nn.Module):
    """What all attentions share: alpha_i = softmax_j(e_ij), c_i = sum_j alpha_ij h_j; a subclass defines e_ij.

    With several heads, each has its own scores and weights its own slice of the units of h_j. What depends on the
    source alone is computed once, in `memory`.
    """

    heads = 1
    fills_keys = False  # whether keys are padded like the states: where scores are one product over all positions

    def keys(self, states: Float[Tensor, "batch src_len enc"]) -> Float[Tensor, "batch src_len attn"]:
        """Return what queries are compared with."""
        raise NotImplementedError

    def energies(
        self,
        query: Float[Tensor, "batch queries query"],
        keys: Float[Tensor, "batch src_len attn"],
        coverage: Float[Tensor, "batch #queries covered_heads covered"],
    ) -> Float[Tensor, "batch queries heads src_len"]:
        """Return the score of every source position; `coverage` is the attention it received at earlier steps."""
        raise NotImplementedError

    def with_exact_keys(self, memory: AttentionMemory) -> AttentionMemory:
        """Return the memory for a loop of plain steps; a subclass may raise the precision of the keys."""
        return memory

    def scoring(self) -> Scoring | None:
        """Return the weights of the scores; None for an attention without scores."""
        return None

    def no_coverage(self, memory: AttentionMemory) -> Float[Tensor, "batch one covered_heads covered"]:
        """Return the coverage before the first step; of size 0 if the scores do not read it."""
        return memory.keys.new_zeros(len(memory.keys), 1, 0, 0)

    def memory(
        self,
        states: Float[Tensor, "batch src_len enc"],
        summary: Float[Tensor, "batch enc"],
        mask: Bool[Tensor, "batch src_len"],
    ) -> AttentionMemory:
        """Project the encoder states to keys.

        Outside training the states are padded to a multiple of `PAD_MULTIPLE`: weights and context are sums over all
        positions, whose rounding depends on the number of positions, and a context must not depend on the batch.
        """
        fill = 0 if self.training else -states.shape[1] % PAD_MULTIPLE
        filled = pad(states, (0, 0, 0, fill)) if fill else states
        return AttentionMemory(filled, self.keys(filled if self.fills_keys else states), mask)

    def forward(
        self,
        query: Float[Tensor, "batch queries query"],
        memory: AttentionMemory,
        coverage: Float[Tensor, "batch #queries covered_heads covered"],
    ) -> tuple[
        Float[Tensor, "batch queries enc"],
        Float[Tensor, "batch queries src_len"],
        Float[Tensor, "batch #queries covered_heads covered"],
    ]:
        """Return contexts, attention weights (the mean over heads) and the coverage including this step.

        The weights of a query sum to 1 over real source tokens.
        """
        src_len = memory.mask.shape[1]
        energies = self.energies(query, memory.keys, coverage)[..., :src_len]
        energies = energies.masked_fill(~memory.mask[:, None, None], float("-inf"))
        fill = memory.states.shape[1] - src_len
        weights = torch.softmax(pad(energies, (0, fill), value=float("-inf")), dim=-1)
        shares = memory.states.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # batch heads positions share
        context = torch.matmul(weights.transpose(1, 2).to(shares.dtype), shares).transpose(1, 2).flatten(2)
        weights = weights[..., :src_len]
        return context, weights.mean(2), coverage + weights if coverage.shape[2] else coverage


class AdditiveAttention(Attention):
    """Additive attention (Bahdanau et al. 2015, section A.1.2): e_ij = v^T tanh(W q_i + U h_j).

    Several heads cut W q, U h and v into shares, one score each (RNMT+, Chen et al. 2018). With coverage the sum has
    one more term, w a_ij, where a_ij is the attention that position j received from the head before step i (Tu et al.
    2016; See et al. 2017, eq. 11). With weight normalisation (Salimans and Kingma 2016, eq. 2) g v / ||v|| takes the
    place of v, with a gain g for each head: the normalised Bahdanau attention of recurrent translation models.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.attention_heads
        self.query = nn.Linear(config.hidden_size, config.attention_size, bias=False)
        self.key = nn.Linear(config.context_size, config.attention_size)
        self.energy = nn.Linear(config.attention_size, 1, bias=False)
        self.coverage = nn.Linear(1, config.attention_size, bias=False) if config.coverage else None
        if config.attention_weight_norm:
            share = config.attention_size // self.heads
            self.gain = nn.Parameter(torch.full((self.heads,), share**-0.5))  # energies of at most sqrt(share) at first
        else:
            self.register_parameter("gain", None)

    def energy_weight(self) -> Float[Tensor, " attn"]:
        """Return v; with weight normalisation g v / ||v|| of each head's share."""
        v: Tensor = self.energy.weight[0]
        if self.gain is None:
            return v
        shares = v.unflatten(0, (self.heads, -1))
        norms = shares.norm(dim=1, keepdim=True).clamp_min(torch.finfo(v.dtype).tiny)
        normalised: Tensor = self.gain[:, None] * shares / norms
        return normalised.flatten()

    def keys(self, states: Float[Tensor, "batch src_len enc"]) -> Float[Tensor, "batch src_len attn"]:
        """Return U h_j + b."""
        return search_products.apply(self.key, states)

    def with_exact_keys(self, memory: AttentionMemory) -> AttentionMemory:
        """Return keys in fp32 or better, so that their gradient, whose terms largely cancel, is summed in it.

        The cost is memory: the tanh of every step is saved in fp32, too.
        """
        return memory._replace(keys=memory.keys.to(torch.promote_types(memory.keys.dtype, torch.float32)))

    def scoring(self) -> Scoring:
        """Return W, v and w."""
        coverage = None if self.coverage is None else self.coverage.weight[:, 0]
        return Scoring(self.query.weight, self.energy_weight(), coverage)

    def no_coverage(self, memory: AttentionMemory) -> Float[Tensor, "batch one covered_heads covered"]:
        """Return zeros; of size 0 without coverage."""
        batch, src_len = memory.mask.shape
        heads = self.heads if self.coverage is not None else 0
        exact = torch.promote_types(memory.keys.dtype, torch.float32)
        return memory.keys.new_zeros(batch, 1, heads, src_len if heads else 0, dtype=exact)

    def energies(
        self,
        query: Float[Tensor, "batch queries query"],
        keys: Float[Tensor, "batch src_len attn"],
        coverage: Float[Tensor, "batch #queries covered_heads covered"],
    ) -> Float[Tensor, "batch queries heads src_len"]:
        """Return v^T tanh(W q_i + U h_j) of each head's shares."""
        hidden = self.query(query)[:, :, None] + keys[:, None]  # batch queries src_len attn
        if self.coverage is not None:
            covered = coverage.permute(0, 1, 3, 2)[..., None] * self.coverage.weight.view(self.heads, -1)
            hidden = hidden + covered.flatten(3)
        shares = (torch.tanh(hidden) * self.energy_weight()).unflatten(-1, (self.heads, -1))
        energies: Tensor = shares.sum(-1)  # the rounding of a matrix product depends on its number of rows
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
        return search_products.apply(self.key, states)

    def scoring(self) -> Scoring:
        """Return no weights: W is part of the keys, and the score is their product with the query."""
        return Scoring(None, None, None)

    def energies(
        self,
        query: Float[Tensor, "batch queries query"],
        keys: Float[Tensor, "batch src_len attn"],
        coverage: Float[Tensor, "batch #queries covered_heads covered"],
    ) -> Float[Tensor, "batch queries heads src_len"]:
        """Return the products, in the type of the keys."""
        return torch.bmm(query.to(keys.dtype), keys.transpose(1, 2))[:, :, None]


class FixedContext(Attention):
    """No attention: every step reads the same summary of the whole source (Cho et al. 2014, section 2.2).

    It is attention over a memory of one position, so beam search and plots need no special case.
    """

    def memory(
        self,
        states: Float[Tensor, "batch src_len enc"],
        summary: Float[Tensor, "batch enc"],
        mask: Bool[Tensor, "batch src_len"],
    ) -> AttentionMemory:
        """Keep the summary alone; `states` is dropped."""
        return AttentionMemory(summary[:, None], summary[:, None, :0], mask[:, :1])

    def forward(
        self,
        query: Float[Tensor, "batch queries query"],
        memory: AttentionMemory,
        coverage: Float[Tensor, "batch #queries covered_heads covered"],
    ) -> tuple[
        Float[Tensor, "batch queries enc"],
        Float[Tensor, "batch queries src_len"],
        Float[Tensor, "batch #queries covered_heads covered"],
    ]:
        """Return the summary for each query, with weight 1 on the only position."""
        batch, queries, _ = query.shape
        weights = query.new_ones(batch, queries, 1, dtype=torch.promote_types(query.dtype, torch.float32))
        return memory.states.expand(-1, queries, -1), weights, coverage


def make_attention(config: ModelConfig) -> Attention:
    """Return the configured attention."""
    match config.attention:
        case AttentionName.additive:
            return AdditiveAttention(config)
        case AttentionName.none:
            return FixedContext()
    return ProductAttention(config)
