"""Words and sentences in scripts that write no spaces between words."""

import pytest

from seq2seq.data.text.writing import is_chinese_or_japanese, join_sentences, lacks_spaces, word_spans


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" the  quick\tfox. ", ["the", "quick", "fox."]),
        ("我用 Python3写。", ["我", "用", "Python3", "写", "。"]),
        ("\u3000私は", ["私", "は"]),
        ("ที่นี่", ["ที่", "นี่"]),  # vowels and tone marks above belong to their consonant
        ("한국어 문장", ["한국어", "문장"]),
        ("😀 ok😀", ["😀", "ok😀"]),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert [text[begin:end] for begin, end in word_spans(text)] == words


def test_sentences_are_joined_as_their_script_does() -> None:
    assert join_sentences(["", "One.", "", "Two."]) == "One. Two."
    assert join_sentences(["我爱你。", "你好", "OK", "好"]) == "我爱你。你好OK好"
    assert join_sentences(["한국어.", "문장."]) == "한국어. 문장."
    assert join_sentences([]) == ""


@pytest.mark.parametrize(
    ("lines", "lacks"),
    [
        (["狗看见房子。", "iPhone很好用"], True),
        (["狗 看见 房子 。"], False),
        (["สวัสดีครับ ผมชื่อสมชายนะครับผม"], True),
        (["A dog sees 房子"], False),
        (["개가 집을 본다"], False),
        (["", " "], False),
        ([], False),
    ],
)
def test_text_without_spaces_is_recognised(lines: list[str], lacks: bool) -> None:
    assert lacks_spaces(lines) is lacks


def test_chinese_and_thai_are_told_apart() -> None:
    assert is_chinese_or_japanese(["狗", "ไ"] * 2 + ["猫"])
    assert not is_chinese_or_japanese(["狗", "ไทย"])
