"""Splitting lines into sentences: nothing is lost, and a line is joined as it was spaced."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling import scaled
from seq2seq.config.data import DataConfig
from seq2seq.config.decode import DecodeConfig
from seq2seq.errors import ConfigError
from seq2seq.inference.alignment import pharaoh
from seq2seq.inference.sentences import join_with_spacing, sentence_splitter
from seq2seq.inference.text import valid_unicode
from seq2seq.inference.translator import Translator
from seq2seq.storage.model_file import Model, save_model
from seq2seq.storage.run_folder import BEST_NAME
from seq2seq.translate import main
from tiny_model import make_model

SENTENCES = ["The fox is quick.", "Mr. Box jumps!", "A lazy dog?"]
DOCUMENT = "  The fox is quick.  Mr. Box jumps!\tA lazy dog? "


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return make_model(tmp_path_factory.mktemp("cache"), byte_fallback=True)


@pytest.fixture(scope="module")
def translator(model: Model) -> Translator:
    decode, data = DecodeConfig(max_length_ratio=0.5), DataConfig(src="en", tgt="fr")
    return Translator(model.network, model.tokenizer, decode, max_part_tokens=60, data=data)


@pytest.mark.parametrize(
    ("language", "sentences"),
    [
        ("en", ["Mr. Smith came. ", "He sat down!  ", "Fine"]),
        ("de-AT", ["Am 3. Mai kam Dr. Müller. ", "Er ging z.B. heim."]),
        ("zh_Hans", ["你好。", "我很好。"]),
        ("xx", ["It is here. ", "So is he."]),
        ("en", ["\u3000 one."]),
        ("en", [" "]),
    ],
)
def test_known_texts(language: str, sentences: list[str]) -> None:
    assert sentence_splitter(language)("".join(sentences)) == sentences


@settings(max_examples=scaled(50, 1000), deadline=None)
@given(
    st.lists(st.sampled_from([*".!?。\"'()«» \t\u2028\u3000\r", "a", "B", "Dr", "3", "é", "你", "…", "\0"])).map(
        "".join
    )
)
def test_sentences_concatenate_to_the_text_and_none_is_blank(text: str) -> None:
    sentences = sentence_splitter("en")(text)
    assert "".join(sentences) == text
    assert not text.strip() or not any(sentence.isspace() for sentence in sentences)


@settings(max_examples=scaled(50, 1000), deadline=None)
@given(st.text(max_size=60), st.sampled_from(["en", "de", "zh", "ja", "ru", "ar", "hi", "xx", ""]))
def test_any_text_of_any_language_is_kept(text: str, language: str) -> None:
    text = valid_unicode(text)
    assert "".join(sentence_splitter(language)(text)) == text


@pytest.mark.parametrize(
    ("sources", "outputs", "line"),
    [
        (["  One.  ", "Two.\t", "Three. "], ["Eins.", "Zwei.", "Drei."], "  Eins.  Zwei.\tDrei. "),
        (["One. ", "Two."], ["一。", "二。"], "一。二。"),
        (["一。", "二。"], ["One.", "Two."], "One. Two."),
        (["One.  ", "Two."], ["一。", "二。"], "一。  二。"),
        (["One. ", "Two. ", "Three."], ["Eins.", "", "Drei."], "Eins.Drei."),
        (["One."], ["Eins."], "Eins."),
        (["\nOne.\n", "Two.\r\v", "Three.\x85\u2028"], ["Eins.", "Zwei.", "Drei."], " Eins. Zwei.  Drei.  "),
        (["一。\n", "二。"], ["One.", "Two."], "One. Two."),
        ([], [], ""),
    ],
)
def test_spacing_is_kept(sources: list[str], outputs: list[str], line: str) -> None:
    assert join_with_spacing(sources, outputs) == line


def test_a_document_is_its_sentences_translated_alone(translator: Translator) -> None:
    one, two, three = translator.translate(SENTENCES, beam_size=1)
    lines = [DOCUMENT, "", "   ", SENTENCES[0]]
    assert translator.translate(lines, beam_size=1, split_sentences=True) == [f"  {one}  {two}\t{three} ", "", "", one]


def test_a_long_sentence_is_split_as_without_the_option(translator: Translator) -> None:
    long = "the quick brown fox jumps over " * 5 + "dogs"
    parts = translator.translate_n_best([f"{long}. Jugs."], beam_size=1, split_sentences=True)[0][0].text
    alone = translator.translate([f"{long}.", "Jugs."], beam_size=1)
    assert parts.endswith(alone[1])
    assert parts.replace(" ", "") == "".join(alone).replace(" ", "")


def test_alignments_and_n_best_are_those_of_the_line(translator: Translator) -> None:
    options = {"beam_size": 2, "alignments": True}
    line = " ".join(SENTENCES)
    outputs = translator.translate_n_best([line], 2, split_sentences=True, **options)[0]
    rows = translator.translate_n_best(SENTENCES, 2, **options)
    for rank, output in enumerate(outputs):
        parts = [row[rank] for row in rows]
        assert output.log_prob == pytest.approx(sum(part.log_prob for part in parts))
        links, words = [], (0, 0)
        for sentence, part in zip(SENTENCES, parts, strict=True):
            links += [(src + words[0], tgt + words[1]) for src, tgt in part.alignment or ()]
            words = words[0] + len(sentence.split()), words[1] + len(part.text.split())
        assert output.alignment == links, pharaoh(output.alignment or ())


def test_prefixes_and_terms_are_refused(translator: Translator) -> None:
    for options in ({"prefixes": ["a"]}, {"terms": [["a"]]}):
        with pytest.raises(ConfigError, match="are those of whole lines"):
            translator.translate_n_best([DOCUMENT], split_sentences=True, **options)
    assert translator.translate_n_best([DOCUMENT], prefixes=[""], split_sentences=True)


def test_command_in_both_formats(
    model: Model, translator: Translator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = dataclasses.replace(model.config, decode=translator.decode)
    save_model(tmp_path / BEST_NAME, dataclasses.replace(model, config=config))
    fast = ["--split-sentences", "--beam-size", "1", "--precision", "fp32", "--device", "cpu"]
    lines = [DOCUMENT, "", SENTENCES[1]]
    expected = translator.translate(lines, beam_size=1, split_sentences=True)
    (tmp_path / "text").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    assert main([str(tmp_path), str(tmp_path / "text"), *fast]) == 0
    assert capsys.readouterr().out.split("\n") == [*expected, ""]
    objects = [{"src": DOCUMENT}, {"src": DOCUMENT, "prefix": "a"}, {"src": "x", "terms": ["a"]}]
    (tmp_path / "jsonl").write_text("".join(f"{json.dumps(value)}\n" for value in objects), encoding="utf-8")
    assert main([str(tmp_path), str(tmp_path / "jsonl"), "--format", "jsonl", *fast]) == 0
    first, *refused = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["text"] == expected[0]
    assert ["leave out either them or --split-sentences" in answer["error"] for answer in refused] == [True, True]
    broken = DOCUMENT.replace(" ", "\n").replace("\t", "\u2028")  # gives one line, and the columns that are asked for
    texts = ["--text", broken, "--text", DOCUMENT]
    assert main([str(tmp_path), *texts, *fast, "--scores", "--alignments"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.split("\n")[:-1]]
    assert [len(row) for row in rows] == [3, 3]
    assert rows[1][2] == expected[0].replace("\t", " ")
    assert translator.translate([broken], beam_size=1, split_sentences=True)[0].splitlines() == [rows[0][2]]
    assert main([str(tmp_path), str(tmp_path / "text"), "--prefix", str(tmp_path / "text"), *fast]) == 2
    assert "--prefix has no effect with --split-sentences" in capsys.readouterr().err


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sentencex", None)
    with pytest.raises(ConfigError, match=r"pip install 'attentional-lstm\[data\]'"):
        sentence_splitter("en")
