"""Filters by single characters: control characters, damaged ones, letters."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import ClassVar

from seq2seq.config.field import Choice, field
from seq2seq.data.corpus import Pair
from seq2seq.data.filters.base import Filter
from seq2seq.data.text.scripts import letters_of
from seq2seq.errors import ConfigError

CONTROL = re.compile("[\0-\x08\n-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff]")
"""Control characters and unpaired surrogates, without the tab and U+0085, a line break inside real sentences."""
ZERO_WIDTH = re.compile("[\u200b\u2060\ufeff]")
"""Zero-width space, word joiner and byte-order mark; the joiners U+200C and U+200D and marks of direction are text."""


class Action(Choice):
    """What happens to a pair with damaged characters."""

    fix = "fix"
    drop = "drop"


@dataclass
class Unencodable(Filter):
    """Drop a pair with an unpaired surrogate, which UTF-8 cannot write, or a NUL, which ends a text in C."""

    finding: ClassVar[str] = "an unpaired surrogate or NUL"

    def __call__(self, pair: Pair) -> Pair | None:
        for line in pair:
            if not line.isprintable() and _UNENCODABLE.search(line):  # isprintable is faster and nearly always True
                return None
        return pair

    def keeps_all(self, src: str, tgt: str) -> bool:
        """See `Filter`."""
        try:
            return b"\0" not in src.encode() and b"\0" not in tgt.encode()
        except UnicodeEncodeError:
            return False


_UNENCODABLE = re.compile("[\0\ud800-\udfff]")


@dataclass
class ControlCharacters(Filter):
    """Drop a pair with a control character, or remove the character (`action=fix`); tabs are white space."""

    finding: ClassVar[str] = "control characters"
    action: Action = field(Action.drop, "drop or fix")

    def __call__(self, pair: Pair) -> Pair | None:
        return _replaced(pair, CONTROL, self.action)


@dataclass
class ZeroWidth(Filter):
    """Remove zero-width spaces and byte-order marks inside a line, or drop the pair (`action=drop`).

    Khmer, Thai and Burmese text may separate words by zero-width spaces: no preset has this filter.
    """

    finding: ClassVar[str] = "zero-width characters"
    action: Action = field(Action.fix, "drop or fix")

    def __call__(self, pair: Pair) -> Pair | None:
        return _replaced(pair, ZERO_WIDTH, self.action)


def _replaced(pair: Pair, characters: re.Pattern[str], action: Action) -> Pair | None:
    if all(line.isprintable() or not characters.search(line) for line in pair):
        return pair
    if action is Action.drop:
        return None
    src, tgt = (characters.sub("", line).strip() for line in pair)
    return (src, tgt) if src and tgt else None


@dataclass
class Mojibake(Filter):
    """Repair text that was decoded with the wrong character set (ftfy, Speer 2019); drop the pair if U+FFFD is in it.

    `action=drop` drops the pairs that could be repaired, too.
    """

    finding: ClassVar[str] = "wrongly decoded characters"
    package: ClassVar[str] = "ftfy"
    action: Action = field(Action.fix, "fix or drop")

    def __post_init__(self) -> None:
        _fix_encoding()

    def __call__(self, pair: Pair) -> Pair | None:
        if pair[0].isascii() and pair[1].isascii():
            return pair
        if any("\ufffd" in line for line in pair):
            return None
        src, tgt = map(repaired, pair)
        if (src, tgt) == pair:
            return pair
        return (src, tgt) if src and tgt and self.action is Action.fix else None


# The bytes 80 to BF, by which UTF-8 continues a character, as Latin-1 and Windows-1252 show them, and as 1251 does.
_LATIN = "\x80-\xbfŒœŠšŸŽžƒˆ˜–—‘’‚“”„†‡•…‰‹›€™"
_CYRILLIC = "\x80-\xbfЂЃѓЉЊЌЋЏђљњќћџЎўЈҐЁЄЇІіґё№єјЅѕї–—‘’‚“”„†‡•…‰‹›€™"
_SUSPICIOUS = re.compile(f"[\x80-\x84\x86-\x9f]|[\xc2-\xf4][{_LATIN}]|[РС][{_CYRILLIC}]")


def repaired(line: str) -> str:
    """Return a line as ftfy repairs its encoding; only suspicious lines are given to ftfy, which is slow."""
    if line.isascii() or not _SUSPICIOUS.search(line):
        return line
    text: str = _fix_encoding()(line).strip()
    return text


@functools.cache
def _fix_encoding():  # type: ignore[no-untyped-def]  # ftfy has no type information
    try:
        from ftfy import fix_encoding
    except ModuleNotFoundError as error:
        raise ConfigError(f"the filter mojibake needs {error.name}: pip install 'attentional-lstm[data]'") from None
    return fix_encoding


_DIGIT = re.compile(r"\d")


@dataclass
class AlphaRatio(Filter):
    """Drop a pair a side of which is mostly signs, not letters or digits (0.5: OpusCleaner's alpha_ratio, of words)."""

    finding: ClassVar[str] = "few letters"
    min: float = field(0.5, "share of letters, vowel signs and digits in what is no space", at_least=0, at_most=1)

    def __call__(self, pair: Pair) -> Pair | None:
        return pair if all(map(self._has_letters, pair)) else None

    def _has_letters(self, line: str) -> bool:
        size = len(line) - line.count(" ")
        return letters_of(line) + len(_DIGIT.findall(line)) >= self.min * size
