"""Labels of words and sentences, against a brute-force search and cases written by hand."""

from __future__ import annotations

import itertools
import random

import pytest

from seq2seq.data.text.writing import words_of
from seq2seq.evaluation.correctness import sentence_chrf, words_right


@pytest.mark.parametrize(
    ("hypothesis", "reference", "right"),
    [
        ("the cat sat", "the cat sat", [True, True, True]),
        ("a cat sat", "the cat sat", [False, True, True]),
        ("sat cat", "the cat sat", [True, False]),  # out of order: one of the two is wrong
        ("the the cat", "the cat", [True, False, True]),  # a repeated word is wrong once
        ("The cat.", "«the cat»", [True, True]),  # case and punctuation at the ends
        ("n'a pas", "na pas", [False, True]),  # punctuation inside a word counts
        ("is it ?", "is it !", [True, True, False]),
        ("cafe\u0301", "caf\u00e9", [True]),
        ("我爱你", "我想你", [True, False, True]),  # every character is a word
        ("", "the cat", []),
        ("cat", "", [False]),
    ],
)
def test_words(hypothesis: str, reference: str, right: list[bool]) -> None:
    assert words_right(hypothesis, reference) == right
    assert len(right) == len(words_of(hypothesis))


def test_the_right_words_are_a_longest_common_subsequence() -> None:
    numbers = random.Random(1)
    for _ in range(300):
        words, others = ([numbers.choice("abc") for _ in range(numbers.randint(0, 6))] for _ in range(2))
        right = list(itertools.compress(words, words_right(" ".join(words), " ".join(others))))
        common = {
            part
            for size in range(len(words) + 1)
            for part in itertools.combinations(words, size)
            if part in set(itertools.combinations(others, size))
        }
        assert tuple(right) in common
        assert len(right) == max(map(len, common))


def test_the_cost_of_a_long_line_is_bounded() -> None:
    numbered = [f"w{number}" for number in range(10_000)]
    assert words_right(" ".join(numbered), " ".join([*numbered[:-1], "x"])) == [True] * 9_999 + [False]
    right = words_right(" ".join("ab" * 600), " ".join("ba" * 600))
    assert right.count(False) == 2  # one in each piece; a table of all words has one
    assert len(right) == 1200


def test_sentence_chrf() -> None:
    same, other, empty = sentence_chrf(["a cat sat", "dogs bark", " "], ["a cat sat", "we whim", ""])
    assert same == pytest.approx(100)
    assert other < 10
    assert empty == 100
