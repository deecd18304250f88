"""Words that are repeated, and are not in the source and the reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from seq2seq.evaluation.analysis.texts import Lines, Texts
from seq2seq.evaluation.analysis.words import is_alphabetic, is_word, joined, ngrams

Ngram: TypeAlias = tuple[str, ...]
ORDERS = {False: (1, 2, 3, 4), True: (1, 2, 3, 4, 5, 6, 7, 8)}
"""Lengths of what may be repeated at once, without and with characters as words."""
FAR_ORDER = {False: 4, True: 10}
"""Length of what may not occur again in a sentence."""
MIN_CHARACTERS = 6  # of a repetition in a script without spaces, which repeats one or two for emphasis


def repeated(texts: Texts, text: Lines) -> dict[int, str]:
    """Find words that an output repeats, at once or later, and more often than the source and the reference do."""
    characters = texts.references.lacks_spaces
    pairs = (tuple(map(str.casefold, pair)) for line in texts.references.ngrams(2) for pair in line)
    usual = {pair for pair in pairs if pair[0] == pair[1]}  # nous nous
    found = {}
    triples = zip(texts.sources.tokens, texts.references.tokens, text.tokens, strict=True)
    for line, triple in enumerate(triples):
        source, reference, output = ([token.casefold() for token in tokens] for tokens in triple)
        if len(output) == len(set(output)):
            continue
        again = _at_once(output, characters, usual, max(_most(source), _most(reference)))
        if again := again or _later(output, characters, source, reference):
            found[line] = again
    return found


def _at_once(output: Sequence[str], characters: bool, usual: set[Ngram], allowed: int) -> str:
    """Return what is repeated more often in a row than is allowed, and how often; empty: nothing."""
    for order in ORDERS[characters]:
        for start, times in _runs(output, order):
            ngram = tuple(output[start : start + order])
            if times <= allowed or not any(map(is_word, ngram)):
                continue
            if characters and (times < 3 or times * order < MIN_CHARACTERS):
                continue
            if order == 1 and times == 2 and (ngram * 2 in usual or not is_alphabetic(ngram[0])):
                continue
            return f"{joined(ngram, characters)} × {times}"
    return ""


def _runs(line: Sequence[str], order: int) -> list[tuple[int, int]]:
    """Return start and number of the repetitions of `order` words in a row, where there are two or more."""
    runs, equal = [], 0
    for position in range(order, len(line) + 1):
        if position < len(line) and line[position] == line[position - order]:
            equal += 1
            continue
        if equal >= order:
            runs.append((position - equal - order, equal // order + 1))
        equal = 0
    return runs


def _most(line: Sequence[str]) -> int:
    return max((times for order in ORDERS[False] for _, times in _runs(line, order)), default=1)


def _later(output: Sequence[str], characters: bool, source: Sequence[str], reference: Sequence[str]) -> str:
    """Return the n-gram that occurs again, if reference and source repeat none that is nearly as long; else nothing."""
    order = FAR_ORDER[characters]
    again = [
        ngram for ngram, count in ngrams(output, order).items() if count > 1 and sum(map(is_word, ngram)) >= order - 1
    ]
    if not again or _repeats(reference, order - 1) or _repeats(source, order - 2):
        return ""
    return joined(again[0], characters)


def _repeats(line: Sequence[str], order: int) -> bool:
    return any(count > 1 for count in ngrams(line, order).values())
