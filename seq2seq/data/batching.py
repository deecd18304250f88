"""Token-budget batches of similar length, cut by torchtext (the only module that imports it).

The budget is a ceiling on rows × longest row, either side: what the model computes, padding included. The order of an
epoch is a pure function of (seed, epoch), so a position in it is all that a resumed run needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torchtext.data import batch as cut

from seq2seq.data.batch import Batch, batch_of
from seq2seq.data.binarised import PairedIds
from seq2seq.errors import ConfigError

Lengths = NDArray[np.int64]
Cost = Callable[[Lengths, Lengths, Lengths], NDArray[Any]]
"""What batches cost, from their rows, longest sources and longest targets."""
Row = tuple[int, int]  # length of the longer side, index of the pair
LEAN_STEP = 2  # pieces


def batch_order(
    src_lengths: Lengths, tgt_lengths: Lengths, batch_tokens: int, seed: int, epoch: int
) -> list[list[int]]:
    """Return the pair indices of every batch of an epoch; each pair comes once.

    All pairs are sorted by shape, those of like shape in another order each epoch, and cut into batches, which come in
    random order. Shapes are told apart so finely that 2 to 5 % are padding, so coarsely that pairs meet others
    (docs/performance.md).

    Lengths count pieces with EOS; `batch_tokens` is the ceiling of rows × longest row of a batch, either side.

    Raises:
        ConfigError: a pair is longer than the budget by itself.
    """
    longest, lean = _shapes(src_lengths, tgt_lengths)
    _check_budget(longest, batch_tokens)
    rng = np.random.default_rng([seed, epoch])
    order = np.lexsort((rng.permutation(len(longest)), lean // LEAN_STEP, longest))
    batches = list(_cut(longest, order, batch_tokens))
    return [batches[i] for i in rng.permutation(len(batches))]


def fixed_batches(pairs: PairedIds, batch_tokens: int) -> Iterator[Batch]:
    """Yield all pairs by length, for validation; a pair longer than the budget comes alone."""
    longest, lean = _shapes(pairs.src_lengths, pairs.tgt_lengths)
    for indices in _cut(longest, np.lexsort((lean, longest)), batch_tokens):
        yield _batch(pairs, indices)


def batches(pairs: PairedIds, order: Sequence[Sequence[int]], start: int = 0) -> Iterator[Batch]:
    """Yield the batches of an epoch's `order` from position `start` on."""
    for indices in order[start:]:
        yield _batch(pairs, indices)


def heaviest(
    order: Sequence[Sequence[int]],
    src_lengths: Lengths,
    tgt_lengths: Lengths,
    cost: Cost,
) -> int:
    """Return the position in an epoch's `order` of the batch that costs most, the first of equals.

    `cost` is given rows, longest source and longest target of all batches at once. Which batch it is depends on the
    model: the longest sentences where attention holds a vector for each pair of positions, else the most positions.
    """
    rows = np.fromiter(map(len, order), np.int64, len(order))
    indices = np.fromiter(chain.from_iterable(order), np.int64, int(rows.sum()))
    starts = np.cumsum(rows) - rows
    src_len, tgt_len = (np.maximum.reduceat(lengths[indices], starts) for lengths in (src_lengths, tgt_lengths))
    return int(np.argmax(cost(rows, src_len, tgt_len)))


def _batch(pairs: PairedIds, indices: Sequence[int]) -> Batch:
    return batch_of(pairs.src_rows(indices), pairs.tgt_rows(indices))


def _shapes(src_lengths: Lengths, tgt_lengths: Lengths) -> tuple[Lengths, Lengths]:
    """Return sort keys that put pairs of like shape together: longest side and lean.

    The longer side decides what a batch costs. The lean runs from a short source to a short target and back again for
    the next length, so that neighbours resemble each other.
    """
    longest = np.maximum(src_lengths, tgt_lengths)
    return longest, (tgt_lengths - src_lengths) * np.where(longest % 2, 1, -1)


def _cut(longest: Lengths, order: Lengths, batch_tokens: int) -> Iterator[list[int]]:
    rows = zip(longest[order].tolist(), order.tolist(), strict=True)
    for batch in cut(rows, batch_tokens, batch_size):
        if batch:  # one row that is too long comes after an empty batch
            yield [index for _, index in batch]


def batch_size(new: Row, count: int, so_far: int) -> int:
    """Return rows × longest row once `new` is the `count`-th row; `so_far` is the same before it."""
    longest = so_far // (count - 1) if count > 1 else 0
    return count * max(longest, new[0])


def _check_budget(longest: Lengths, batch_tokens: int) -> None:
    most = int(longest.max(initial=0))
    if most > batch_tokens:
        raise ConfigError(
            f"training.batch_tokens={batch_tokens} is less than one pair of {most} pieces: "
            "raise it or lower data.max_length"
        )
