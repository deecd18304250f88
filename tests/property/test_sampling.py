"""Sampling against a one-sentence definition in plain Python, exact probabilities, greedy search and rescoring."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from markov import MarkovState, markov_start, markov_step, next_log_probs_of, random_tables
from scaling import scaled
from seq2seq.data.special_ids import BOS_ID, EOS_ID, PAD_ID, UNK_ID
from seq2seq.search.logits_processors import BannedSequences, ForcedPrefix, MinLength, NoRepeatNgrams, RepetitionPenalty
from seq2seq.search.protocols import Hypothesis, Prediction
from seq2seq.search.sampling import draw_tokens, sample

NEVER = (PAD_ID, UNK_ID, BOS_ID)
EXAMPLES = settings(max_examples=scaled(40, 300), deadline=None, derandomize=True)

# The tokens so far -> log p of every next token.
NextLogProbs = Callable[[Sequence[int]], list[float]]


def average(length: int) -> float:
    return float(length)


def draw_samples(tables: Tensor, max_lengths: Sequence[int], **options: Any) -> list[list[Hypothesis]]:
    options = {"samples": 3, "seeds": range(len(tables)), "penalty": average, **options}
    return sample(markov_step, markov_start(tables), torch.tensor(max_lengths, dtype=torch.long), **options)


def distribution(
    log_probs: Sequence[float], temperature: float, top_k: int, top_p: float, never: Sequence[int] = ()
) -> list[tuple[int, float]]:
    """The definition of the distribution: tokens and their probabilities, in their order on the unit interval."""
    possible = [(token, p) for token, p in enumerate(log_probs) if token not in never and p > -math.inf]
    if top_k or top_p < 1:
        possible.sort(key=lambda one: -one[1])  # stable: equal ones by id
    possible = possible[: top_k or None]
    best = max(p for _, p in possible)
    weights = [math.exp((p - best) / temperature) for _, p in possible]
    if top_p < 1:
        enough = [n for n in range(1, len(weights) + 1) if sum(weights[:n]) >= top_p * sum(weights)]
        weights = weights[: min(enough, default=len(weights))]
    return [(token, weight / sum(weights)) for (token, _), weight in zip(possible, weights, strict=False)]


def piece_at(number: float, parts: list[tuple[int, float]]) -> int:
    """The inverse CDF: the first token at which the cumulated probability reaches `number`."""
    for n, (token, _) in enumerate(parts):
        if sum(p for _, p in parts[: n + 1]) >= number:
            return token
    return parts[-1][0]


def plain_samples(
    next_log_probs: NextLogProbs, limit: int, samples: int, seed: int, options: dict[str, Any]
) -> list[list[int]]:
    """The definition of `sample` for one sentence: tokens, EOS included."""
    generator = torch.Generator().manual_seed(seed)
    outputs: list[list[int]] = [[] for _ in range(samples)]
    for length in range(1, limit + 1):
        numbers = (1 - torch.rand(samples, generator=generator, dtype=torch.float64)).tolist()
        for tokens, number in zip(outputs, numbers, strict=True):
            if EOS_ID not in tokens:
                parts = distribution(next_log_probs(tokens), never=NEVER, **options)
                tokens.append(EOS_ID if length == limit else piece_at(number, parts))
    return outputs


options_of_draw = st.fixed_dictionaries(
    {
        "temperature": st.sampled_from([0.3, 1.0, 2.5]),
        "top_k": st.sampled_from([0, 1, 2, 4, 99]),
        "top_p": st.one_of(st.just(1.0), st.floats(0.01, 0.99)),
    }
)


@EXAMPLES
@given(
    seed=st.integers(0, 2**31),
    max_lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    words=st.integers(1, 6),
    samples=st.integers(1, 6),
    options=options_of_draw,
    tied=st.booleans(),
)
def test_equals_the_one_sentence_definition(
    seed: int, max_lengths: list[int], words: int, samples: int, options: dict[str, Any], tied: bool
) -> None:
    tables = random_tables(seed, len(max_lengths), words, tied)
    seeds = [seed + 7 * i for i in range(len(tables))]
    found = draw_samples(tables, max_lengths, samples=samples, seeds=seeds, **options)
    for hypotheses, table, limit, own in zip(found, tables, max_lengths, seeds, strict=True):
        expected = plain_samples(next_log_probs_of(table), limit, samples, own, options)
        assert [[*hypothesis.tokens, EOS_ID] for hypothesis in hypotheses] == expected


@EXAMPLES
@given(
    seed=st.integers(0, 2**31),
    vocab=st.integers(1, 60),
    options=options_of_draw,
    few=st.integers(1, 10),
    tied=st.booleans(),
)
@example(seed=1, vocab=60, options={"temperature": 2.5, "top_k": 0, "top_p": 0.9}, few=1, tied=False)
def test_a_draw_equals_its_definition(seed: int, vocab: int, options: dict[str, Any], few: int, tied: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    log_probs = torch.randn(20, vocab, generator=generator, dtype=torch.float64)
    log_probs = log_probs.round() if tied else log_probs
    log_probs[torch.rand(20, vocab, generator=generator) < 0.3] = -torch.inf
    log_probs[:, seed % vocab] = 0.0  # some token is possible
    numbers = 1 - torch.rand(20, generator=generator, dtype=torch.float64)
    expected = [
        piece_at(number, distribution(row, **options))
        for number, row in zip(numbers.tolist(), log_probs.tolist(), strict=True)
    ]
    assert draw_tokens(log_probs, numbers, **options, candidates=few).tolist() == expected


def test_both_ends_of_the_unit_interval_draw_a_possible_token() -> None:
    log_probs = torch.tensor([-math.inf, -1.0, -math.inf, -1.0, -math.inf]).expand(3, -1)
    for options in ({}, {"top_k": 4}, {"top_p": 0.9}):
        assert draw_tokens(log_probs, torch.tensor([0.0, 2.0**-53, 1.0]), **options).tolist() == [1, 1, 3]


def test_top_p_takes_the_smallest_set_that_holds_it() -> None:
    equal = torch.full((1, 4), math.log(1 / 4))
    last = [draw_tokens(equal, torch.ones(1), top_p=top_p).item() for top_p in (0.01, 0.25, 0.26, 0.5, 0.75, 0.76)]
    assert last == [0, 0, 1, 1, 2, 3]


def outputs(
    parts_after: Callable[[Sequence[int]], list[tuple[int, float]]], limit: int
) -> dict[tuple[int, ...], float]:
    """Every output there is, with the probability that it is drawn."""

    def continuations(tokens: tuple[int, ...], probability: float) -> Iterator[tuple[tuple[int, ...], float]]:
        if len(tokens) == limit - 1:
            yield tokens, probability
            return
        for token, p in parts_after(tokens):
            if token == EOS_ID:
                yield tokens, probability * p
            else:
                yield from continuations((*tokens, token), probability * p)

    return dict(continuations((), 1.0))


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p", "factor"),
    [
        (1.0, 0, 1.0, 1.0),
        (0.5, 0, 1.0, 1.0),
        (1.0, 0, 0.7, 1.0),
        (1.5, 3, 0.8, 1.0),
        (1.0, 0, 1.0, 1.5),
    ],
)
def test_outputs_are_as_frequent_as_they_are_probable(
    temperature: float, top_k: int, top_p: float, factor: float
) -> None:
    count, limits = scaled(4000, 500_000), [4, 3]
    tables = random_tables(5, len(limits), 3)
    options = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "processors": [RepetitionPenalty(factor)]}
    found = draw_samples(tables, limits, samples=count, **options)
    for table, limit, hypotheses in zip(tables, limits, found, strict=True):
        next_log_probs = next_log_probs_of(table)

        def parts_after(
            tokens: Sequence[int], next_log_probs: NextLogProbs = next_log_probs
        ) -> list[tuple[int, float]]:
            log_probs = [p * factor if token in tokens else p for token, p in enumerate(next_log_probs(tokens))]
            return distribution(log_probs, temperature, top_k, top_p, NEVER)

        expected = outputs(parts_after, limit)
        drawn = Counter(tuple(hypothesis.tokens) for hypothesis in hypotheses)
        assert drawn.keys() <= expected.keys()
        for tokens, probability in expected.items():
            sigma = math.sqrt(probability * (1 - probability) / count)
            assert abs(drawn[tokens] / count - probability) <= 5 * sigma + 5 / count


@EXAMPLES
@given(seed=st.integers(0, 2**31), sentences=st.integers(2, 6), options=options_of_draw, exact=st.booleans())
def test_samples_do_not_depend_on_the_rest_of_the_batch(
    seed: int, sentences: int, options: dict[str, Any], exact: bool
) -> None:
    tables = random_tables(seed, sentences, 5).to(torch.float64 if exact else torch.float32)
    limits = [1 + (seed + 3 * i) % 7 for i in range(sentences)]
    seeds = [seed + i // 2 for i in range(sentences)]  # two sentences may have one seed
    prefixes = [[EOS_ID + 1 + (seed + i) % 5] * (i % 3) for i in range(sentences)]

    def drawn(order: list[int]) -> list[list[Hypothesis]]:
        processors = [
            MinLength(torch.tensor([i % 4 for i in order])),
            NoRepeatNgrams(2),
            ForcedPrefix([prefixes[i] for i in order]),
        ]
        chosen = {"seeds": [seeds[i] for i in order], "processors": processors, **options}
        return draw_samples(tables[order], [limits[i] for i in order], **chosen)

    together = drawn([*range(sentences)])
    assert drawn([*reversed(range(sentences))]) == together[::-1]
    assert [drawn([i])[0] for i in range(sentences)] == together


def greedy(next_log_probs: NextLogProbs, limit: int) -> list[int]:
    tokens: list[int] = []
    while len(tokens) < limit - 1:
        log_probs = next_log_probs(tokens)
        best = max((t for t in range(len(log_probs)) if t not in NEVER), key=lambda token: log_probs[token])
        if best == EOS_ID:
            break
        tokens.append(best)
    return tokens


@EXAMPLES
@given(seed=st.integers(0, 2**31), words=st.integers(1, 8), limit=st.integers(1, 15), tied=st.booleans())
def test_drawing_from_the_likeliest_token_is_greedy_search(seed: int, words: int, limit: int, tied: bool) -> None:
    tables = random_tables(seed, 1, words, tied)
    expected = greedy(next_log_probs_of(tables[0]), limit)
    extremes = [{"top_k": 1}, {"top_k": 1, "temperature": 100.0}, {"top_p": 1e-6}]
    if not tied:
        extremes.append({"temperature": 1e-6})
    for options in extremes:
        assert [h.tokens for h in draw_samples(tables, [limit], **options)[0]] == [expected] * 3


@EXAMPLES
@given(seed=st.integers(0, 2**31), limits=st.lists(st.integers(1, 9), min_size=1, max_size=4), options=options_of_draw)
def test_log_probabilities_are_the_models(seed: int, limits: list[int], options: dict[str, Any]) -> None:
    tables = random_tables(seed, len(limits), 4)
    processors = [RepetitionPenalty(2.0), ForcedPrefix([[EOS_ID + 1]] * len(limits))]
    found = draw_samples(tables, limits, processors=processors, penalty=lambda length: 3.0 + length, **options)
    for table, hypotheses in zip(tables, found, strict=True):
        next_log_probs = next_log_probs_of(table)
        for hypothesis in hypotheses:
            tokens = [*hypothesis.tokens, EOS_ID]
            log_probs = [next_log_probs(tokens[:i])[token] for i, token in enumerate(tokens)]
            assert hypothesis.token_log_probs == log_probs
            assert hypothesis.score == pytest.approx(math.fsum(log_probs) / (3 + len(tokens)), abs=1e-12)


@EXAMPLES
@given(seed=st.integers(0, 2**31), sentences=st.integers(1, 5), options=options_of_draw, data=st.data())
def test_every_processor_is_obeyed(seed: int, sentences: int, options: dict[str, Any], data: st.DataObject) -> None:
    words = range(EOS_ID + 1, EOS_ID + 9)
    drawn_list = st.lists(st.sampled_from(words[:6]), max_size=3, unique=True)
    limits, shortest, prefixes = (
        data.draw(st.lists(one, min_size=sentences, max_size=sentences))
        for one in (st.integers(1, 8), st.integers(0, 6), drawn_list)
    )
    forbidden = [[words[7]], [words[6], words[0]], [words[1], words[6], words[2]]]
    processors = [
        NoRepeatNgrams(2),
        MinLength(torch.tensor(shortest)),
        BannedSequences(forbidden),
        ForcedPrefix(prefixes),
    ]
    found = draw_samples(random_tables(seed, sentences, len(words)), limits, processors=processors, **options)
    for hypotheses, limit, least, prefix in zip(found, limits, shortest, prefixes, strict=True):
        for tokens in (hypothesis.tokens for hypothesis in hypotheses):
            pairs, room = [*itertools.pairwise(tokens)], limit - 1
            assert len(set(pairs)) == len(pairs)
            assert min(least, limit) <= len(tokens) + 1 <= limit
            assert tokens[: len(prefix)] == prefix[:room]
            assert not {*tokens} & {*NEVER, EOS_ID}
            assert not any(tokens[i : i + len(f)] == f for f in forbidden for i in range(len(tokens)))


def test_a_sentence_takes_no_step_after_its_longest_sample() -> None:
    shapes = []

    def counted(last: Tensor, state: MarkovState) -> tuple[Prediction, MarkovState]:
        shapes.append(tuple(last.shape))
        return markov_step(last, state)

    tables = random_tables(4, 6, 5)
    start = markov_start(tables)
    limits = torch.tensor([3, 1, 40, 40, 40, 40])
    found = sample(counted, start, limits, samples=4, seeds=range(6), penalty=average)
    longest = [max(len(hypothesis.tokens) + 1 for hypothesis in row) for row in found]
    assert 3 < max(longest) < 40
    assert shapes == [(sum(n > step for n in longest), 4) for step in range(max(longest))]


def constant_tables(probabilities: dict[int, float]) -> Tensor:
    """One sentence whose next-token distribution is constant."""
    table = torch.full((1, *[EOS_ID + 3] * 3), -torch.inf, dtype=torch.float64)
    for token, probability in probabilities.items():
        table[..., token] = math.log(probability)
    return table


def test_a_sample_ends_where_no_token_is_possible() -> None:
    found = draw_samples(constant_tables({}), [5], samples=2)
    assert found == [[Hypothesis([], [-math.inf], -math.inf)] * 2]
    only_word = constant_tables({EOS_ID + 1: 1.0})
    found = draw_samples(only_word, [5], samples=1, processors=[NoRepeatNgrams(1)])
    assert found == [[Hypothesis([EOS_ID + 1], [0.0, -math.inf], -math.inf)]]


def test_the_step_functions_tensors_are_left_alone() -> None:
    tables = random_tables(1, 2, 4)
    before = tables.clone()
    draw_samples(tables, [6, 2], processors=[NoRepeatNgrams(1)])
    assert torch.equal(tables, before)


def test_no_sentences_no_outputs() -> None:
    assert draw_samples(random_tables(1, 0, 2), []) == []


@pytest.mark.parametrize(
    ("options", "max_length"),
    [
        ({"samples": 0}, 5),
        ({"temperature": 0.0}, 5),
        ({"temperature": math.nan}, 5),
        ({"temperature": math.inf}, 5),
        ({"top_k": -1}, 5),
        ({"top_p": 0.0}, 5),
        ({"top_p": 1.1}, 5),
        ({"seeds": [1, 2]}, 5),
        ({}, 0),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], max_length: int) -> None:
    with pytest.raises(ValueError, match=r"samples|temperature|top_k|top_p|seeds|max_length"):
        draw_samples(random_tables(1, 1, 2), [max_length], **options)


def test_nan_is_reported_not_translated() -> None:
    for options in ({}, {"top_k": 2}):
        with pytest.raises(FloatingPointError, match="NaN"):
            draw_samples(random_tables(1, 2, 2) * math.nan, [5, 5], **options)
