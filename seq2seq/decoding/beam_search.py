"""Batched beam search over any step function; it knows no text and no model class.

At each step the `beam_size` best continuations of all live hypotheses of a sentence are kept. Those that end in EOS are
finished and set aside with their score; the others live on. A sentence ends when no live hypothesis can beat the
n-th best finished one any more, at any length it may still reach, so stopping early never changes the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seq2seq.batch import BOS_ID, EOS_ID
from seq2seq.decoding.protocols import NEVER_EMITTED, Hypothesis, Rule, State, Step
from seq2seq.decoding.ranking import LengthPenalty
from seq2seq.decoding.rules import NeverSay, apply_rules

BLOCK = 64  # scores whose maximum decides whether topk looks at them


@runtime_checkable
class Choice(Protocol):
    """Decides which continuations a search keeps; may remember what its earlier choices have led to."""

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


@dataclass(frozen=True)
class SearchResult:
    """What the search of a batch found.

    Attributes:
        hypotheses: per sentence the finished ones, best first.
        steps: tokens the longest search of the batch went on for.
        extra_steps: per sentence how many of its steps came after the last change of its answer: the cost of knowing
            that nothing better follows.
    """

    hypotheses: list[list[Hypothesis]]
    steps: int
    extra_steps: list[int]


def beam_search(
    step: Step[State],
    state: State,
    max_length: Int[Tensor, " batch"],
    *,
    beam_size: int,
    penalty: LengthPenalty,
    n_best: int = 1,
    never: Sequence[int] = NEVER_EMITTED,
    rules: Sequence[Rule] = (),
    bonus: Callable[[State], Tensor] | None = None,
    choice: Choice | None = None,
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
        penalty: what the log p of so many tokens is divided by; must not fall.
        n_best: hypotheses returned per sentence, at most `beam_size`; fewer exist when the beam dies out.
        never: token ids that are never emitted, unless a `ForcedPrefix` asks for one.
        rules: what else may not be said, or counts less.
        bonus: from the state after a step, what is added to the score of each hypothesis that ends there [batch, beam];
            must not be above 0.
        choice: keeps other continuations than the best ones.

    Raises:
        ValueError: an option out of range.
        FloatingPointError: the step function returned NaN.
    """
    if not 1 <= n_best <= beam_size:
        raise ValueError(f"n_best={n_best} must be between 1 and beam_size={beam_size}")
    if len(max_length) == 0:
        return SearchResult([], 0, [])
    search, choice = _Search(max_length, n_best, penalty), choice or _Best()
    if rules:  # then what is never emitted is the first of them, so that they know when nothing is left
        rules, never = [NeverSay([[token] for token in never]), *rules], ()
    last = torch.full((len(max_length), 1), BOS_ID, device=max_length.device)
    while len(last):
        log_probs, state = step(last, state)
        totals = search.continuations(apply_rules(rules, log_probs, search.tokens), never)
        scores, parents, last = choice.choose(totals, beam_size)
        search.advance(scores, parents, last, log_probs, bonus and bonus(state))
        kept = search.retire()
        if kept is not None:
            parents, last, state = parents[kept], last[kept], state.keep(kept)
            rules = [rule.keep(kept) for rule in rules]
            choice.keep(kept)
        if len(last):
            state = state.reorder(parents)
    return SearchResult(search.results, search.steps, search.extra_steps)


class _Best:
    """The best continuations of all."""

    def choose(self, totals: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
        scores, choices = best_of(totals.flatten(1), k)
        return scores, choices // totals.shape[2], choices % totals.shape[2]

    def keep(self, sentences: Tensor) -> None:
        pass


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

    def __init__(self, max_length: Tensor, n_best: int, penalty: LengthPenalty) -> None:
        rows, device = len(max_length), max_length.device
        self.limits: list[int] = max_length.tolist()
        if min(self.limits) < 1:
            raise ValueError("max_length must be at least 1: EOS counts")
        self.penalty, self.n_best, self.steps = penalty, n_best, 0
        self.results: list[list[Hypothesis]] = [[] for _ in range(rows)]
        self.extra_steps = [0] * rows
        self.sentences = list(range(rows))  # row -> place in results
        self.tokens = torch.empty(rows, 1, 0, dtype=torch.long, device=device)
        self.token_log_probs = torch.empty(rows, 1, 0, device=device)
        self.live: Tensor | None = None  # log p [rows, beam], -inf where dead; None: before the first token, log p = 0
        self.done_tokens = torch.empty(rows, 0, 0, dtype=torch.long, device=device)
        self.done_log_probs = torch.empty(rows, 0, 0, device=device)
        self.done_scores = torch.empty(rows, 0, device=device)
        self.settled = torch.zeros(rows, dtype=torch.long, device=device)  # step of the last change of the answer

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

    def advance(self, totals: Tensor, parents: Tensor, tokens: Tensor, log_probs: Tensor, bonus: Tensor | None) -> None:
        """Lengthen the hypotheses by the chosen tokens and set the finished ones aside."""
        self.steps += 1
        rows = torch.arange(len(parents), device=parents.device)[:, None]
        said = log_probs[rows, parents, tokens]
        self.tokens = torch.cat([self.tokens[rows, parents], tokens[:, :, None]], dim=2)
        self.token_log_probs = torch.cat([self.token_log_probs.to(said)[rows, parents], said[:, :, None]], dim=2)
        ended = tokens == EOS_ID
        scores = totals.masked_fill(~ended, -torch.inf) / self.penalty(self.steps)
        self._set_aside(scores if bonus is None else scores + bonus.gather(1, parents))
        self.live = totals.masked_fill(ended, -torch.inf)

    def _set_aside(self, scores: Float[Tensor, "batch beam"]) -> None:
        before = self.done_scores.shape[1]
        padding = (*self.done_tokens.shape[:2], 1)
        tokens = torch.cat([self.done_tokens, self.done_tokens.new_full(padding, EOS_ID)], dim=2)
        log_probs = torch.cat([self.done_log_probs, self.done_log_probs.new_zeros(padding)], dim=2)
        scores = torch.cat([self.done_scores.to(scores), scores], dim=1)
        scores, order = scores.sort(dim=1, descending=True, stable=True)
        self.done_scores, order = scores[:, : self.n_best], order[:, : self.n_best]
        changed = ((order >= before) & (self.done_scores > -torch.inf)).any(dim=1)
        self.settled = torch.where(changed, self.steps, self.settled)
        index = order[:, :, None].expand(-1, -1, self.steps)
        self.done_tokens = torch.cat([tokens, self.tokens], dim=1).gather(1, index)
        self.done_log_probs = torch.cat([log_probs.to(self.token_log_probs), self.token_log_probs], dim=1).gather(
            1, index
        )

    def retire(self) -> Int[Tensor, " kept"] | None:
        """Move decided sentences to the results; return the rows that go on, or None when all do."""
        assert self.live is not None
        best_live = self.live.amax(dim=1)
        # Log-probabilities only fall, the penalty only grows, a bonus is at most 0: no descendant can score more.
        penalties = [self.penalty(limit) for limit in self.limits]
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
        for name in ("tokens", "token_log_probs", "live", "done_tokens", "done_log_probs", "done_scores", "settled"):
            setattr(self, name, getattr(self, name)[index])
        return index

    def _store(self, rows: list[int]) -> None:
        columns = (self.done_tokens, self.done_log_probs, self.done_scores, self.settled)
        for row, *found, settled in zip(rows, *(column[rows].tolist() for column in columns), strict=True):
            self.extra_steps[self.sentences[row]] = self.steps - settled
            self.results[self.sentences[row]] = [
                Hypothesis(tokens[:length], log_probs[: length + 1], score)
                for tokens, log_probs, score in zip(*found, strict=True)
                if score > -torch.inf
                for length in [tokens.index(EOS_ID)]
            ]
