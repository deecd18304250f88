"""Token-budget batches of similar length, by torchtext's bucketing (the only module that imports torchtext).

The budget is a ceiling on rows × longest row, either side: what the model computes, padding included. The order of an
epoch is a pure function of (seed, epoch), so a position in it is all that a resumed run needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torchtext.data import pool

from seq2seq.batch import Batch, batch_of
from seq2seq.data.binarised import PairedIds
from seq2seq.errors import ConfigError

Lengths = NDArray[np.int64]
Row = tuple[int, int, int]  # length of the longer side, lean, index: what batches are sorted by


def batch_order(
    src_lengths: Lengths, tgt_lengths: Lengths, batch_tokens: int, seed: int, epoch: int
) -> list[list[int]]:
    """Return the pair indices of every batch of an epoch; each pair comes once.

    Lengths count pieces with EOS; `batch_tokens` is the ceiling of rows × longest row of a batch, either side.

    Raises:
        ConfigError: a pair is longer than the budget by itself.
    """
    rows = _rows(src_lengths, tgt_lengths)
    _check_budget(rows, batch_tokens)
    rng = np.random.default_rng([seed, epoch])

    def shuffled(batches: list[list[Row]]) -> list[list[Row]]:
        return [batches[i] for i in rng.permutation(len(batches))]

    batches = pool(
        [rows[i] for i in rng.permutation(len(rows))],
        batch_tokens,
        key=lambda row: row,
        batch_size_fn=batch_size,
        random_shuffler=shuffled,  # torchtext's default shuffles in place and returns None, which it then iterates
        shuffle=True,
        sort_within_batch=True,  # which means: sort each chunk before cutting it into batches
    )
    return [[row[-1] for row in batch] for batch in batches]


def batch_size(new: Row, count: int, so_far: int) -> int:
    """Return rows × longest row once `new` is the `count`-th row; `so_far` is the same before it."""
    longest = so_far // (count - 1) if count > 1 else 0
    return count * max(longest, new[0])


def fixed_batches(pairs: PairedIds, batch_tokens: int) -> Iterator[Batch]:
    """Yield all pairs by length, for validation; a pair longer than the budget comes alone."""
    chosen: list[int] = []
    for longest, _, index in sorted(_rows(pairs.src_lengths, pairs.tgt_lengths)):
        if chosen and (len(chosen) + 1) * longest > batch_tokens:
            yield _batch(pairs, chosen)
            chosen = []
        chosen.append(index)
    if chosen:
        yield _batch(pairs, chosen)


def batches(pairs: PairedIds, order: Sequence[Sequence[int]], start: int = 0) -> Iterator[Batch]:
    """Yield the batches of an epoch's `order` from position `start` on."""
    for indices in order[start:]:
        yield _batch(pairs, indices)


def _batch(pairs: PairedIds, indices: Sequence[int]) -> Batch:
    return batch_of(pairs.src_rows(indices), pairs.tgt_rows(indices))


def _rows(src_lengths: Lengths, tgt_lengths: Lengths) -> list[Row]:
    """Return sort keys that put pairs of like shape together.

    The longer side decides what a batch costs. Among equals, "lean" runs from a short source to a short target and
    back again for the next length, so that neighbours resemble each other (a sixth less padding on Tatoeba).
    """
    longest = np.maximum(src_lengths, tgt_lengths)
    lean = (tgt_lengths - src_lengths) * np.where(longest % 2, 1, -1)
    return list(zip(longest.tolist(), lean.tolist(), range(len(longest)), strict=True))


def _check_budget(rows: Sequence[Row], batch_tokens: int) -> None:
    longest = max((row[0] for row in rows), default=0)
    if longest > batch_tokens:
        raise ConfigError(
            f"training.batch_tokens={batch_tokens} is less than one pair of {longest} pieces: "
            "raise it or lower data.max_length"
        )
