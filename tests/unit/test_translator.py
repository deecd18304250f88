"""The translator: any list of lines in, one line each out, in order, whatever they hold."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.config import DecodeConfig, PrecisionName
from seq2seq.decoding import translator as module
from seq2seq.decoding.text import one_line, split_long, valid_unicode
from seq2seq.decoding.translator import Translation, Translator, batches
from seq2seq.errors import ConfigError, ModelFileError
from seq2seq.model_file import BEST_NAME, Model, save_model
from tiny_model import SENTENCES, make_model

LINES = ["a fox", "", "the quick brown fox", "x", " \t", "jumps over a lazy dog", "how", "the quick brown fox"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return make_model(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def translator(model: Model) -> Translator:
    return Translator(model.network, model.tokenizer, model.config.decode)


@pytest.fixture
def counted(translator: Translator) -> Iterator[list[int]]:
    """Batch sizes the network has encoded, in order."""
    sizes: list[int] = []
    handle = translator.network.encoder.register_forward_hook(lambda _, args, __: sizes.append(len(args[0])))
    yield sizes
    handle.remove()


def test_lines_are_translated_one_by_one_in_order(translator: Translator) -> None:
    together = translator.translate(LINES)
    assert together == [translator.translate([line])[0] for line in LINES]
    assert len(set(together)) == 6  # 7 different lines, of which two are blank


def test_blank_lines_do_not_reach_the_network(translator: Translator, counted: list[int]) -> None:
    assert translator.translate(["", "  ", "\t", "\u2003"]) == [""] * 4
    assert translator.translate_n_best([""], n_best=3) == [[Translation("", 0.0, 0.0)]]
    assert translator.translate([]) == []
    assert counted == []


def test_batches_obey_the_budget_of_the_call(translator: Translator, counted: list[int]) -> None:
    one_line_each = translator.translate(LINES, batch_tokens=1)
    assert counted == [1] * 6
    assert translator.translate(LINES, batch_tokens=10_000) == one_line_each
    assert counted == [1] * 6 + [6]


@given(lengths=st.lists(st.integers(1, 50), max_size=40), budget=st.integers(1, 200))
def test_every_line_is_in_one_batch_within_the_budget(lengths: list[int], budget: int) -> None:
    made = list(batches(lengths, budget))
    assert sorted(i for batch in made for i in batch) == list(range(len(lengths)))
    for batch in made:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget


def test_n_best_are_different_and_the_first_is_the_translation(translator: Translator) -> None:
    found = translator.translate_n_best(SENTENCES, n_best=4)
    assert [row[0].text for row in found] == translator.translate(SENTENCES)
    for row in found:
        assert len({one.text for one in row}) == 4
        assert [one.score for one in row] == sorted((one.score for one in row), reverse=True)
        assert all(one.log_prob <= one.score <= 0 for one in row)


def test_overrides_hold_for_one_call(translator: Translator) -> None:
    before = translator.decode
    beam, greedy = (translator.translate_n_best(SENTENCES, beam_size=k, length_penalty=0.0) for k in (20, 1))
    assert sum(row[0].score for row in beam) > sum(row[0].score for row in greedy)
    assert translator.decode == before


@pytest.mark.parametrize("overrides", [{"beam_size": 0}, {"length_penalty": -1.0}, {"n_best": 6}, {"n_best": 0}])
def test_settings_out_of_range_are_named(translator: Translator, overrides: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(overrides))):
        translator.translate_n_best(["a fox"], **overrides)


def test_one_string_is_not_a_list_of_lines(translator: Translator) -> None:
    with pytest.raises(TypeError, match="one string"):
        translator.translate("a fox")


def test_the_longest_output_follows_the_source(model: Model) -> None:
    settings = DecodeConfig(beam_size=2, max_length_ratio=1.5, max_length_extra=4)
    endless = Translator(model.network, model.tokenizer, settings)
    bias = model.network.output.bias
    ordinary = bias[3].item()
    with torch.no_grad():
        bias[3] = -1000.0
        texts = endless.translate(["x", "jugs"])
        bias[3] = ordinary
    source_pieces = [len(ids) for ids in model.tokenizer.encode_src(["x", "jugs"])]  # a word-start piece and letters
    assert source_pieces == [2, 5]
    pieces = [len(ids) for ids in model.tokenizer.encode_tgt(texts)]
    assert all(n <= limit for n, limit in zip(pieces, (3 + 4, 8 + 4), strict=True))
    assert [len(text) for text in texts] == [6, 11]  # one token less than the limit, which is EOS


def test_a_network_in_training_is_lent_not_changed(translator: Translator) -> None:
    expected = translator.translate(LINES)
    translator.network.train()
    try:
        assert translator.translate(LINES) == expected  # no dropout
        assert translator.network.training
        assert all(part.training for part in translator.network.modules())
    finally:
        translator.network.eval()


def test_a_network_that_fails_gets_its_mode_back(translator: Translator) -> None:
    translator.network.train()
    with torch.no_grad():
        weight = translator.network.output.bias[5].clone()
        translator.network.output.bias[5] = float("nan")
    with pytest.raises(FloatingPointError):
        translator.translate(["a fox"])
    assert translator.network.training
    with torch.no_grad():
        translator.network.output.bias[5] = weight
    translator.network.eval()


def test_a_line_break_the_model_says_is_a_space(tmp_path: Path) -> None:
    model = make_model(tmp_path, byte_fallback=True)
    newline = 4 + ord("\n")  # the byte pieces follow the four special ones
    with torch.no_grad():
        model.network.output.bias[newline] = 1000.0
    (text,) = Translator(model.network, model.tokenizer, DecodeConfig(beam_size=1)).translate(["a fox"])
    assert text
    assert set(text) == {" "}


def test_one_line_is_one_line_for_everyone() -> None:
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    assert one_line(every).splitlines() == [one_line(every)]
    assert len(one_line(every)) == len(every)
    assert one_line("tab\tstays") == "tab\tstays"


def test_lone_surrogates_are_replaced() -> None:
    assert valid_unicode("a\ud800b\udfff") == "a\ufffdb\ufffd"
    assert valid_unicode("\ud83d\ude00 é") == "😀 é"


def test_text_without_utf8_is_translated(translator: Translator) -> None:
    assert translator.translate(["a \ud800 fox"]) == translator.translate(["a \ufffd fox"])


def characters(text: str) -> list[int]:
    return [ord(character) for character in text]


@given(text=st.text(alphabet="ab .!。", max_size=300), limit=st.integers(1, 20))
def test_parts_of_a_long_line_are_short_and_complete(text: str, limit: int) -> None:
    parts = split_long(text, characters, limit)
    assert all(len(part) <= limit for part in parts)
    assert [i for part in parts for i in part] == characters(text)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One two. Three four.", ["One two. ", "Three four."]),
        ("He said “no.” She left", ["He said “no.” ", "She left"]),
        ("一二三。四五六七八九十", ["一二三。", "四五六七八九十"]),
        ("one two three four", ["one two ", "three four"]),
        ("abcdefghijklmnop", ["abcdefgh", "ijklmnop"]),
    ],
)
def test_a_long_line_is_cut_where_a_reader_would(text: str, parts: list[str]) -> None:
    found = split_long(text, characters, len(text) - 1)
    assert ["".join(map(chr, part)) for part in found] == parts


def test_a_very_long_line_is_translated_in_parts(
    translator: Translator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    parts = ["the quick brown fox. ", "jumps over a lazy dog."]
    expected = translator.translate(parts)
    monkeypatch.setattr(module, "LONGEST_PART", 30)
    assert translator.translate(["a fox", "".join(parts)]) == [*translator.translate(["a fox"]), " ".join(expected)]
    assert "in 2 parts" in caplog.text
    (row,) = translator.translate_n_best(["".join(parts)], n_best=2)
    assert len(row) == 2
    assert row[0].score > row[1].score


def test_a_saved_model_translates_like_the_live_one(translator: Translator, model: Model, tmp_path: Path) -> None:
    save_model(tmp_path / BEST_NAME, model)
    for path in (tmp_path, tmp_path / BEST_NAME, str(tmp_path)):
        loaded = Translator.load(path, device="cpu", precision="fp32")
        assert loaded.translate_n_best(LINES, n_best=2) == translator.translate_n_best(LINES, n_best=2)


def test_what_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="nothing_here"):
        Translator.load(tmp_path / "nothing_here")
    with pytest.raises(ConfigError, match="'fp8'"):
        Translator.load(tmp_path, precision="fp8")
    with pytest.raises(ConfigError, match="'warp'"):
        Translator.load(tmp_path, device="warp", precision=PrecisionName.fp32)


@pytest.mark.slow
def test_importing_the_package_is_free_and_the_translator_comes_when_asked() -> None:
    code = (
        "import sys, seq2seq; assert 'torch' not in sys.modules; assert seq2seq.__version__;"
        "from seq2seq import Translator; assert Translator.__name__ == 'Translator'; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
