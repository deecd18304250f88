"""Write sentence pairs of invented words, as many as wanted: frequencies of words are Zipf's."""

from __future__ import annotations

from itertools import pairwise, product
from pathlib import Path

import numpy as np

WORDS = 6_000
MEAN_LENGTH = 9
CHUNK = 100_000
ONSETS = ["b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "z", "br", "st", "tr", "sh"]
NUCLEI = ["a", "e", "i", "o", "u", "ai", "ou"]


def write_pairs(src: Path, tgt: Path, pairs: int, seed: int = 1) -> None:
    """Write two line-aligned files; the same arguments write the same pairs."""
    rng = np.random.default_rng(seed)
    syllables = [onset + nucleus for onset, nucleus in product(ONSETS, NUCLEI)]
    vocabularies = [_words(rng, syllables, ending) for ending in ("", "en")]
    frequencies = 1 / (np.arange(WORDS) + 2.7)
    cumulative = np.cumsum(frequencies / frequencies.sum())
    with src.open("w", encoding="utf-8") as src_file, tgt.open("w", encoding="utf-8") as tgt_file:
        for start in range(0, pairs, CHUNK):
            lengths = 1 + rng.poisson(MEAN_LENGTH, min(CHUNK, pairs - start))
            ranks = np.searchsorted(cumulative, rng.random(lengths.sum())).clip(max=WORDS - 1).tolist()
            bounds = list(pairwise([0, *np.cumsum(lengths).tolist()]))
            for file, words in zip((src_file, tgt_file), vocabularies, strict=True):
                flat = [words[rank] for rank in ranks]
                file.writelines(" ".join(flat[begin:end]) + ".\n" for begin, end in bounds)


def _words(rng: np.random.Generator, syllables: list[str], ending: str) -> list[str]:
    """Return invented words: the frequent ones are short."""
    counts = 1 + (np.log10(np.arange(WORDS) + 1) // 1.5).astype(int)
    return ["".join(syllables[i] for i in rng.integers(len(syllables), size=count)) + ending for count in counts]
