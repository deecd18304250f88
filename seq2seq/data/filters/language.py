"""Filters by what language a side is written in: its script, and language identification."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from seq2seq.config.field import field
from seq2seq.data.corpus import Pair
from seq2seq.data.filters.base import Filter, UnknownLanguageError
from seq2seq.data.index.language_codes import base_code
from seq2seq.data.text.scripts import BEYOND_LATIN, expected_scripts, letter_counts
from seq2seq.errors import ConfigError


def _languages(name: str, src: str, tgt: str) -> tuple[str, str]:
    if not (src and tgt):
        raise UnknownLanguageError(f"the filter {name} needs the languages: give --src-lang and --tgt-lang")
    return src, tgt


@dataclass
class Script(Filter):
    """Drop a pair a side of which has too few letters of its language's scripts (OpusFilter's CharacterScore)."""

    finding: ClassVar[str] = "the script of another language"
    min: float = field(0.5, "share of the letters of a side in the scripts of its language", at_least=0, at_most=1)
    letters: int = field(5, "letters that a side must have to be judged", at_least=1, at_most=1000)
    src: str = field("", "language code of the source")
    tgt: str = field("", "language code of the target")

    def __post_init__(self) -> None:
        self._scripts = []
        for language in _languages("script", self.src, self.tgt):
            scripts = expected_scripts(language)
            if scripts is None:
                raise UnknownLanguageError(f"the filter script does not know the script of the language {language!r}")
            self._scripts.append(scripts)

    def __call__(self, pair: Pair) -> Pair | None:
        for line, scripts in zip(pair, self._scripts, strict=True):
            if scripts == ("LATIN",) and (line.isascii() or max(line) < BEYOND_LATIN):
                continue
            counts = letter_counts(line)
            total = sum(counts.values())
            if total >= self.letters and sum(map(counts.get, scripts, (0,) * len(scripts))) < self.min * total:
                return None
        return pair


@dataclass
class LangId(Filter):
    """Drop a pair a side of which is hardly in its language (py3langid; Lui and Baldwin 2012).

    The probability of the expected language is compared, not the most probable language: close languages such as
    Danish and Norwegian are kept. Short sides say too little and are kept.
    """

    finding: ClassVar[str] = "another language"
    package: ClassVar[str] = "py3langid"
    min: float = field(0.05, "probability of the expected language", at_least=0, at_most=1)
    characters: int = field(20, "characters that a side must have to be judged", at_least=1, at_most=100_000)
    src: str = field("", "language code of the source")
    tgt: str = field("", "language code of the target")

    def __post_init__(self) -> None:
        identifier = language_identifier()
        self._columns = []
        for language in _languages("lang_id", self.src, self.tgt):
            code = base_code(language)
            if code not in identifier.labels:
                raise UnknownLanguageError(f"the filter lang_id does not know the language {language!r}")
            self._columns.append(code)

    def __call__(self, pair: Pair) -> Pair | None:
        for line, code in zip(pair, self._columns, strict=True):
            if len(line) >= self.characters and language_probability(line, code) < self.min:
                return None
        return pair


def language_probability(line: str, code: str) -> float:
    """Return the probability that a line is in the language `code`."""
    identifier = language_identifier()
    return float(dict(identifier.rank(line.encode("utf-8", "replace")))[code])


def identified(line: str) -> str:
    """Return the code of the most probable language."""
    return str(language_identifier().classify(line.encode("utf-8", "replace"))[0])


@functools.cache
def language_identifier() -> Any:
    """Load py3langid's model once, with normalised probabilities.

    Raises:
        ConfigError: py3langid is not installed.
    """
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"language identification needs {error.name}: pip install 'attentional-lstm[data]', or leave out lang_id"
        ) from None
    with np.errstate(all="ignore"):
        return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
