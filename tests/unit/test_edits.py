"""Edits of sentences: what each one changes, and what it leaves alone."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from seq2seq.data.text.edits import (
    copied,
    has_case,
    misspelt,
    noise,
    punctuation,
    spacing,
    title,
    title_case,
    typos,
    upper,
    without_final,
)

ODD_LINES = [
    "",
    "a",
    "?",
    "¿?",
    "😀",
    " ",
    "你好。",
    "سلام",
    "สวัสดี",
    "x" * 50_000,
    "ab cd " * 10_000,
    "\u0301",
    "İ",
    "ﬁ",
]


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        (("I see.", "Ich sehe."), ("I SEE.", "ICH SEHE.")),
        (("a street", "eine Straße"), ("A STREET", "EINE STRASSE")),
        (("Hello.", "你好。"), ("HELLO.", "你好。")),  # the target has no case, the source shows none is wanted
        (("你好。", "Hello."), ("你好。", "Hello.")),  # nothing in the source says that capitals are wanted
        (("سلام", "Hello."), ("سلام", "Hello.")),
        (("我有一个 iPhone 手机", "I have an iPhone"), ("我有一个 iPhone 手机", "I have an iPhone")),
        (("OK!", "Gut!"), ("OK!", "Gut!")),  # capitals already
        (("12:30", "halb eins"), ("12:30", "halb eins")),
        (("Привет", "hello"), ("ПРИВЕТ", "HELLO")),
        (("bir ılık iş", "a warm job"), ("BIR ILIK IŞ", "A WARM JOB")),  # Turkish i, as documented
    ],
)
def test_upper_case_of_both_sides_if_the_source_shows_it(pair: tuple[str, str], expected: tuple[str, str]) -> None:
    assert upper(*pair) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("the NATO summit", "The NATO Summit"),
        ("“quoted” (words) don't", "“Quoted” (Words) Don't"),
        ("well-known 3rd", "Well-known 3rd"),
        ("ǆep éa ﬁne", "ǅep Éa Fine"),
        ("你好 سلام", "你好 سلام"),
        ("", ""),
    ],
)
def test_title_case_starts_words_with_capitals(line: str, expected: str) -> None:
    assert title_case(line) == expected


def test_title_case_needs_a_source_that_shows_it() -> None:
    assert title("a b.", "c d.") == ("A B.", "C D.")
    assert title("你好", "good day") == ("你好", "good day")
    assert title("Hello", "guten Tag") == ("Hello", "guten Tag")


@pytest.mark.parametrize(("line", "expected"), [("ab1", True), ("12", False), ("", False), ("你好 a", False)])
def test_case_of_a_line(line: str, expected: bool) -> None:
    assert has_case(line) is expected


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        (("Really?!", "Wirklich?"), ("Really", "Wirklich")),
        (("¿Dónde estás?", "Où es-tu ?"), ("Dónde estás", "Où es-tu")),
        (("你好。", "Hi."), ("你好", "Hi")),
        (("नमस्ते।", "Hi."), ("नमस्ते", "Hi")),
        (("a dog", "ein Hund"), ("a dog.", "ein Hund.")),
        (("一只狗", "a dog"), ("一只狗。", "a dog.")),
        (("สวัสดี", "hello"), ("สวัสดี", "hello")),  # Thai has no full stop
        (("a dog.", "ein Hund"), ("a dog.", "ein Hund")),  # the sides differ: nothing to learn
        (("...", "…"), ("...", "…")),  # nothing would be left
        (("He said: “No.”", "Er sagte: „Nein.“"), ("He said: “No.”", "Er sagte: „Nein.“")),
        (("", ""), ("", "")),
    ],
)
def test_final_punctuation_goes_or_comes_on_both_sides(pair: tuple[str, str], expected: tuple[str, str]) -> None:
    assert punctuation(*pair) == expected


@pytest.mark.parametrize("line", ["¿?", "!", " . "])
def test_a_line_of_punctuation_stays(line: str) -> None:
    assert without_final(line) == line


def test_a_typo_is_one_edit_of_one_word() -> None:
    kinds = set()
    for seed in range(200):
        word = misspelt("keyboard", random.Random(seed))
        assert word != "keyboard"
        assert abs(len(word) - 8) <= 1
        kinds.add((len(word), sorted(word) == sorted("keyboard")))
    assert kinds == {(7, False), (8, True), (8, False), (9, False)}  # dropped, exchanged, replaced, doubled


def test_a_neighbouring_key_keeps_the_case() -> None:
    words = {misspelt("GGGG", random.Random(seed)) for seed in range(100)} | {
        misspelt("gggg", random.Random(seed)) for seed in range(100)
    }
    replaced = {letter for word in words if len(word) == 4 for letter in word} - {"g", "G"}
    assert {letter.lower() for letter in replaced} == set("rtyfhvbn")
    assert {letter.isupper() for letter in replaced} == {True, False}


def test_typos_grow_with_the_line_and_spare_short_words_and_scripts_without_spaces() -> None:
    line = " ".join(["lorem"] * 40)
    words = typos(line, random.Random(1)).split(" ")
    assert len(words) == 40
    assert sum(word != "lorem" for word in words) == 5
    for spared in ("I am in it", "你好世界你好世界", "สวัสดีชาวโลก", "1234567 89"):
        assert typos(spared, random.Random(1)) == spared


def test_spacing_joins_splits_or_adds_before_punctuation() -> None:
    seen = {spacing("big dogs.", random.Random(seed)) for seed in range(100)}
    assert seen == {"bigdogs.", "big d ogs.", "big do gs.", "big dog s.", "big dogs ."}
    assert spacing("ab", random.Random(1)) == "ab"


def test_copies_are_the_same_on_both_sides() -> None:
    added = set()
    for seed in range(200):
        src, tgt = copied("good day", "guten Tag", random.Random(seed))
        assert src.replace("good day", "*") == tgt.replace("guten Tag", "*") != "*"
        added.add(src.replace("good day", "*"))
    assert len(added) > 80
    assert any(text.startswith("<") and text.endswith(">") for text in added)
    assert any("https://" in text for text in added)
    assert any(ord(text[0]) > 0x1F000 for text in added)


def test_noise_is_short_words_of_assigned_characters() -> None:
    lines = [noise(random.Random(seed)) for seed in range(100)]
    assert len(set(lines)) == 100
    for line in lines:
        assert 1 <= len(line.split()) <= 6
        assert all(2 <= len(word) <= 5 and word.isprintable() for word in line.split())


@pytest.mark.parametrize("line", ODD_LINES, ids=lambda line: repr(line[:8]))
@pytest.mark.parametrize(
    "edit",
    [
        upper,
        title,
        punctuation,
        lambda src, tgt: (typos(src, random.Random(1)), tgt),
        lambda src, tgt: (spacing(src, random.Random(1)), tgt),
        lambda src, tgt: copied(src, tgt, random.Random(1)),
    ],
)
def test_any_line_can_be_edited_and_none_becomes_blank(edit: Callable[[str, str], tuple[str, str]], line: str) -> None:
    for src, tgt in ((line, "a word."), ("a word.", line), (line, line)):
        new = edit(src, tgt)
        assert all(after.strip() for before, after in zip((src, tgt), new, strict=True) if before.strip())
