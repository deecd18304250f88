"""Held-out pairs share no sentence with training, whatever the order of the file or the direction."""

import logging
import random
from pathlib import Path

import pytest

from seq2seq.data.corpus import ParallelText
from seq2seq.data.reading import read_lines
from seq2seq.data.splitting import MAX_COMPONENT_PAIRS, Splits, fold, hold_out
from seq2seq.errors import DataError

Pair = tuple[str, str]


def chain(name: str, length: int) -> list[Pair]:
    """A component of `length` pairs, each sharing a sentence with the next: on the left, on the right, by turns."""
    return [(f"{name} {(i + 1) // 2}", f"{name} {i // 2}".upper()) for i in range(length)]


def pairs(count: int = 400) -> list[Pair]:
    rng = random.Random(5)
    made = [pair for i in range(count) for pair in chain(f"s{i}", rng.choice([1, 1, 1, 2, 3, 8, 9, 30]))]
    return made + [(src.upper(), tgt) for src, tgt in made[::7]] + made[::5]


def parts(splits: Splits) -> dict[str, list[Pair]]:
    return {name: list(getattr(splits, name)) for name in ("train", "valid", "test")}


def assert_no_sentence_on_two_sides(splits: Splits) -> None:
    for side in ("src", "tgt"):
        train, valid, test = ({s.lower() for s in getattr(p, side)} for p in (splits.train, splits.valid, splits.test))
        assert train.isdisjoint(valid | test)
        assert valid.isdisjoint(test)


def test_no_sentence_stands_on_two_sides_and_nothing_is_invented() -> None:
    made = pairs()
    splits = hold_out(ParallelText.from_pairs(made), valid=10, test=12)
    assert (len(splits.valid), len(splits.test)) == (10, 12)
    assert_no_sentence_on_two_sides(splits)
    everything = [pair for part in parts(splits).values() for pair in part]
    assert len(everything) == len(set(everything))
    assert set(everything) <= set(made)
    held_groups = {src.lower().split()[0] for src in splits.valid.src + splits.test.src}
    dropped = set(made) - set(everything)
    assert len(held_groups) == 22  # one pair for each component
    assert {src.lower().split()[0] for src, _ in dropped} <= held_groups


def test_large_components_stay_in_training() -> None:
    made = [pair for i in range(60) for pair in chain(f"s{i}", MAX_COMPONENT_PAIRS + i % 2)]
    splits = hold_out(ParallelText.from_pairs(made), valid=1, test=1)
    large = {pair for i in range(1, 60, 2) for pair in chain(f"s{i}", MAX_COMPONENT_PAIRS + 1)}
    assert large <= set(splits.train)


def test_order_and_direction_do_not_matter() -> None:
    made = pairs()
    expected = parts(hold_out(ParallelText.from_pairs(made), 10, 10))
    shuffled = random.Random(1).sample(made, len(made))
    assert parts(hold_out(ParallelText.from_pairs(shuffled), 10, 10)) == expected
    reverse = hold_out(ParallelText.from_pairs(made).swapped(), 10, 10)
    swapped = Splits(reverse.train.swapped(), reverse.valid.swapped(), reverse.test.swapped())
    assert parts(swapped) == expected


def test_the_first_training_pairs_are_a_fair_sample() -> None:
    large, small = chain("large", 500), [(f"s {i}", f"t {i}") for i in range(600)]
    train = hold_out(ParallelText.from_pairs(large + small), 20, 30).train
    assert 80 < len(set(large) & set(train.first(200))) < 115  # 500 of 1,050 are 95


def test_the_test_set_does_not_depend_on_the_size_of_the_validation_set() -> None:
    text = ParallelText.from_pairs(pairs())
    assert list(hold_out(text, 3, 10).test) == list(hold_out(text, 14, 10).test)
    assert len(hold_out(text, 0, 10).valid) == 0


def test_a_small_corpus_gives_a_twentieth_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    text = ParallelText.from_pairs([(f"s {i}", f"t {i}") for i in range(100)])
    with caplog.at_level(logging.WARNING):
        splits = hold_out(text, 2000, 2000)
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (90, 5, 5)
    assert "small corpus" in caplog.text


@pytest.mark.parametrize(
    "made",
    [[], [("a", "A")], [("a", "A"), ("b", "B")], [("a", "A"), ("a", "B"), ("c", "B"), ("d", "D")], chain("s", 500)],
)
def test_too_few_unrelated_sentences(made: list[Pair]) -> None:
    with pytest.raises(DataError, match=f"{len(made)} pairs in . unrelated groups"):
        hold_out(ParallelText.from_pairs(made), 1, 1)


def test_three_unrelated_sentences_are_enough() -> None:
    splits = hold_out(ParallelText([*"abc"], [*"ABC"]), 2000, 2000)
    assert [len(part) for part in parts(splits).values()] == [1, 1, 1]


# --- folds -----------------------------------------------------------------------------------------------------------


def folds(text: ParallelText, parts: int) -> list[Splits]:
    made = [fold(text, part, parts) for part in range(1, parts + 1)]
    return [Splits(train, valid, ParallelText([], [])) for train, valid in made]


@pytest.mark.parametrize("parts_", [2, 3, 5, 10])
def test_folds_are_disjoint_equal_and_cover_the_text(parts_: int) -> None:
    made = pairs()
    found = folds(ParallelText.from_pairs(made), parts_)
    valid = [pair for splits in found for pair in splits.valid]
    assert len(valid) == len(set(valid))
    assert set(valid) == set(made)
    for splits in found:
        assert_no_sentence_on_two_sides(splits)
        assert sorted([*splits.train, *splits.valid]) == sorted(set(made))
    sizes = [len(splits.valid) for splits in found]
    assert max(sizes) - min(sizes) <= 1  # there are enough small components to fill them up


def test_folds_do_not_depend_on_order_or_direction() -> None:
    made = pairs()
    expected = folds(ParallelText.from_pairs(made), 3)
    shuffled = ParallelText.from_pairs(random.Random(1).sample(made, len(made)))
    assert folds(shuffled, 3) == expected
    reverse = [Splits(*(text.swapped() for text in (s.train, s.valid, s.test))) for s in folds(shuffled.swapped(), 3)]
    assert reverse == expected


def test_a_component_larger_than_a_fold_is_trained_on_in_every_fold(caplog: pytest.LogCaptureFixture) -> None:
    giant, small = chain("giant", 500), [(f"s {i}", f"t {i}") for i in range(100)]
    for splits in folds(ParallelText.from_pairs(giant + small), 5):
        assert set(giant) <= set(splits.train)
        assert len(splits.valid) == 20
        assert set(splits.valid) <= set(small)
    assert "500 pairs hang together" in caplog.text


def test_a_component_that_is_a_whole_fold_is_one() -> None:
    made = chain("large", 100) + [(f"s {i}", f"t {i}") for i in range(100)]
    one, other = folds(ParallelText.from_pairs(made), 2)
    assert sorted(one.valid) == sorted(other.train) == sorted(made[:100])


def test_the_first_pairs_of_a_fold_are_a_fair_sample() -> None:
    """Of a long validation set only the first sentences are translated."""
    made = [pair for i in range(100) for pair in chain(f"large {i}", 8)] + [(f"s {i}", f"t {i}") for i in range(800)]
    _, valid = fold(ParallelText.from_pairs(made), 1, 2)
    assert 70 < sum(src.startswith("large") for src in valid.first(200).src) < 130  # half of all


@pytest.mark.parametrize(("made", "parts_"), [([], 2), (chain("a", 30), 2), ([("a", "A"), ("b", "B")], 3)])
def test_too_few_unrelated_sentences_for_folds(made: list[Pair], parts_: int) -> None:
    with pytest.raises(DataError, match=rf"^data\.fold=2/{parts_}: {len(made)} pairs in . unrelated groups .* too few"):
        fold(ParallelText.from_pairs(made), 2, parts_)


def test_as_many_folds_as_sentences() -> None:
    found = folds(ParallelText([*"abc"], [*"ABC"]), 3)
    assert sorted(splits.valid.src[0] for splits in found) == [*"abc"]


# --- a real corpus ---------------------------------------------------------------------------------------------------


def test_on_a_real_corpus(corpora: Path) -> None:
    folder = corpora / "tatoeba-en-de"
    text = ParallelText(*(read_lines(folder / f"train.{language}.gz")[:40_000] for language in ("en", "de")))
    splits = hold_out(text, 500, 500)
    assert_no_sentence_on_two_sides(splits)
    assert len(splits.train) > 0.95 * len(text)
    for splits in folds(text, 5):
        assert_no_sentence_on_two_sides(splits)
        assert 0.15 * len(text) < len(splits.valid) <= 0.2 * len(text) + 1
