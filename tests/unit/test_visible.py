"""What a terminal would not show is written as an escape."""

import pytest

from seq2seq.data.text.visible import visible

INVISIBLE = (
    "\x00\x1b\x7f\x9f\xad\u034f\u061c\u115f\u17b4\u180b\u180e\u200b\u200e\u200f\u2028\u202a\u202e\u2060\u2066\u2069"
    "\u3164\ufe00\ufe0f\ufeff\uffa0\ufff9\ud800\udfff\U0001d173\U000e0001\U000e0020\U000e007f\U000e0100\U000e01ef"
)


@pytest.mark.parametrize("character", INVISIBLE, ids=ascii)
def test_an_invisible_character_is_an_escape(character: str) -> None:
    assert visible(f"a{character}b") == "a" + character.encode("unicode_escape").decode() + "b"


def test_what_is_seen_is_kept() -> None:
    text = "Zoë, «ж» 你好 ไทย العربية ⟨ﬁ⟩ 😀 \u3000\xa0\u2010"
    assert visible(text) == text
    assert visible("abc", 2) == "ab…"
