"""Word alignment from attention: sums, means and ties worked out by hand, and against matrix products."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling import scaled
from seq2seq.inference.alignment import hard_alignment, owners, pharaoh, share_tokens, word_attention

EXAMPLES = settings(max_examples=scaled(100, 2000), deadline=None, derandomize=True)

# Attention of three target tokens and EOS to three source tokens and EOS. The first two source tokens are one word, and
# so are the last two target tokens. Eighths, so that sums and means are exact.
WEIGHTS = [
    [0.5, 0.25, 0.125, 0.125],
    [0.0, 0.25, 0.5, 0.25],
    [0.25, 0.0, 0.5, 0.25],
    [0.0, 0.0, 0.0, 1.0],
]


def words(size: int) -> st.SearchStrategy[list[int | None]]:
    """Draw the word indices of `size` tokens as a tokenizer gives them: ascending, some None."""
    return st.lists(st.sampled_from([0, 0, 1, None]), min_size=size, max_size=size).map(_count_up)


def _count_up(steps: list[int | None]) -> list[int | None]:
    indices: list[int | None] = []
    last = 0
    for step in steps:
        last += step or 0
        indices.append(None if step is None else last)
    return indices


@st.composite
def attentions(draw: st.DrawFn) -> tuple[list[list[float]], list[int | None], list[int | None]]:
    """Draw weights (integers, whose sums are exact), EOS included, and the word indices of both sides."""
    sources, targets = draw(st.integers(0, 6)), draw(st.integers(0, 6))
    row = st.lists(st.integers(0, 8).map(float), min_size=sources + 1, max_size=sources + 1)
    weights = draw(st.lists(row, min_size=targets + 1, max_size=targets + 1))
    return weights, draw(words(sources)), draw(words(targets))


def one_hot(words: list[int | None], size: int) -> np.ndarray:
    return np.array([[word == column for column in range(size)] for word in words], float).reshape(len(words), size)


def test_sum_over_source_tokens_and_mean_over_target_tokens() -> None:
    assert word_attention(WEIGHTS, [0, 0, 1], [0, 1, 1]) == [[0.75, 0.125], [0.25, 0.5]]


def test_characters_of_one_token_share_its_links_and_its_attention() -> None:
    # Source: one token for characters 0 and 1, one for 2. Target: one for 0; after a space, one for 1 and 2.
    src, tgt = owners([0, 2], [(0, 1), (1, 2), (2, 3)]), owners([0, 1], [(0, 1), (2, 3), (3, 4)])
    assert (src, tgt) == ([0, 0, 2], [0, 1, 1])
    links, attention = share_tokens([(0, 1), (2, 0)], [[0.2, 0.0, 0.8], [0.5, 0.0, 0.25], [0.0] * 3], src, tgt)
    assert links == [(0, 1), (0, 2), (1, 1), (1, 2), (2, 0)]
    assert attention == [[0.1, 0.1, 0.8], [0.25, 0.25, 0.25], [0.25, 0.25, 0.25]]
    assert owners([0], [(0, 1), (2, 3)]) == [0, 1]  # a word without a token, after a space


def test_tokens_outside_any_word_are_skipped() -> None:
    assert word_attention(WEIGHTS, [None, 0, 1], [0, None, 1]) == [[0.25, 0.125], [0.0, 0.5]]
    assert word_attention(WEIGHTS, [None, None, None], [0, 0, 0]) == [[]]
    assert word_attention(WEIGHTS, [0, 0, 0], [None, None, None]) == []


def test_a_word_without_tokens_has_zeros() -> None:
    assert word_attention(WEIGHTS, [0, 0, 2], [0, 2, 2]) == [[0.75, 0, 0.125], [0, 0, 0], [0.25, 0, 0.5]]
    assert word_attention(WEIGHTS, [0, 0, 1], [0, 0, 0], shape=(2, 3)) == [[1.25 / 3, 1.125 / 3, 0], [0, 0, 0]]


@pytest.mark.parametrize(("src", "tgt"), [([0, 0, 1, 1, 1], [0]), ([0], [0, 0, 0, 0, 0])])
def test_fewer_weights_than_tokens_are_refused(src: list[int | None], tgt: list[int | None]) -> None:
    for function in (word_attention, hard_alignment):
        with pytest.raises(ValueError, match="fewer"):
            function(WEIGHTS, src, tgt)


@EXAMPLES
@given(attentions())
def test_word_attention_is_a_matrix_product(
    attention: tuple[list[list[float]], list[int | None], list[int | None]],
) -> None:
    weights, src, tgt = attention
    shape = (len(tgt) + 1, len(src) + 1)
    to_tgt, to_src = one_hot(tgt, shape[0]), one_hot(src, shape[1])
    pieces = np.maximum(to_tgt.sum(0), 1)[:, None]
    expected = to_tgt.T @ np.array(weights)[:-1, :-1] @ to_src / pieces
    np.testing.assert_allclose(word_attention(weights, src, tgt, shape), expected, rtol=1e-15)


def test_each_target_word_is_linked_to_what_it_attends_to_most() -> None:
    assert hard_alignment(WEIGHTS, [0, 0, 1], [0, 1, 1]) == [(0, 0), (1, 1)]
    assert hard_alignment(WEIGHTS, [0, 1, 2], [0, 1, 2]) == [(0, 0), (2, 1), (2, 2)]


def test_links_are_sorted_by_source() -> None:
    assert hard_alignment([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], [0, 1], [0, 1]) == [(0, 1), (1, 0)]


@pytest.mark.parametrize(
    ("weights", "src", "expected"),
    [
        ([0.25, 0.25, 0.25, 0.25], [0, 1, 2], [(0, 0)]),  # ties: the leftmost, EOS last
        ([0.125, 0.375, 0.375, 0.125], [0, 1, 2], [(1, 0)]),
        ([0.25, 0.125, 0.25, 0.375], [0, 1, 2], []),  # EOS
        ([0.25, 0.125, 0.25, 0.375], [0, 0, 1], [(0, 0)]),  # together the two tokens outweigh it
        ([0.375, 0.25, 0.125, 0.25], [0, None, 1], []),  # EOS and a token outside any word together
        ([0.3, 0.2, 0.1, 0.1, 0.2, 0.3, 0.0], [0, 0, 0, 1, 1, 1], [(0, 0)]),  # equal in any order of adding
        ([0.0, 0.0, 0.0, 0.0], [0, 1, 2], []),
        ([0.5, 0.0, 0.0, 0.5], [None, None, None], []),
    ],
)
def test_ties_and_tokens_outside_words(
    weights: list[float], src: list[int | None], expected: list[tuple[int, int]]
) -> None:
    assert hard_alignment([weights], src, [0]) == expected


def test_a_target_word_without_tokens_has_no_link() -> None:
    assert hard_alignment(WEIGHTS, [0, 0, 1], [None, 1, 1]) == [(1, 1)]
    assert hard_alignment(WEIGHTS, [0, 0, 1], [None, None, None]) == []
    assert hard_alignment([[1.0]], [], []) == []


@EXAMPLES
@given(attentions(), st.data())
def test_segmentation_of_a_word_changes_no_link(
    attention: tuple[list[list[float]], list[int | None], list[int | None]], data: st.DataObject
) -> None:
    weights, src, tgt = attention
    links = hard_alignment(weights, src, tgt)
    for column in data.draw(st.lists(st.integers(0, len(src) - 1), max_size=3)) if src else []:
        weights = [[*row[:column], row[column] / 2, row[column] / 2, *row[column + 1 :]] for row in weights]
        src = [*src[: column + 1], *src[column:]]
    for row in data.draw(st.lists(st.integers(0, len(tgt)), max_size=3)):
        word = tgt[row - 1] if row else None
        copies = [i for i, other in enumerate(tgt) if word is not None and other == word]
        weights = [*weights[: len(tgt)], *(weights[i] for i in copies), *weights[len(tgt) :]]  # the mean stays
        tgt = [*tgt, *[word] * len(copies)]
    assert hard_alignment(weights, src, tgt) == links


def test_pharaoh() -> None:
    assert pharaoh([(0, 0), (1, 2), (10, 1)]) == "0-0 1-2 10-1"
    assert pharaoh([]) == ""
