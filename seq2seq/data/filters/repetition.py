"""Filters by what occurs again: inside a sentence, and in the text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from seq2seq.config.field import Choice, field
from seq2seq.data.corpus import Pair
from seq2seq.data.filters.base import Filter
from seq2seq.data.text.digests import DigestSet
from seq2seq.data.text.writing import words_of


class By(Choice):
    """What two pairs have in common if one of them is a duplicate."""

    pair = "pair"
    src = "src"
    tgt = "tgt"


@dataclass
class Deduplicate(Filter):
    """Drop a pair that occurred before, compared by 8-byte digests of its texts; the first is kept.

    `by=src` or `by=tgt` keeps one pair per sentence of that side, and so loses other translations of it.
    """

    finding: ClassVar[str] = "a duplicate"
    by: By = field(By.pair, "pair, src or tgt")

    def __post_init__(self) -> None:
        self._seen = DigestSet()

    def __call__(self, pair: Pair) -> Pair | None:
        text = "\n".join(pair) if self.by is By.pair else pair[self.by is By.tgt]
        return pair if self._seen.add(text) else None


@dataclass
class RepeatedNgram(Filter):
    """Drop a pair one side of which repeats one to four words over and over, and the other does not (cf. OpusFilter).

    Both sides of "Tora! Tora! Tora! Tora!" repeat, so it is kept.
    """

    finding: ClassVar[str] = "one side repeats itself"
    times: int = field(4, "occurrences in a row", at_least=2, at_most=1000)

    def __call__(self, pair: Pair) -> Pair | None:
        src, tgt = (longest_repetition(line, self.times) for line in pair)
        few, many = sorted((src, tgt))
        return None if many >= self.times and 2 * few <= many else pair


MAX_ORDER = 4


def longest_repetition(line: str, times: int = 2) -> int:
    """Return how often in a row one to four words occur at most; 1 if certainly less than `times`."""
    words = words_of(line)
    if len(words) - len(set(words)) < times - 1:
        return 1
    longest = 1
    for order in range(1, min(MAX_ORDER, len(words) // 2) + 1):
        run = 0
        for word, before in zip(words[order:], words, strict=False):
            run = run + 1 if word == before else 0
            longest = max(longest, run // order + 1)
    return longest
