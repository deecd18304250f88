"""Batched beam search over any step function.

At each step the `beam_size` best continuations of all live hypotheses of a sentence are kept. Those that end in EOS are
finished and set aside with their score; the rest stay live. A sentence's search stops when no live hypothesis can
outscore the n-th best finished one at any length up to the limit, so early stopping never changes the result.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seq2seq.data.special_ids import BOS_ID, EOS_ID
from seq2seq.errors import NotFiniteError
from seq2seq.search.length_penalty import LengthPenalty
from seq2seq.search.logits_processors import BannedSequences, apply_processors
from seq2seq.search.protocols import NEVER_EMITTED, Hypothesis, LogitsProcessor, State, StepFunction
from seq2seq.search.top_k import (
    NAN_MESSAGE,
    Continuations,
    TopKSelector,
    best_continuations,
    mask_totals,
    select_continuations,
)


@dataclass(frozen=True)
class SearchResult:
    """The result of one batch.

    Attributes:
        hypotheses: per sentence the finished ones, best first.
        steps: steps of the longest search of the batch.
        extra_steps: per sentence, the steps after the last change of its result: the cost of proving it final.
    """

    hypotheses: list[list[Hypothesis]]
    steps: int
    extra_steps: list[int]


def beam_search(
    step: StepFunction[State],
    state: State,
    max_length: Int[Tensor, " batch"],
    *,
    beam_size: int,
    penalty: LengthPenalty,
    n_best: int = 1,
    banned_tokens: Sequence[int] = NEVER_EMITTED,
    processors: Sequence[LogitsProcessor] = (),
    final_term: Callable[[State], Tensor] | None = None,
    selector: TopKSelector | None = None,
) -> SearchResult:
    """Return the highest-scoring outputs of each sentence of a batch.

    Equal scores are ordered by beam, then by token id, and finished hypotheses by step, so a sentence's result does not
    depend on the rest of its batch. `beam_size=1` is greedy search.

    Args:
        step: called with a beam of 1 first, then of up to `beam_size`.
        state: the state before the first token, with a beam of 1.
        max_length: maximum output length in tokens, EOS included, on the device of the search. The last token allowed
            is always EOS, so every output has the score the model gives it.
        beam_size: continuations kept per sentence and step.
        penalty: divisor of log p; must not decrease with length.
        n_best: hypotheses returned per sentence, at most `beam_size`; fewer if fewer exist.
        banned_tokens: token ids that are never emitted, unless a `ForcedPrefix` contains them.
        processors: applied to the log-probabilities at every step.
        final_term: from the state after a step, a term added to the score of each hypothesis that ends there
            [batch, beam]; must not be positive.
        selector: selects the continuations to keep; default: the k best.

    Raises:
        ValueError: an option out of range.
        NotFiniteError: the step function returned NaN.
    """
    if not 1 <= n_best <= beam_size:
        raise ValueError(f"n_best={n_best} must be between 1 and beam_size={beam_size}")
    if len(max_length) == 0:
        return SearchResult([], 0, [])
    if processors:  # banned tokens become a processor, too, so that EOS is allowed where all of them mask every token
        processors, banned_tokens = [BannedSequences([[token] for token in banned_tokens]), *processors], ()
    search = _Search(max_length.tolist(), n_best, penalty)
    last = torch.full((len(max_length), 1), BOS_ID, device=max_length.device)
    tokens = torch.empty(*last.shape, 0, dtype=torch.long, device=last.device)  # kept for processors only
    live: Tensor | None = None  # log p [batch, beam], -inf for ended hypotheses
    while len(last):
        prediction, state = step(last, state)
        live = torch.zeros_like(prediction.normaliser) if live is None else live
        if processors or selector:
            prediction = prediction.whole()
            log_probs = prediction.log_probs
            if processors:
                log_probs = apply_processors(processors, log_probs, tokens)
            totals = mask_totals(log_probs, live, banned_tokens, search.at_limit())
            best = select_continuations(prediction, totals, beam_size, selector)
        else:
            best = best_continuations(prediction, live, beam_size, banned_tokens, search.at_limit())
        kept = search.advance(best, final_term(state).gather(1, best.parents) if final_term else None)
        if processors:
            tokens = _append(tokens, best)
        if kept is not None:
            best, tokens, state = best.keep(kept), tokens[kept], state.keep(kept)
            processors = [processor.keep(kept) for processor in processors]
            if selector:
                selector.keep(kept)
        last, live = best.tokens, best.totals.masked_fill(best.tokens == EOS_ID, -torch.inf)
        if len(last):
            state = state.reorder(best.parents)
    return SearchResult(search.results, search.steps, search.extra_steps)


def _append(tokens: Int[Tensor, "batch beam length"], best: Continuations) -> Int[Tensor, "batch best longer"]:
    """Return the tokens of every continuation: those of its parent, then its own."""
    parents = tokens.gather(1, best.parents[:, :, None].expand(-1, -1, tokens.shape[2]))
    return torch.cat([parents, best.tokens[:, :, None]], dim=2)


class _BeamStep(NamedTuple):
    """One sentence's hypotheses after a step, best first; Python lists, as indexing tensors one by one is slow."""

    totals: list[float]
    parents: list[int]
    tokens: list[int]
    log_probs: list[float]


class _Sentence:
    """One sentence's search: every step, for back-tracking, and the best finished hypotheses."""

    def __init__(self, index: int, limit: int) -> None:
        self.index, self.limit = index, limit  # index in the results; max_length
        self.steps: list[_BeamStep] = []
        self.best_live = 0.0  # log p
        self.finished: list[tuple[float, int, int]] = []  # (score, steps, beam), best first, equal scores by step
        self.last_change = 0  # step

    def hypotheses(self) -> list[Hypothesis]:
        """Return the finished hypotheses, best first."""
        return [self._backtrack(*ended) for ended in self.finished]

    def _backtrack(self, score: float, length: int, beam: int) -> Hypothesis:
        tokens, log_probs, total = [], [], self.steps[length - 1].totals[beam]
        for step in reversed(self.steps[:length]):
            tokens.append(step.tokens[beam])
            log_probs.append(step.log_probs[beam])
            beam = step.parents[beam]
        return Hypothesis(tokens[:0:-1], log_probs[::-1], score, total)


class _Search:
    """The unfinished sentences of a batch, as rows, and the results of the finished ones."""

    def __init__(self, limits: Sequence[int], n_best: int, penalty: LengthPenalty) -> None:
        if min(limits) < 1:
            raise ValueError(f"max_length={min(limits)} must be at least 1: EOS is a token")
        self.penalty, self.n_best, self.steps = penalty, n_best, 0
        self.rows = [_Sentence(index, limit) for index, limit in enumerate(limits)]
        self.results: list[list[Hypothesis]] = [[] for _ in limits]
        self.extra_steps = [0] * len(limits)

    def at_limit(self) -> list[int]:
        """Return the rows whose next token must be EOS."""
        return [row for row, sentence in enumerate(self.rows) if sentence.limit == self.steps + 1]

    def advance(
        self, best: Continuations, final_terms: Float[Tensor, "batch best"] | None
    ) -> Int[Tensor, " kept"] | None:
        """Extend the hypotheses, set finished ones aside, and move decided sentences to the results.

        Returns:
            The rows still searched, or None if all are.
        """
        self.steps += 1
        terms = itertools.repeat(None) if final_terms is None else final_terms.tolist()
        for sentence, row_terms, *step in zip(self.rows, terms, *(part.tolist() for part in best)):  # noqa: B905
            self._extend(sentence, _BeamStep(*step), row_terms)
        decided = [self._is_decided(sentence) for sentence in self.rows]
        if not any(decided):
            return None
        for sentence in itertools.compress(self.rows, decided):
            self.results[sentence.index] = sentence.hypotheses()
            self.extra_steps[sentence.index] = self.steps - sentence.last_change
        kept = [row for row, is_decided in enumerate(decided) if not is_decided]
        self.rows = [self.rows[row] for row in kept]
        return torch.tensor(kept, dtype=torch.long, device=best.tokens.device)

    def _extend(self, sentence: _Sentence, step: _BeamStep, final_terms: list[float] | None) -> None:
        if step.totals[0] != step.totals[0]:
            raise NotFiniteError(NAN_MESSAGE)
        sentence.steps.append(step)
        live = (total for total, token in zip(step.totals, step.tokens, strict=True) if token != EOS_ID)
        sentence.best_live = next(live, -math.inf)
        if EOS_ID in step.tokens:
            for beam, (total, token) in enumerate(zip(step.totals, step.tokens, strict=True)):
                if token == EOS_ID and total > -math.inf:
                    term = final_terms[beam] if final_terms else 0.0
                    self._finish(sentence, total / self.penalty(self.steps) + term, beam)

    def _finish(self, sentence: _Sentence, score: float, beam: int) -> None:
        finished = sentence.finished
        if len(finished) < self.n_best or score > finished[-1][0]:
            bisect.insort_right(finished, (score, self.steps, beam), key=lambda ended: -ended[0])
            del finished[self.n_best :]
            sentence.last_change = self.steps

    def _is_decided(self, sentence: _Sentence) -> bool:
        if sentence.best_live == -math.inf:
            return True
        if len(sentence.finished) < self.n_best:
            return False
        # Upper bound: log p only falls, the penalty only grows, and the final term is at most 0.
        return sentence.best_live / self.penalty(sentence.limit) <= sentence.finished[-1][0]
