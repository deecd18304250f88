"""The table of scores, on a terminal and in a pipe."""

import dataclasses
import io
import re
import sys

import pytest

from seq2seq.evaluation.metrics import Score, Scores
from seq2seq.evaluation.report import print_scores

SIGNATURES = [f"signature {value}" for value in (5.0, 20.125, 131.5, 6.25)]
RESULTS = {
    "test": Scores(2, *map(Score, (5.0, 20.125, 131.5, 6.25), SIGNATURES)),
    "a longer name": Scores(1000, *map(Score, (34.567, 60.0, 48.0, 100.0), SIGNATURES)),
}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(monkeypatch: pytest.MonkeyPatch, stdout: io.StringIO) -> str:
    monkeypatch.setattr(sys, "stdout", stdout)
    print_scores(RESULTS)
    return stdout.getvalue()


def test_a_pipe_gets_aligned_columns_and_the_signatures_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert printed(monkeypatch, io.StringIO()).splitlines() == [
        "test set        BLEU   chrF     TER  BLEU tok lc  sentences",
        "test            5.00  20.12  131.50         6.25          2",
        "a longer name  34.57  60.00   48.00       100.00      1,000",
        "",
        "BLEU: signature 5.0",
        "chrF: signature 20.125",
        "TER: signature 131.5",
        "BLEU tok lc: signature 6.25",
    ]


def test_signatures_that_differ_name_their_test_sets(capsys: pytest.CaptureFixture[str]) -> None:
    """As the BLEU tokenizers of two target languages do."""
    scores = RESULTS["test"]
    other = dataclasses.replace(scores, bleu=Score(1.0, "signature zh"))
    print_scores({"test": scores, "zh.test": other, "more": scores})
    assert capsys.readouterr().out.splitlines()[5:] == [
        "BLEU (test, more): signature 5.0",
        "BLEU (zh.test): signature zh",
        "chrF: signature 20.125",
        "TER: signature 131.5",
        "BLEU tok lc: signature 6.25",
    ]


def test_a_terminal_gets_the_same_words_in_a_drawn_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    drawn, plain = printed(monkeypatch, Terminal()), printed(monkeypatch, io.StringIO())
    assert "┏━" in drawn
    assert re.sub(r"\x1b\[\d*m|[\u2500-\u257f]", " ", drawn).split() == plain.split()
