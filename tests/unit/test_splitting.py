"""Held-out sets and folds share no sentence with training text, for any order of the file and either direction."""

import logging
import random
from pathlib import Path

import pytest

from seq2seq.data.corpus import ParallelText
from seq2seq.data.files.reading import read_lines
from seq2seq.data.text.splitting import MAX_COMPONENT_PAIRS, Splits, fold, hold_out
from seq2seq.errors import DataError

Pair = tuple[str, str]


def chain(name: str, length: int) -> list[Pair]:
    """A component of `length` pairs; each shares a sentence with the next, alternately source and target."""
    return [(f"{name} {(i + 1) // 2}", f"{name} {i // 2}".upper()) for i in range(length)]


def pairs(count: int = 400) -> list[Pair]:
    rng = random.Random(5)
    unique = [pair for i in range(count) for pair in chain(f"s{i}", rng.choice([1, 1, 1, 2, 3, 8, 9, 30]))]
    return unique + [(src.upper(), tgt) for src, tgt in unique[::7]] + unique[::5]


def parts(splits: Splits) -> dict[str, list[Pair]]:
    return {name: list(getattr(splits, name)) for name in ("train", "valid", "test")}


def assert_no_shared_sentence(splits: Splits) -> None:
    for side in ("src", "tgt"):
        train, valid, test = ({s.lower() for s in getattr(p, side)} for p in (splits.train, splits.valid, splits.test))
        assert train.isdisjoint(valid | test)
        assert valid.isdisjoint(test)


def test_sets_share_no_sentence_and_contain_only_given_pairs() -> None:
    given = pairs()
    splits = hold_out(ParallelText.from_pairs(given), valid=10, test=12)
    assert (len(splits.valid), len(splits.test)) == (10, 12)
    assert_no_shared_sentence(splits)
    everything = [pair for part in parts(splits).values() for pair in part]
    assert len(everything) == len(set(everything))
    assert set(everything) <= set(given)
    held_groups = {src.lower().split()[0] for src in splits.valid.src + splits.test.src}
    dropped = set(given) - set(everything)
    assert len(held_groups) == 22  # one pair for each component
    assert {src.lower().split()[0] for src, _ in dropped} <= held_groups


def test_large_components_stay_in_training() -> None:
    given = [pair for i in range(60) for pair in chain(f"s{i}", MAX_COMPONENT_PAIRS + i % 2)]
    splits = hold_out(ParallelText.from_pairs(given), valid=1, test=1)
    large = {pair for i in range(1, 60, 2) for pair in chain(f"s{i}", MAX_COMPONENT_PAIRS + 1)}
    assert large <= set(splits.train)


def test_order_and_direction_do_not_matter() -> None:
    given = pairs()
    expected = parts(hold_out(ParallelText.from_pairs(given), 10, 10))
    shuffled = random.Random(1).sample(given, len(given))
    assert parts(hold_out(ParallelText.from_pairs(shuffled), 10, 10)) == expected
    reverse = hold_out(ParallelText.from_pairs(given).swapped(), 10, 10)
    swapped = Splits(reverse.train.swapped(), reverse.valid.swapped(), reverse.test.swapped())
    assert parts(swapped) == expected


def test_the_first_training_pairs_are_a_random_sample() -> None:
    large, small = chain("large", 500), [(f"s {i}", f"t {i}") for i in range(600)]
    train = hold_out(ParallelText.from_pairs(large + small), 20, 30).train
    assert 80 < len(set(large) & set(train.first(200))) < 115  # 500 of 1,050 are 95


def test_the_test_set_does_not_depend_on_the_size_of_the_validation_set() -> None:
    text = ParallelText.from_pairs(pairs())
    assert list(hold_out(text, 3, 10).test) == list(hold_out(text, 14, 10).test)
    assert len(hold_out(text, 0, 10).valid) == 0


def test_a_small_corpus_holds_out_a_twentieth_and_logs_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    text = ParallelText.from_pairs([(f"s {i}", f"t {i}") for i in range(100)])
    with caplog.at_level(logging.WARNING):
        splits = hold_out(text, 2000, 2000)
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (90, 5, 5)
    assert "small corpus" in caplog.text


@pytest.mark.parametrize(
    "given",
    [[], [("a", "A")], [("a", "A"), ("b", "B")], [("a", "A"), ("a", "B"), ("c", "B"), ("d", "D")], chain("s", 500)],
)
def test_too_few_unrelated_sentences(given: list[Pair]) -> None:
    with pytest.raises(DataError, match=f"{len(given)} pairs in . unrelated groups"):
        hold_out(ParallelText.from_pairs(given), 1, 1)


def test_three_unrelated_sentences_are_enough() -> None:
    splits = hold_out(ParallelText([*"abc"], [*"ABC"]), 2000, 2000)
    assert [len(part) for part in parts(splits).values()] == [1, 1, 1]


# --- folds -----------------------------------------------------------------------------------------------------------


def folds(text: ParallelText, parts: int) -> list[Splits]:
    texts = [fold(text, part, parts) for part in range(1, parts + 1)]
    return [Splits(train, valid, ParallelText([], [])) for train, valid in texts]


@pytest.mark.parametrize("parts_", [2, 3, 5, 10])
def test_folds_are_disjoint_equal_and_cover_the_text(parts_: int) -> None:
    given = pairs()
    splits_of_folds = folds(ParallelText.from_pairs(given), parts_)
    valid = [pair for splits in splits_of_folds for pair in splits.valid]
    assert len(valid) == len(set(valid))
    assert set(valid) == set(given)
    for splits in splits_of_folds:
        assert_no_shared_sentence(splits)
        assert sorted([*splits.train, *splits.valid]) == sorted(set(given))
    sizes = [len(splits.valid) for splits in splits_of_folds]
    assert max(sizes) - min(sizes) <= 1  # there are enough small components to equalise them


def test_folds_do_not_depend_on_order_or_direction() -> None:
    given = pairs()
    expected = folds(ParallelText.from_pairs(given), 3)
    shuffled = ParallelText.from_pairs(random.Random(1).sample(given, len(given)))
    assert folds(shuffled, 3) == expected
    reverse = [Splits(*(text.swapped() for text in (s.train, s.valid, s.test))) for s in folds(shuffled.swapped(), 3)]
    assert reverse == expected


def test_a_component_larger_than_a_fold_is_trained_on_in_every_fold(caplog: pytest.LogCaptureFixture) -> None:
    giant, small = chain("giant", 500), [(f"s {i}", f"t {i}") for i in range(100)]
    for splits in folds(ParallelText.from_pairs(giant + small), 5):
        assert set(giant) <= set(splits.train)
        assert len(splits.valid) == 20
        assert set(splits.valid) <= set(small)
    assert "500 pairs are connected" in caplog.text


def test_a_component_of_the_size_of_a_fold_is_one_fold() -> None:
    given = chain("large", 100) + [(f"s {i}", f"t {i}") for i in range(100)]
    first, second = folds(ParallelText.from_pairs(given), 2)
    assert sorted(first.valid) == sorted(second.train) == sorted(given[:100])


def test_the_first_pairs_of_a_fold_are_a_random_sample() -> None:
    """Only the first sentences of a long validation set are translated."""
    given = [pair for i in range(100) for pair in chain(f"large {i}", 8)] + [(f"s {i}", f"t {i}") for i in range(800)]
    _, valid = fold(ParallelText.from_pairs(given), 1, 2)
    assert 70 < sum(src.startswith("large") for src in valid.first(200).src) < 130  # half of all


@pytest.mark.parametrize(("given", "parts_"), [([], 2), (chain("a", 30), 2), ([("a", "A"), ("b", "B")], 3)])
def test_too_few_unrelated_sentences_for_folds(given: list[Pair], parts_: int) -> None:
    with pytest.raises(
        DataError, match=rf"^data\.fold=2/{parts_}: {len(given)} pairs in . unrelated groups .* too few"
    ):
        fold(ParallelText.from_pairs(given), 2, parts_)


def test_as_many_folds_as_sentences() -> None:
    splits_of_folds = folds(ParallelText([*"abc"], [*"ABC"]), 3)
    assert sorted(splits.valid.src[0] for splits in splits_of_folds) == [*"abc"]


# --- a real corpus ---------------------------------------------------------------------------------------------------


def test_on_a_real_corpus(corpora: Path) -> None:
    folder = corpora / "tatoeba-en-de"
    text = ParallelText(*(read_lines(folder / f"train.{language}.gz")[:40_000] for language in ("en", "de")))
    splits = hold_out(text, 500, 500)
    assert_no_shared_sentence(splits)
    assert len(splits.train) > 0.95 * len(text)
    for splits in folds(text, 5):
        assert_no_shared_sentence(splits)
        assert 0.15 * len(text) < len(splits.valid) <= 0.2 * len(text) + 1
