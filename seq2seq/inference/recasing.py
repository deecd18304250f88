"""Translate lines in CAPITALS, or in Title Case, in natural case, and write the outputs in the case of the lines.

A model that has seen few such lines reads them letter by letter. The natural case of a word is that of the variant
which the source vocabulary segments best: its pieces were learned from text in natural case; no other data is needed.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable, Sequence
from enum import Enum

from seq2seq.data.index.language_codes import base_code
from seq2seq.data.subwords.tokenizer import Tokenizer

_LETTER = "(?:[^\\W\\d_]|[\u0300-\u036f])"  # accents may be characters of their own
WORD = re.compile(f"{_LETTER}+(?:['’]{_LETTER}+)*")
SENTENCE_END = re.compile(r"[.!?…:]")
LEAST_WORDS = 2
"""Words that natural case would not capitalise in a line in Title Case; at least half of those after the first."""
LOWER_BONUS = 2.0
"""Added to the score in lower case: a vocabulary knows frequent words with the capital of a sentence's start, too."""
KNOWN_WORDS = 100_000  # whose scores are kept
DOTTED_I = ("tr", "az")
"""Languages whose i is İ in capitals, and whose I is ı in lower case."""


class LineCase(Enum):
    """The case of a line that natural text does not have."""

    upper = "upper"
    title = "title"

    def apply(self, text: str, language: str = "") -> str:
        """Write an output in this case; `language` is the code of its language."""
        if self is LineCase.title:
            return WORD.sub(lambda word: _upper(word[0][0], language).title() + word[0][1:], text)
        return _upper(text, language).upper()


class Recaser:
    """Finds the natural case of source lines."""

    def __init__(self, tokenizer: Tokenizer, language: str = "") -> None:
        """`language` is the code of the source language; empty: several, or unknown."""
        self._tokenizer, self._language, self._dotted = tokenizer, language, base_code(language) in DOTTED_I
        self._score = functools.lru_cache(KNOWN_WORDS)(tokenizer.src_score)

    def __reduce__(self) -> tuple[type[Recaser], tuple[Tokenizer, str]]:
        return Recaser, (self._tokenizer, self._language)  # the cache of scores cannot be pickled

    def natural_lines(
        self, lines: Sequence[str], fixed: Sequence[bool]
    ) -> tuple[Sequence[str], Sequence[LineCase | None]]:
        """Return `natural` of each line, except those that are `fixed`."""
        natural = [(line, None) if keep else self.natural(line) for line, keep in zip(lines, fixed, strict=True)]
        return [line for line, _ in natural], [case for _, case in natural]

    def natural(self, line: str) -> tuple[str, LineCase | None]:
        """Return the line in natural case, and the case that it had; None: the line is as it was.

        A line with letters of a script without case has no case: its capitals are acronyms.
        """
        words = WORD.findall(line)
        if not words or any(unicodedata.category(char) == "Lo" and char not in "ªº" for word in words for char in word):
            return line, None
        if all(map(str.isupper, words)) and any(len(word) > 1 for word in words):
            changed = self._replaced(line, lambda word, first: self._best(word, [word], first))
            return (changed, LineCase.upper) if changed != line else (line, None)
        if len(words) > LEAST_WORDS and all(word[0].isupper() for word in words):
            common = sum(_is_title(word) and self._score(self._lower(word)) > self._score(word) for word in words[1:])
            if common >= max(LEAST_WORDS, (len(words) - 1) / 2):
                return self._replaced(line, self._without_title), LineCase.title
        return line, None

    def _replaced(self, line: str, natural: Callable[[str, bool], str]) -> str:
        """Replace each word by `natural` of it and of whether it begins a sentence."""
        end = 0  # of the word before

        def replace(match: re.Match[str]) -> str:
            nonlocal end
            first = not end or SENTENCE_END.search(line, end, match.start()) is not None
            end = match.end()
            return natural(match[0], first)

        return WORD.sub(replace, line)

    def _without_title(self, word: str, first: bool) -> str:
        return self._best(word, [], False) if _is_title(word) and not first else word

    def _best(self, word: str, others: list[str], first: bool) -> str:
        """Return the variant of the word that the vocabulary segments best; a sentence starts with a capital."""
        lower = self._lower(word)
        variants = ([] if first else [lower]) + [word[0] + lower[len(self._lower(word[0])) :], *others]
        return max(variants, key=lambda text: self._score(text) + LOWER_BONUS * (text == lower))

    def _lower(self, word: str) -> str:
        if self._dotted:
            word = word.replace("I", "ı").replace("İ", "i")
        return word.lower()


def _upper(text: str, language: str) -> str:
    return text.replace("i", "İ") if base_code(language) in DOTTED_I else text


def _is_title(word: str) -> bool:
    return word[0].isupper() and not any(map(str.isupper, word[1:]))
