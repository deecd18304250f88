"""Batches of similar length under a token budget, cut by torchtext (the only module that imports it).

The budget is a ceiling on rows × longest row of either side: the positions computed, padding included. The order of an
epoch is a pure function of (seed, epoch), so a resumed run needs only its position in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torchtext.data import batch as torchtext_batch

from seq2seq.data.batch import Batch, batch_from_ragged
from seq2seq.data.mixing import Pairs
from seq2seq.errors import ConfigError

Lengths = NDArray[np.int64]
Cost = Callable[[Lengths, Lengths, Lengths], NDArray[Any]]
"""Maps numbers of rows, longest sources and longest targets to the costs of the batches."""
Row = tuple[int, int]  # length of the longer side, index of the pair
DIFFERENCE_BUCKET = 2  # tokens


def batch_order(
    src_lengths: Lengths, tgt_lengths: Lengths, batch_tokens: int, seed: int, epoch: int
) -> list[list[int]]:
    """Return the pair indices of every batch of an epoch; each pair occurs once.

    Pairs are sorted by length, with random order inside a bucket of similar lengths, and cut into batches, which are
    shuffled. Bucket widths trade padding (2 to 5 %) against how often the same pairs share a batch
    (docs/explanation/performance.md).

    Args:
        src_lengths: source tokens of each pair, EOS included.
        tgt_lengths: target tokens of each pair, EOS included.
        batch_tokens: ceiling of rows × longest row of a batch, on either side.
        seed: of the run.
        epoch: number of the epoch.

    Raises:
        ConfigError: one pair exceeds the budget.
    """
    longest, difference = _sort_keys(src_lengths, tgt_lengths)
    _check_budget(longest, batch_tokens)
    rng = np.random.default_rng([seed, epoch])
    order = np.lexsort((rng.permutation(len(longest)), difference // DIFFERENCE_BUCKET, longest))
    batches = list(_cut(longest, order, batch_tokens))
    return [batches[i] for i in rng.permutation(len(batches))]


def fixed_batches(pairs: Pairs, batch_tokens: int) -> Iterator[Batch]:
    """Yield all pairs sorted by length, for validation; a pair that exceeds the budget is a batch of its own."""
    longest, difference = _sort_keys(pairs.src_lengths, pairs.tgt_lengths)
    for indices in _cut(longest, np.lexsort((difference, longest)), batch_tokens):
        yield _batch(pairs, indices)


def batches(pairs: Pairs, order: Sequence[Sequence[int]], start: int = 0) -> Iterator[Batch]:
    """Yield the batches of an epoch's `order`, from position `start`."""
    for indices in order[start:]:
        yield _batch(pairs, indices)


def costliest(order: Sequence[Sequence[int]], src_lengths: Lengths, tgt_lengths: Lengths, cost: Cost) -> int:
    """Return the position in an epoch's `order` of the batch with the highest cost, the first one on a tie.

    Which batch that is depends on the model: the longest sentences if attention stores a vector for each pair of
    positions, else the most positions.
    """
    rows = np.fromiter(map(len, order), np.int64, len(order))
    indices = np.fromiter(chain.from_iterable(order), np.int64, int(rows.sum()))
    starts = np.cumsum(rows) - rows
    src_len, tgt_len = (np.maximum.reduceat(lengths[indices], starts) for lengths in (src_lengths, tgt_lengths))
    return int(np.argmax(cost(rows, src_len, tgt_len)))


def _batch(pairs: Pairs, indices: Sequence[int]) -> Batch:
    return batch_from_ragged(pairs.src_rows(indices), pairs.tgt_rows(indices))


def _sort_keys(src_lengths: Lengths, tgt_lengths: Lengths) -> tuple[Lengths, Lengths]:
    """Return the sort keys of pairs: length of the longer side, and signed difference of the two lengths.

    The longer side determines the cost of a batch. The sign alternates with the length (boustrophedon), so that pairs
    are similar across the border of two lengths.
    """
    longest = np.maximum(src_lengths, tgt_lengths)
    return longest, (tgt_lengths - src_lengths) * np.where(longest % 2, 1, -1)


def _cut(longest: Lengths, order: Lengths, batch_tokens: int) -> Iterator[list[int]]:
    rows = zip(longest[order].tolist(), order.tolist(), strict=True)
    for batch in torchtext_batch(rows, batch_tokens, batch_size):
        if batch:  # torchtext yields an empty batch before a row that exceeds the budget
            yield [index for _, index in batch]


def batch_size(new: Row, count: int, size: int) -> int:
    """Return rows × longest row with `new` as row number `count`; `size` is the value without it."""
    longest = size // (count - 1) if count > 1 else 0
    return count * max(longest, new[0])


def _check_budget(longest: Lengths, batch_tokens: int) -> None:
    maximum = int(longest.max(initial=0))
    if maximum > batch_tokens:
        raise ConfigError(
            f"training.batch_tokens={batch_tokens} is less than the longest pair, {maximum} tokens: "
            "raise it or lower data.max_length"
        )
