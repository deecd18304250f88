"""Expected utilities against values worked out by hand and sacreBLEU's score of every pair."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu import BLEU, CHRF

from scaling import scaled
from seq2seq.config.decode import UtilityName
from seq2seq.inference.mbr import expected_utilities

EXAMPLES = settings(max_examples=scaled(60, 1000), deadline=None, derandomize=True)
texts = st.lists(st.text("ab. é\n", max_size=9), max_size=7)
utilities = st.sampled_from(UtilityName)


def test_a_duplicate_candidate_has_double_weight() -> None:
    # "abc" against "abd": 2 of 3 characters, 1 of 2 pairs, no triple; precision equals recall.
    similar = 100 * (2 / 3 + 1 / 2 + 0) / 3
    often, seldom = (2 * 100 + similar) / 3, (100 + 2 * similar) / 3
    found = expected_utilities(["abc", "abd", "abc"], UtilityName.chrf)
    assert found == pytest.approx([often, seldom, often])


def test_all_candidates_are_references() -> None:
    # Single characters, beta 2. "a" against "ab": precision 1, recall 1/2; "ab" against "a": the other way round.
    a, ab = 100 * 5 * 1 * 0.5 / (4 * 1 + 0.5), 100 * 5 * 0.5 * 1 / (4 * 0.5 + 1)
    assert expected_utilities(["a", "ab"], UtilityName.chrf) == pytest.approx([(100 + a) / 2, (ab + 100) / 2])


def test_bleu_of_short_sentences_stops_at_their_longest_ngram() -> None:
    # "x y" against "x z": 1/2 of the words, no pair of one, smoothed to 1/2; there is nothing longer.
    assert expected_utilities(["x y", "x z"], UtilityName.bleu) == pytest.approx([(100 + 50) / 2] * 2)


def test_the_most_similar_candidate_is_best_and_the_outlier_worst() -> None:
    candidates = ["a man walks his dog", "a man walks a dog", "the man walks his dog", "two birds sing"]
    for utility in UtilityName:
        values = expected_utilities(candidates, utility)
        assert max(values) == values[0]
        assert min(values) == values[3]


@EXAMPLES
@given(candidates=texts, utility=utilities)
def test_is_the_mean_of_the_sentence_scores_of_all_pairs(candidates: list[str], utility: UtilityName) -> None:
    metric = CHRF() if utility is UtilityName.chrf else BLEU(effective_order=True)
    scores = [[metric.sentence_score(one, [other]).score for other in candidates] for one in candidates]
    expected = [sum(row) / len(candidates) for row in scores]
    assert expected_utilities(candidates, utility) == pytest.approx(expected, abs=1e-9)


@EXAMPLES
@given(candidates=texts, utility=utilities, data=st.data())
def test_the_order_of_candidates_does_not_matter(
    candidates: list[str], utility: UtilityName, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(candidates))))
    values = expected_utilities(candidates, utility)
    assert expected_utilities([candidates[i] for i in order], utility) == [values[i] for i in order]


@pytest.mark.parametrize("utility", list(UtilityName))
def test_an_empty_text_has_similarity_0(utility: UtilityName) -> None:
    assert expected_utilities([], utility) == []
    assert expected_utilities(["", "", "a b"], utility) == pytest.approx([0, 0, 100 / 3])
