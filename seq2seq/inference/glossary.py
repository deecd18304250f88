"""Glossary: target terms that a translation must contain if their source terms occur in the line.

`line_parts` encodes the terms as phrases, which `search/constraints.py` forces into the output.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from seq2seq.data.files.reading import read_lines
from seq2seq.errors import DataError

# Matches a string with one letter per character: w word, m mark, c script without spaces, s space, o other.
_UNIT = re.compile("[wm]+|[co]m*|s+")
_JOINERS = "\u200c\u200d"
# Thai, Lao; Burmese; Khmer; kana; Han (with 々, 〇, compatibility ideographs and half-width kana).
_WITHOUT_SPACES = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff"
    "\u3400-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
)


class Glossary:
    """Target terms by source term.

    Text is matched in units: words, and single characters outside words or of scripts written without spaces. A term
    occurs where its units occur one after the other, so "art" does not occur in "party" nor कल in कला, but 東京 does
    in 東京都.
    """

    def __init__(self, terms: Mapping[str, str]) -> None:
        """Make a glossary from target terms by source term (not empty)."""
        self._targets = {tuple(_units(source)): target for source, target in terms.items()}
        self._lengths: dict[str, list[int]] = {}  # first unit -> lengths of terms in units, longest first
        for first, length in sorted({(units[0], len(units)) for units in self._targets}, reverse=True):
            self._lengths.setdefault(first, []).append(length)

    @classmethod
    def read(cls, path: str | Path) -> Glossary:
        """Read a UTF-8 file with one term per line: source term, tab, target term.

        Blank lines and lines that begin with # are skipped.

        Raises:
            DataError: an unreadable file, a line that is not a pair of terms, or one that contradicts an earlier line.
        """
        terms: dict[str, str] = {}
        numbers: dict[str, int] = {}
        for number, line in enumerate(read_lines(path), start=1):
            if not line.strip() or line.startswith("#"):
                continue
            where = f"{path}, line {number}"
            source, target = _columns(line, where)
            if terms.setdefault(source, target) != target:
                raise DataError(
                    f"{where}: {source!r} has the target {target!r}, but {terms[source]!r} in line {numbers[source]}"
                )
            numbers[source] = number
        return cls(terms)

    def terms_for(self, line: str) -> list[str]:
        """Return the target terms for `line`, one per occurrence of a source term, in the order of the line.

        Matching is greedy: from left to right, the longest term at each position, without overlap. The first word of
        the line may be capitalised where its term is not.
        """
        units = _units(line)
        first_word = next((i for i, unit in enumerate(units) if unit[0].isalnum()), -1)
        targets = []
        i = 0
        while i < len(units):
            length, target = self._longest(units, i)
            if i == first_word:
                lowered = [*units[:i], units[i][0].lower() + units[i][1:], *units[i + 1 :]]
                length, target = max((length, target), self._longest(lowered, i), key=lambda match: match[0])
            if length:
                targets.append(target)
            i += length or 1
        return targets

    def _longest(self, units: Sequence[str], start: int) -> tuple[int, str]:
        """Return length in units and target of the longest term at `start`; length 0 if there is none."""
        for length in self._lengths.get(units[start], ()):
            candidate = tuple(units[start : start + length])  # shorter than `length` at the end of the line
            if candidate in self._targets:
                return len(candidate), self._targets[candidate]
        return 0, ""


def _columns(line: str, where: str) -> tuple[str, str]:
    columns = [_normalised(column) for column in line.split("\t")]
    if len(columns) != 2:
        raise DataError(f"{where}: {len(columns) - 1 or 'no'} tabs; expected source term, tab, target term")
    for column, name in zip(columns, ("source", "target"), strict=True):
        if not column:
            raise DataError(f"{where}: the {name} term is empty")
    return columns[0], columns[1]


def _normalised(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _units(text: str) -> list[str]:
    """Split text into units: words with their marks, runs of white space (as one space), and other characters."""
    text = unicodedata.normalize("NFC", text)
    kinds = "".join(map(_kind, text))
    return [
        " " if kinds[match.start()] == "s" else text[match.start() : match.end()] for match in _UNIT.finditer(kinds)
    ]


@lru_cache(maxsize=1 << 16)
def _kind(char: str) -> str:
    """Return the class of a character for `_UNIT`: w, m, c, s or o."""
    if char.isspace():
        return "s"
    if unicodedata.category(char)[0] == "M" or char in _JOINERS:
        return "m"
    if _WITHOUT_SPACES.match(char):
        return "c"
    return "w" if char.isalnum() else "o"
