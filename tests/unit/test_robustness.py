"""Variants of the test sets, their scores, and their rows in the table."""

from __future__ import annotations

import io
import sys

import pytest

from seq2seq.config.data import RobustnessName
from seq2seq.data.text.robustness import clean_name, ignores_case, with_variants
from seq2seq.evaluation.metrics import score
from seq2seq.evaluation.report import print_scores

SRC = ["The quick brown fox jumps.", "¿Where are the wooden benches?", "no stop"]
TGT = ["Der schnelle Fuchs springt.", "Wo sind die Straßen?", "kein Punkt."]


def test_the_variants_of_a_test_set() -> None:
    sets = with_variants({"test": [SRC, TGT, TGT[::-1]]}, list(RobustnessName))
    assert list(sets) == ["test", "test.upper", "test.title", "test.nopunct", "test.typos"]
    assert sets["test"] == [SRC, TGT, TGT[::-1]]
    assert list(map(list, sets["test.upper"][:2])) == [[s.upper() for s in SRC], [t.upper() for t in TGT]]
    assert sets["test.title"][0][1] == "¿Where Are The Wooden Benches?"
    nopunct = [["The quick brown fox jumps", "Where are the wooden benches", "no stop"],
               ["Der schnelle Fuchs springt", "Wo sind die Straßen", "kein Punkt."]]  # fmt: skip
    assert list(sets["test.nopunct"][:2]) == nopunct
    typos, *references = sets["test.typos"]
    assert references == [TGT, TGT[::-1]]
    assert [a != b for a, b in zip(typos, SRC, strict=True)] == [True, True, True]
    assert with_variants({"test": [SRC, TGT]}, [RobustnessName.typos])["test.typos"][0] == typos  # without chance


def test_names_of_variants() -> None:
    assert [clean_name(name) for name in ("test", "test.upper", "a.b.typos", "a.b", ".upper")] == [
        None, "test", "a.b", None, None
    ]  # fmt: skip
    assert [ignores_case(name) for name in ("test.upper", "test.title", "test.nopunct", "upper")] == [
        True, True, False, False
    ]  # fmt: skip


def test_capitals_are_scored_ignoring_case_and_the_signature_says_so() -> None:
    scores = score([t.lower() for t in TGT], [t.upper().replace("SS", "ß") for t in TGT], ignore_case=True)
    assert scores.bleu.value == pytest.approx(100)
    assert scores.chrf.value == pytest.approx(100)
    assert scores.ter.value == 0
    assert "case:lc" in scores.bleu.signature
    assert "case:lc" in scores.chrf.signature
    assert "case:mixed" in score(TGT, TGT).bleu.signature


def test_the_table_shows_what_each_variant_loses(monkeypatch: pytest.MonkeyPatch) -> None:
    longer = [f"{line} and so on and so on" for line in TGT]
    worse = [f"{line} and so off and so on" for line in TGT]
    clean, upper = score(longer, longer), score([t.upper() for t in worse], longer, ignore_case=True)
    typos = score(worse, longer)
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    print_scores({"test": clean, "test.upper": upper, "test.typos": typos})
    head, test, capitals, misspelt, *rest = out.getvalue().splitlines()
    assert head.endswith("sentences  BLEU lost")
    assert test.split()[-1] == "3"
    assert capitals.split()[-1] == f"{100 - upper.bleu.value:.2f}"
    assert misspelt.split()[-1] == f"{100 - typos.bleu.value:.2f}"
    assert [line.partition(":")[0] for line in rest if line] == [
        "BLEU (test, test.typos)", "BLEU (test.upper)", "chrF (test, test.typos)", "chrF (test.upper)", "TER",
        "BLEU tok lc",
    ]  # fmt: skip
