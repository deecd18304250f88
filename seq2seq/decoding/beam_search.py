"""Batched beam search over any step function; it knows no text and no model class.

At each step the `beam_size` best continuations of all live hypotheses of a sentence are kept. Those that end in EOS are
finished and set aside with their score; the others live on. A sentence ends when no live hypothesis can beat the
n-th best finished one any more, at any length it may still reach, so stopping early never changes the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seq2seq.batch import BOS_ID, EOS_ID, PAD_ID, UNK_ID

NEVER_EMITTED = (PAD_ID, UNK_ID, BOS_ID)
BLOCK = 64  # scores whose maximum decides whether topk looks at them


_S = TypeVar("_S")  # typing.Self needs Python 3.11


@runtime_checkable
class SearchState(Protocol):
    """What the step function carries from token to token: any tensors indexed by sentence and beam."""

    def reorder(self: _S, parents: Int[Tensor, "batch new_beam"]) -> _S:
        """Return the state whose beam k is this state's beam `parents[:, k]` (the beam may widen or narrow)."""
        ...

    def keep(self: _S, sentences: Int[Tensor, " kept"]) -> _S:
        """Return the state of these sentences only, in this order."""
        ...


State = TypeVar("State", bound=SearchState)
# (last tokens [batch, beam], state) -> (log-probabilities of the next token [batch, beam, vocab], new state)
Step = Callable[[Tensor, State], tuple[Tensor, State]]


@dataclass(frozen=True)
class Hypothesis:
    """One output: its token ids without EOS, log p(tokens, EOS | source), and log p over the length penalty."""

    tokens: list[int]
    log_prob: float
    score: float


@dataclass(frozen=True)
class SearchResult:
    """Per sentence the finished hypotheses, best first, and the number of steps the batch took."""

    hypotheses: list[list[Hypothesis]]
    steps: int


def length_penalty_of(length: int, alpha: float) -> float:
    """lp(Y) = ((5 + |Y|) / 6)^alpha, where |Y| counts EOS (Wu et al. 2016, eq. 14)."""
    return float(((5 + length) / 6) ** alpha)


def beam_search(
    step: Step[State],
    state: State,
    max_length: Int[Tensor, " batch"],
    *,
    beam_size: int,
    n_best: int = 1,
    length_penalty: float = 1.0,
    never: Sequence[int] = NEVER_EMITTED,
) -> SearchResult:
    """Search the highest-scoring outputs of a batch of sentences.

    Equal scores are ordered by beam, then by token id, and among finished hypotheses by age, so a sentence's answer
    does not depend on which others share its batch. `beam_size=1` is greedy search.

    Args:
        step: gives log p of every next token; called with a beam of 1 first, then of up to `beam_size`.
        state: the state before the first token, with a beam of 1.
        max_length: most tokens of each output, EOS included; on the device the search is to run on. The last
            permitted token is always EOS, so every output has the score the model gives it.
        beam_size: continuations kept per sentence and step.
        n_best: hypotheses returned per sentence, at most `beam_size`; fewer exist when the beam dies out.
        length_penalty: alpha of `length_penalty_of`; 0 ranks by log p alone.
        never: token ids that are never emitted.

    Raises:
        ValueError: an option out of range.
        FloatingPointError: the step function returned NaN.
    """
    if not 1 <= n_best <= beam_size:
        raise ValueError(f"n_best={n_best} must be between 1 and beam_size={beam_size}")
    if length_penalty < 0:
        raise ValueError(f"length_penalty={length_penalty} must not be negative: the search could not end early")
    if len(max_length) == 0:
        return SearchResult([], 0)
    search = _Search(max_length, n_best, length_penalty)
    last = torch.full((len(max_length), 1), BOS_ID, device=max_length.device)
    while len(last):
        log_probs, state = step(last, state)
        totals = search.continuations(log_probs, never)
        scores, choices = best_of(totals.flatten(1), beam_size)
        parents, last = choices // log_probs.shape[2], choices % log_probs.shape[2]
        search.advance(scores, parents, last)
        kept = search.retire()
        if kept is not None:
            parents, last, state = parents[kept], last[kept], state.keep(kept)
        if len(last):
            state = state.reorder(parents)
    return SearchResult(search.results, search.steps)


def best_of(
    scores: Float[Tensor, "batch choices"], k: int
) -> tuple[Float[Tensor, "batch best"], Int[Tensor, "batch best"]]:
    """Return the k best scores and their indices, best first and equal ones by index (`topk` promises no tie order)."""
    k = min(k, scores.shape[1])
    values, index = _top(scores, min(k + 1, scores.shape[1]))
    if values[:, 0].isnan().any():  # NaN sorts first
        raise FloatingPointError("log-probabilities are NaN: the model's weights are damaged or its training diverged")
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


class _Search:
    """The hypotheses of a batch, live and finished. Rows are the sentences still being searched."""

    def __init__(self, max_length: Tensor, n_best: int, alpha: float) -> None:
        rows, device = len(max_length), max_length.device
        self.limits: list[int] = max_length.tolist()
        if min(self.limits) < 1:
            raise ValueError("max_length must be at least 1: EOS counts")
        self.alpha, self.n_best, self.steps = alpha, n_best, 0
        self.results: list[list[Hypothesis]] = [[] for _ in range(rows)]
        self.sentences = list(range(rows))  # row -> place in results
        self.tokens = torch.empty(rows, 1, 0, dtype=torch.long, device=device)
        self.live: Tensor | None = None  # log p [rows, beam], -inf where dead; None: before the first token, log p = 0
        self.done_tokens = torch.empty(rows, 0, 0, dtype=torch.long, device=device)
        self.done_log_probs = self.done_scores = torch.empty(rows, 0, device=device)

    def continuations(
        self, log_probs: Float[Tensor, "batch beam vocab"], never: Sequence[int]
    ) -> Float[Tensor, "batch beam vocab"]:
        """Return log p of every live hypothesis followed by every permitted token."""
        totals = log_probs.clone() if self.live is None else log_probs + self.live[:, :, None]
        totals[:, :, list(never)] = -torch.inf
        at_limit = [row for row, limit in enumerate(self.limits) if limit == self.steps + 1]
        if at_limit:
            ends = totals[at_limit, :, EOS_ID]
            totals[at_limit] = -torch.inf
            totals[at_limit, :, EOS_ID] = ends
        return totals

    def advance(self, log_probs: Tensor, parents: Tensor, tokens: Tensor) -> None:
        """Lengthen the hypotheses by the chosen tokens and set the finished ones aside."""
        self.steps += 1
        self.tokens = self.tokens.gather(1, parents[:, :, None].expand(-1, -1, self.steps - 1))
        self.tokens = torch.cat([self.tokens, tokens[:, :, None]], dim=2)
        ended = tokens == EOS_ID
        self._set_aside(log_probs.masked_fill(~ended, -torch.inf))
        self.live = log_probs.masked_fill(ended, -torch.inf)

    def _set_aside(self, log_probs: Float[Tensor, "batch beam"]) -> None:
        scores = log_probs / length_penalty_of(self.steps, self.alpha)
        padding = self.done_tokens.new_full((*self.done_tokens.shape[:2], 1), EOS_ID)
        tokens = torch.cat([torch.cat([self.done_tokens, padding], dim=2), self.tokens], dim=1)
        scores = torch.cat([self.done_scores.to(scores), scores], dim=1)
        scores, order = scores.sort(dim=1, descending=True, stable=True)
        self.done_scores, order = scores[:, : self.n_best], order[:, : self.n_best]
        self.done_log_probs = torch.cat([self.done_log_probs.to(log_probs), log_probs], dim=1).gather(1, order)
        self.done_tokens = tokens.gather(1, order[:, :, None].expand(-1, -1, self.steps))

    def retire(self) -> Int[Tensor, " kept"] | None:
        """Move decided sentences to the results; return the rows that go on, or None when all do."""
        assert self.live is not None
        best_live = self.live.amax(dim=1)
        # Log-probabilities only fall and the penalty only grows, so no descendant can score more than this.
        penalties = [length_penalty_of(limit, self.alpha) for limit in self.limits]
        bound = best_live / torch.tensor(penalties, dtype=best_live.dtype, device=best_live.device)
        decided = best_live == -torch.inf
        if self.done_scores.shape[1] == self.n_best:
            decided |= bound <= self.done_scores[:, -1]
        flags: list[bool] = decided.tolist()  # CPU–GPU sync
        if not any(flags):
            return None
        self._store([row for row, flag in enumerate(flags) if flag])
        kept = [row for row, flag in enumerate(flags) if not flag]
        self.sentences = [self.sentences[row] for row in kept]
        self.limits = [self.limits[row] for row in kept]
        index = torch.tensor(kept, dtype=torch.long, device=decided.device)
        for name in ("tokens", "live", "done_tokens", "done_log_probs", "done_scores"):
            setattr(self, name, getattr(self, name)[index])
        return index

    def _store(self, rows: list[int]) -> None:
        columns = (self.done_tokens[rows], self.done_log_probs[rows], self.done_scores[rows])
        for row, *found in zip(rows, *(column.tolist() for column in columns), strict=True):
            self.results[self.sentences[row]] = [
                Hypothesis(tokens[: tokens.index(EOS_ID)], log_prob, score)
                for tokens, log_prob, score in zip(*found, strict=True)
                if score > -torch.inf
            ]
