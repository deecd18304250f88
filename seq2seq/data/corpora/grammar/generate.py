"""Generate sentence pairs of the synthetic corpus."""

from __future__ import annotations

import random

from seq2seq.data.corpora.grammar import english, german
from seq2seq.data.corpora.grammar.tree_sampler import TreeSampler

MIN_WORDS, MAX_WORDS = 3, 40


def generate(count: int, seed: int) -> list[tuple[str, str]]:
    """Return `count` pairs of an English and a German sentence of 3 to 40 English words; no sentence occurs twice.

    The same arguments give the same pairs with every version of Python, and a larger count only appends pairs.
    """
    if count < 0:
        raise ValueError(f"count must not be negative, got {count}")
    sampler = TreeSampler(random.Random(seed))
    english_of: dict[str, str] = {}  # two English sentences can share a German one ("her", "their"), never the reverse
    while len(english_of) < count:
        tree = sampler.sentence()
        src = english.sentence(tree)
        if MIN_WORDS <= src.count(" ") + 1 <= MAX_WORDS:
            english_of.setdefault(german.sentence(tree), src)
    return [(src, tgt) for tgt, src in english_of.items()]


def splits(train: int, valid: int, test: int, seed: int) -> dict[str, list[tuple[str, str]]]:
    """Return three sets of pairs with no sentence in common; valid and test do not depend on the size of train."""
    pairs = generate(test + valid + train, seed)
    return {"train": pairs[test + valid :], "valid": pairs[test : test + valid], "test": pairs[:test]}
