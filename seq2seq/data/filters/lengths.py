"""Filters by length. Words are counted as `writing.count_words` does, so that Chinese and Thai sentences have some."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from seq2seq.config.field import field
from seq2seq.data.corpus import Pair
from seq2seq.data.filters.base import Filter
from seq2seq.data.text.writing import count_words, spaced_words


@dataclass
class Empty(Filter):
    """Drop a pair with a blank side."""

    finding: ClassVar[str] = "one side is blank"

    def __call__(self, pair: Pair) -> Pair | None:
        return pair if pair[0].strip() and pair[1].strip() else None

    def keeps_all(self, src: str, tgt: str) -> bool:
        """See `Filter`."""
        return not any("\n\n" in f"\n{text}\n" for text in (src, tgt))  # also a block of one pair, whose text is empty


@dataclass
class MaxLength(Filter):
    """Drop a pair with a longer side (150 words: OpusCleaner's max_length)."""

    finding: ClassVar[str] = "a side is too long"
    words: int = field(150, "words of a side", at_least=1, at_most=1_000_000)
    characters: int = field(1500, "characters of a side", at_least=1, at_most=10_000_000)

    def __call__(self, pair: Pair) -> Pair | None:
        for line in pair:
            if len(line) > self.characters or (len(line) > self.words and count_words(line) > self.words):
                return None
        return pair


@dataclass
class MinLength(Filter):
    """Drop a pair with a shorter side (1 word: OpusFilter's LengthFilter)."""

    finding: ClassVar[str] = "a side is too short"
    words: int = field(1, "words of a side", at_least=0, at_most=1_000_000)
    characters: int = field(1, "characters of a side", at_least=0, at_most=10_000_000)

    def __call__(self, pair: Pair) -> Pair | None:
        short = any(len(line) < self.characters or count_words(line) < self.words for line in pair)
        return None if short else pair


@dataclass
class LengthRatio(Filter):
    """Drop a pair one side of which has more than `max` times the words of the other (3: OpusFilter's LengthRatio).

    Short sentences differ more: "Hi." may be "Guten Tag, mein Herr." They are compared from `words` words on.
    """

    finding: ClassVar[str] = "the lengths of the sides differ too much"
    max: float = field(3.0, "words of the longer side per word of the shorter", at_least=1, at_most=1000)
    words: int = field(8, "words that the longer side must have to be compared", at_least=1, at_most=1000)

    def __call__(self, pair: Pair) -> Pair | None:
        short, long = sorted((count_words(pair[0]), count_words(pair[1])))
        return None if long >= self.words and long > self.max * short else pair


_ADDRESS = re.compile(r"\S*(?:://|www\.|@)\S*")


@dataclass
class MaxWordLength(Filter):
    """Drop a pair with a longer word (40: OpusFilter's LongWordFilter); addresses and Chinese, Thai, … do not count."""

    finding: ClassVar[str] = "a word is too long"
    characters: int = field(40, "characters of a word", at_least=1, at_most=100_000)

    def __call__(self, pair: Pair) -> Pair | None:
        return None if any(map(self._has_longer, pair)) else pair

    def _has_longer(self, line: str) -> bool:
        if len(line) <= self.characters or max(map(len, spaced_words(line)), default=0) <= self.characters:
            return False
        words = spaced_words(_ADDRESS.sub(" ", line))
        return max(map(len, words), default=0) > self.characters
