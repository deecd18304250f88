"""Random segmentations: subword regularisation (Kudo 2018) and BPE-dropout (Provilkov et al. 2020).

SentencePiece samples them too, but salts its generator anew in every process: no seed reproduces a segmentation, and a
resumed run would train on different ids. Here NumPy draws from the same distributions. Lines are split into words that
no piece crosses; the lattice or merges of a word are computed once and cached. This module does not import torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, pairwise
from typing import Protocol

import numpy as np

from seq2seq.data.subwords.bpe_dropout import BpeDropout
from seq2seq.data.subwords.subword_vocabulary import Vocabulary
from seq2seq.data.subwords.unigram_sampling import Ints, UnigramLattices

Normalise = Callable[[Sequence[str]], list[str]]


class WordSampler(Protocol):
    """Samples segmentations of words."""

    def sample(self, words: Sequence[str], rng: np.random.Generator) -> tuple[Ints, Ints]:
        """Return the concatenated ids of all words (see `Vocabulary.resolve`) and the number of ids of each word.

        The numbers drawn and their use depend on `words` alone, not on earlier calls.
        """


class Sampler:
    """Samples segmentations of lines: by p^alpha (unigram), or skipping each merge with probability alpha (bpe)."""

    def __init__(self, model: bytes, normalise: Normalise, alpha: float) -> None:
        """Read a serialised SentencePiece model; `normalise` applies the model's normalisation to lines.

        Raises:
            ConfigError: the model is neither unigram nor bpe.
        """
        self._vocabulary = Vocabulary(model)
        self._normalise = normalise
        word_sampler = UnigramLattices if self._vocabulary.unigram else BpeDropout
        self._word_sampler: WordSampler = word_sampler(self._vocabulary, alpha)

    def always_reaches(self, line: str, limit: int) -> bool:
        """Return True if no segmentation of the line has fewer than `limit` ids, as its characters show."""
        if len(line) < limit * self._vocabulary.longest:  # nearly every line
            return False
        return self._vocabulary.least_ids(self._normalise([line])[0]) >= limit

    def encode(self, lines: Sequence[str], seed: Sequence[int]) -> list[list[int]]:
        """Return piece ids without special ids: a pure function of the model, alpha, `lines` and `seed`."""
        words = [self._vocabulary.words(line) for line in self._normalise(lines)]
        rng = np.random.default_rng(list(seed))
        ids, sizes = self._word_sampler.sample(list(chain.from_iterable(words)), rng)
        first_words = np.cumsum([0, *map(len, words)])
        bounds = np.concatenate([[0], np.cumsum(sizes)])[first_words].tolist()
        flat = ids.tolist()
        rows = [flat[begin:end] for begin, end in pairwise(bounds)]
        return [self._vocabulary.resolve(row) for row in rows] if (ids < 0).any() else rows
