"""Training text is stripped, and pairs with a blank side are dropped and counted."""

import pytest

from seq2seq.data.cleaning import clean
from seq2seq.data.corpus import ParallelText


def test_clean_drops_pairs_with_a_blank_side_and_only_strips_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "seq2seq")
    text = ParallelText([" a ", "b", "\u3000", "", "c  \u2028 d"], ["A", " ", "x", "", "e\u0301"])
    assert list(clean(text)) == [("a", "A"), ("c  \u2028 d", "e\u0301")]
    assert caplog.messages == ["dropped 3 of 5 training pairs: one side is blank"]


def test_clean_text_is_unchanged_and_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "seq2seq")
    text = ParallelText(["a"], ["A"])
    assert clean(text) == text
    assert not caplog.messages
