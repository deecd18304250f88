"""The texts that an analysis compares, with what every part of it needs of them, computed once."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sacrebleu.metrics.bleu import BLEUScore

from seq2seq.data.text.writing import is_chinese_or_japanese, lacks_spaces
from seq2seq.errors import DataError
from seq2seq.evaluation.analysis.sentence_bleu import sentence_bleu
from seq2seq.evaluation.analysis.words import ngrams, tokens, word_counts, words
from seq2seq.evaluation.correctness import sentence_chrf


@dataclass(frozen=True, eq=False)
class Lines:
    """One text and its words; the lists of words have an entry per line."""

    lines: Sequence[str]

    @functools.cached_property
    def tokens(self) -> list[list[str]]:
        """Words and punctuation marks of each line."""
        return list(map(tokens, self.lines))

    @functools.cached_property
    def words(self) -> list[list[str]]:
        """Words of each line, with their case folded."""
        return list(map(words, self.lines))

    @functools.cached_property
    def counts(self) -> Counter[str]:
        """How often each word occurs in the text."""
        return word_counts(self.lines)

    @functools.cached_property
    def total(self) -> int:
        """Number of words of the text."""
        return self.counts.total()

    @functools.cached_property
    def lacks_spaces(self) -> bool:
        """True if the words are characters, because the script writes no spaces."""
        return lacks_spaces(self.lines)

    @functools.cached_property
    def sizes(self) -> list[int]:
        """Characters of each line, without white space."""
        return [sum(map(len, line.split())) for line in self.lines]

    def ngrams(self, order: int) -> Iterator[Counter[tuple[str, ...]]]:
        """Yield how often each n-gram of words and marks occurs in each line; all of them are too large to keep."""
        return (ngrams(line, order) for line in self.tokens)

    def __len__(self) -> int:
        return len(self.lines)


@dataclass(frozen=True, eq=False)
class Texts:
    """Sources, references and translations of the same sentences.

    Attributes:
        sources: one sentence per line.
        references: of the sources.
        systems: translations by the name of the system; the first is the baseline.
        training_words: occurrences of each word in the target side of the training text, where it is known.
        tokenize: sacreBLEU's tokenizer.
        known_scores: `scores`, where they are known.
    """

    sources: Lines
    references: Lines
    systems: Mapping[str, Lines]
    training_words: Mapping[str, int] | None = None
    tokenize: str = ""
    known_scores: Mapping[str, Sequence[float]] | None = None

    @functools.cached_property
    def scores(self) -> Mapping[str, Sequence[float]]:
        """Sentence chrF of every line, by system."""
        if self.known_scores is not None:
            return self.known_scores
        return {name: sentence_chrf(text.lines, self.references.lines) for name, text in self.systems.items()}

    @functools.cached_property
    def bleu(self) -> dict[str, list[BLEUScore]]:
        """Sentence BLEU of every line, by system."""
        lines = self.references.lines
        return {name: sentence_bleu(text.lines, lines, self.tokenize) for name, text in self.systems.items()}

    @functools.cached_property
    def growth(self) -> float:
        """Characters of the references per character of the sources."""
        return sum(self.references.sizes) / max(1, sum(self.sources.sizes))

    @functools.cached_property
    def training_total(self) -> int:
        """Words of the target side of the training text; 0: it is not known."""
        return sum((self.training_words or {}).values())


def make_texts(
    sources: Sequence[str],
    references: Sequence[str],
    systems: Mapping[str, Sequence[str]],
    training_words: Mapping[str, int] | None,
    tokenize: str | None,
    scores: Mapping[str, Sequence[float]] | None = None,
) -> Texts:
    """Return the texts of `analyse`, which describes the arguments.

    Raises:
        DataError: there are no lines or no systems, or the numbers of lines differ.
    """
    if not systems:
        raise DataError("nothing to analyse: there are no translations")
    for name, lines in {"references": references, **systems}.items():
        if len(lines) != len(sources):
            raise DataError(
                f"{len(sources):,} sources but {len(lines):,} lines of {name}: give one of each per sentence"
            )
    if not sources:
        raise DataError("nothing to analyse: there are no sentences")
    made = {name: Lines(lines) for name, lines in systems.items()}
    return Texts(Lines(sources), Lines(references), made, training_words, tokenize or _tokenizer(references), scores)


def _tokenizer(references: Sequence[str]) -> str:
    if not lacks_spaces(references):
        return "13a"
    return "zh" if is_chinese_or_japanese(references) else "char"
