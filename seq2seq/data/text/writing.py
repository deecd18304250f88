"""Scripts that write no spaces between words: their words, and how sentences are joined.

Tibetan and the scripts of South-East Asia (Thai, Lao, Khmer, Burmese, …) write a space after a sentence or a clause;
Chinese and Japanese write none at all.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Sequence

_CJK = (
    "\u2e80-\u312f\u31a0-\u33ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff9f"
    "\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)
"""Han, kana and bopomofo, their punctuation and full-width forms."""
_SOUTH_EAST = "\u0e00-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\ua980-\ua9ff\uaa60-\uaadf\u1b00-\u1b7f"
"""Thai, Lao, Tibetan, Burmese; Khmer; Tai Le, New Tai Lue; Tai Tham; Javanese; Tai Viet; Balinese."""
_MARKS = "".join(c for c in map(chr, range(0x0E00, 0xAAE0)) if unicodedata.category(c).startswith("M"))
_WORD = re.compile(f"(?!\\s)[{_CJK}{_SOUTH_EAST}][{_MARKS}]*|[^\\s{_CJK}{_SOUTH_EAST}]+")
_NO_SPACES = re.compile(f"[{_CJK}{_SOUTH_EAST}]")
_CJK_CHARACTER = re.compile(f"[{_CJK}]")
_SOUTH_EAST_CHARACTER = re.compile(f"[{_SOUTH_EAST}]")
_SOUTH_EAST_WORD = 4  # characters of a word, about


def word_spans(text: str) -> list[tuple[int, int]]:
    """Return begin and end of each word.

    Words are separated by white space; in a script without spaces, every character (with its combining marks) is one.
    """
    return [match.span() for match in _WORD.finditer(text)]


def words_of(text: str) -> Sequence[str]:
    """Return the words of `word_spans`."""
    words = _split(text)
    return _WORD.findall(text) if words is None else words


def spaced_words(text: str) -> Sequence[str]:
    """Return the words between spaces, without characters of scripts that write none."""
    words = _split(text)
    return _NO_SPACES.sub(" ", text).split() if words is None else words


def count_words(text: str) -> int:
    """Return about how many words a text has.

    A Chinese or Japanese character counts as one word, four characters of Thai, Khmer, … as one.
    """
    words = _split(text)
    if words is not None:
        return len(words)
    chinese, south_east = len(_CJK_CHARACTER.findall(text)), len(_SOUTH_EAST_CHARACTER.findall(text))
    return chinese + -(-south_east // _SOUTH_EAST_WORD) + len(spaced_words(text))


@functools.lru_cache(maxsize=4)  # several filters ask for the words of the same two sentences
def _split(text: str) -> tuple[str, ...] | None:
    """Return the words between spaces; None if a character is of a script without spaces."""
    return tuple(text.split()) if text.isascii() or not _NO_SPACES.search(text) else None


def ends_without_stop(text: str) -> bool:
    """Return True if the last character is Thai, Lao, Khmer, …, whose sentences need no full stop."""
    return _SOUTH_EAST_CHARACTER.match(text[-1:]) is not None


def join_sentences(texts: Sequence[str]) -> str:
    """Join the texts that are not empty by spaces, without a space before or after a Chinese or Japanese character."""
    joined = ""
    for text in filter(None, texts):
        touching = joined[-1:] + text[0]
        joined += ("" if not joined or _CJK_CHARACTER.search(touching) else " ") + text
    return joined


def lacks_spaces(lines: Sequence[str]) -> bool:
    """Return True if most characters of the text are of scripts without spaces, and it was not segmented into words."""
    text = "\n".join(lines)
    size = sum(map(len, map(str.strip, lines)))
    return 2 * len(_NO_SPACES.findall(text)) > size and 8 * text.count(" ") < size


def is_chinese_or_japanese(lines: Sequence[str]) -> bool:
    """Return True if, of the characters in scripts without spaces, most are Chinese or Japanese."""
    text = "\n".join(lines)
    return 2 * len(_CJK_CHARACTER.findall(text)) > len(_NO_SPACES.findall(text))
