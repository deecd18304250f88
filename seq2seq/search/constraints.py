"""Lexically constrained search: outputs that contain given phrases, by dynamic beam allocation.

Grid beam search (Hokamp and Liu 2017) keeps one beam per number of constraint tokens met, so its cost grows with the
constraints. Dynamic beam allocation (Post and Vilar 2018) divides one beam of fixed size among these numbers.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seq2seq.data.special_ids import EOS_ID
from seq2seq.search.top_k import stable_top_k

MAX_READINGS = 16  # per hypothesis and kind; only phrases that share tokens have more than a few


class _Reading(NamedTuple):
    """One way to match phrases, without overlap, with the tokens of a hypothesis."""

    left: tuple[int, ...]  # per distinct phrase, how many occurrences have not begun
    rest: tuple[int, ...]  # remaining tokens of the phrase in progress, () if none is

    def dominates(self, other: _Reading) -> bool:
        """Return True if every continuation that completes `other` also completes this reading."""
        return self.rest in ((), other.rest) and all(map(operator.le, self.left, other.left))


class _Phrases:
    """The phrases of one sentence as an automaton over sets of readings.

    Which phrase a token belongs to may be decided by later tokens ("New York" and "York" in "New York York", or an
    "a a b" that begins one token later), so a hypothesis keeps every reading that may still become the best one.
    States are cached and shared by all hypotheses, so most steps are a dictionary look-up.
    """

    def __init__(self, phrases: Sequence[Sequence[int]]) -> None:
        counts = Counter(tuple(phrase) for phrase in phrases)
        self._phrases = list(counts)
        self._lengths = [len(phrase) for phrase in counts]
        self._states: dict[frozenset[_Reading], _Progress] = {}
        self.start = self.progress({_Reading(tuple(counts.values()), ())})

    def unmet(self, reading: _Reading) -> int:
        """Return the number of tokens that complete all phrases under this reading."""
        return sum(left * length for left, length in zip(reading.left, self._lengths, strict=True)) + len(reading.rest)

    def next_tokens(self, reading: _Reading) -> set[int]:
        """Return the tokens that begin or continue a phrase under this reading."""
        if reading.rest:
            return {reading.rest[0]}
        return {phrase[0] for phrase, left in zip(self._phrases, reading.left, strict=True) if left}

    def after(self, reading: _Reading, token: int | None) -> Iterator[_Reading]:
        """Yield the possible readings after `token` (None: a token of no phrase)."""
        if reading.rest:
            if reading.rest[0] == token:
                yield reading._replace(rest=reading.rest[1:])
            return  # the phrase is interrupted; "no phrase had begun" is a separate reading
        yield reading
        for i, phrase in enumerate(self._phrases):
            if reading.left[i] and phrase[0] == token:
                left = (*reading.left[:i], reading.left[i] - 1, *reading.left[i + 1 :])
                yield _Reading(left, phrase[1:])

    def progress(self, readings: set[_Reading]) -> _Progress:
        """Return the automaton state of these readings, without dominated ones."""
        between: list[_Reading] = []  # no phrase in progress; every hypothesis has one, and the best is always kept
        begun: list[_Reading] = []
        for reading in sorted(readings, key=lambda r: (bool(r.rest), self.unmet(r), r)):
            kept = begun if reading.rest else between
            if len(kept) < MAX_READINGS and not any(other.dominates(reading) for other in (*between, *begun)):
                kept.append(reading)
        best = frozenset((*between, *begun))
        if best not in self._states:
            self._states[best] = _Progress(self, best)
        return self._states[best]


class _Progress:
    """State of the automaton: how far a hypothesis has met its phrases."""

    def __init__(self, phrases: _Phrases, readings: frozenset[_Reading]) -> None:
        self._phrases, self._readings = phrases, readings
        self.unmet = min(map(phrases.unmet, readings))  # fewest tokens that complete all phrases

    @cached_property
    def moves(self) -> dict[int, _Progress]:
        """The next state for every token that begins or continues a phrase."""
        tokens = set[int]().union(*map(self._phrases.next_tokens, self._readings))
        return {token: self._after(token) for token in sorted(tokens)}

    @cached_property
    def interrupted(self) -> _Progress:
        """The next state for every other token."""
        return self._after(None)

    @cached_property
    def advances(self) -> list[int]:
        """The tokens that reduce the number of unmet constraint tokens."""
        return [token for token, after in self.moves.items() if after.unmet < self.unmet]

    def after(self, token: int) -> _Progress:
        """Return the next state after this token."""
        return self.moves.get(token, self.interrupted)

    def _after(self, token: int | None) -> _Progress:
        return self._phrases.progress(
            {new for reading in self._readings for new in self._phrases.after(reading, token)}
        )


class _Candidate(NamedTuple):
    """A continuation; sorts by log p, best first, ties by beam, then by token."""

    cost: float  # -log p
    beam: int
    token: int
    unmet: int  # constraint tokens


class DynamicBeamAllocation:
    """A `TopKSelector` whose outputs contain their sentence's phrases as runs of tokens that do not overlap.

    Candidates are the k best continuations, the best continuation of every live hypothesis, and every continuation that
    meets a constraint token. The slots of the beam are dealt in turn to the candidates' numbers of constraint tokens
    met, the highest number first, so that no number crowds out another and unused slots pass to the rest. (The paper
    reserves fixed shares, also for numbers without candidates, and then moves those to neighbours.) With a narrow beam
    phrases therefore come early; the paper recommends at least as many slots as constraint tokens.

    EOS is allowed once all phrases are met. A token that would leave the unmet phrases no room before the limit is
    masked, so a hypothesis can always finish, provided that the model and the processors allow the phrases' tokens.

    Args:
        phrases: per sentence the token ids of each phrase; a phrase listed twice must occur twice. A phrase that does
            not fit below the limit beside the phrases before it is ignored.
        max_length: per sentence the maximum output length in tokens, EOS included.

    Raises:
        ValueError: a phrase contains EOS, so no output can contain it.
    """

    def __init__(self, phrases: Sequence[Sequence[Sequence[int]]], max_length: Sequence[int]) -> None:
        if any(EOS_ID in phrase for sentence in phrases for phrase in sentence):
            raise ValueError("a phrase contains EOS: no output can contain it")
        self._limits = list(max_length)
        self._length = 0  # tokens generated so far
        self._beams = [  # per sentence the state of every beam, ended ones too; empty without phrases
            _initial_beams(sentence, limit - 1) for sentence, limit in zip(phrases, max_length, strict=True)
        ]

    def select(
        self, totals: Float[Tensor, "batch beam vocab"], k: int
    ) -> tuple[Float[Tensor, "batch best"], Int[Tensor, "batch best"], Int[Tensor, "batch best"]]:
        """Return log p, parent beam and token of at most k continuations, best first (-inf: an empty slot)."""
        rows = [row for row, beams in enumerate(self._beams) if beams]
        if rows:
            totals = self._mask(totals)
        scores, indices = stable_top_k(totals.flatten(1), k)
        parents, tokens = indices // totals.shape[2], indices % totals.shape[2]
        if rows:
            candidates = self._candidates(rows, totals, parents, tokens)
            beams = [_allocate(row_candidates, scores.shape[1]) for row_candidates in candidates]
            for row, slots in zip(rows, beams, strict=True):
                self._beams[row] = [self._beams[row][slot.beam].after(slot.token) for slot in slots]
            scores[rows] = scores.new_tensor([[-slot.cost for slot in slots] for slots in beams])
            parents[rows] = parents.new_tensor([[slot.beam for slot in slots] for slots in beams])
            tokens[rows] = tokens.new_tensor([[slot.token for slot in slots] for slots in beams])
        self._length += 1
        return scores, parents, tokens

    def keep(self, sentences: Int[Tensor, " kept"]) -> None:
        """Drop the state of all sentences but these, in this order."""
        kept: list[int] = sentences.tolist()
        self._limits = [self._limits[row] for row in kept]
        self._beams = [self._beams[row] for row in kept]

    def _constrained(self) -> Iterator[tuple[int, int, _Progress]]:
        """Yield row, beam and automaton state of every hypothesis that has phrases."""
        for row, beams in enumerate(self._beams):
            for beam, progress in enumerate(beams):
                yield row, beam, progress

    def _mask(self, totals: Tensor) -> Tensor:
        """Return `totals` without EOS before all phrases are met, and without tokens that leave phrases no room."""
        early: list[tuple[int, int, int]] = []
        tight: list[tuple[int, int]] = []  # hypotheses with no room for any token outside their phrases
        allowed: list[tuple[int, int, int]] = []  # tokens that they may still emit
        for row, beam, progress in self._constrained():
            room = self._limits[row] - self._length - 2  # for phrases, after this token and before EOS
            if progress.unmet:
                early.append((row, beam, EOS_ID))
            if progress.interrupted.unmet > room:
                tight.append((row, beam))
                allowed += [(row, beam, token) for token, after in progress.moves.items() if after.unmet <= room]
                if not progress.unmet:
                    allowed.append((row, beam, EOS_ID))
        index = _columns(allowed, 3, totals.device)
        values = totals[index]
        totals = totals.clone()
        totals[_columns(early, 3, totals.device)] = -torch.inf
        totals[_columns(tight, 2, totals.device)] = -torch.inf
        totals[index] = values
        return totals

    def _candidates(
        self, rows: Sequence[int], totals: Tensor, parents: Tensor, tokens: Tensor
    ) -> list[list[_Candidate]]:
        """Return the candidates of each row; `parents` and `tokens` are those of the k best continuations."""
        best = torch.stack([parents[rows], tokens[rows]], dim=2).tolist()
        continuations = {(row, beam, token) for row, pairs in zip(rows, best, strict=True) for beam, token in pairs}
        single: list[list[int]] = stable_top_k(totals.flatten(0, 1), 1)[1].view(totals.shape[:2]).tolist()
        for row, beam, progress in self._constrained():
            continuations |= {(row, beam, token) for token in (single[row][beam], *progress.advances)}
        index = list(continuations)
        values: list[float] = totals[_columns(index, 3, totals.device)].tolist()
        candidates: dict[int, list[_Candidate]] = {row: [] for row in rows}
        for (row, beam, token), value in zip(index, values, strict=True):
            if value > -torch.inf:
                unmet = self._beams[row][beam].after(token).unmet
                candidates[row].append(_Candidate(-value, beam, token, unmet))
        return list(candidates.values())


def _initial_beams(phrases: Sequence[Sequence[int]], room: int) -> list[_Progress]:
    """Return the start state of one beam, or no state if no phrase fits into `room` tokens."""
    fitting = []
    for phrase in phrases:
        if 0 < len(phrase) <= room:
            fitting.append(phrase)
            room -= len(phrase)
    return [_Phrases(fitting).start] if fitting else []


def _columns(index: Sequence[tuple[int, ...]], count: int, device: torch.device) -> tuple[Tensor, ...]:
    return torch.tensor(index, dtype=torch.long, device=device).view(-1, count).unbind(1)


def _allocate(candidates: Sequence[_Candidate], slots: int) -> list[_Candidate]:
    """Fill the slots round-robin over groups of candidates with equal `unmet`, fewest first.

    Each turn takes a group's best remaining candidate.
    """
    taken: Counter[int] = Counter()
    turns = []
    for candidate in sorted(candidates):
        turns.append((taken[candidate.unmet], candidate.unmet, candidate))
        taken[candidate.unmet] += 1
    beam = sorted(candidate for _, _, candidate in sorted(turns)[:slots])
    return [*beam, *[_Candidate(torch.inf, 0, 0, 0)] * (slots - len(beam))]
