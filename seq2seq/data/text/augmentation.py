"""Augmented training pairs: a function of (seed, epoch, index of the pair), whatever process or chunk asks for it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from seq2seq.config.augment import AugmentConfig
from seq2seq.data.corpus import Pair, ParallelText, text_bytes
from seq2seq.data.files.line_views import LineView
from seq2seq.data.text.edits import copied, noise, punctuation, spacing, title, typos, upper

AUGMENT = 3  # after shards.NUMBERS: seeds of other random numbers of an epoch
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

    def edited(self, src: Sequence[str], tgt: Sequence[str], epoch: int, start: int, step: int = 1) -> dict[int, Pair]:
        """Return the pairs that change in `epoch`, by their position in `src` and `tgt`.

        These are every `step`-th pair of the text from number `start`.
        """
        generator = np.random.PCG64([self._seed, epoch, AUGMENT])
        generator.advance(start * (len(KINDS) + 1))  # the numbers of a pair do not depend on the chunk that it is in
        draws = np.random.Generator(generator).random((len(src) * step, len(KINDS) + 1))[::step]
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
    augmenter = Augmenter(chosen, 0)
    return ParallelText(EditedLines(text, augmenter, 0), EditedLines(text, augmenter, 1))


class EditedLines(LineView):
    """One side (0 for the source) of a text as an augmenter edits it in epoch 0."""

    def __init__(self, text: ParallelText, augmenter: Augmenter, side: int) -> None:
        self._text, self._augmenter, self._side = text, augmenter, side

    @property
    def bytes(self) -> int:
        """About the number that `text_bytes` returns: that of the unedited lines, which is often known."""
        return text_bytes((self._text.src, self._text.tgt)[self._side])

    def __len__(self) -> int:
        return len(self._text)

    def _lines(self, rows: range) -> Iterator[str]:
        size = rows.step * max(1, CHUNK_PAIRS // rows.step)
        for start in range(rows.start, rows.stop, size):
            part = slice(start, min(start + size, rows.stop))
            lines = [list(side[part])[:: rows.step] for side in (self._text.src, self._text.tgt)]
            edited = self._augmenter.edited(lines[0], lines[1], 0, start, rows.step)
            yield from (edited[i][self._side] if i in edited else line for i, line in enumerate(lines[self._side]))
