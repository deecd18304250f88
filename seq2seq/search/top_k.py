"""Which continuations of a beam are kept: the best ones, and how they are found fast."""

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

NAN = "log-probabilities are NaN: the model's weights are damaged or its training diverged"
BLOCK = 64  # scores whose maximum decides whether topk looks at them


class Continuations(NamedTuple):
    """Of each sentence at most `best` hypotheses with one more token, best first (log p of -inf: an empty place)."""

    totals: Float[Tensor, "batch best"]  # log p of all tokens, as far as rules and choice leave it
    parents: Int[Tensor, "batch best"]  # beams that they continue
    tokens: Int[Tensor, "batch best"]
    log_probs: Float[Tensor, "batch best"]  # of the token, by the model alone

    def keep(self, sentences: Int[Tensor, " kept"]) -> Continuations:
        """Return those of these sentences only, in this order."""
        return Continuations(*(part[sentences] for part in self))


@runtime_checkable
class Choice(Protocol):
    """Keeps other continuations than the best ones; may remember what its earlier choices have led to."""

    def choose(
        self, totals: Float[Tensor, "batch beam vocab"], k: int
    ) -> tuple[Float[Tensor, "batch best"], Int[Tensor, "batch best"], Int[Tensor, "batch best"]]:
        """Return log p, parent beam and token of at most k continuations, best first (-inf: an empty place).

        `totals` is log p of every live hypothesis followed by every permitted token, -inf where there is none.
        """
        ...

    def keep(self, sentences: Int[Tensor, " kept"]) -> None:
        """Forget all sentences but these, in this order."""
        ...


def best_continuations(
    prediction: Prediction,
    live: Float[Tensor, "batch beam"],
    k: int,
    never: Sequence[int],
    only_eos: Sequence[int],
) -> Continuations:
    """Return the best continuations by one token; equal ones are ordered by beam, then by token.

    Args:
        prediction: what the model says.
        live: log p of every hypothesis, -inf where there is none.
        k: the most to return.
        never: tokens that may not be said.
        only_eos: sentences that may only end.

    Raises:
        NotFiniteError: the prediction is NaN.
    """
    batch, beam, vocab = prediction.logits.shape
    if not bindings.usable(prediction.logits):
        prediction = prediction.whole()
        return chosen(prediction, permitted(prediction.log_probs, live, never, only_eos), k, None)
    exact = bindings.sum_dtype(prediction.logits.dtype)
    normaliser, live = (values.to(exact).contiguous() for values in (prediction.normaliser, live))
    kept = (batch, min(k, beam * vocab))
    totals, log_probs = live.new_empty(kept), live.new_empty(kept)
    parents, tokens = (torch.empty(kept, dtype=torch.long) for _ in range(2))
    ends = _flags(batch, tuple(only_eos)) if only_eos else None
    if prediction.tokens is None:
        forbidden = _flags(vocab, tuple(never))
    else:
        forbidden = _flags(prediction.vocab, tuple(never))[prediction.tokens]
    bindings.best_continuations(  # EOS is where it always is: special ids are the first ones of any shortlist
        *(prediction.logits.contiguous(), normaliser, live, ends, forbidden, EOS_ID),
        *(totals, parents, tokens, log_probs),
    )
    tokens = tokens if prediction.tokens is None else prediction.tokens[tokens]
    return Continuations(totals, parents, tokens, log_probs)


@functools.lru_cache(maxsize=16)
def _flags(size: int, places: tuple[int, ...]) -> Bool[Tensor, " size"]:
    flags = torch.zeros(size, dtype=torch.bool)
    flags[list(places)] = True
    return flags


def permitted(
    log_probs: Float[Tensor, "batch beam vocab"],
    live: Float[Tensor, "batch beam"],
    never: Sequence[int],
    only_eos: Sequence[int],
) -> Float[Tensor, "batch beam vocab"]:
    """Return log p of every live hypothesis followed by every token, -inf where that is not permitted."""
    totals = log_probs + live[:, :, None]
    totals[:, :, list(never)] = -torch.inf
    if only_eos:
        rows = list(only_eos)
        ends = totals[rows, :, EOS_ID]
        totals[rows] = -torch.inf
        totals[rows, :, EOS_ID] = ends
    return totals


def chosen(
    prediction: Prediction, totals: Float[Tensor, "batch beam vocab"], k: int, choice: Choice | None
) -> Continuations:
    """Return the k best of `totals`, or those that `choice` keeps."""
    if choice is None:
        scores, places = best_of(totals.flatten(1), k)
        parents, tokens = places // totals.shape[2], places % totals.shape[2]
    else:
        scores, parents, tokens = choice.choose(totals, k)
    rows = torch.arange(len(totals), device=totals.device)[:, None]
    log_probs = prediction.logits[rows, parents, tokens].to(prediction.normaliser.dtype)
    return Continuations(scores, parents, tokens, log_probs - prediction.normaliser[rows, parents])


def best_of(
    scores: Float[Tensor, "batch choices"], k: int
) -> tuple[Float[Tensor, "batch best"], Int[Tensor, "batch best"]]:
    """Return the k best scores and their indices, best first and equal ones by index (`topk` promises no tie order)."""
    k = min(k, scores.shape[1])
    values, index = _top(scores, min(k + 1, scores.shape[1]))
    if values[:, 0].isnan().any():  # NaN sorts first
        raise NotFiniteError(NAN)
    if values.shape[1] > k:
        # A tie between the last one in and the first one out: which of them topk took is chance. Take the lower index.
        tied = (values[:, k - 1] == values[:, k]) & (values[:, k] > -torch.inf)
        if tied.any():  # CPU–GPU sync
            index[tied, :k] = _best_of_tied(scores[tied], values[tied, k - 1 : k], k)
    index = index[:, :k].sort(dim=1).values
    values, order = scores.gather(1, index).sort(dim=1, descending=True, stable=True)
    return values, index.gather(1, order)


def _top(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return what `scores.topk(k)` does, several times faster: it looks only into the k blocks with the highest maxima.

    k blocks whose maxima are all at least as high as x hold k scores of at least x, so nothing better is left out.
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


def _best_of_tied(scores: Tensor, worst: Tensor, k: int) -> Tensor:
    """Return the indices of all scores above `worst`, and of the first ones equal to it, `k` in all."""
    size = scores.shape[1]
    index = torch.arange(size, device=scores.device).expand_as(scores)
    rank = torch.where(scores > worst, index - size, torch.where(scores == worst, index, size))
    return rank.topk(k, largest=False).indices
