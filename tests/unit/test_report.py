"""The table of scores, on a terminal and in a pipe."""

import io
import re
import sys

import pytest

from seq2seq.evaluation.metrics import Score, Scores
from seq2seq.evaluation.report import print_scores

VALUES = (5.0, 20.125, 131.5, 6.25), (34.567, 60.0, 48.0, 100.0)
SETS = [[Score(value, f"signature {i}") for i, value in enumerate(values, start=1)] for values in VALUES]
RESULTS = {"test": Scores(2, *SETS[0]), "a longer name": Scores(1000, *SETS[1])}


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
        "BLEU: signature 1",
        "chrF: signature 2",
        "TER: signature 3",
        "BLEU tok lc: signature 4",
    ]


def test_a_terminal_gets_the_same_words_in_a_drawn_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    drawn, plain = printed(monkeypatch, Terminal()), printed(monkeypatch, io.StringIO())
    assert "┏━" in drawn
    assert re.sub(r"\x1b\[\d*m|[\u2500-\u257f]", " ", drawn).split() == plain.split()
