"""Outputs that must contain given phrases: what a hypothesis has of them, and how the beam is shared out.

Grid beam search (Hokamp and Liu 2017) holds a beam for every number of constraint tokens met, so its cost grows with
the constraints. Dynamic beam allocation (Post and Vilar 2018) shares one beam of fixed size out among those numbers.
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

MAX_READINGS = 16  # of each kind, in a hypothesis; only phrases made of one another's tokens have more than a few


class _Reading(NamedTuple):
    """One way to find phrases, apart from each other, in what a hypothesis has said."""

    left: tuple[int, ...]  # of each distinct phrase, how many are still to begin
    rest: tuple[int, ...]  # what the phrase that has begun still lacks, () where none has

    def covers(self, other: _Reading) -> bool:
        """Whether whatever completes the other's phrases completes this one's, too."""
        return self.rest in ((), other.rest) and all(map(operator.le, self.left, other.left))


class _Phrases:
    """The phrases of one sentence as an automaton.

    Which occurrence of a token is to count for which phrase shows only later ("New York" and "York" in "New York York",
    or an "a a b" that turns out to begin one token late), so a hypothesis is followed under every reading that may
    still be the best one. Sets of readings are shared by all hypotheses: after the first meeting, a step is a look-up.
    """

    def __init__(self, phrases: Sequence[Sequence[int]]) -> None:
        counts = Counter(tuple(phrase) for phrase in phrases)
        self._phrases = list(counts)
        self._lengths = [len(phrase) for phrase in counts]
        self._known: dict[frozenset[_Reading], _Progress] = {}
        self.start = self.progress({_Reading(tuple(counts.values()), ())})

    def lacking(self, reading: _Reading) -> int:
        """Return how many tokens complete all phrases under this reading."""
        return sum(left * length for left, length in zip(reading.left, self._lengths, strict=True)) + len(reading.rest)

    def wanted(self, reading: _Reading) -> set[int]:
        """Return the tokens that this reading counts."""
        if reading.rest:
            return {reading.rest[0]}
        return {phrase[0] for phrase, left in zip(self._phrases, reading.left, strict=True) if left}

    def after(self, reading: _Reading, token: int | None) -> Iterator[_Reading]:
        """Yield the readings that this one may become (None: a token that is part of no phrase)."""
        if reading.rest:
            if reading.rest[0] == token:
                yield reading._replace(rest=reading.rest[1:])
            return  # interrupted: this reading is wrong; that no phrase had begun is a reading of its own
        yield reading
        for i, phrase in enumerate(self._phrases):
            if reading.left[i] and phrase[0] == token:
                left = (*reading.left[:i], reading.left[i] - 1, *reading.left[i + 1 :])
                yield _Reading(left, phrase[1:])

    def progress(self, readings: set[_Reading]) -> _Progress:
        """Return the state of a hypothesis with these readings, without those that can lead to nothing better."""
        between: list[_Reading] = []  # the one that lacks least is always kept, and every hypothesis has one
        begun: list[_Reading] = []
        for one in sorted(readings, key=lambda r: (bool(r.rest), self.lacking(r), r)):
            kept = begun if one.rest else between
            if len(kept) < MAX_READINGS and not any(other.covers(one) for other in (*between, *begun)):
                kept.append(one)
        best = frozenset((*between, *begun))
        if best not in self._known:
            self._known[best] = _Progress(self, best)
        return self._known[best]


class _Progress:
    """What a hypothesis has of its phrases."""

    def __init__(self, phrases: _Phrases, readings: frozenset[_Reading]) -> None:
        self._phrases, self._readings = phrases, readings
        self.lacking = min(map(phrases.lacking, readings))  # the fewest tokens that complete everything

    @cached_property
    def moves(self) -> dict[int, _Progress]:
        """What follows a token that may count."""
        tokens = set[int]().union(*map(self._phrases.wanted, self._readings))
        return {token: self._after(token) for token in sorted(tokens)}

    @cached_property
    def interrupted(self) -> _Progress:
        """What follows any other token."""
        return self._after(None)

    @cached_property
    def advances(self) -> list[int]:
        """The tokens after which less is lacking."""
        return [token for token, after in self.moves.items() if after.lacking < self.lacking]

    def after(self, token: int) -> _Progress:
        """Return what follows this token."""
        return self.moves.get(token, self.interrupted)

    def _after(self, token: int | None) -> _Progress:
        return self._phrases.progress({new for one in self._readings for new in self._phrases.after(one, token)})


class _Candidate(NamedTuple):
    """A continuation; candidates sort best first, equal ones by beam, then by token."""

    cost: float  # -log p
    beam: int
    token: int
    lacking: int  # constraint tokens


class DynamicBeamAllocation:
    """A `TopKSelector` under which outputs contain their sentence's phrases as runs of tokens that do not overlap.

    Candidates are the best continuations overall and, of every live hypothesis, its best one and those that bring it
    nearer to its phrases. The places of the beam are dealt to the numbers of constraint tokens met in turn, the highest
    first, so that none crowds the others out and what one cannot use goes to the others (the paper's fixed shares
    reserve places for numbers that nothing can have yet, and then move them to neighbours). A narrow beam therefore
    says phrases early: the paper takes at least as many places as constraint tokens.

    EOS is permitted once everything is said, and no hypothesis may say what would leave its phrases no room, so none
    gets stuck as long as the model and the processors of the search permit the phrases' tokens.

    Args:
        phrases: per sentence the token ids of each phrase; one that is given twice must appear twice. Phrases for
            which the limit leaves no room beside those before them are not asked for.
        max_length: per sentence the most tokens of its output, EOS counted.

    Raises:
        ValueError: a phrase holds EOS, so no output can contain it.
    """

    def __init__(self, phrases: Sequence[Sequence[Sequence[int]]], max_length: Sequence[int]) -> None:
        if any(EOS_ID in phrase for sentence in phrases for phrase in sentence):
            raise ValueError("a phrase holds EOS: nothing can follow it")
        self._limits = list(max_length)
        self._said = 0
        self._beams = [  # per sentence one for each beam, dead ones too; of a sentence without phrases none
            _beams_at_start(sentence, limit - 1) for sentence, limit in zip(phrases, max_length, strict=True)
        ]

    def select(
        self, totals: Float[Tensor, "batch beam vocab"], k: int
    ) -> tuple[Float[Tensor, "batch best"], Int[Tensor, "batch best"], Int[Tensor, "batch best"]]:
        """Return log p, parent beam and token of at most k continuations, best first (-inf: an empty place)."""
        rows = [row for row, beams in enumerate(self._beams) if beams]
        if rows:
            totals = self._permitted(totals)
        scores, choices = stable_top_k(totals.flatten(1), k)
        parents, tokens = choices // totals.shape[2], choices % totals.shape[2]
        if rows:
            found = self._candidates(rows, totals, parents, tokens)
            dealt = [_deal(candidates, scores.shape[1]) for candidates in found]
            for row, places in zip(rows, dealt, strict=True):
                self._beams[row] = [self._beams[row][one.beam].after(one.token) for one in places]
            scores[rows] = scores.new_tensor([[-one.cost for one in places] for places in dealt])
            parents[rows] = parents.new_tensor([[one.beam for one in places] for places in dealt])
            tokens[rows] = tokens.new_tensor([[one.token for one in places] for places in dealt])
        self._said += 1
        return scores, parents, tokens

    def keep(self, sentences: Int[Tensor, " kept"]) -> None:
        """Forget all sentences but these, in this order."""
        kept: list[int] = sentences.tolist()
        self._limits = [self._limits[row] for row in kept]
        self._beams = [self._beams[row] for row in kept]

    def _constrained(self) -> Iterator[tuple[int, int, _Progress]]:
        for row, beams in enumerate(self._beams):
            for beam, progress in enumerate(beams):
                yield row, beam, progress

    def _permitted(self, totals: Tensor) -> Tensor:
        """Return `totals` without EOS before everything is said, and without what would leave phrases no room."""
        early: list[tuple[int, int, int]] = []
        pressed: list[tuple[int, int]] = []
        saving: list[tuple[int, int, int]] = []
        for row, beam, progress in self._constrained():
            room = self._limits[row] - self._said - 2  # for phrases, after this token and before EOS
            if progress.lacking:
                early.append((row, beam, EOS_ID))
            if progress.interrupted.lacking > room:
                pressed.append((row, beam))
                saving += [(row, beam, token) for token, after in progress.moves.items() if after.lacking <= room]
                if not progress.lacking:
                    saving.append((row, beam, EOS_ID))
        saved = _columns(saving, 3, totals.device)
        values = totals[saved]
        totals = totals.clone()
        totals[_columns(early, 3, totals.device)] = -torch.inf
        totals[_columns(pressed, 2, totals.device)] = -torch.inf
        totals[saved] = values
        return totals

    def _candidates(
        self, rows: Sequence[int], totals: Tensor, parents: Tensor, tokens: Tensor
    ) -> list[list[_Candidate]]:
        """Return for each row the continuations that may be chosen; `parents` and `tokens` are those of the k best."""
        chosen = torch.stack([parents[rows], tokens[rows]], dim=2).tolist()
        places = {(row, beam, token) for row, pairs in zip(rows, chosen, strict=True) for beam, token in pairs}
        single: list[list[int]] = stable_top_k(totals.flatten(0, 1), 1)[1].view(totals.shape[:2]).tolist()
        for row, beam, progress in self._constrained():
            places |= {(row, beam, token) for token in (single[row][beam], *progress.advances)}
        index = list(places)
        values: list[float] = totals[_columns(index, 3, totals.device)].tolist()
        found: dict[int, list[_Candidate]] = {row: [] for row in rows}
        for (row, beam, token), value in zip(index, values, strict=True):
            if value > -torch.inf:
                lacking = self._beams[row][beam].after(token).lacking
                found[row].append(_Candidate(-value, beam, token, lacking))
        return list(found.values())


def _beams_at_start(phrases: Sequence[Sequence[int]], room: int) -> list[_Progress]:
    """Return one beam with nothing said, or none if nothing has to be said."""
    asked = []
    for phrase in phrases:
        if 0 < len(phrase) <= room:
            asked.append(phrase)
            room -= len(phrase)
    return [_Phrases(asked).start] if asked else []


def _columns(index: Sequence[tuple[int, ...]], count: int, device: torch.device) -> tuple[Tensor, ...]:
    return torch.tensor(index, dtype=torch.long, device=device).view(-1, count).unbind(1)


def _deal(candidates: Sequence[_Candidate], places: int) -> list[_Candidate]:
    """Give the places to the numbers of constraint tokens met in turn, the highest first; to the best of each."""
    seen: Counter[int] = Counter()
    turns = []
    for one in sorted(candidates):
        turns.append((seen[one.lacking], one.lacking, one))
        seen[one.lacking] += 1
    dealt = sorted(one for _, _, one in sorted(turns)[:places])
    return [*dealt, *[_Candidate(torch.inf, 0, 0, 0)] * (places - len(dealt))]
