"""The batched beam search against its one-sentence definition, brute force, greedy search and hand-made tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from markov import markov_start, markov_step, next_log_probs_of, random_tables
from reference import beam as reference
from scaling import scaled
from seq2seq.config.decode import NormalizationName
from seq2seq.data.special_ids import BOS_ID, EOS_ID, PAD_ID, UNK_ID
from seq2seq.search.beam import SearchResult, beam_search
from seq2seq.search.length_penalty import length_penalty
from seq2seq.search.protocols import Prediction
from seq2seq.search.top_k import best_continuations, mask_totals, select_continuations, stable_top_k

NEVER = (PAD_ID, UNK_ID, BOS_ID)
EXAMPLES = settings(max_examples=scaled(100, 500), deadline=None, derandomize=True)


def search(tables: Tensor, max_lengths: Sequence[int], alpha: float = 1.0, **options: object) -> SearchResult:
    limits = torch.tensor(max_lengths, dtype=torch.long)
    return beam_search(
        markov_step, markov_start(tables), limits, penalty=length_penalty(NormalizationName.gnmt, alpha), **options
    )


def gnmt(alpha: float) -> Callable[[int], float]:
    return reference.penalty("gnmt", alpha)


def words_of(count: int) -> range:
    return range(EOS_ID + 1, EOS_ID + 1 + count)


def check_equal(found: SearchResult, expected: Sequence[Sequence[reference.Output]]) -> None:
    assert [[h.tokens for h in row] for row in found.hypotheses] == [[o.tokens for o in row] for row in expected]
    for hypotheses, outputs in zip(found.hypotheses, expected, strict=True):
        for hypothesis, output in zip(hypotheses, outputs, strict=True):
            assert hypothesis.log_prob == pytest.approx(output.log_prob, abs=1e-12)
            assert hypothesis.score == pytest.approx(output.score, abs=1e-12)


@EXAMPLES
@given(
    seed=st.integers(0, 2**31),
    max_lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    words=st.integers(1, 6),
    beam_size=st.integers(1, 8),
    n_best=st.integers(1, 8),
    alpha=st.sampled_from([0.0, 0.6, 1.0, 2.5]),
    tied=st.booleans(),
)
@example(seed=0, max_lengths=[1], words=1, beam_size=1, n_best=1, alpha=0.0, tied=True)
@example(seed=0, max_lengths=[9, 1, 9], words=3, beam_size=8, n_best=8, alpha=1.0, tied=True)
def test_equals_the_one_sentence_reference_which_never_stops_early(
    seed: int, max_lengths: list[int], words: int, beam_size: int, n_best: int, alpha: float, tied: bool
) -> None:
    n_best = min(n_best, beam_size)
    tables = random_tables(seed, len(max_lengths), words, tied)
    expected = [
        reference.beam_search(next_log_probs_of(table), limit, beam_size, n_best, gnmt(alpha), NEVER)
        for table, limit in zip(tables, max_lengths, strict=True)
    ]
    found = search(tables, max_lengths, beam_size=beam_size, n_best=n_best, alpha=alpha)
    check_equal(found, expected)


@EXAMPLES
@given(seed=st.integers(0, 2**31), alpha=st.sampled_from([0.0, 1.0]), length=st.integers(1, 5), words=st.integers(1, 3))
def test_an_exhaustive_beam_is_brute_force(seed: int, alpha: float, length: int, words: int) -> None:
    tables = random_tables(seed, 2, words)
    everything = (words + 1) ** length
    n_best = min(4, everything)
    expected = [
        reference.brute_force(next_log_probs_of(table), length, words_of(words), n_best, gnmt(alpha))
        for table in tables
    ]
    check_equal(search(tables, [length] * 2, beam_size=everything, n_best=n_best, alpha=alpha), expected)


@EXAMPLES
@given(seed=st.integers(0, 2**31), words=st.integers(1, 8), max_length=st.integers(1, 20), tied=st.booleans())
def test_a_beam_of_one_is_greedy(seed: int, words: int, max_length: int, tied: bool) -> None:
    tables = random_tables(seed, 1, words, tied)
    expected = reference.greedy(next_log_probs_of(tables[0]), max_length, words_of(words))
    found = search(tables, [max_length], beam_size=1)
    assert [h.tokens for h in found.hypotheses[0]] == [expected]
    assert found.steps == len(expected) + 1


@EXAMPLES
@given(seed=st.integers(0, 2**31), sentences=st.integers(2, 6), tied=st.booleans(), alpha=st.sampled_from([0.0, 1.0]))
def test_a_sentence_alone_equals_the_sentence_in_a_batch(seed: int, sentences: int, tied: bool, alpha: float) -> None:
    tables = random_tables(seed, sentences, 5, tied)
    limits = [1 + (seed + 3 * i) % 11 for i in range(sentences)]
    options = {"beam_size": 4, "n_best": 3, "alpha": alpha}
    together = search(tables, limits, **options)
    alone = [search(tables[i : i + 1], limits[i : i + 1], **options) for i in range(sentences)]
    assert together.hypotheses == [result.hypotheses[0] for result in alone]
    assert together.steps == max(result.steps for result in alone)


@EXAMPLES
@given(
    seed=st.integers(0, 2**31),
    rows=st.integers(1, 4),
    size=st.integers(1, 900),
    k=st.integers(1, 12),
    spread=st.integers(1, 1000),
)
def test_best_of_is_a_stable_sort(seed: int, rows: int, size: int, k: int, spread: int) -> None:
    scores = torch.randint(-spread, 1, (rows, size), generator=torch.Generator().manual_seed(seed)).double()
    scores[scores == -spread] = -torch.inf
    values, index = stable_top_k(scores, k)
    expected = [sorted(range(size), key=lambda i: (-row[i], i))[:k] for row in scores.tolist()]
    assert torch.equal(values, scores.gather(1, index))
    for found, row, order in zip(index.tolist(), scores.tolist(), expected, strict=True):
        possible = [i for i in order if row[i] > -math.inf]  # the order of impossible ones is undefined
        assert found[: len(possible)] == possible


@EXAMPLES
@given(
    seed=st.integers(0, 2**31),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(EOS_ID + 2, 300)),
    k=st.integers(1, 12),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float64]),
    distinct=st.sampled_from([3, 50, 10**6]),
)
def test_the_kernel_equals_torch(
    seed: int, shape: tuple[int, int, int], k: int, dtype: torch.dtype, distinct: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = (torch.randint(-distinct, distinct, shape, generator=generator) * (8.0 / distinct)).to(dtype)
    logits[torch.rand(shape, generator=generator) < 0.1] = -torch.inf
    exact = torch.promote_types(dtype, torch.float32)
    live = -10 * torch.rand(shape[:2], generator=generator, dtype=exact)
    live[torch.rand(shape[:2], generator=generator) < 0.2] = -torch.inf
    prediction = Prediction(logits, torch.logsumexp(logits.to(exact), dim=2).t().contiguous().t())
    plain = select_continuations(prediction, mask_totals(prediction.log_probs, live, NEVER, [0]), k, None)
    found = best_continuations(prediction, live, k, NEVER, [0])
    assert torch.equal(found.totals, plain.totals)
    there = plain.totals > -torch.inf
    assert all(torch.equal(one[there], other[there]) for one, other in zip(found, plain, strict=True))


def table_of(rows: dict[int, dict[int, float]], size: int) -> Tensor:
    """First-order table from probabilities by last token; everything else is impossible."""
    table = torch.full((1, size, size, size), -torch.inf, dtype=torch.float64)
    for last, following in rows.items():
        for token, probability in following.items():
            table[0, :, last, token] = math.log(probability)
    return table


A, B = words_of(2)


def test_beam_finds_the_answer_that_greedy_misses() -> None:
    # Greedy emits A first (0.5) and ends at 0.5 · 0.4 = 0.2; the best output is B, 0.4 · 0.9 = 0.36.
    table = table_of(
        {
            BOS_ID: {A: 0.5, B: 0.4, EOS_ID: 0.1},
            A: {A: 0.3, B: 0.3, EOS_ID: 0.4},
            B: {A: 0.05, B: 0.05, EOS_ID: 0.9},
        },
        6,
    )
    (greedy,) = search(table, [5], beam_size=1, alpha=0.0).hypotheses[0]
    best, second = search(table, [5], beam_size=2, n_best=2, alpha=0.0).hypotheses[0]
    assert (greedy.tokens, math.exp(greedy.log_prob)) == ([A], pytest.approx(0.2))
    assert (best.tokens, math.exp(best.log_prob)) == ([B], pytest.approx(0.36))
    assert (second.tokens, math.exp(second.log_prob)) == ([A], pytest.approx(0.2))


def test_the_length_penalty_decides_between_short_and_long() -> None:
    # log 0.5 = -0.693 against log 0.45 = -0.799, but -0.799 / (7/6) = -0.684.
    table = table_of({BOS_ID: {EOS_ID: 0.5, A: 0.5}, A: {EOS_ID: 0.9, A: 0.1}}, 6)
    tokens = {a: search(table, [4], beam_size=2, alpha=a).hypotheses[0][0].tokens for a in (0.0, 1.0)}
    assert tokens == {0.0: [], 1.0: [A]}


def test_the_length_penalty_is_equation_14_of_wu_et_al() -> None:
    assert length_penalty(NormalizationName.gnmt, 0.7)(1) == 1.0
    assert length_penalty(NormalizationName.gnmt, 1.0)(7) == 2.0
    assert length_penalty(NormalizationName.gnmt, 0.5)(19) == 2.0


def test_the_last_token_allowed_is_eos_with_its_log_probability() -> None:
    table = table_of({BOS_ID: {A: 0.99, EOS_ID: 0.01}, A: {A: 0.99, EOS_ID: 0.01}}, 5)
    (best,) = search(table, [4], beam_size=1, alpha=0.0).hypotheses[0]
    assert best.tokens == [A, A, A]
    assert best.log_prob == pytest.approx(3 * math.log(0.99) + math.log(0.01))


def test_the_search_stops_when_no_hypothesis_can_win() -> None:
    # After "A EOS" (0.81) the best rival has at most 0.1: hopeless without a length penalty, however long it gets.
    table = table_of({BOS_ID: {A: 0.9, B: 0.1}, A: {EOS_ID: 0.9, B: 0.1}, B: {B: 0.9, EOS_ID: 0.1}}, 6)
    assert search(table, [50], beam_size=2, alpha=0.0).steps == 2


def test_the_steps_after_the_last_change_are_reported() -> None:
    # "A EOS" is found in step 2: log 0.45 / (7 / 6) = -0.684. What follows "A B" is at first as likely and may be
    # divided by up to 55 / 6, so it could still win; but to end costs it log 0.1 and it never does.
    table = table_of({BOS_ID: {A: 0.9, EOS_ID: 0.1}, A: {EOS_ID: 0.5, B: 0.5}, B: {B: 0.9, EOS_ID: 0.1}}, 6)
    result = search(table, [50], beam_size=2, alpha=1.0)
    assert [h.tokens for h in result.hypotheses[0]] == [[A]]
    assert result.extra_steps == [result.steps - 2]
    assert result.steps > 5
    assert search(table, [50], beam_size=2, alpha=0.0).extra_steps == [0]


@EXAMPLES
@given(seed=st.integers(0, 2**31), beam_size=st.integers(1, 6), alpha=st.sampled_from([0.0, 1.0, 2.5]))
def test_steps_and_extra_steps_of_a_sentence_add_up(seed: int, beam_size: int, alpha: float) -> None:
    result = search(random_tables(seed, 1, 5), [12], beam_size=beam_size, alpha=alpha)
    (best,), (extra,) = result.hypotheses[0], result.extra_steps
    assert len(best.token_log_probs) + extra == result.steps


def test_fewer_outputs_than_n_best_if_fewer_exist() -> None:
    table = table_of({BOS_ID: {A: 1.0}, A: {EOS_ID: 1.0}}, 6)
    assert [h.tokens for h in search(table, [9], beam_size=5, n_best=5).hypotheses[0]] == [[A]]


def test_banned_tokens_are_never_emitted() -> None:
    tables = random_tables(1, 3, 4)
    tables[..., list(NEVER)] = 0.0
    tables[..., A] = 0.0
    found = search(tables, [8] * 3, beam_size=4, n_best=4, banned_tokens=(*NEVER, A))
    assert not {token for row in found.hypotheses for h in row for token in h.tokens} & {*NEVER, A, EOS_ID}


def test_the_step_functions_tensors_are_left_alone() -> None:
    tables = random_tables(1, 2, 4)
    before = tables.clone()
    search(tables, [6, 2], beam_size=3)
    assert torch.equal(tables, before)


def test_no_sentences_no_outputs() -> None:
    assert search(random_tables(1, 0, 2), [], beam_size=3) == SearchResult([], 0, [])


@pytest.mark.parametrize(
    ("options", "max_length"),
    [
        ({"beam_size": 2, "n_best": 3}, 5),
        ({"beam_size": 2, "n_best": 0}, 5),
        ({"beam_size": 2, "alpha": -0.1}, 5),
        ({"beam_size": 2}, 0),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float], max_length: int) -> None:
    with pytest.raises(ValueError, match=r"n_best|length_penalty|max_length"):
        search(random_tables(1, 1, 2), [max_length], **options)


@pytest.mark.parametrize("wrong", [math.nan, -math.inf])
def test_the_kernel_reports_a_normaliser_that_is_nan_or_infinite(wrong: float) -> None:
    prediction = Prediction(torch.zeros(2, 1, 9), torch.tensor([[2.0], [wrong]]))
    found = best_continuations(prediction, torch.zeros(2, 1), 3, NEVER, [])
    assert found.totals.isnan().tolist() == [[False] * 3, [True] * 3]


def test_nan_is_reported_not_translated() -> None:
    with pytest.raises(FloatingPointError, match="NaN"):
        search(random_tables(1, 2, 2) * math.nan, [5, 5], beam_size=2)
