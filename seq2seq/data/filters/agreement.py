"""Filters by what both sides of a translation should share, or should not."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

from seq2seq.config.field import field
from seq2seq.data.corpus import Pair
from seq2seq.data.filters.base import Filter
from seq2seq.data.text.writing import count_words, ends_without_stop


@dataclass
class Identical(Filter):
    """Drop a pair of equal sides, ignoring case: text that was not translated (Khayrallah and Koehn 2018).

    Names and single words are often right: shorter sides than `words` words are kept.
    """

    finding: ClassVar[str] = "both sides are the same text"
    words: int = field(3, "words that a side must have to be compared", at_least=1, at_most=1000)

    def __call__(self, pair: Pair) -> Pair | None:
        src, tgt = pair
        same = src == tgt or (src[:1].casefold() == tgt[:1].casefold() and src.casefold() == tgt.casefold())
        return None if same and count_words(src) >= self.words else pair


_DIGIT = re.compile(r"\d")


@dataclass
class NumMismatch(Filter):
    """Drop a pair whose sides have numbers, but different ones (OpusCleaner's num_mismatch).

    Digits are compared, each as often as it occurs: 1,000 and 1.000, 10:30 and 10.30, ٣ and 3 agree. A side without
    digits agrees with everything: its numbers may be words.
    """

    finding: ClassVar[str] = "the numbers differ"
    min: float = field(0.5, "share of the digits that both sides have", at_least=0, at_most=1)

    def __call__(self, pair: Pair) -> Pair | None:
        src, tgt = (_DIGIT.findall(line) for line in pair)
        if not src or not tgt or src == tgt:
            return pair
        src_count, tgt_count = (Counter(map(int, digits)) for digits in (src, tgt))
        return pair if (src_count & tgt_count).total() >= self.min * (src_count | tgt_count).total() else None


_ADDRESS = re.compile(r"\w{1,20}://[^\s<>]+|www\.\w[^\s<>]*|[\w.+-]{0,64}\w@[\w-]{1,64}\.\w[\w.-]*")
_AFTER_ADDRESS = ".,;:!?…)]}'\"»”’。、，！？）"


@dataclass
class UrlMismatch(Filter):
    """Drop a pair one side of which has more web or e-mail addresses than the other (OpusCleaner's url_mismatch)."""

    finding: ClassVar[str] = "an address is on one side only"

    def __call__(self, pair: Pair) -> Pair | None:
        src, tgt = (len(addresses(line)) for line in pair)
        return pair if src == tgt else None


def addresses(line: str) -> list[str]:
    """Return the web and e-mail addresses in a line, without the punctuation after them."""
    if not ("://" in line or "@" in line or "www." in line):
        return []
    return [address.rstrip(_AFTER_ADDRESS) for address in _ADDRESS.findall(line)]


_FINAL = tuple(".!?…。！？．｡؟۔।॥။៕։።፧⸮;\u037e:")  # Greek asks with ; and Armenian often ends in :
_CLOSING = " \u00a0\u202f\"'’”»«“‹›)]}」』）】〉》"


@dataclass
class TerminalPunctuation(Filter):
    """Drop a pair only one side of which ends like a sentence (OpusFilter's TerminalPunctuation).

    The other may be cut off. Thai, Lao and Khmer, which need no full stop, agree with everything.
    """

    finding: ClassVar[str] = "only one side ends like a sentence"

    def __call__(self, pair: Pair) -> Pair | None:
        if len(set(map(has_final_punctuation, pair))) == 1:
            return pair
        return pair if any(map(_needs_no_stop, pair)) else None


def ends_like_a_sentence(line: str) -> bool:
    """Return True if a line ends in a mark that ends a sentence, or in a script that needs none."""
    return has_final_punctuation(line) or _needs_no_stop(line)


def has_final_punctuation(line: str) -> bool:
    """Return True if a line ends in a mark that ends a sentence, before closing quotes and brackets."""
    return line.rstrip(_CLOSING).endswith(_FINAL)


def _needs_no_stop(line: str) -> bool:
    return ends_without_stop(line.rstrip(_CLOSING))
