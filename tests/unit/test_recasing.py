"""Lines in CAPITALS and in Title Case are translated in natural case."""

from __future__ import annotations

import dataclasses
import pickle
import random
from pathlib import Path

import pytest

from seq2seq.config.data import MixConfig
from seq2seq.config.tokenizer import TokenizerConfig
from seq2seq.data.corpus import ParallelText
from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.inference.glossary import Glossary
from seq2seq.inference.recasing import LineCase, Recaser
from seq2seq.inference.translator import Translator
from tiny_model import make_model

NATURAL = [
    "The man in the house likes Tom and his dog.",
    "Mary and Tom live in a small house near Paris.",
    "The dog lives in the house. It likes the small man.",
]


WORDS = ["the", "man", "house", "likes", "dog", "small", "near", "in", "lives", "his", "and", "live", "a", "it"]
NAMES = ["Tom", "Mary", "Paris"]


@pytest.fixture(scope="module")
def recaser(tmp_path_factory: pytest.TempPathFactory) -> Recaser:
    """Return the recaser of a vocabulary that knows each word in its natural case, and with the capital of a start."""
    generator = random.Random(1)
    lines = [" ".join(generator.choices([*WORDS, *NAMES], k=6)) + "." for _ in range(500)]
    lines = [line[0].upper() + line[1:] for line in lines]
    config = TokenizerConfig(vocab_size=310)
    return Recaser(Tokenizer.train(ParallelText(lines, lines), config, tmp_path_factory.mktemp("tokenizer")))


@pytest.mark.parametrize("line", NATURAL)
@pytest.mark.parametrize("case", LineCase)
def test_the_natural_case_of_known_words_is_found(recaser: Recaser, line: str, case: LineCase) -> None:
    assert recaser.natural(case.apply(line)) == (line, case)


def test_words_in_capitals_in_a_title_stay(recaser: Recaser) -> None:
    assert recaser.natural("The Man Likes NATO And The Dog.") == ("The man likes NATO and the dog.", LineCase.title)


@pytest.mark.parametrize(
    "line",
    [
        *NATURAL,
        "",
        "  ",
        "42 + 1",
        "A B",
        "Tom and NATO",
        "Mary, Tom, Paris",  # names: natural case keeps their capitals
        "Tom",
        "日本語 です",
        "他有艾滋病HIV。",
        "그는 IBM에서 일한다.",
        "मुझे IBM पसंद है।",
        "ნახე ეს სახლი",
        "\ud800 \0 \u2028",
        "iPhone McDonald XIV",
    ],
)
def test_other_lines_stay_as_they_are(recaser: Recaser, line: str) -> None:
    assert recaser.natural(line) == (line, None)


def test_outputs_get_the_case_of_the_line() -> None:
    assert LineCase.upper.apply("l'été à Gießen, ça va?") == "L'ÉTÉ À GIESSEN, ÇA VA?"
    assert LineCase.title.apply("l'été à Paris, ça va?") == "L'été À Paris, Ça Va?"
    assert LineCase.title.apply("e\u0301te\u0301 ǆep ნახე") == "E\u0301te\u0301 ǅep ნახე"
    for language in ("tr", "tur", "tr_TR", "az-Latn"):
        assert LineCase.upper.apply("istanbul ılık", language) == "İSTANBUL ILIK"
    assert LineCase.title.apply("istanbul ılık", "az") == "İstanbul Ilık"


def test_a_recaser_can_be_pickled(recaser: Recaser) -> None:
    line = LineCase.upper.apply(NATURAL[0])
    assert pickle.loads(pickle.dumps(recaser)).natural(line) == (NATURAL[0], LineCase.upper)


def test_names_keep_their_capitals(recaser: Recaser) -> None:
    assert recaser.natural("Tom Mary, Paris Mary, Tom Small") == ("Tom Mary, Paris Mary, Tom Small", None)


def test_translation_of_capitals_is_that_of_the_natural_line_in_capitals(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    translator = Translator([model.network], model.tokenizer, device="cpu", precision="fp32")
    line = "pack my box with five dozen jugs"  # lower case alone: the vocabulary of the tiny model knows no other
    natural = line[0].upper() + line[1:]
    (expected,) = translator.translate([natural])
    outputs = translator.translate_n_best([line.upper(), natural, ""], alignments=True)
    assert [best.text for best, *_ in outputs] == [expected.upper(), expected, ""]
    assert outputs[0][0].alignment == outputs[1][0].alignment
    assert outputs[0][0].ids == outputs[1][0].ids
    (without,) = translator.translate_n_best([line.upper()])[0]
    (annotated,) = translator.annotate([line.upper()], [without], alignments=True)
    assert (annotated.text, annotated.alignment) == (expected.upper(), outputs[0][0].alignment)
    assert (annotated.case, translator.before_recasing([line.upper()], outputs[0])[1][0].text) == (
        LineCase.upper,
        expected,
    )
    as_it_is = translator.translate([line.upper()], recase="off")
    with_prefix = translator.translate([line.upper()], prefixes=["x"])
    assert as_it_is != [expected.upper()]
    assert with_prefix == translator.translate([line.upper()], prefixes=["x"], recase="off")
    glossary = Glossary({"BOX": "jugs"})
    with_terms = translator.translate([line.upper()], glossary=glossary)
    assert with_terms == translator.translate([line.upper()], glossary=glossary, recase="off")
    banned = expected.upper().split()[0]
    assert banned not in translator.translate([line.upper()], never_emit=[banned])[0]


def test_a_line_among_several_source_languages_has_no_language(tmp_path: Path) -> None:
    """The capital I of Turkish is ı in lower case; in a mix of source languages a line may be in another one."""
    model = make_model(tmp_path)

    def natural(src: str, *others: str) -> str:
        mix = {f"other{i}": MixConfig(src=other) for i, other in enumerate(others)}
        data = dataclasses.replace(model.config.data, src=src, mix=mix)
        return Translator(model.network, model.tokenizer, data=data).natural_line("PACK MY BIG DISK")

    assert natural("en") == natural("tr", "en") == natural("en", "tr") != natural("tur")
    assert "ı" in natural("tur")
