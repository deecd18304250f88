"""n-grams that one system gets right more often than another, or writes more often than the references have them.

They are ranked as compare-mt ranks them (Neubig et al. 2019), by (a + 1) / (a + b + 2) for two counts a and b.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from seq2seq.evaluation.analysis.structure import Cell, Section
from seq2seq.evaluation.analysis.texts import Lines, Texts
from seq2seq.evaluation.analysis.words import is_word, joined

ORDERS = (1, 2, 3, 4)
MIN_SHARE = 2 / 3
MIN_DIFFERENCE = 3
Ngram: TypeAlias = tuple[str, ...]


def between_systems(texts: Texts, limit: int) -> Iterator[Section]:
    """Yield, for each other system and the first one, what either of them gets right more often."""
    first, *others = texts.systems
    if not others:
        return
    right = {name: _right(text, texts.references) for name, text in texts.systems.items()}
    for other in others:
        for better, worse in ((first, other), (other, first)):
            counts = [(right[better][order], right[worse][order]) for order in ORDERS]
            if rows := _rows(counts, limit, texts.references.lacks_spaces):
                note = (
                    "In how many places each system has an n-gram that the reference has, too. A difference of at "
                    f"least {MIN_DIFFERENCE}, ranked by the smoothed ratio of the two counts, per length."
                )
                columns = ["n-gram", "words", better, worse]
                yield Section(f"n-grams that {better} gets right, {worse} does not", note, columns, rows)


def against_references(texts: Texts, limit: int) -> Iterator[Section]:
    """Yield, for each system, the words and pairs of words that it writes more often, or less often, than is right."""
    references = _all(texts.references)
    for name, text in texts.systems.items():
        written = _all(text)
        for title, swap in (("more", False), ("less", True)):
            more, less = (references, written) if swap else (written, references)
            pairs = [(more[order], less[order]) for order in ORDERS[:2]]
            if rows := _rows(pairs, limit, texts.references.lacks_spaces):
                names = ["references", name] if swap else [name, "references"]
                columns = ["n-gram", "words", *names]
                note = "In the whole text, wherever they are; ranked by the smoothed ratio of the counts, per length."
                yield Section(f"n-grams that {name} writes {title} often than the references", note, columns, rows)


def _rows(
    counts: Sequence[tuple[Mapping[Ngram, int], Mapping[Ngram, int]]], limit: int, lacks_spaces: bool
) -> list[list[Cell]]:
    """Return the n-grams that the first of two counts has much more often: at most `limit` of each order."""
    rows: list[list[Cell]] = []
    for more, less in counts:
        found = []
        for ngram, often in more.items():
            seldom = less.get(ngram, 0)
            share = (often + 1) / (often + seldom + 2)
            if often - seldom >= MIN_DIFFERENCE and share >= MIN_SHARE and any(map(is_word, ngram)):
                found.append((-share, -often, ngram, seldom))
        for _, often, ngram, seldom in sorted(found)[:limit]:
            rows.append([joined(ngram, lacks_spaces), len(ngram), -often, seldom])
    return rows


def _right(text: Lines, references: Lines) -> dict[int, Counter[Ngram]]:
    """Return how often each n-gram of the references is in the output for the same sentence, by order."""
    return {
        order: _sum(
            {ngram: min(count, ref[ngram]) for ngram, count in out.items() if ngram in ref}
            for out, ref in zip(text.ngrams(order), references.ngrams(order), strict=True)
        )
        for order in ORDERS
    }


def _all(text: Lines) -> dict[int, Counter[Ngram]]:
    return {order: _sum(text.ngrams(order)) for order in ORDERS[:2]}


def _sum(lines: Iterator[Mapping[Ngram, int]]) -> Counter[Ngram]:
    total: Counter[Ngram] = Counter()
    for line in lines:
        for ngram, count in line.items():
            total[ngram] += count
    return total
