"""Augmented training pairs: a function of (seed, epoch, index of the pair), whatever process or chunk asks for it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from seq2seq.config.augment import AugmentConfig
from seq2seq.data.corpus import ParallelText
from seq2seq.data.edits import Pair, copied, noise, punctuation, spacing, title, typos, upper
from seq2seq.data.text_store import collected

AUGMENT = 3  # after epoch_pairs.SRC and TGT: seeds of other random numbers of an epoch
CHUNK_PAIRS = 10_000
KINDS = ("case", "punctuation", "typos", "spacing", "copies", "noise")
VOCABULARY_EDITS = ("upper", "title", "punctuation")
"""Edits of the text from which a vocabulary is learned: those with words of their own."""


class Augmenter:
    """Edits pairs with the probabilities of a config."""

    def __init__(self, probabilities: Mapping[str, float], seed: int) -> None:
        self._seed, self._upper = seed, probabilities.get("upper", 0.0)
        case = self._upper + probabilities.get("title", 0.0)
        self._thresholds = np.array([case, *(probabilities.get(kind, 0.0) for kind in KINDS[1:])])

    def edited(self, src: Sequence[str], tgt: Sequence[str], epoch: int, start: int) -> dict[int, Pair]:
        """Return the pairs that change in `epoch`, by their position in `src` and `tgt`.

        `start` is the index of the first pair in the text.
        """
        generator = np.random.PCG64([self._seed, epoch, AUGMENT])
        generator.advance(start * (len(KINDS) + 1))  # the numbers of a pair do not depend on the chunk that it is in
        draws = np.random.Generator(generator).random((len(src), len(KINDS) + 1))
        hits = draws[:, :-1] < self._thresholds
        edited = {}
        for i in np.flatnonzero(hits.any(axis=1)).tolist():
            rng = random.Random(int(draws[i, -1] * 2**53))
            kinds = {kind for kind, hit in zip(KINDS, hits[i], strict=True) if hit}
            pair = self._edit(src[i], tgt[i], kinds, bool(draws[i, 0] < self._upper), rng)
            if pair != (src[i], tgt[i]):
                edited[i] = pair
        return edited

    def _edit(self, src: str, tgt: str, kinds: set[str], in_upper: bool, rng: random.Random) -> Pair:
        if "noise" in kinds:
            text = noise(rng)
            return text, text
        if "punctuation" in kinds:
            src, tgt = punctuation(src, tgt)
        if "typos" in kinds:
            src = typos(src, rng)
        if "spacing" in kinds:
            src = spacing(src, rng)
        if "case" in kinds:
            src, tgt = upper(src, tgt) if in_upper else title(src, tgt)
        return copied(src, tgt, rng) if "copies" in kinds else (src, tgt)


def vocabulary_text(text: ParallelText, augment: AugmentConfig) -> ParallelText:
    """Return `text` as the network reads it: with the share of capitals and punctuation that augmentation makes.

    The share is the same for every seed, and so is the vocabulary.
    """
    chosen = {kind: p for kind, p in augment.probabilities().items() if kind in VOCABULARY_EDITS}
    if not any(chosen.values()):
        return text
    return collected(_edited(text, Augmenter(chosen, 0)), text)


def _edited(text: ParallelText, augmenter: Augmenter) -> Iterator[Pair]:
    for start in range(0, len(text), CHUNK_PAIRS):
        src, tgt = (list(side[start : start + CHUNK_PAIRS]) for side in (text.src, text.tgt))
        edited = augmenter.edited(src, tgt, 0, start)
        yield from (edited.get(i, pair) for i, pair in enumerate(zip(src, tgt, strict=True)))
