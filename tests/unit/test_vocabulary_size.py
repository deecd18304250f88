"""`data.tokenizer.vocab_size=auto`: a monotone function of the corpus that every text allows, stored as a number."""

from __future__ import annotations

import itertools
import logging
import os
import tempfile
from pathlib import Path

import pytest
import sentencepiece

from seq2seq.config.data import DataConfig
from seq2seq.config.loading import to_config, to_dict
from seq2seq.config.schema import Config
from seq2seq.config.tokenizer import AUTO, PieceType, TokenizerConfig
from seq2seq.config.training import TrainingConfig
from seq2seq.data.corpus import ParallelText
from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.data.subwords.vocabulary_size import LEAST, MOST, advised_size, resolve_size
from seq2seq.errors import ConfigError

LINES = ["Hello world, this is a test.", "the cat sat on the mat", "the dog ran home", "a fine café at night"] * 5
TEXT = ParallelText(LINES, LINES)
HAN = ParallelText(["".join(map(chr, range(0x4E00 + i, 0x4E00 + i + 10))) for i in range(0, 700, 5)], ["a b c"] * 140)


@pytest.mark.parametrize(
    ("pairs", "size"),
    [(1, 500), (5_000, 500), (30_000, 1_000), (164_528, 3_300), (500_000, 7_200), (4_500_000, 32_000), (10**9, 32_000)],
)
def test_the_size_for_a_number_of_pairs(pairs: int, size: int) -> None:
    assert advised_size(pairs) == size


def test_the_size_grows_with_the_corpus_within_its_bounds() -> None:
    sizes = [advised_size(int(1.3**n)) for n in range(80)]
    assert all(a <= b for a, b in itertools.pairwise(sizes))
    assert (min(sizes), max(sizes)) == (LEAST, MOST)


@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("kind", PieceType)
def test_auto_is_a_size_that_the_text_allows(
    tmp_path: Path, kind: PieceType, joint: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    settings = resolve_size(TEXT, TokenizerConfig(type=kind, vocab_size=AUTO, joint=joint), tmp_path)
    assert isinstance(settings.vocab_size, int)
    tokenizer = Tokenizer.train(TEXT, settings, tmp_path)
    assert max(tokenizer.src_size, tokenizer.tgt_size) <= settings.vocab_size
    assert f"data.tokenizer.vocab_size=auto: {settings.vocab_size}, " in caplog.text
    assert resolve_size(TEXT, settings, tmp_path) is settings


def test_a_script_of_many_characters_gets_room_for_them(tmp_path: Path) -> None:
    settings = resolve_size(HAN, TokenizerConfig(vocab_size=AUTO), tmp_path)
    assert int(settings.vocab_size) > LEAST + 256
    Tokenizer.train(HAN, settings, tmp_path)


def test_given_models_are_not_learned_again(tmp_path: Path) -> None:
    model = tmp_path / "given.model"
    model.write_bytes(Tokenizer.train(TEXT, TokenizerConfig(vocab_size=285), tmp_path).to_bytes()["src"])
    settings = TokenizerConfig(vocab_size=AUTO, src_model=str(model))
    assert Tokenizer.train(TEXT, resolve_size(TEXT, settings, tmp_path), tmp_path).src_size == 285


@pytest.mark.parametrize("value", ["automatic", "1k", ""])
def test_another_word_is_refused(value: str) -> None:
    data = DataConfig(src="en", tgt="fr", tokenizer=TokenizerConfig(vocab_size=value))
    with pytest.raises(ConfigError, match=rf"^data\.tokenizer\.vocab_size={value} is neither a number nor auto: 8 ≤"):
        Config(data=data, training=TrainingConfig(max_steps=1))


def test_auto_and_a_number_survive_storage() -> None:
    for value in (AUTO, 700):
        data = DataConfig(src="en", tgt="fr", tokenizer=TokenizerConfig(vocab_size=value))
        config = Config(data=data, training=TrainingConfig(max_steps=1))
        assert to_config(to_dict(config)) == config
    assert (
        to_config({"data": {"src": "en", "tgt": "fr"}, "training": {"max_steps": 1}}).data.tokenizer.vocab_size == 4000
    )


def test_a_word_vocabulary_has_the_frequent_words_and_one_token_for_the_others(tmp_path: Path) -> None:
    tokenizer = Tokenizer.train(TEXT, TokenizerConfig(type=PieceType.word, vocab_size=8), tmp_path)
    assert "▁the" in tokenizer.src_pieces(range(tokenizer.src_size))
    assert (
        tokenizer.src_pieces(tokenizer.encode_src(["the zebra"])[0]) == ["▁the", "▁zebra"]
        or tokenizer.encode_src(["the zebra"])[0][1] == 1
    )


@pytest.mark.parametrize("kind", [PieceType.word, PieceType.char])
def test_sampling_needs_more_than_one_segmentation(kind: PieceType) -> None:
    raw = {"src": "en", "tgt": "fr", "sampling": {"src": 0.1}, "tokenizer": {"type": kind.name}}
    with pytest.raises(ConfigError, match=rf"^data\.sampling needs .*unigram or bpe: {kind} has only one"):
        to_config({"data": raw, "training": {"max_steps": 1}})


RULES = "FB01\t66 69\n61 62\t78\n2019\t27\nAD\t\n"


def test_own_rules_replace_characters_in_both_languages(tmp_path: Path) -> None:
    rules = tmp_path / "rules.tsv"
    rules.write_text(RULES, encoding="utf-8")
    settings = TokenizerConfig(vocab_size=285, normalization_rules=str(rules))
    tokenizer = Tokenizer.train(TEXT, settings, tmp_path)
    line = "ﬁne ab don’t so\u00adft ²"
    assert tokenizer.decode(tokenizer.encode_tgt([line])) == ["fine x don't soft ²"]
    rules.write_text("2019\t22\n", encoding="utf-8")  # the content decides, not the name
    other = Tokenizer.train(TEXT, settings, tmp_path)
    assert other.decode(other.encode_tgt([line])) == ['ﬁne ab don"t so\u00adft ²']


def test_sentencepiece_gets_rules_in_a_closed_file_with_their_line_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, seen = sentencepiece.SentencePieceTrainer.train, []

    def recorded(**options: object) -> None:
        if "normalization_rule_tsv" in options:
            path = Path(str(options["normalization_rule_tsv"]))
            handles = [os.path.realpath(handle) for handle in Path("/proc/self/fd").glob("*")]
            seen.append((path.read_bytes(), str(path) in handles))
        train(**options)

    monkeypatch.setattr(sentencepiece.SentencePieceTrainer, "train", recorded)
    rules = tmp_path / "rules.tsv"
    rules.write_bytes(RULES.encode())
    Tokenizer.train(TEXT, TokenizerConfig(vocab_size=285, normalization_rules=str(rules)), tmp_path)
    assert seen == [(RULES.encode(), False)]
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))  # without rules there is no temporary file
    Tokenizer.train(TEXT, TokenizerConfig(vocab_size=285), tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "rules.tsv has no rules"),
        ("FB01 66\n", "rules.tsv, line 1: expected hexadecimal code points"),
        ("FB01\t66\nxyz\t66\n", "rules.tsv, line 2: expected"),
        ("FB01\tD800\n", "line 1"),
        ("110000\t66\n", "line 1"),
        ("\t66\n", "line 1"),
        ("FB01\t66\t67\n", "line 1"),
        ("ﬁ\tfi\n", "line 1"),
        (b"\xff\xfe", "UTF-"),
        (None, "rules.tsv"),
    ],
)
def test_a_bad_file_of_rules_is_one_line(tmp_path: Path, content: str | bytes | None, message: str) -> None:
    rules = tmp_path / "rules.tsv"
    if content is not None:
        rules.write_bytes(content if isinstance(content, bytes) else content.encode())
    settings = TokenizerConfig(vocab_size=285, normalization_rules=str(rules))
    with pytest.raises(ConfigError) as caught:
        Tokenizer.train(TEXT, settings, tmp_path)
    text = str(caught.value)
    assert text.startswith("data.tokenizer.normalization_rules: ")
    assert message in text
    assert "\n" not in text


def test_own_rules_and_a_named_set_exclude_each_other() -> None:
    tokenizer = {"normalization": "nfkc", "normalization_rules": "/x.tsv"}
    raw = {"data": {"src": "en", "tgt": "fr", "tokenizer": tokenizer}, "training": {"max_steps": 1}}
    with pytest.raises(ConfigError, match=r"data\.tokenizer\.normalization=nfkc and data\.tokenizer\.normalization_r"):
        to_config(raw)
