"""The BLEU tokenizer of a target language."""

import logging
from pathlib import Path

import pytest
import sentencepiece
from sacrebleu.tokenizers import tokenizer_ja_mecab, tokenizer_spm

from seq2seq.cli.resume import RunContext
from seq2seq.config.data import DataConfig
from seq2seq.config.schema import Config
from seq2seq.config.training import TrainingConfig
from seq2seq.data.corpus import Corpus, ParallelText
from seq2seq.data.text.bleu_tokenizer import bleu_tokenizer, of_language, warn_if_meaningless
from seq2seq.errors import ConfigError
from seq2seq.evaluation.metrics import bleu_score
from seq2seq.storage.provenance import record
from seq2seq.train import choose_tokenizer


@pytest.mark.parametrize(
    ("codes", "name"),
    [
        ("zh ZH zh-Hans zh_CN zh-Hant-TW zho_Hans cmn zho chi zh_CN.UTF-8", "zh"),
        ("ja jpn ja_JP jpn_Jpan", "ja-mecab"),
        ("ko kor ko-KR kor_Hang", "ko-mecab"),
        ("th tha_Thai lo km my mya_Mymr bo dz yue yue_Hant wuu pi-Thai", "char"),
        ("de en-US sr-Latn-RS zh-Latn ja-Latn pt_BR spelling x", "13a"),
    ],
)
def test_tokenizers_of_languages(codes: str, name: str) -> None:
    assert {code: of_language(code) for code in codes.split()} == dict.fromkeys(codes.split(), name)


def data(tgt: str, chosen: str | None = None) -> DataConfig:
    return DataConfig(src="en", tgt=tgt, bleu_tokenizer=chosen)


def test_a_choice_goes_before_the_language() -> None:
    assert bleu_tokenizer(data("zh")) == "zh"
    assert bleu_tokenizer(data("zh", "intl")) == "intl"
    assert bleu_tokenizer(data("zh", "intl"), "char") == "char"
    with pytest.raises(ConfigError, match=r"^data\.bleu_tokenizer=moses is unknown: use 13a, intl, zh"):
        Config(data=data("zh", "moses"), training=TrainingConfig(max_steps=1))


def test_without_its_package_a_language_falls_back_to_characters_and_a_choice_is_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tokenizer_ja_mecab, "MeCab", None)
    assert bleu_tokenizer(data("ja")) == "char"
    (message,) = caplog.messages
    assert message.startswith("data.tgt=ja: the BLEU tokenizer ja-mecab is not installed")
    assert "sacrebleu[ja]" in message
    with pytest.raises(ConfigError, match=r"^--tokenize=ja-mecab cannot be used .*sacrebleu\[ja\]"):
        bleu_tokenizer(data("de"), "ja-mecab", "--tokenize")


def test_text_without_spaces_and_a_tokenizer_of_words(caplog: pytest.LogCaptureFixture) -> None:
    for name, references in (("zh", ["我爱你。"]), ("char", ["我爱你。"]), ("13a", ["I love you."])):
        warn_if_meaningless(name, references, "KEY")
    assert not caplog.messages
    warn_if_meaningless("13a", ["我爱你。"], "KEY")
    assert "set KEY to zh, ja-mecab or char" in caplog.text


def test_a_resumed_run_keeps_the_tokenizer_that_it_started_with(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "seq2seq")
    text = ParallelText(["I love you."], ["我爱你。"])
    config, corpus = Config(data=data("zh"), training=TrainingConfig(max_steps=1)), Corpus(text, text, {"test": text})
    record(tmp_path, {"step": 0, "data": "x", "bleu_tokenizer": "char"}, resumes=False)
    assert choose_tokenizer(config, corpus, RunContext(tmp_path, resumes=False)) == "zh"
    assert "BLEU tokenizer: zh" in caplog.text
    assert choose_tokenizer(config, corpus, RunContext(tmp_path, resumes=True)) == "char"


def test_korean_has_spaces_but_a_tokenizer_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    warn_if_meaningless("ko-mecab", ["나는 너를 사랑한다."], "KEY")
    assert not caplog.messages
    warn_if_meaningless("13a", ["나는 너를 사랑한다."], "KEY")
    assert "set KEY to ko-mecab" in caplog.text


@pytest.mark.parametrize("name", ["intl", "moses-th"])
def test_other_scripts_without_spaces_are_counted_in_characters(name: str, caplog: pytest.LogCaptureFixture) -> None:
    warn_if_meaningless(name, ["ฉันรักคุณ"], "KEY")
    assert caplog.text.strip().endswith("set KEY to char")
    warn_if_meaningless(name, ["我爱你。"], "KEY")
    assert caplog.text.strip().endswith("set KEY to zh, ja-mecab or char")


@pytest.mark.parametrize("name", ["flores101", "flores200", "spBLEU-1K"])
def test_a_tokenizer_that_cannot_be_downloaded_is_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer_spm, "SACREBLEU_DIR", str(tmp_path))
    for variable in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setattr("urllib.request._opener", None)
    with pytest.raises(
        ConfigError, match=rf"^--tokenize={name} cannot be used \(.*\): run this once where there is a n"
    ):
        bleu_tokenizer(data("de"), name, "--tokenize")


def test_subwords_of_a_downloaded_model_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "models" / "sacrebleu_tokenizer_spm.model"
    model.parent.mkdir()
    lines = [" ".join(f"w{i}{j}" for j in range(5)) for i in range(50)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_prefix=str(model.with_suffix("")), vocab_size=40, hard_vocab_limit=False
    )
    monkeypatch.setattr(tokenizer_spm, "SACREBLEU_DIR", str(tmp_path))
    assert bleu_tokenizer(data("de"), "flores101", "--tokenize") == "flores101"
    found = bleu_score(lines[:2], lines[:2], tokenize="flores101")
    assert found.value == pytest.approx(100)
    assert "tok:flores101" in found.signature
