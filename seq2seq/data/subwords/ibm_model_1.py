"""Translation probabilities of tokens by IBM Model 1 (Brown et al. 1993, section 4.1)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from seq2seq.data.special_ids import EOS_ID

ROUNDS = 4  # EM iterations; the ranking of the likeliest tokens converges early
MOST_CELLS = 10_000_000  # pairs of a source and a target position, about 100 bytes each

Ids = NDArray[np.int64]


def likeliest_translations(pairs: Iterable[tuple[Sequence[int], Sequence[int]]], src_vocab: int, best: int) -> Ids:
    """Return a matrix [src_vocab, best] of the likeliest target tokens by p(target | source), padded with 0.

    The EOS of every source sentence generates target tokens that translate nothing ("null" in the paper). Pairs after
    the first `MOST_CELLS` cells are ignored.
    """
    src, tgt, position = _cells(pairs)
    links, link = np.unique(src * (1 + tgt.max(initial=0)) + tgt, return_inverse=True)
    sources, targets = np.divmod(links, 1 + tgt.max(initial=0))
    p = np.ones(len(links))
    for _ in range(ROUNDS):
        share = p[link]
        share /= np.bincount(position, share)[position]
        counts = np.bincount(link, share, minlength=len(links))
        p = counts / np.bincount(sources, counts)[sources]
    order = np.lexsort((targets, -p, sources))
    begins = np.searchsorted(sources[order], np.arange(src_vocab + 1))
    table = np.zeros((src_vocab, best), np.int64)
    for token, (begin, end) in enumerate(itertools.pairwise(begins)):
        ranked = targets[order[begin : min(end, begin + best)]]
        table[token, : len(ranked)] = ranked
    return table


def _cells(pairs: Iterable[tuple[Sequence[int], Sequence[int]]]) -> tuple[Ids, Ids, Ids]:
    """Return source token, target token and number of the target position, for all pairs of positions of each pair."""
    src, tgt, positions = ([np.empty(0, np.int64)] for _ in range(3))
    cells = tgt_positions = 0
    for src_ids, tgt_ids in pairs:
        cells += (len(src_ids) + 1) * len(tgt_ids)
        if cells > MOST_CELLS:
            break
        src.append(np.tile(np.array([*src_ids, EOS_ID]), len(tgt_ids)))
        tgt.append(np.repeat(np.array(tgt_ids, np.int64), len(src_ids) + 1))
        positions.append(np.repeat(np.arange(tgt_positions, tgt_positions + len(tgt_ids)), len(src_ids) + 1))
        tgt_positions += len(tgt_ids)
    return np.concatenate(src), np.concatenate(tgt), np.concatenate(positions)
