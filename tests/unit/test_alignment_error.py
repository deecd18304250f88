"""Alignment error rate: values worked out by hand, and the formats of gold files."""

from __future__ import annotations

import math

import pytest

from seq2seq.errors import DataError
from seq2seq.evaluation.alignment_error import GoldLinks, alignment_scores, parse_alignment, parse_links

A, B, C, D = (0, 0), (1, 1), (2, 2), (3, 3)


def gold(sure: set[tuple[int, int]], possible: set[tuple[int, int]] = frozenset()) -> GoldLinks:  # type: ignore[assignment]
    return GoldLinks(frozenset(sure), frozenset(sure | possible))


def test_the_definition_by_hand() -> None:
    """A = {a, b, c}, S = {a, d}, P = {a, b, d}: |A ∩ S| = 1, |A ∩ P| = 2."""
    scores = alignment_scores([[A, B, C]], [gold({A, D}, {B})])
    assert scores.precision == pytest.approx(2 / 3)
    assert scores.recall == pytest.approx(1 / 2)
    assert scores.aer == pytest.approx(1 - (1 + 2) / (3 + 2))
    assert (scores.links, scores.sure, scores.possible, scores.pairs) == (3, 2, 3, 1)


def test_links_are_counted_over_all_pairs_before_the_division() -> None:
    """The mean of the two pairs' own rates would be 0.25."""
    scores = alignment_scores([[A], [A, B, C, C]], [gold({A}), gold({A})])
    assert scores.aer == pytest.approx(1 - (2 + 2) / (4 + 2))
    assert (scores.precision, scores.recall) == (0.5, 1.0)


def test_a_possible_link_costs_nothing_whether_it_is_found_or_not() -> None:
    for links in ([A], [A, B]):
        assert alignment_scores([links], [gold({A}, {B})]).aer == 0
    assert alignment_scores([[C]], [gold({A}, {B})]).aer == 1


def test_with_sure_links_only_it_is_one_minus_f1() -> None:
    scores = alignment_scores([[A, B, C]], [gold({A, B, D, (0, 3)})])
    f1 = 2 * scores.precision * scores.recall / (scores.precision + scores.recall)
    assert scores.aer == pytest.approx(1 - f1)


def test_without_links_there_is_no_rate() -> None:
    scores = alignment_scores([[]], [gold(set())])
    assert all(map(math.isnan, (scores.aer, scores.precision, scores.recall)))
    assert scores.to_dict() == {
        "aer": None, "precision": None, "recall": None, "links": 0, "sure": 0, "possible": 0, "pairs": 1,
    }  # fmt: skip


# --- gold files ------------------------------------------------------------------------------------------------------

SIZES = [(3, 3), (2, 4)]
EXPECTED = [gold({A, B}, {(1, 2)}), gold({(1, 3)}, {A})]


@pytest.mark.parametrize(
    ("lines", "one_based"),
    [
        (["0-0 1-1 1p2", "0?0 1-3"], False),
        (["1-1 2-2\t2?3", " 1p1  2-4 "], True),
        (["0001 1 1 S", "1 2 2", "1 2 3 P", "", "2 1 1 P 0.3", "2 2 4 S 1"], False),
        (["2 2 4", "2 1 1 P", "1 1 1", "1 2 2 S", "1 2 3 P", "1 0 3 S"], True),
    ],
)
def test_formats(lines: list[str], one_based: bool) -> None:
    """NAACL files count from 1 whatever the option says; their word 0 is no word."""
    assert parse_alignment(lines, SIZES, "gold", one_based=one_based) == EXPECTED


def test_a_pair_may_have_no_links() -> None:
    assert parse_alignment(["", "0-0"], SIZES, "gold") == [gold(set()), gold({A})]


@pytest.mark.parametrize(
    ("lines", "one_based", "message"),
    [
        (["0-0"], False, "gold has 1 lines for 2 sentence pairs"),
        (["0-0", "0-0", ""], False, "gold has 3 lines for 2 sentence pairs"),
        (["0-0 3-1", ""], False, "gold:1: link 3-1 is out of range: the pair has 3 and 3 words"),
        (["", "0-0 1-4"], False, r"gold:2: link 1-4 .* 2 and 4 words; words are counted from 0; .*--one-based"),
        (["0-1", ""], True, "gold:1: link 0-1 is out of range: .* counted from 1$"),
        (["0-0 1_2", ""], False, "gold:1: '1_2' is no link"),
        (["0-0 -1-2", ""], False, "gold:1: '-1-2' is no link"),
        (["1 1 1 S", "x"], False, "gold:2: 'x' is not"),
        (["1 1 1 Q", ""], False, "gold:1: '1' is no link"),
        (["1 1 1", "3 1 1"], False, "gold:2: pair 3 does not exist"),
        (["1 1 1", "2 3 1"], False, "gold:2: link 3 1 is out of range: the pair has 2 and 4 words"),
        (["1 1 1 S"], False, "gold has no links of pair 2"),
    ],
)
def test_errors_name_file_and_line(lines: list[str], one_based: bool, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_alignment(lines, SIZES, "gold", one_based=one_based)


# --- links of a system -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lines", [["0-0 1-1", ""], ["1 1 1", "1 2 2 0.7"]])
def test_a_system_may_leave_a_pair_without_links(lines: list[str]) -> None:
    assert [sorted(pair) for pair in parse_links(lines, SIZES, "links")] == [[A, B], []]


def test_the_option_for_gold_files_is_no_advice_for_links() -> None:
    with pytest.raises(DataError, match=r"links:2: link 2-4 .*; words of --links are counted from 0") as error:
        parse_links(["1-1", "2-4"], SIZES, "links")
    assert "--one-based" not in str(error.value)
    assert "--links-one-based" in str(error.value)
    assert parse_links(["1-1", "2-4"], SIZES, "links", one_based=True) == [[A], [(1, 3)]]
    with pytest.raises(DataError, match=r"links:1: link 0-1 .* counted from 1, those of NAACL lines from 1$"):
        parse_links(["0-1", ""], SIZES, "links", one_based=True)
