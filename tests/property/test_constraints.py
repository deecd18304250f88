"""Lexically constrained search against a plain definition, brute force, and the unconstrained search."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from markov import markov_start, markov_step, next_log_probs_of, random_tables
from reference import beam as reference
from scaling import scaled
from seq2seq.config.decode import NormalizationName
from seq2seq.data.special_ids import BOS_ID, EOS_ID
from seq2seq.search.beam import SearchResult, beam_search
from seq2seq.search.constraints import DynamicBeamAllocation
from seq2seq.search.length_penalty import length_penalty
from seq2seq.search.logits_processors import ForcedPrefix
from seq2seq.search.protocols import NEVER_EMITTED
from seq2seq.search.top_k import stable_top_k

EXAMPLES = settings(max_examples=scaled(25, 200), deadline=None, derandomize=True)
A, B, C, D = WORDS = range(EOS_ID + 1, EOS_ID + 5)
SIZE = EOS_ID + 1 + len(WORDS)

Tokens = tuple[int, ...]


# --- the plain definition ---------------------------------------------------------------------------------------------


@functools.cache
def lacking(generated: Tokens, phrases: tuple[Tokens, ...]) -> int:
    """The fewest further tokens after which all phrases occur without overlap."""
    if not generated:
        return sum(map(len, phrases))
    fewest = lacking(generated[1:], phrases)  # no phrase begins here
    for i, phrase in enumerate(phrases):
        if generated[: len(phrase)] == phrase[: len(generated)]:
            others = phrases[:i] + phrases[i + 1 :]
            fewest = min(fewest, lacking(generated[len(phrase) :], others) + max(0, len(phrase) - len(generated)))
    return fewest


def plain_search(
    next_log_probs: reference.NextLogProbs, phrases: tuple[Tokens, ...], limit: int, beam_size: int, alpha: float
) -> list[reference.Output]:
    """Search for one sentence, never stopping early."""
    live: list[tuple[Tokens, float]] = [((), 0.0)]
    finished: list[reference.Output] = []
    for _ in range(limit):
        continuations = [
            (beam, token, log_prob + next_log_probs(tokens)[token])
            for beam, (tokens, log_prob) in enumerate(live)
            for token in (EOS_ID, *WORDS)
            if next_log_probs(tokens)[token] > -math.inf
            and (lacking(tokens, phrases) == 0 if token == EOS_ID else fits((*tokens, token), phrases, limit))
        ]
        continuations.sort(key=lambda one: -one[2])  # stable: equal ones stay in the order of beam, then token
        candidates = set(continuations[:beam_size])
        for i, (tokens, _) in enumerate(live):
            mine = [one for one in continuations if one[0] == i]
            candidates |= set(mine[:1])
            candidates |= {one for one in mine if lacking((*tokens, one[1]), phrases) < lacking(tokens, phrases)}
        banks: dict[int, list[tuple[int, int, float]]] = {}
        for one in continuations:
            if one in candidates:
                banks.setdefault(lacking((*live[one[0]][0], one[1]), phrases), []).append(one)
        turns = itertools.zip_longest(*(banks[number] for number in sorted(banks)))
        dealt = [one for turn in turns for one in turn if one is not None][:beam_size]
        best = [(live[beam][0], token, p) for beam, token, p in continuations if (beam, token, p) in dealt]
        finished += [make_output(generated, p, alpha) for generated, token, p in best if token == EOS_ID]
        live = [((*generated, token), p) for generated, token, p in best if token != EOS_ID]
    return sorted(finished, key=lambda one: -one.score)[:beam_size]


def fits(generated: Tokens, phrases: tuple[Tokens, ...], limit: int) -> bool:
    return len(generated) + lacking(generated, phrases) + 1 <= limit


def make_output(generated: Tokens, log_prob: float, alpha: float) -> reference.Output:
    return reference.Output([*generated], log_prob, log_prob / reference.penalty("gnmt", alpha)(len(generated) + 1))


# --- models -----------------------------------------------------------------------------------------------------------


def search(
    tables: Tensor,
    phrases: Sequence[Sequence[Sequence[int]]] | None,
    limits: Sequence[int],
    alpha: float = 1.0,
    **options: object,
) -> SearchResult:
    selector = None if phrases is None else DynamicBeamAllocation(phrases, limits)
    penalty = length_penalty(NormalizationName.gnmt, alpha)
    return beam_search(
        markov_step, markov_start(tables), torch.tensor(limits), penalty=penalty, selector=selector, **options
    )


def unwilling(tables: Tensor, phrases: Sequence[Sequence[Tokens]]) -> Tensor:
    """Make the model prefer EOS to any word, and any word to those of the phrases."""
    tables = tables.clone()
    tables[..., list(WORDS)] -= 50
    for row, sentence in enumerate(phrases):
        tables[row, :, :, [token for phrase in sentence for token in phrase]] -= 500
    return tables


def phrases_of(words: Sequence[int], most: int, longest: int) -> st.SearchStrategy[list[Tokens]]:
    phrase = st.lists(st.sampled_from(words), min_size=1, max_size=longest).map(tuple)
    return st.lists(phrase, max_size=most)


def tokens_of(result: SearchResult) -> list[list[list[int]]]:
    return [[one.tokens for one in row] for row in result.hypotheses]


def room_for(phrases: Sequence[Sequence[int]]) -> int:
    return sum(map(len, phrases)) + 1


# --- what must hold ---------------------------------------------------------------------------------------------------


@EXAMPLES
@given(
    seed=st.integers(0, 2**31),
    phrases=st.lists(phrases_of(WORDS[:3], 3, 3), min_size=1, max_size=3),
    spare=st.integers(0, 4),
    beam_size=st.integers(1, 8),
    alpha=st.sampled_from([0.0, 1.0]),
    tied=st.booleans(),
)
@example(seed=0, phrases=[[(A, A, B), (A, B)], [(A,)], []], spare=3, beam_size=5, alpha=1.0, tied=True)
def test_equals_the_plain_definition(
    seed: int, phrases: list[list[Tokens]], spare: int, beam_size: int, alpha: float, tied: bool
) -> None:
    tables = random_tables(seed, len(phrases), len(WORDS), tied)
    limits = [room_for(sentence) + spare for sentence in phrases]
    found = search(tables, phrases, limits, alpha, beam_size=beam_size, n_best=beam_size)
    expected = [
        plain_search(next_log_probs_of(table), tuple(sentence), limit, beam_size, alpha)
        for table, sentence, limit in zip(tables, phrases, limits, strict=True)
    ]
    assert tokens_of(found) == [[one.tokens for one in row] for row in expected]
    for hypotheses, outputs in zip(found.hypotheses, expected, strict=True):
        assert [one.score for one in hypotheses] == pytest.approx([one.score for one in outputs], abs=1e-9)


@EXAMPLES
@given(
    seed=st.integers(0, 2**31),
    phrases=st.lists(phrases_of(WORDS, 4, 4), min_size=1, max_size=3),
    spares=st.lists(st.integers(0, 4), min_size=3, max_size=3),
    beam_size=st.integers(1, 6),
    willing=st.booleans(),
)
@example(seed=0, phrases=[[(A, B, A, C), (A, B, A, B)]], spares=[2] * 3, beam_size=1, willing=False)
@example(seed=0, phrases=[[(A,) * n for n in range(1, 8)]], spares=[3] * 3, beam_size=3, willing=True)
def test_every_output_contains_its_phrases_however_improbable(
    seed: int, phrases: list[list[Tokens]], spares: list[int], beam_size: int, willing: bool
) -> None:
    limits = [room_for(sentence) + spare for sentence, spare in zip(phrases, spares, strict=False)]
    tables = random_tables(seed, len(phrases), len(WORDS))
    found = search(
        tables if willing else unwilling(tables, phrases), phrases, limits, beam_size=beam_size, n_best=beam_size
    )
    for outputs, sentence, limit in zip(tokens_of(found), phrases, limits, strict=True):
        assert outputs
        for output in outputs:
            assert lacking(tuple(output), tuple(sentence)) == 0
            assert len(output) < limit


@EXAMPLES
@given(
    seed=st.integers(0, 2**31),
    phrases=phrases_of(WORDS[:2], 3, 3).filter(lambda phrases: room_for(phrases) <= 6),
    length=st.integers(1, 6),
    alpha=st.sampled_from([0.0, 1.0]),
)
@example(seed=0, phrases=[(A, B), (A,)], length=6, alpha=0.0)  # "A B A" contains both; "A B" has them overlap
@example(seed=1, phrases=[(A, B), (B, A)], length=6, alpha=0.0)
def test_an_exhaustive_beam_finds_the_best_outputs_that_contain_the_phrases(
    seed: int, phrases: list[Tokens], length: int, alpha: float
) -> None:
    length = max(length, room_for(phrases))
    (table,) = random_tables(seed, 1, len(WORDS))
    table[..., WORDS[2:]] = -torch.inf
    every = reference.brute_force(
        next_log_probs_of(table), length, WORDS[:2], 3**length, reference.penalty("gnmt", alpha)
    )
    expected = [one for one in every if lacking(tuple(one.tokens), tuple(phrases)) == 0]
    n_best = min(5, len(expected))
    (found,) = search(table[None], [phrases], [length], alpha, beam_size=3**length, n_best=n_best).hypotheses
    assert [one.tokens for one in found] == [one.tokens for one in expected[:n_best]]
    assert [one.log_prob for one in found] == pytest.approx([one.log_prob for one in expected[:n_best]])


@EXAMPLES
@given(
    seed=st.integers(0, 2**31),
    phrases=st.lists(phrases_of(WORDS, 2, 2), min_size=2, max_size=4),
    tied=st.booleans(),
)
def test_a_sentence_alone_equals_the_sentence_in_a_batch(seed: int, phrases: list[list[Tokens]], tied: bool) -> None:
    tables = random_tables(seed, len(phrases), len(WORDS), tied)
    limits = [room_for(sentence) + (seed + 3 * i) % 5 for i, sentence in enumerate(phrases)]
    options = {"beam_size": 4, "n_best": 3}
    together = search(tables, phrases, limits, **options)
    alone = [search(tables[i : i + 1], [phrases[i]], [limits[i]], **options) for i in range(len(phrases))]
    assert together.hypotheses == [result.hypotheses[0] for result in alone]


@EXAMPLES
@given(
    seed=st.integers(0, 2**31),
    k=st.integers(1, 9),
    vocab=st.integers(SIZE, 300),
    tied=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    others=st.booleans(),
)
def test_sentences_without_phrases_get_exactly_the_best_continuations(
    seed: int, k: int, vocab: int, tied: bool, dtype: torch.dtype, others: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    selector = DynamicBeamAllocation([[], [(A, B)] * others, []], [2, 6, 9])
    kept, beam = [0, 1, 2], 1
    for step in range(4):
        shape = (len(kept), beam, vocab)
        totals = torch.randint(-4, 1, shape, generator=generator) if tied else torch.randn(shape, generator=generator)
        totals = totals.to(dtype)
        scores, parents, tokens = selector.select(totals, k)
        expected = stable_top_k(totals.flatten(1), k)
        free = [place for place, sentence in enumerate(kept) if sentence != 1]
        assert torch.equal(scores[free], expected[0][free])
        assert torch.equal((parents * vocab + tokens)[free], expected[1][free])
        beam = scores.shape[1]
        if step == 1:
            selector.keep(torch.tensor([2, 1]))
            kept = [2, 1]


@EXAMPLES
@given(
    seed=st.integers(0, 2**31), limits=st.lists(st.integers(1, 9), min_size=1, max_size=4), beam_size=st.integers(1, 5)
)
def test_a_search_without_phrases_is_the_unconstrained_one(seed: int, limits: list[int], beam_size: int) -> None:
    tables = random_tables(seed, len(limits), len(WORDS))
    free = search(tables, None, limits, beam_size=beam_size, n_best=beam_size)
    assert search(tables, [[] for _ in limits], limits, beam_size=beam_size, n_best=beam_size) == free


@EXAMPLES
@given(
    seed=st.integers(0, 2**31),
    prefix=st.lists(st.sampled_from(WORDS[:2]), max_size=4),
    phrases=phrases_of(WORDS[:2], 3, 3),
    beam_size=st.integers(1, 4),
)
def test_phrases_with_a_forced_prefix(seed: int, prefix: list[int], phrases: list[Tokens], beam_size: int) -> None:
    limit = len(prefix) + room_for(phrases)
    tables = random_tables(seed, 1, len(WORDS))
    processors = [ForcedPrefix([prefix])]
    (outputs,) = tokens_of(
        search(tables, [phrases], [limit], beam_size=beam_size, n_best=beam_size, processors=processors)
    )
    assert outputs
    for output in outputs:
        assert output[: len(prefix)] == prefix
        assert lacking(tuple(output), tuple(phrases)) == 0


# --- worked out by hand -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phrases", "limit", "outputs"),
    [
        ([(A, A, B)], 5, {"AAB", "AAAB", "BAAB", "AABA", "AABB"}),  # the second A of AAAB begins the phrase anew
        ([(A, B), (B, A)], 5, {"ABBA", "BAAB"}),  # ABA would use B twice
        ([(A,), (A,)], 4, {"AA", "AAA", "AAB", "ABA", "BAA"}),
        ([(A, B), (A,)], 4, {"ABA", "AAB"}),  # which A is the single one is decided later
        ([(A, A, B), ()], 4, {"AAB"}),
    ],
)
def test_all_possible_outputs(phrases: list[Tokens], limit: int, outputs: set[str]) -> None:
    table = torch.zeros(1, SIZE, SIZE, SIZE)
    table[..., WORDS[2:]] = -torch.inf
    (found,) = tokens_of(search(table, [phrases], [limit], 0.0, beam_size=200, n_best=200))
    assert sorted("".join("AB"[token - A] for token in output) for output in found) == sorted(outputs)


MANY = range(SIZE, SIZE + 10)


@pytest.mark.parametrize(
    ("phrases", "generated"),
    [
        ([*[(word,) for word in MANY], (A, B, C, A, B, C, A, B, D)], [*MANY, A, B, C, A, B, C, A, B, C, A, B, D]),
        ([*[(A,) * length for length in range(1, 10)], (B, C, D)], [*[A] * 20, B, C, D, *[A] * 25]),
    ],
    ids=["a phrase begins anew", "many ways to count"],
)
def test_an_output_that_contains_its_phrases_is_accepted(phrases: list[Tokens], generated: list[int]) -> None:
    table = torch.zeros(1, *[SIZE + len(MANY)] * 3)
    processors = [ForcedPrefix([generated])]  # with no room for another token
    assert tokens_of(search(table, [phrases], [len(generated) + 1], beam_size=1, processors=processors)) == [
        [generated]
    ]


def test_the_beam_is_allocated_by_number_of_tokens_met() -> None:
    selector = DynamicBeamAllocation([[(A, B)]], [9])

    def choose(*rows: dict[int, float]) -> list[tuple[float, int, int]]:
        totals = torch.full((1, len(rows), SIZE), -torch.inf)
        for beam, row in enumerate(rows):
            for token, value in row.items():
                totals[0, beam, token] = value
        scores, parents, tokens = selector.select(totals, 3)
        return list(zip(scores[0].tolist(), parents[0].tolist(), tokens[0].tolist(), strict=True))

    # A has one token met, B, C and D none; EOS is not allowed yet. A takes the first slot, C and D the remaining two.
    first = choose({EOS_ID: -0.5, A: -8.0, B: -3.0, C: -1.0, D: -2.0})
    assert first == [(-1.0, 0, C), (-2.0, 0, D), (-8.0, 0, A)]
    # B after A has two met; A after A and A after C have one; C and D score best but do not take all slots.
    second = choose({A: -7.0, C: -1.5, D: -1.6}, {A: -9.5, C: -2.5}, {A: -9.0, B: -20.0, C: -8.5})
    assert second == [(-1.5, 0, C), (-7.0, 0, A), (-20.0, 2, B)]
    # C interrupts the phrase, so only the last hypothesis has tokens met: all of them, so EOS is allowed. Its A is no
    # candidate: not among the three best, not the best of its hypothesis, and it meets no token.
    third = choose({C: -2.0}, {C: -8.0}, {EOS_ID: -21.0, A: -22.0})
    assert third == [(-2.0, 0, C), (-8.0, 1, C), (-21.0, 2, EOS_ID)]
    # Only the first two hypotheses are live, and they have no possible token.
    assert {score for score, _, _ in choose({}, {}, {})} == {-math.inf}


def test_phrases_without_room_are_ignored() -> None:
    phrases = [[(A, B), (C, C, C), (D,)]]
    tables = unwilling(random_tables(0, 1, len(WORDS)), phrases)
    generated = {limit: tokens_of(search(tables, phrases, [limit], beam_size=3))[0][0] for limit in (1, 2, 3, 4, 7)}
    assert generated[1] == []
    assert generated[2] == [D]
    assert generated[3] == [A, B]
    assert generated[4] in ([A, B, D], [D, A, B])
    assert lacking(tuple(generated[7]), tuple(phrases[0])) == 0


def test_a_phrase_with_a_banned_token_leaves_only_its_own_sentence_without_output() -> None:
    tables = random_tables(0, 3, len(WORDS))
    found = search(tables, [[(A, B)], [(C,)], []], [6, 6, 6], beam_size=3, banned_tokens=(*NEVER_EMITTED, B))
    assert [len(row) for row in found.hypotheses] == [0, 1, 1]
    assert C in found.hypotheses[1][0].tokens


def test_the_totals_are_not_modified() -> None:
    totals = random_tables(0, 1, len(WORDS))[:, 0]
    before = totals.clone()
    DynamicBeamAllocation([[(A, B, C)]], [4]).select(totals[:, :1], 3)
    assert torch.equal(totals, before)


@pytest.mark.timeout(60)  # keeping every reading would take hours
def test_phrases_that_share_tokens_take_bounded_time() -> None:
    phrases = [(A,) * length for length in range(1, 13)]
    (outputs,) = tokens_of(
        search(random_tables(0, 1, len(WORDS)), [phrases], [room_for(phrases) + 3], beam_size=3, n_best=3)
    )
    assert outputs
    for output in outputs:
        assert contains_greedily(output, phrases)


def contains_greedily(generated: Sequence[int], phrases: Sequence[Tokens]) -> bool:
    """Match the phrases without overlap, longest first, trying all positions of each."""
    if not phrases:
        return True
    longest = max(phrases, key=len)
    others = list(phrases)
    others.remove(longest)
    return any(
        contains_greedily([*generated[:i], BOS_ID, *generated[i + len(longest) :]], others)
        for i in range(len(generated) - len(longest) + 1)
        if tuple(generated[i : i + len(longest)]) == longest
    )


def test_a_phrase_with_eos_is_refused() -> None:
    with pytest.raises(ValueError, match="EOS"):
        DynamicBeamAllocation([[(A, EOS_ID, B)]], [9])
