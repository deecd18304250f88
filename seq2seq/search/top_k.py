"""Top-k selection: the best continuations of a beam, by a compiled kernel or in torch, with a fixed order of ties."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seq2seq.data.special_ids import EOS_ID
from seq2seq.errors import NotFiniteError
from seq2seq.kernels import bindings
from seq2seq.search.protocols import Prediction

NAN_MESSAGE = "log-probabilities are NaN: the model's weights are damaged or its training diverged"
BLOCK = 64  # scores per block; topk searches only the k blocks with the highest maxima


class Continuations(NamedTuple):
    """Per sentence at most `best` hypotheses extended by one token, best first (total of -inf: an empty slot)."""

    totals: Float[Tensor, "batch best"]  # log p of all tokens, after processors
    parents: Int[Tensor, "batch best"]  # beam each one extends
    tokens: Int[Tensor, "batch best"]
    log_probs: Float[Tensor, "batch best"]  # the model's log p of the token, before processors

    def keep(self, sentences: Int[Tensor, " kept"]) -> Continuations:
        """Return the continuations of these sentences only, in this order."""
        return Continuations(*(part[sentences] for part in self))


@runtime_checkable
class TopKSelector(Protocol):
    """Selects the continuations of a beam by its own criterion; may keep state between steps."""

    def select(
        self, totals: Float[Tensor, "batch beam vocab"], k: int
    ) -> tuple[Float[Tensor, "batch best"], Int[Tensor, "batch best"], Int[Tensor, "batch best"]]:
        """Return log p, parent beam and token of at most k continuations, best first (-inf: an empty slot).

        `totals` is log p of every live hypothesis extended by every token, -inf where that is not allowed.
        """
        ...

    def keep(self, sentences: Int[Tensor, " kept"]) -> None:
        """Drop the state of all sentences but these, in this order."""
        ...


def best_continuations(
    prediction: Prediction,
    live: Float[Tensor, "batch beam"],
    k: int,
    banned_tokens: Sequence[int],
    only_eos: Sequence[int],
) -> Continuations:
    """Return the k best continuations by one token; equal totals are ordered by beam, then by token.

    Args:
        prediction: distribution over the next token.
        live: log p of every hypothesis, -inf where there is none.
        k: maximum number of continuations.
        banned_tokens: token ids that no continuation has.
        only_eos: rows (sentences) whose next token must be EOS.

    Raises:
        NotFiniteError: the prediction is NaN.
    """
    batch, beam, vocab = prediction.logits.shape
    if not bindings.usable(prediction.logits):
        prediction = prediction.whole()
        return select_continuations(
            prediction, mask_totals(prediction.log_probs, live, banned_tokens, only_eos), k, None
        )
    exact = bindings.sum_dtype(prediction.logits.dtype)
    normaliser, live = (values.to(exact).contiguous() for values in (prediction.normaliser, live))
    shape = (batch, min(k, beam * vocab))
    totals, log_probs = live.new_empty(shape), live.new_empty(shape)
    parents, tokens = (torch.empty(shape, dtype=torch.long) for _ in range(2))
    ends = _flags(batch, tuple(only_eos)) if only_eos else None
    if prediction.tokens is None:
        forbidden = _flags(vocab, tuple(banned_tokens))[None]
    else:
        forbidden = _flags(prediction.vocab, tuple(banned_tokens))[prediction.tokens.clamp(min=0)]
    bindings.best_continuations(  # EOS_ID is valid in a shortlist, too: its first tokens are the special ids
        *(prediction.logits.contiguous(), normaliser, live, ends, forbidden, EOS_ID),
        *(totals, parents, tokens, log_probs),
    )
    tokens = tokens if prediction.tokens is None else prediction.tokens.gather(1, tokens)
    return Continuations(totals, parents, tokens, log_probs)


@functools.lru_cache(maxsize=16)
def _flags(size: int, indices: tuple[int, ...]) -> Bool[Tensor, " size"]:
    flags = torch.zeros(size, dtype=torch.bool)
    flags[list(indices)] = True
    return flags


def mask_totals(
    log_probs: Float[Tensor, "batch beam vocab"],
    live: Float[Tensor, "batch beam"],
    banned_tokens: Sequence[int],
    only_eos: Sequence[int],
) -> Float[Tensor, "batch beam vocab"]:
    """Return log p of every live hypothesis extended by every token, -inf where that is not allowed."""
    totals = log_probs + live[:, :, None]
    totals[:, :, list(banned_tokens)] = -torch.inf
    if only_eos:
        rows = list(only_eos)
        ends = totals[rows, :, EOS_ID]
        totals[rows] = -torch.inf
        totals[rows, :, EOS_ID] = ends
    return totals


def select_continuations(
    prediction: Prediction, totals: Float[Tensor, "batch beam vocab"], k: int, selector: TopKSelector | None
) -> Continuations:
    """Return the k best continuations by `totals`, or those that `selector` selects."""
    if selector is None:
        scores, indices = stable_top_k(totals.flatten(1), k)
        parents, tokens = indices // totals.shape[2], indices % totals.shape[2]
    else:
        scores, parents, tokens = selector.select(totals, k)
    rows = torch.arange(len(totals), device=totals.device)[:, None]
    log_probs = prediction.logits[rows, parents, tokens].to(prediction.normaliser.dtype)
    return Continuations(scores, parents, tokens, log_probs - prediction.normaliser[rows, parents])


def stable_top_k(
    scores: Float[Tensor, "batch choices"], k: int
) -> tuple[Float[Tensor, "batch best"], Int[Tensor, "batch best"]]:
    """Return the k highest scores and their indices, best first, ties by index (`topk` leaves their order undefined).

    Raises:
        NotFiniteError: a score is NaN.
    """
    k = min(k, scores.shape[1])
    values, index = _blockwise_top_k(scores, min(k + 1, scores.shape[1]))
    if values[:, 0].isnan().any():  # NaN sorts first
        raise NotFiniteError(NAN_MESSAGE)
    if values.shape[1] > k:
        # A tie across the cut-off: which of them topk returned is undefined. Take the lowest indices.
        tied = (values[:, k - 1] == values[:, k]) & (values[:, k] > -torch.inf)
        if tied.any():  # CPU–GPU sync
            index[tied, :k] = _tied_top_k(scores[tied], values[tied, k - 1 : k], k)
    index = index[:, :k].sort(dim=1).values
    values, order = scores.gather(1, index).sort(dim=1, descending=True, stable=True)
    return values, index.gather(1, order)


def _blockwise_top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return `scores.topk(k)`, several times faster: it searches only the k blocks with the highest maxima.

    If x is the lowest of these maxima, the blocks hold k scores of at least x, and every other block none above x.
    """
    rows, size = scores.shape
    blocks = size // BLOCK
    if blocks <= k:
        return scores.topk(k)
    whole, rest = scores[:, : blocks * BLOCK], torch.arange(blocks * BLOCK, size, device=scores.device)
    highest = whole.view(rows, blocks, BLOCK).amax(dim=2)
    inside = torch.arange(BLOCK, device=scores.device)
    index = (highest.topk(k).indices[:, :, None] * BLOCK + inside).flatten(1)
    index = torch.cat([index, rest.expand(rows, -1)], dim=1)
    values, place = scores.gather(1, index).topk(k)
    return values, index.gather(1, place)


def _tied_top_k(scores: Tensor, worst: Tensor, k: int) -> Tensor:
    """Return `k` indices: of all scores above `worst`, then of the first scores equal to it."""
    size = scores.shape[1]
    index = torch.arange(size, device=scores.device).expand_as(scores)
    rank = torch.where(scores > worst, index - size, torch.where(scores == worst, index, size))
    return rank.topk(k, largest=False).indices
