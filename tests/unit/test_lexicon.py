"""lexicon.yaml is checked entry by entry, and the error names the invalid one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from seq2seq.data.corpora.grammar.lexicon import FILE, load
from seq2seq.data.corpora.grammar.words import Case
from seq2seq.errors import DataError

TEXT = FILE.read_text(encoding="utf-8")


def edited(folder: Path, old: str, new: str) -> Path:
    """Write the lexicon with one replacement."""
    assert TEXT.count(old) == 1
    file = folder / "lexicon.yaml"
    file.write_text(TEXT.replace(old, new), encoding="utf-8")
    return file


def test_an_added_word_has_its_regular_forms(tmp_path: Path) -> None:
    added = "\nverbs:\n  - {en: carry off, de: arbeiten, prefix: weg, subjects: h}\n"
    words = load(edited(tmp_path, "\nverbs:\n", added))
    verb = words.verbs["carry off"]
    assert (verb.en_third, verb.en_past) == ("carries off", "carried off")
    assert verb.present == ("arbeite", "arbeitest", "arbeitet", "arbeiten", "arbeiten")
    assert (verb.participle, verb.preterite, verb.object_case) == ("weggearbeitet", None, None)
    assert words.nouns["child"].de == ("Kind", "Kind", "Kind", "Kindes")
    assert words.verbs["like"].object_case is Case.NOM


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{en: man, en_plural: men, de: Mann, ", "{en: man, en_plural: men, ", "nouns[1]: {'en': 'man', .*} lacks de$"),
        ("{en: laugh, de:", "{en: laugh, past: laught, de:", "verbs[2]: unknown key past; known: en, de, "),
        ('en: "on", de:', "en: on, de:", "prepositions[2].en: must be of type str, not True"),
        ("de: ein, declension: ein, weight: 18", "declension: ein, weight: x", "weight: must be of type int, not 'x'"),
        ("de_plural: Frauen, gender: f", "gender: w", "nouns[2].gender: must be one of m, f, n, not 'w'"),
        ("de: [ich, mich, mir]", "de: ich", "pronouns[1].de: must be a list of strings, not 'ich'"),
        ('key: "know#that", ', "", "verbs[40]: there is another 'know'; add a key"),
        ("  - {en: laugh, ", "  - laugh\n  - {en: laugh, ", "verbs[2]: must be a mapping, not 'laugh'"),
        ("\ntimes:", "\nhours:", "must contain exactly the tables nouns, verbs, "),
        ("\nverbs:\n", "\nverbs: {\n", "cannot be read: "),
    ],
)  # fmt: skip
def test_an_invalid_entry_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    file = edited(tmp_path, old, new)
    pattern = re.escape(f"{file}: ") + ".*" + message.replace("[", r"\[").replace("]", r"\]")
    with pytest.raises(DataError, match=pattern):
        load(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"words\.yaml: cannot be read"):
        load(tmp_path / "words.yaml")
