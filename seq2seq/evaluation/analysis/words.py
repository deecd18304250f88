"""The words that an analysis compares: without the punctuation that is written next to them.

`data.writing` separates words at white space; "ensemble." and "ensemble" would be two words of different frequency.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from seq2seq.data.text.writing import words_of


def tokens(line: str) -> list[str]:
    """Return words, numbers and punctuation marks; in a script without spaces every character is a word.

    An apostrophe stays with the word before it (l'|homme), and inside a word if one letter follows (don't).
    """
    return [token for word in words_of(line) for token in _tokens(word)]


def words(line: str) -> list[str]:
    """Return words and numbers, with their case folded."""
    return [token.casefold() for token in tokens(line) if is_word(token)]


def is_word(token: str) -> bool:
    """Return True for a word or number, False for a punctuation mark or symbol."""
    return token[0].isalnum() or unicodedata.category(token[0])[0] in "LMN"


def is_alphabetic(word: str) -> bool:
    """Return True if a word has letters, vowel signs, accents and joiners only (Hindi, pointed Hebrew)."""
    return word.isalpha() or all(unicodedata.category(char)[0] in "LM" or char in _JOINERS for char in word)


def joined(line: Sequence[str], lacks_spaces: bool) -> str:
    """Return tokens as text: with spaces between them, except after an apostrophe, or without."""
    if lacks_spaces:
        return "".join(line)
    return "".join(token if len(token) > 1 and token[-1] in "'’" else f"{token} " for token in line).rstrip()


def word_counts(lines: Iterable[str]) -> Counter[str]:
    """Return how often each word occurs in a text, such as the target side of the training text."""
    written: Counter[str] = Counter()
    for line in lines:
        written.update(words_of(line))
    counts: Counter[str] = Counter()
    for text, count in written.items():
        for word in words(text):
            counts[word] += count
    return counts


def ngrams(line: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    """Return how often each n-gram of an order occurs."""
    return Counter(zip(*(line[start:] for start in range(order)), strict=False))


def content_words(line: Iterable[str]) -> set[str]:
    """Return the words that are long enough to have a meaning of their own; in a script without spaces, all."""
    return {word for word in line if len(word) >= 4 or ord(word[0]) > _LAST_SPACED}


_JOINERS = "\u200c\u200d"
_LAST_SPACED = 0x0E00
"""Before it are the Latin, Greek, Cyrillic, Hebrew, Arabic and Indic letters; words of later scripts are short."""


@functools.lru_cache(maxsize=1 << 16)
def _tokens(word: str) -> tuple[str, ...]:
    return (word,) if word.isalnum() else tuple(_pattern().findall(word))


@functools.cache
def _pattern() -> re.Pattern[str]:
    marks = "".join(c for c in map(chr, range(0x300, 0x1F000)) if unicodedata.category(c)[0] == "M")
    letter = rf"[\w{_JOINERS}{marks}]"
    return re.compile(
        rf"\d+(?:[.,:]\d+)+|{letter}+(?:['’]{letter}(?!{letter}))*(?:['’](?={letter}))?|[^\s\w]", re.DOTALL
    )
