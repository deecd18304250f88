"""Which target pieces translate which source piece, by counting: IBM Model 1 (Brown et al. 1993, section 4.1)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from seq2seq.data.special_ids import EOS_ID

ROUNDS = 4  # of expectation and maximisation; the order of the likeliest pieces settles early
MOST_CELLS = 10_000_000  # pairs of a source and a target position that are counted, of about 100 bytes each

Ids = NDArray[np.int64]


def likeliest_translations(pairs: Iterable[tuple[Sequence[int], Sequence[int]]], src_vocab: int, best: int) -> Ids:
    """Return for each source piece the `best` target pieces by p(target | source), a row each; 0 where there are fewer.

    Every source sentence also has an EOS, from which come target pieces that translate nothing ("null" in the paper).
    Only as many pairs count as fit into `MOST_CELLS`.
    """
    src, tgt, position = _cells(pairs)
    links, link = np.unique(src * (1 + tgt.max(initial=0)) + tgt, return_inverse=True)
    said_by, said = np.divmod(links, 1 + tgt.max(initial=0))
    p = np.ones(len(links))
    for _ in range(ROUNDS):
        share = p[link]
        share /= np.bincount(position, share)[position]
        counts = np.bincount(link, share, minlength=len(links))
        p = counts / np.bincount(said_by, counts)[said_by]
    order = np.lexsort((said, -p, said_by))
    begins = np.searchsorted(said_by[order], np.arange(src_vocab + 1))
    table = np.zeros((src_vocab, best), np.int64)
    for piece, (begin, end) in enumerate(itertools.pairwise(begins)):
        found = said[order[begin : min(end, begin + best)]]
        table[piece, : len(found)] = found
    return table


def _cells(pairs: Iterable[tuple[Sequence[int], Sequence[int]]]) -> tuple[Ids, Ids, Ids]:
    """Return source piece, target piece and number of the target position, for every two positions of a pair."""
    src, tgt, positions = ([np.empty(0, np.int64)] for _ in range(3))
    cells = words = 0
    for read, written in pairs:
        cells += (len(read) + 1) * len(written)
        if cells > MOST_CELLS:
            break
        src.append(np.tile(np.array([*read, EOS_ID]), len(written)))
        tgt.append(np.repeat(np.array(written, np.int64), len(read) + 1))
        positions.append(np.repeat(np.arange(words, words + len(written)), len(read) + 1))
        words += len(written)
    return np.concatenate(src), np.concatenate(tgt), np.concatenate(positions)
