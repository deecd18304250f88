"""A glossary: which target terms a translation must contain, because their source terms stand in the line."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from seq2seq.data.corpus import read_lines
from seq2seq.errors import DataError

# One letter for each character: word, mark, character of a script without spaces, space, other.
_UNIT = re.compile("[wm]+|[co]m*|s+")
_JOINERS = "\u200c\u200d"
# Thai, Lao; Burmese; Khmer; kana; Han, with what is written between (々 and 〇, compatibility, half-width kana).
_WITHOUT_SPACES = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff"
    "\u3400-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
)


class Glossary:
    """SearchInput terms and the target term that each must be translated by.

    Text is matched in units: words, and single characters of scripts that are written without spaces and of everything
    that is no word. A term stands in a line where its units do, one after the other, so "art" is not in "party" nor
    कल in कला, but 東京 is in 東京都.
    """

    def __init__(self, terms: Mapping[str, str]) -> None:
        """Take source terms, none of them empty, and their target terms."""
        self._targets = {tuple(_units(source)): target for source, target in terms.items()}
        self._lengths: dict[str, list[int]] = {}  # first unit -> numbers of units, most first
        for first, length in sorted({(units[0], len(units)) for units in self._targets}, reverse=True):
            self._lengths.setdefault(first, []).append(length)

    @classmethod
    def read(cls, path: str | Path) -> Glossary:
        """Read a UTF-8 file with a source term, a tab and its target term on every line.

        Blank lines and lines that start with # are skipped.

        Raises:
            DataError: an unreadable file, or a line that is no pair of terms or contradicts an earlier one.
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
                    f"{where}: {source!r} is to become {target!r}, but {terms[source]!r} in line {numbers[source]}"
                )
            numbers[source] = number
        return cls(terms)

    def terms_for(self, line: str) -> list[str]:
        """Return the target terms of the source terms in `line`: one for each occurrence, in the order of the line.

        From left to right the longest term is taken, and the next one sought after its end. The first word of the line
        may have a capital that its term lacks.
        """
        units = _units(line)
        first_word = next((i for i, unit in enumerate(units) if unit[0].isalnum()), -1)
        found = []
        i = 0
        while i < len(units):
            length, target = self._longest(units, i)
            if i == first_word:
                small = [*units[:i], units[i][0].lower() + units[i][1:], *units[i + 1 :]]
                length, target = max((length, target), self._longest(small, i), key=lambda one: one[0])
            if length:
                found.append(target)
            i += length or 1
        return found

    def _longest(self, units: Sequence[str], start: int) -> tuple[int, str]:
        """Return the number of units of the longest term that stands at `start`, and its target; 0 if there is none."""
        for length in self._lengths.get(units[start], ()):
            here = tuple(units[start : start + length])
            if here in self._targets:
                return len(here), self._targets[here]  # at the end of the line fewer than `length`
        return 0, ""


def _columns(line: str, where: str) -> tuple[str, str]:
    if "\0" in line:
        raise DataError(f"{where}: a NUL byte; this is no text file")
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
    """Cut text into words, with the marks that belong to their letters, white space (written as one space) and rest."""
    text = unicodedata.normalize("NFC", text)
    kinds = "".join(map(_kind, text))
    return [
        " " if kinds[match.start()] == "s" else text[match.start() : match.end()] for match in _UNIT.finditer(kinds)
    ]


@lru_cache(maxsize=1 << 16)
def _kind(char: str) -> str:
    """Return what `_UNIT` is made of: w, m, c, s or o."""
    if char.isspace():
        return "s"
    if unicodedata.category(char)[0] == "M" or char in _JOINERS:
        return "m"
    if _WITHOUT_SPACES.match(char):
        return "c"
    return "w" if char.isalnum() else "o"
