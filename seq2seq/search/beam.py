"""Batched beam search over any step function; it knows no text and no model class.

At each step the `beam_size` best continuations of all live hypotheses of a sentence are kept. Those that end in EOS are
finished and set aside with their score; the others live on. A sentence ends when no live hypothesis can beat the
n-th best finished one any more, at any length it may still reach, so stopping early never changes the answer.
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
from seq2seq.search.top_k import NAN, Continuations, TopKSelector, best_continuations, mask_totals, select_continuations


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
    step: StepFunction[State],
    state: State,
    max_length: Int[Tensor, " batch"],
    *,
    beam_size: int,
    penalty: LengthPenalty,
    n_best: int = 1,
    banned_tokens: Sequence[int] = NEVER_EMITTED,
    processors: Sequence[LogitsProcessor] = (),
    bonus: Callable[[State], Tensor] | None = None,
    selector: TopKSelector | None = None,
) -> SearchResult:
    """Search the highest-scoring outputs of a batch of sentences.

    Equal scores are ordered by beam, then by token id, and among finished hypotheses by age, so a sentence's answer
    does not depend on which others share its batch. `beam_size=1` is greedy search.

    Args:
        step: says what comes next; called with a beam of 1 first, then of up to `beam_size`.
        state: the state before the first token, with a beam of 1.
        max_length: most tokens of each output, EOS included; on the device the search is to run on. The last
            permitted token is always EOS, so every output has the score the model gives it.
        beam_size: continuations kept per sentence and step.
        penalty: what the log p of so many tokens is divided by; must not fall.
        n_best: hypotheses returned per sentence, at most `beam_size`; fewer exist when the beam dies out.
        banned_tokens: token ids that are never emitted, unless a `ForcedPrefix` asks for one.
        processors: what else may not be said, or counts less.
        bonus: from the state after a step, what is added to the score of each hypothesis that ends there [batch, beam];
            must not be above 0.
        selector: keeps other continuations than the best ones.

    Raises:
        ValueError: an option out of range.
        NotFiniteError: the step function returned NaN.
    """
    if not 1 <= n_best <= beam_size:
        raise ValueError(f"n_best={n_best} must be between 1 and beam_size={beam_size}")
    if len(max_length) == 0:
        return SearchResult([], 0, [])
    if processors:  # then what is never emitted is the first of them, so that they know when nothing is left
        processors, banned_tokens = [BannedSequences([[token] for token in banned_tokens]), *processors], ()
    search = _Search(max_length.tolist(), n_best, penalty)
    last = torch.full((len(max_length), 1), BOS_ID, device=max_length.device)
    said = torch.empty(
        *last.shape, 0, dtype=torch.long, device=last.device
    )  # what processors look at: empty without any
    live: Tensor | None = None  # log p [batch, beam] of the hypotheses, -inf where one has ended
    while len(last):
        prediction, state = step(last, state)
        live = torch.zeros_like(prediction.normaliser) if live is None else live
        if processors or selector:
            prediction = prediction.whole()
            allowed = apply_processors(processors, prediction.log_probs, said) if processors else prediction.log_probs
            best = select_continuations(
                prediction, mask_totals(allowed, live, banned_tokens, search.at_limit()), beam_size, selector
            )
        else:
            best = best_continuations(prediction, live, beam_size, banned_tokens, search.at_limit())
        kept = search.advance(best, bonus(state).gather(1, best.parents) if bonus else None)
        if processors:
            said = _lengthened(said, best)
        if kept is not None:
            best, said, state = best.keep(kept), said[kept[: len(said)]], state.keep(kept)
            processors = [processor.keep(kept) for processor in processors]
            if selector:
                selector.keep(kept)
        last, live = best.tokens, best.totals.masked_fill(best.tokens == EOS_ID, -torch.inf)
        if len(last):
            state = state.reorder(best.parents)
    return SearchResult(search.results, search.steps, search.extra_steps)


def _lengthened(said: Tensor, best: Continuations) -> Int[Tensor, "batch best said"]:
    before = said.gather(1, best.parents[:, :, None].expand(-1, -1, said.shape[2]))
    return torch.cat([before, best.tokens[:, :, None]], dim=2)


class _BeamStep(NamedTuple):
    """The hypotheses of one sentence after a step, best first: plain lists, which are quicker to look at one by one."""

    totals: list[float]
    parents: list[int]
    tokens: list[int]
    log_probs: list[float]


class _Sentence:
    """One sentence's hypotheses: all that were ever live, step by step, and the best finished ones."""

    def __init__(self, place: int, limit: int) -> None:
        self.place, self.limit = place, limit  # in the results; most tokens
        self.steps: list[_BeamStep] = []
        self.best_live = 0.0  # log p
        self.finished: list[tuple[float, int, int]] = []  # score, steps, beam; best first, equal ones by age
        self.settled = 0  # step of the last change of the answer

    def hypotheses(self) -> list[Hypothesis]:
        """Return the finished ones."""
        return [self._hypothesis(*one) for one in self.finished]

    def _hypothesis(self, score: float, length: int, beam: int) -> Hypothesis:
        tokens, log_probs = [], []
        for step in reversed(self.steps[:length]):
            tokens.append(step.tokens[beam])
            log_probs.append(step.log_probs[beam])
            beam = step.parents[beam]
        return Hypothesis(tokens[:0:-1], log_probs[::-1], score)


class _Search:
    """The sentences of a batch that are still being searched, as rows, and the results of the others."""

    def __init__(self, limits: Sequence[int], n_best: int, penalty: LengthPenalty) -> None:
        if min(limits) < 1:
            raise ValueError("max_length must be at least 1: EOS counts")
        self.penalty, self.n_best, self.steps = penalty, n_best, 0
        self.rows = [_Sentence(place, limit) for place, limit in enumerate(limits)]
        self.results: list[list[Hypothesis]] = [[] for _ in limits]
        self.extra_steps = [0] * len(limits)

    def at_limit(self) -> list[int]:
        """Return the rows that must end with the next token."""
        return [row for row, sentence in enumerate(self.rows) if sentence.limit == self.steps + 1]

    def advance(self, best: Continuations, bonus: Float[Tensor, "batch best"] | None) -> Int[Tensor, " kept"] | None:
        """Lengthen the hypotheses, set ended ones aside, and move decided sentences to the results.

        Returns:
            The rows that go on, or None when all do.
        """
        self.steps += 1
        added = itertools.repeat(None) if bonus is None else bonus.tolist()
        for sentence, more, *step in zip(self.rows, added, *(part.tolist() for part in best)):  # noqa: B905
            self._lengthen(sentence, _BeamStep(*step), more)
        decided = [self._decided(sentence) for sentence in self.rows]
        if not any(decided):
            return None
        for sentence in itertools.compress(self.rows, decided):
            self._store(sentence)
        kept = [row for row, over in enumerate(decided) if not over]
        self.rows = [self.rows[row] for row in kept]
        return torch.tensor(kept, dtype=torch.long, device=best.tokens.device)

    def _lengthen(self, sentence: _Sentence, step: _BeamStep, bonus: list[float] | None) -> None:
        if step.totals[0] != step.totals[0]:
            raise NotFiniteError(NAN)
        sentence.steps.append(step)
        live = (total for total, token in zip(step.totals, step.tokens, strict=True) if token != EOS_ID)
        sentence.best_live = next(live, -math.inf)
        if EOS_ID in step.tokens:
            for beam, (total, token) in enumerate(zip(step.totals, step.tokens, strict=True)):
                if token == EOS_ID and total > -math.inf:
                    self._finish(sentence, total / self.penalty(self.steps) + (bonus[beam] if bonus else 0.0), beam)

    def _finish(self, sentence: _Sentence, score: float, beam: int) -> None:
        finished = sentence.finished
        if len(finished) < self.n_best or score > finished[-1][0]:
            bisect.insort_right(finished, (score, self.steps, beam), key=lambda one: -one[0])
            del finished[self.n_best :]
            sentence.settled = self.steps

    def _decided(self, sentence: _Sentence) -> bool:
        if sentence.best_live == -math.inf:
            return True
        if len(sentence.finished) < self.n_best:
            return False
        # Log-probabilities only fall, the penalty only grows, a bonus is at most 0: no descendant can score more.
        return sentence.best_live / self.penalty(sentence.limit) <= sentence.finished[-1][0]

    def _store(self, sentence: _Sentence) -> None:
        self.results[sentence.place] = sentence.hypotheses()
        self.extra_steps[sentence.place] = self.steps - sentence.settled
