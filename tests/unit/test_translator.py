"""The translator: any list of lines in, one output line each, in order."""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seq2seq import runtime
from seq2seq.config.decode import DecodeConfig, InferencePrecisionName, NormalizationName, SearchName, UtilityName
from seq2seq.config.model import AttentionName
from seq2seq.config.tokenizer import PieceType, TokenizerConfig
from seq2seq.config.training import PrecisionName
from seq2seq.data.batches.batch import make_batch
from seq2seq.data.corpus import ParallelText
from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.errors import ConfigError, ModelFileError
from seq2seq.inference.ensemble import MIN_ROWS
from seq2seq.inference.glossary import Glossary
from seq2seq.inference.mbr import expected_utilities
from seq2seq.inference.text import one_line, split_long, valid_unicode, words_before
from seq2seq.inference.translation import Translation, join_parts
from seq2seq.inference.translator import Translator
from seq2seq.inference.vocabulary_shortlist import Shortlist
from seq2seq.kernels import bindings
from seq2seq.model.cpu import dispatch
from seq2seq.model.network import Seq2Seq
from seq2seq.search.batched_search import NARROW_BEAM, batches
from seq2seq.storage.model_file import Model, TrainingText, save_model
from seq2seq.storage.run_folder import BEST_NAME
from seq2seq.storage.weight_averaging import average_models
from tiny_model import SENTENCES, make_model, make_network

MODEL_FILES = Path(__file__).parents[1] / "model_files"
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
    one_line_each = translator.translate(LINES * 3, batch_tokens=1)
    smallest = 1 if dispatch.rounds_alone(translator.network) else MIN_ROWS  # a smaller batch is padded
    assert counted == [smallest] * 18
    assert translator.translate(LINES * 3, batch_tokens=10_000) == one_line_each
    assert counted == [smallest] * 18 + [18]


@given(lengths=st.lists(st.integers(1, 50), max_size=40), budget=st.integers(1, 200), width=st.integers(1, 40))
def test_every_line_is_in_one_batch_within_the_budget(lengths: list[int], budget: int, width: int) -> None:
    all_batches = list(batches(lengths, budget, width))
    assert sorted(i for batch in all_batches for i in batch) == list(range(len(lengths)))
    for batch in all_batches:
        slots = len(batch) * max(lengths[i] for i in batch)
        assert len(batch) == 1 or slots * max(width, NARROW_BEAM) <= budget * NARROW_BEAM


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
    with pytest.raises(TypeError, match="lines must be a list, not one string"):
        translator.translate("a fox")
    wrong: list[dict[str, Any]] = [{"terms": ["fox"]}, {"terms": "f"}, {"prefixes": "f"}, {"never_emit": "fox"}]
    for options in wrong:
        with pytest.raises(TypeError, match="must be a list, not one string"):
            translator.translate(["a"], **options)
    with pytest.raises(TypeError, match="targets must be a list"):
        translator.score(["a", "b"], "ab")


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


def test_a_network_in_training_mode_stays_in_training_mode(translator: Translator) -> None:
    expected = translator.translate(LINES)
    translator.network.train()
    try:
        assert translator.translate(LINES) == expected  # no dropout
        assert translator.network.training
        assert all(part.training for part in translator.network.modules())
    finally:
        translator.network.eval()


def test_a_failing_network_returns_to_training_mode(translator: Translator) -> None:
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


def test_a_generated_line_break_becomes_a_space(tmp_path: Path) -> None:
    model = make_model(tmp_path, byte_fallback=True)
    newline = 4 + ord("\n")  # the byte pieces follow the four special ones
    with torch.no_grad():
        model.network.output.bias[newline] = 1000.0
    (text,) = Translator(model.network, model.tokenizer, DecodeConfig(beam_size=1)).translate(["a fox"])
    assert text
    assert set(text) == {" "}


def test_one_line_removes_every_line_break() -> None:
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    assert one_line(every).splitlines() == [one_line(every)]
    assert len(one_line(every)) == len(every)
    assert one_line("tab\tstays") == "tab\tstays"


def test_lone_surrogates_are_replaced() -> None:
    assert valid_unicode("a\ud800b\udfff") == "a\ufffdb\ufffd"
    assert valid_unicode("\ud83d\ude00 é") == "😀 é"


def test_text_without_utf8_is_translated(translator: Translator) -> None:
    assert translator.translate(["a \ud800 fox"]) == translator.translate(["a \ufffd fox"])


@given(text=st.text(alphabet="ab .!。", max_size=300), limit=st.integers(1, 20))
def test_parts_of_a_long_line_are_short_and_complete(text: str, limit: int) -> None:
    parts = split_long(text, len, limit)
    assert all(len(part) <= limit for part in parts)
    assert "".join(parts) == text


@given(text=st.text(alphabet="ab .!。", max_size=300), limit=st.integers(1, 20), share=st.integers(1, 3))
def test_parts_do_not_depend_on_the_lengths_that_are_not_asked_for(text: str, limit: int, share: int) -> None:
    def length(part: str) -> int:
        return -(-len(part) // share)  # `share` characters per token

    assert split_long(text, length, limit, limit * share) == split_long(text, length, limit)


@pytest.mark.parametrize("unit", ["x", "a fox. ", "日本。", "\u200b", " "])
def test_a_longer_line_is_encoded_as_often(translator: Translator, unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The characters that the tokenizer and the search for cuts read grow linearly with the line."""
    encoder = split_at(20, translator)._encoder
    encode_src, read = encoder.tokenizer.encode_src, [0]

    def counting(lines: Sequence[str]) -> list[list[int]]:
        read[0] += sum(map(len, lines))
        return encode_src(lines)

    monkeypatch.setattr(encoder.tokenizer, "encode_src", counting)
    per_char = []
    for chars in (4_000, 64_000):
        read[0] = 0
        encoder.encode([(unit * chars)[:chars]], [""], [()], None)
        per_char.append(read[0] / chars)
    assert per_char[1] <= 1.1 * per_char[0]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One two. Three four.", ["One two. ", "Three four."]),
        ("He generated “no.” She left", ["He generated “no.” ", "She left"]),
        ("一二三。四五六七八九十", ["一二三。", "四五六七八九十"]),
        ("one two three four", ["one two ", "three four"]),
        ("abcdefghijklmnop", ["abcdefgh", "ijklmnop"]),
    ],
)
def test_a_long_line_is_cut_where_a_reader_would(text: str, parts: list[str]) -> None:
    assert split_long(text, len, len(text) - 1) == parts


@pytest.mark.parametrize(("position", "words"), [(0, 0), (2, 0), (3, 1), (4, 1), (5, 1), (6, 1), (8, 2)])
def test_words_before_a_cut(position: int, words: int) -> None:
    assert words_before("one  two", [position, 0, position]) == [words, 0, words]


def split_at(max_part_tokens: int, translator: Translator) -> Translator:
    return Translator(translator.network, translator.tokenizer, translator.decode, max_part_tokens=max_part_tokens)


def test_a_very_long_line_is_translated_in_parts(translator: Translator, caplog: pytest.LogCaptureFixture) -> None:
    parts = ["the quick brown fox. ", "jumps over a lazy dog."]
    expected = translator.translate(parts)
    translator = split_at(30, translator)
    assert translator.translate(["a fox", "".join(parts)]) == [*translator.translate(["a fox"]), " ".join(expected)]
    assert "in 2 parts" in caplog.text
    (row,) = translator.translate_n_best(["".join(parts)], n_best=2)
    assert len(row) == 2
    assert row[0].score > row[1].score


def test_choices_may_be_given_by_name(translator: Translator) -> None:
    named = translator.translate_n_best(SENTENCES, length_normalization="average")
    assert named == translator.translate_n_best(SENTENCES, length_normalization=NormalizationName.average)
    with pytest.raises(ConfigError, match=r"decode\.search='best' is unknown: use beam, sample, mbr"):
        translator.translate(SENTENCES, search="best")


def test_a_line_longer_than_any_of_training_is_cut(
    model: Model, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_model(tmp_path / BEST_NAME, model)
    longest = model.config.data.max_length - 1
    Translator.load(tmp_path, device="cpu").translate([("a" * longest)[1:]])  # and the word start
    assert not caplog.text
    Translator.load(tmp_path, device="cpu").translate(["a" * longest])
    assert "in 2 parts" in caplog.text


def test_a_line_is_cut_at_the_length_of_the_longest_training_sentence(model: Model, tmp_path: Path) -> None:
    save_model(tmp_path / BEST_NAME, dataclasses.replace(model, text=TrainingText(longest_src=20)))
    lines = ["a dog jumps over.", "the fox jumps over."]
    translator = Translator.load(tmp_path, device="cpu", precision="fp32")
    assert translator.max_part_tokens == 20
    assert translator.translate([" ".join(lines)]) == [" ".join(translator.translate(lines))]
    assert Translator.load(MODEL_FILES / "version_2.safetensors", device="cpu").max_part_tokens > 20


def test_parts_are_joined_as_their_script_does() -> None:
    def joined(*texts: str) -> str:
        return join_parts([[Translation(text, 0.0, 0.0, alignment=[(0, 0)])] for text in texts])[0].text

    assert joined("A dog.", "", "A cat.") == "A dog. A cat."
    assert joined("我爱你。", "你好", "Python。", "好") == "我爱你。你好Python。好"
    assert joined("สวัสดี", "ครับ") == "สวัสดี ครับ"


def test_every_character_of_a_script_without_spaces_can_be_aligned(tmp_path: Path) -> None:
    lines = ["我们爱你们", "他们看见我们的房子", "你们爱他们"]
    pieces = TokenizerConfig(type=PieceType.bpe, vocab_size=26, byte_fallback=False, character_coverage=1.0)
    tokenizer = Tokenizer.train(ParallelText(lines, lines), pieces, tmp_path)
    assert len(tokenizer.encode_src(lines[:1])[0]) < len(lines[0])  # some pieces have several characters
    translator = Translator(make_network(tokenizer.src_size).eval(), tokenizer)
    for line, (one,) in zip(lines, translator.translate_n_best(lines, alignments=True), strict=True):
        assert one.attention is not None
        assert [len(row) for row in one.attention] == [len(line)] * len(one.text.replace(" ", ""))
        assert one.alignment
        assert len({tgt for _, tgt in one.alignment}) > 1


def test_minimum_bayes_risk_by_bleu_tokenises_for_the_target_language(model: Model) -> None:
    options = {"search": SearchName.mbr, "mbr_utility": UtilityName.bleu, "samples": 6, "temperature": 0.5}
    chinese = dataclasses.replace(model.config.data, tgt="th")
    scores = [
        Translator(model.network, model.tokenizer, data=data).translate_n_best(SENTENCES[:1], **options)[0][0].score
        for data in (None, model.config.data, chinese)
    ]
    assert scores[0] == scores[1] != scores[2]


# --- options, constraints and ensembles -------------------------------------------------------------------------------


def test_a_prefix_begins_the_output_of_its_line(translator: Translator) -> None:
    found = translator.translate(["a fox", "", "how vexingly", "a fox"], prefixes=["the ", "dog", "", "quick fox"])
    assert found[0].startswith("the")
    assert found[1:3] == translator.translate(["", "how vexingly"])
    assert found[3].startswith("quick fox")
    assert found[3] != translator.translate(["a fox"])[0]
    with pytest.raises(ValueError, match="zip"):
        translator.translate(["a fox", "dog"], prefixes=["the"])


def test_a_prefix_longer_than_the_maximum_length_is_generated_in_full(translator: Translator) -> None:
    prefix = "the quick brown fox jumps over a lazy dog"
    assert translator.translate(["x"], prefixes=[prefix], max_length_extra=1, max_length_ratio=0.0) == [prefix]


def test_terms_appear(translator: Translator) -> None:
    lines, terms = ["a fox", "the quick brown fox", ""], [["dog", "jugs"], [], ["dog"]]
    one, two, three = translator.translate(lines, terms=terms)
    assert " dog" in f" {one}"
    assert " jugs" in f" {one}"
    assert [two, three] == translator.translate(lines[1:])


def test_a_term_that_cannot_be_written_is_left_out(translator: Translator, caplog: pytest.LogCaptureFixture) -> None:
    assert translator.translate(["a fox"], terms=[["日本"]]) == translator.translate(["a fox"])
    assert "日本" in caplog.text


def test_glossary_terms_are_forced(translator: Translator, tmp_path: Path) -> None:
    (tmp_path / "g.tsv").write_text("brown fox\tlazy dog\n", encoding="utf-8")
    glossary = Glossary.read(tmp_path / "g.tsv")
    found = translator.translate(["the brown fox", "the brown dog"], glossary=glossary)
    assert "lazy dog" in found[0]
    assert found[1] == translator.translate(["the brown dog"])[0]


def test_never_emit_bans_texts(translator: Translator) -> None:
    def pairs(**options: Any) -> set[tuple[int, ...]]:
        wild = {"search": SearchName.sample, "temperature": 9.0, "n_best": 50}
        found = translator.translate_n_best(SENTENCES, **wild, **options)
        return {pair for row in found for one in row for pair in itertools.pairwise(one.ids)}

    starts = ["a", "e", "x"]
    forbidden = {tuple(ids) for ids in translator.tokenizer.encode_tgt(starts)}
    assert {len(ids) for ids in forbidden} == {2}  # the word start is a piece of its own
    assert pairs() >= forbidden
    assert not pairs(never_emit=starts) & forbidden


def test_samples_depend_on_the_sentence_and_the_seed_alone(translator: Translator) -> None:
    options = {"search": SearchName.sample, "n_best": 6}
    found = [[one.text for one in row] for row in translator.translate_n_best(LINES, **options)]
    assert [len(row) for row in found] == [1 if line.isspace() or not line else 6 for line in LINES]
    assert found[2] == found[7]
    alone = [translator.translate_n_best([line], batch_tokens=1, **options)[0] for line in LINES]
    assert [[one.text for one in row] for row in alone] == found
    assert len(set(found[2])) > 1
    other = translator.translate_n_best(LINES, seed=2, **options)
    assert [[one.text for one in row] for row in other] != found


def test_minimum_bayes_risk_returns_the_sample_that_agrees_most(translator: Translator) -> None:
    options = {"temperature": 0.4, "seed": 3}
    samples = translator.translate_n_best(SENTENCES, search=SearchName.sample, n_best=12, **options)
    found = translator.translate_n_best(SENTENCES, search=SearchName.mbr, samples=12, n_best=3, **options)
    for drawn, kept in zip(samples, found, strict=True):
        texts = [one.text for one in drawn]
        utilities = dict(zip(texts, expected_utilities(texts, UtilityName.chrf), strict=True))
        assert [one.score for one in kept] == sorted(utilities.values(), reverse=True)[:3]
        assert [utilities[one.text] for one in kept] == [one.score for one in kept]


def test_alignments_link_words_of_line_and_output(translator: Translator) -> None:
    lines = ["the quick brown fox.", "jumps over a lazy dog."]
    whole = [row[0] for row in translator.translate_n_best(lines, alignments=True)]
    assert [one.text for one in whole] == translator.translate(lines)
    for line, one in zip(lines, whole, strict=True):
        assert one.alignment is not None
        assert one.attention is not None
        for src, tgt in one.alignment:
            assert one.attention[tgt][src] == max(one.attention[tgt])
        assert [len(row) for row in one.attention] == [len(line.split())] * len(one.text.split())
        assert all(0 < sum(row) <= 1 + 1e-5 for row in one.attention)
    translator = split_at(30, translator)
    ((joined,),) = translator.translate_n_best([" ".join(lines)], alignments=True)
    words = len(whole[0].text.split())
    moved = [(src + 4, tgt + words) for src, tgt in whole[1].alignment or ()]
    assert joined.alignment == [*(whole[0].alignment or ()), *moved]
    assert joined.attention is None


@pytest.mark.parametrize(
    ("options", "fragment"),
    [
        ({"terms": [["fox"]], "search": SearchName.sample}, "search=beam"),
        ({"terms": [["fox"]], "no_repeat_ngram": 2}, "no_repeat_ngram"),
        ({"terms": [["fox"]], "never_emit": ["fox"]}, "never_emit"),
        ({"search": SearchName.mbr, "samples": 4, "n_best": 5}, "samples=4"),
        ({"top_k": 5}, "top_k"),
    ],
)
def test_contradicting_options_are_named(translator: Translator, options: dict[str, Any], fragment: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(fragment)):
        translator.translate_n_best(["a fox"], **options)


def test_check_options_returns_the_settings_and_translates_nothing(translator: Translator, counted: list[int]) -> None:
    used = translator.check_options(2, prefixes=["a"], terms=[["fox"]], alignments=True, beam_size=3)
    assert used == dataclasses.replace(translator.decode, beam_size=3)
    assert translator.check_options(9, search="sample", top_k=3) == dataclasses.replace(
        translator.decode, search=SearchName.sample, top_k=3
    )
    for options in (
        {"n_best": 6},
        {"beam_size": 0},
        {"search": "sample", "beam_size": 3},
        {"search": "mbr", "glossary": Glossary({"a": "b"})},
        {"min_length_ratio": 3.0},
    ):
        with pytest.raises(ConfigError) as checked:
            translator.check_options(**options)
        with pytest.raises(ConfigError) as translated:
            translator.translate_n_best(["a fox"], **options)
        assert str(checked.value) == str(translated.value)
    assert counted == []


@pytest.mark.parametrize("options", [{"alignments": True}, {"coverage_penalty": 0.2}])
def test_alignment_and_coverage_need_attention(model: Model, options: dict[str, Any]) -> None:
    blind = make_network(model.tokenizer.src_size, attention=AttentionName.none)
    with pytest.raises(ConfigError, match=r"model\.attention=none"):
        Translator(blind, model.tokenizer).translate_n_best(["a fox"], **options)


def test_an_ensemble_is_loaded_from_several_files(model: Model, tmp_path: Path) -> None:
    other = dataclasses.replace(model, network=make_network(model.tokenizer.src_size, seed=9).eval())
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for path, one in zip(paths, (model, other), strict=True):
        save_model(path, one)
    alone = [Translator.load(path, device="cpu", precision="fp32").translate(LINES) for path in paths]
    both = Translator.load(*paths, device="cpu", precision="fp32").translate(LINES)
    assert both not in alone
    tilted = Translator.load(*paths, device="cpu", precision="fp32", weights=[1.0, 1e-9]).translate(LINES)
    assert tilted == alone[0]
    with pytest.raises(ConfigError, match="weights"):
        Translator.load(*paths, weights=[1.0])
    with pytest.raises(ConfigError, match="weights"):
        Translator.load(*paths, weights=[1.0, -1.0])


def test_an_ensemble_scores_where_one_network_has_no_attention(model: Model) -> None:
    size = model.tokenizer.src_size
    networks = [make_network(size), make_network(size, seed=2, attention=AttentionName.none)]
    together, *alone = (
        Translator(some, model.tokenizer).score(["a cat"], ["dog"])[0].token_log_probs
        for some in (networks, networks[:1], networks[1:])
    )
    # The weighted mean of log-probabilities, renormalised, is never below the mean.
    assert all(both >= (one + two) / 2 - 1e-5 for both, one, two in zip(together, *alone, strict=True))


def test_models_with_different_vocabularies_are_no_ensemble(model: Model, tmp_path: Path) -> None:
    save_model(tmp_path / "a.safetensors", model)
    save_model(tmp_path / "b.safetensors", make_model(tmp_path, byte_fallback=True))
    with pytest.raises(ConfigError, match=r"b\.safetensors and .*a\.safetensors have different vocabularies"):
        Translator.load(tmp_path / "a.safetensors", tmp_path / "b.safetensors")


def test_models_with_different_tags_are_no_ensemble(model: Model, tmp_path: Path) -> None:
    for name, settings in (("a", {"tag": "a"}), ("b", {}), ("c", {"tgt": "fr-CA"})):
        data = dataclasses.replace(model.config.data, **settings)
        save_model(tmp_path / name, dataclasses.replace(model, config=dataclasses.replace(model.config, data=data)))
    with pytest.raises(ConfigError, match=r"/a and .*/b have different target languages or tags"):
        Translator.load(tmp_path / "b", tmp_path / "a")
    Translator.load(tmp_path / "b", tmp_path / "c")  # no tag depends on the name of the language


# --- scoring ---------------------------------------------------------------------------------------------------------


def test_a_score_is_the_log_probability_of_teacher_forcing(translator: Translator, model: Model) -> None:
    sources, targets = ["a fox", "", "jumps over"], ["dog", "jugs", ""]
    scores = translator.score(sources, targets)
    for src, tgt, score in zip(sources, targets, scores, strict=True):
        ids = [model.tokenizer.encode_src([src])[0]], [model.tokenizer.encode_tgt([tgt])[0]]
        with torch.no_grad():
            logits, expected, _ = model.network(make_batch(*ids))
        losses = torch.nn.functional.cross_entropy(logits, expected, reduction="none")
        assert score.token_log_probs == pytest.approx((-losses).tolist(), abs=1e-4)
        assert score.log_prob == pytest.approx(-losses.sum().item(), abs=1e-3)
        assert score.pieces == [*model.tokenizer.tgt_pieces(ids[1][0]), "</s>"]
    assert translator.score(sources, targets, batch_tokens=1) == scores
    with pytest.raises(ConfigError, match="batch_tokens=0"):
        translator.score(sources, targets, batch_tokens=0)


def test_forced_decoding_of_a_translation_gives_its_log_probabilities(translator: Translator) -> None:
    (best,), *_ = translator.translate_n_best(["a fox"])
    (forced,) = translator.force_decode(translator.tokenizer.encode_src(["a fox"]), [best.ids])
    assert forced.token_log_probs == pytest.approx(best.token_log_probs, abs=1e-4)


def test_scoring_leaves_a_network_in_training_as_it_was(translator: Translator) -> None:
    expected = translator.score(["a fox"], ["dog"])
    translator.network.train()
    try:
        assert translator.score(["a fox"], ["dog"]) == expected  # without dropout
        assert all(part.training for part in translator.network.modules())
    finally:
        translator.network.eval()


# --- loading ---------------------------------------------------------------------------------------------------------


def test_a_saved_model_translates_like_the_live_one(translator: Translator, model: Model, tmp_path: Path) -> None:
    save_model(tmp_path / BEST_NAME, model)
    for path in (tmp_path, tmp_path / BEST_NAME, str(tmp_path)):
        loaded = Translator.load(path, device="cpu", precision="fp32")
        assert loaded.translate_n_best(LINES, n_best=2) == translator.translate_n_best(LINES, n_best=2)


def test_a_loaded_model_does_not_depend_on_its_files(model: Model, tmp_path: Path) -> None:
    """They are overwritten in place and cut, which kills a process that has mapped them."""
    other = Model(make_network(model.tokenizer.src_size, seed=2), model.tokenizer, model.config)
    tokens = torch.arange(model.tokenizer.src_size)
    files = [tmp_path / name for name in ("one", "other", "shortlist")]
    for file, saved in zip(files, (model, other), strict=False):
        save_model(file, saved)
    Shortlist(tokens[:, None], tokens[:9]).save(files[2], model.tokenizer.fingerprint)

    def load() -> list[Translator]:
        pair = Translator.load(*files[:2], device="cpu", precision="fp32", shortlist=files[2])
        mean = average_models(files[:2])
        return [pair, Translator(mean.network, mean.tokenizer, mean.config.decode)]

    expected = [translator.translate_n_best(LINES) for translator in load()]
    loaded = load()
    for file in files:
        with file.open("rb+") as content:
            content.write(bytes(file.stat().st_size))
    assert [translator.translate_n_best(LINES) for translator in loaded] == expected
    for file in files:
        os.truncate(file, 0)
    assert [translator.translate_n_best(LINES) for translator in loaded] == expected


def test_a_path_device_or_precision_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="nothing_here"):
        Translator.load(tmp_path / "nothing_here")
    with pytest.raises(ConfigError, match="'fp8'"):
        Translator.load(tmp_path, precision="fp8")
    with pytest.raises(ConfigError, match="'warp'"):
        Translator.load(tmp_path, device="warp", precision=PrecisionName.fp32)


@pytest.mark.slow
def test_importing_the_package_loads_no_torch_until_translator_is_used() -> None:
    code = (
        "import sys, seq2seq; assert 'torch' not in sys.modules; assert seq2seq.__version__;"
        "from seq2seq import Translator; assert Translator.__name__ == 'Translator'; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_int8_translates_nearly_the_same(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model_file = tmp_path / "model.safetensors"
    save_model(model_file, model)
    if not bindings.has_int8_product():
        pytest.skip("no 8-bit products here")
    exact = Translator.load(model_file, precision="fp32").translate_n_best(SENTENCES, prefixes=SENTENCES)
    rough = Translator.load(model_file, precision="int8").translate_n_best(SENTENCES, prefixes=SENTENCES)
    for (one,), (other,) in zip(exact, rough, strict=True):
        length = min(len(one.ids), len(other.ids), 10)  # the forced prefix
        assert other.ids[:length] == one.ids[:length]
        assert other.token_log_probs[:length] != one.token_log_probs[:length]
        pairs = zip(one.token_log_probs[:length], other.token_log_probs[:length], strict=True)
        assert sum(abs(a - b) for a, b in pairs) < length  # the network's weights are far too large on purpose
    in_memory = Translator(model.network, model.tokenizer, model.config.decode, precision="int8")
    assert in_memory.translate_n_best(SENTENCES, prefixes=SENTENCES) == rough
    feeding = Seq2Seq(dataclasses.replace(model.network.config, input_feeding=True), 31, 31)
    with pytest.raises(ConfigError, match=r"int8 .* model.input_feeding"):
        Translator(feeding, model.tokenizer, precision="int8")
    monkeypatch.setattr(bindings, "has_int8_product", lambda: False)
    for refused in (
        lambda: Translator.load(model_file, precision="int8"),
        lambda: Translator(model.network, model.tokenizer, precision="int8"),
    ):
        with pytest.raises(ConfigError, match="int8"):
            refused()


def test_a_precision_may_be_a_name_or_one_of_either_enum(model: Model) -> None:
    for precision in ("bf16", PrecisionName.bf16, InferencePrecisionName.bf16):
        assert Translator(model.network, model.tokenizer, precision=precision).dtype == torch.bfloat16
    assert Translator(model.network, model.tokenizer).dtype == torch.float32
    with pytest.raises(ConfigError, match="'fp8' is unknown: use auto, fp32, bf16, fp16, int8"):
        Translator(model.network, model.tokenizer, precision="fp8")


def test_fp32_holds_inside_a_block_of_another_precision() -> None:
    """A reranker in fp32 is called inside the search of a model in bf16."""
    cpu, matrix = torch.device("cpu"), torch.ones(2, 2)
    with runtime.autocast(cpu, torch.bfloat16), runtime.autocast(cpu, torch.float32):
        assert (matrix @ matrix).dtype == torch.float32
    with runtime.autocast(cpu, torch.float32), runtime.autocast(cpu, torch.bfloat16):
        assert (matrix @ matrix).dtype == torch.bfloat16
