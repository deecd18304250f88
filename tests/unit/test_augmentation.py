"""Augmented epochs: a function of (seed, epoch, index), with the probabilities that the config gives."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import pytest

from seq2seq.config.augment import AugmentConfig, AugmentPreset, check_augment
from seq2seq.config.data import DataConfig
from seq2seq.config.tokenizer import SamplingConfig, TokenizerConfig
from seq2seq.config.training import TrainingConfig
from seq2seq.data.batches.epoch_batches import EpochBatches
from seq2seq.data.batches.epoch_pairs import epoch_pairs
from seq2seq.data.corpus import ParallelText
from seq2seq.data.encoding import shards
from seq2seq.data.subwords.tokenizer import IdRows, Tokenizer
from seq2seq.data.text.augmentation import Augmenter, vocabulary_text
from seq2seq.errors import ConfigError

WORDS = [s + e for s in ["black", "white", "quick", "light", "dark", "great"] for e in ["", "er", "est", "ness", "ly"]]


def text_of(pairs: int, seed: int = 1) -> ParallelText:
    rng = random.Random(seed)
    lines = [" ".join(rng.choices(WORDS, k=rng.randint(1, 9))) + "." for _ in range(2 * pairs)]
    return ParallelText(lines[:pairs], lines[pairs:])


TEXT = text_of(300)
MANY = {"upper": 0.2, "title": 0.2, "punctuation": 0.2, "typos": 0.2, "spacing": 0.2, "copies": 0.2, "noise": 0.1}
EVERYTHING = AugmentConfig(**MANY)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return Tokenizer.train(TEXT, TokenizerConfig(vocab_size=300), tmp_path_factory.mktemp("cache"))


def data_of(augment: AugmentConfig, **settings: float) -> DataConfig:
    return DataConfig(src="en", tgt="xx", augment=augment, sampling=SamplingConfig(**settings))


def edited(epoch: int = 0, seed: int = 1, **probabilities: float) -> dict[int, tuple[str, str]]:
    return Augmenter(probabilities, seed).edited(TEXT.src, TEXT.tgt, epoch, 0)


def test_edits_are_a_function_of_seed_epoch_and_index() -> None:
    first = edited(**MANY)
    assert edited(**MANY) == first
    for other in (edited(epoch=1, **MANY), edited(seed=2, **MANY)):
        assert sum(first.get(i) == other.get(i) for i in range(len(TEXT))) < len(TEXT) / 2
    augmenter = Augmenter(MANY, 1)
    for start, end in ((0, 1), (1, 7), (7, 300)):  # whatever the chunks are
        chunk = augmenter.edited(TEXT.src[start:end], TEXT.tgt[start:end], 0, start)
        assert {start + i: pair for i, pair in chunk.items()} == {i: p for i, p in first.items() if start <= i < end}


def test_what_a_pair_is_edited_to_does_not_depend_on_the_others() -> None:
    other = ParallelText([*TEXT.src[:50], *text_of(250, seed=9).src], [*TEXT.tgt[:50], *text_of(250, seed=9).tgt])
    again = Augmenter(MANY, 1).edited(other.src, other.tgt, 0, 0)
    assert {i: pair for i, pair in again.items() if i < 50} == {i: p for i, p in edited(**MANY).items() if i < 50}


def test_probabilities_are_those_of_the_config() -> None:
    text = ParallelText(TEXT.src * 40, TEXT.tgt * 40)  # 12,000 pairs: 0.01 is more than three standard deviations
    for name, p in (("upper", 0.07), ("title", 0.05), ("typos", 0.05), ("punctuation", 0.1), ("noise", 0.02)):
        pairs = Augmenter({name: p}, 1).edited(text.src, text.tgt, 3, 0)
        assert len(pairs) / len(text) == pytest.approx(p, abs=0.01), name
    both = Augmenter({"upper": 0.1, "title": 0.3}, 1).edited(text.src, text.tgt, 0, 0)
    shares = np.mean([src.isupper() for src, _ in both.values()]), len(both) / len(text)
    assert shares == pytest.approx((0.25, 0.4), abs=0.02)
    assert not Augmenter({}, 1).edited(text.src, text.tgt, 0, 0)


def test_which_side_an_edit_changes() -> None:
    for name in ("typos", "spacing"):
        for i, (src, tgt) in edited(**{name: 1.0}).items():
            assert src != TEXT.src[i]
            assert tgt == TEXT.tgt[i]
    for i, (src, tgt) in edited(copies=1.0).items():
        assert src.replace(TEXT.src[i], "*") == tgt.replace(TEXT.tgt[i], "*")
    assert all(src == tgt for src, tgt in edited(noise=1.0).values())
    assert all(src.isupper() and tgt.isupper() for src, tgt in edited(upper=1.0).values())


def test_the_student_preset_and_keys_that_replace_its_values() -> None:
    student = AugmentConfig(preset=AugmentPreset.student)
    assert student.probabilities() == {
        "upper": 0.07, "title": 0.05, "punctuation": 0, "typos": 0.05, "spacing": 0, "copies": 0.005, "noise": 0.0005
    }  # fmt: skip
    other = AugmentConfig(preset=AugmentPreset.student, upper=0.0, spacing=0.1)
    assert other.probabilities() == student.probabilities() | {"upper": 0.0, "spacing": 0.1}
    assert (AugmentConfig().active, AugmentConfig(upper=0.0).active, student.active) == (False, False, True)
    with pytest.raises(ConfigError, match=r"data\.augment\.upper=0\.07 and data\.augment\.title=0\.95"):
        check_augment(AugmentConfig(preset=AugmentPreset.student, title=0.95))


@pytest.mark.parametrize("sampling", [{}, {"src": 0.2}, {"src": 0.2, "tgt": 0.2}])
def test_an_epoch_holds_the_ids_of_the_edited_text(
    tmp_path: Path, tokenizer: Tokenizer, sampling: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "CHUNK_PAIRS", 70)
    pairs_of = epoch_pairs(TEXT, tokenizer, data_of(EVERYTHING, **sampling), 10_000, 1, tmp_path)
    epochs = []
    for epoch in (0, 1, 0):
        pairs = pairs_of(epoch)
        rows = [(pairs.src(i).tolist(), pairs.tgt(i).tolist()) for i in range(len(pairs))]
        text = list(TEXT)
        for i, pair in Augmenter(MANY, 1).edited(TEXT.src, TEXT.tgt, epoch, 0).items():
            text[i] = pair
        assert tokenizer.decode([src for src, _ in rows]) == tokenizer.decode(
            tokenizer.encode_src([src for src, _ in text])
        )
        if "tgt" not in sampling:
            assert [tgt for _, tgt in rows] == tokenizer.encode_tgt([tgt for _, tgt in text])
        if not sampling:
            assert [src for src, _ in rows] == tokenizer.encode_src([src for src, _ in text])
        epochs.append(rows)
    assert epochs[0] == epochs[2] != epochs[1]
    assert not list((tmp_path / "sampled").iterdir())


def test_only_edited_lines_are_encoded(tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs_of = epoch_pairs(TEXT, tokenizer, data_of(AugmentConfig(upper=0.1)), 100, 1, tmp_path)
    pairs_of(0)
    encoded: list[str] = []
    encode = Tokenizer.src_rows

    def recording(self: Tokenizer, lines: list[str]) -> IdRows:
        encoded.extend(lines)
        return encode(self, lines)

    monkeypatch.setattr(Tokenizer, "src_rows", recording)
    pairs_of = epoch_pairs(TEXT, tokenizer, data_of(AugmentConfig(upper=0.1)), 100, 1, tmp_path)
    pairs_of(1)
    assert encoded == [src for src, _ in Augmenter({"upper": 0.1}, 1).edited(TEXT.src, TEXT.tgt, 1, 0).values()]


def test_pairs_too_long_after_an_edit_are_dropped(tmp_path: Path, tokenizer: Tokenizer) -> None:
    pairs = epoch_pairs(TEXT, tokenizer, data_of(AugmentConfig(upper=0.5)), 30, 1, tmp_path)(0)
    text = [Augmenter({"upper": 0.5}, 1).edited(TEXT.src, TEXT.tgt, 0, 0).get(i, pair) for i, pair in enumerate(TEXT)]
    lengths = [max(len(tokenizer.encode_src([src])[0]), len(tokenizer.encode_tgt([tgt])[0])) for src, tgt in text]
    assert 0 < pairs.dropped == sum(length >= 30 for length in lengths)


def test_the_longest_source_is_that_of_the_clean_text_within_the_limit(tmp_path: Path, tokenizer: Tokenizer) -> None:
    training = TrainingConfig(max_steps=1, batch_tokens=64)
    for limit in (20, 100):
        longest = []
        for augment in (AugmentConfig(), EVERYTHING):
            data = DataConfig(src="en", tgt="xx", cache_dir=str(tmp_path), max_length=limit, augment=augment)
            longest.append(EpochBatches(data, training, TEXT, tokenizer).longest_src())
        assert longest[0] == longest[1]


def test_the_vocabulary_is_learned_from_the_share_of_capitals_that_the_network_reads(tmp_path: Path) -> None:
    text = vocabulary_text(TEXT, AugmentConfig(preset=AugmentPreset.student, upper=0.3, title=0.0))
    changed = [(a, b) for a, b in zip(TEXT, text, strict=True) if a != b]
    assert len(changed) / len(TEXT) == pytest.approx(0.3, abs=0.1)
    assert all(b == (a[0].upper(), a[1].upper()) for a, b in changed)
    assert vocabulary_text(TEXT, AugmentConfig(copies=1.0, typos=1.0)) is TEXT  # no words of their own
    learned = Tokenizer.train(text, TokenizerConfig(vocab_size=100, byte_fallback=False), tmp_path)
    assert [learned.src_pieces(row) for row in learned.encode_src(["BLACKEST"])] != [list("▁BLACKEST")]


def test_every_kind_of_pair_survives(tmp_path: Path, tokenizer: Tokenizer) -> None:
    odd = ["", "a", "?", "😀", "你好。", "สวัสดี", "x" * 3000, "\u0301", "İ"]
    text = ParallelText.from_pairs([(a, b) for a, b in itertools.product(odd, odd)])
    for epoch in range(3):
        pairs = epoch_pairs(text, tokenizer, data_of(AugmentConfig(**dict.fromkeys(MANY, 0.4))), 10_000, 1, tmp_path)(
            epoch
        )
        assert len(pairs) == len(text)
