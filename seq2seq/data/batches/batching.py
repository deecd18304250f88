"""Batches of similar length under a token budget, cut by torchtext (the only module that imports it).

The budget is a ceiling on rows × longest row of either side: the positions computed, padding included. The order of an
epoch is a pure function of (seed, epoch), so a resumed run needs only its position in it. A text of more than
WINDOW_PAIRS pairs is sorted and shuffled window by window, so that memory and the part of the text that is read at a
time stay bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from torchtext.data import batch as torchtext_batch

from seq2seq.data.batches.batch import Batch, batch_from_ragged
from seq2seq.data.batches.mixing import Pairs
from seq2seq.data.encoding.ragged import ragged_positions
from seq2seq.errors import ConfigError

Lengths = NDArray[np.integer[Any]]
Cost = Callable[[Lengths, Lengths, Lengths], NDArray[Any]]
"""Maps numbers of rows, longest sources and longest targets to the costs of the batches."""
DIFFERENCE_BUCKET = 2  # tokens
WINDOW_PAIRS = 1_000_000
BLOCK_PAIRS = 10_000
ORDER_VERSION = 2
"""Of the order of an epoch; in version 1, a text of any size was one window."""


class BatchOrder(Sequence[list[int]]):
    """The pair indices of every batch of an epoch, in flat arrays: a list of lists takes ten times their memory."""

    def __init__(self, indices: NDArray[np.integer[Any]], starts: Lengths) -> None:
        """Batch `i` has the indices from `starts[i]` up to the next start."""
        self.indices, self.starts = indices, starts
        self.rows: Lengths = np.diff(starts, append=len(indices))

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, position: int) -> list[int]: ...
    @overload
    def __getitem__(self, position: slice) -> list[list[int]]: ...
    def __getitem__(self, position: int | slice) -> list[int] | list[list[int]]:
        """Return the indices of one batch, or of several."""
        if isinstance(position, slice):
            return [self[i] for i in range(*position.indices(len(self)))]
        start = self.starts[position]
        batch: list[int] = self.indices[start : start + self.rows[position]].tolist()
        return batch


def batch_order(src_lengths: Lengths, tgt_lengths: Lengths, batch_tokens: int, seed: int, epoch: int) -> BatchOrder:
    """Return the pair indices of every batch of an epoch; each pair occurs once.

    Pairs are sorted by length, with random order inside a bucket of similar lengths, and cut into batches, which are
    shuffled. Bucket widths trade padding (2 to 5 %) against how often the same pairs share a batch
    (docs/explanation/performance.md).

    That is done with all pairs together if they are at most WINDOW_PAIRS. Otherwise the text is divided into blocks of
    BLOCK_PAIRS neighbouring pairs, which are dealt out to windows of at most WINDOW_PAIRS like cards: of as many
    neighbouring blocks as there are windows each gets one, at random. So every window has its share of each part of
    the text, such as a corpus of a mix. The windows follow one another.

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
    order = np.empty(len(longest), np.int32 if len(longest) < 2**31 else np.int64)
    sizes, filled = [np.zeros(0, np.int64)], 0
    for window in _windows(len(longest), rng):
        keys = rng.permutation(len(window)), difference[window] // DIFFERENCE_BUCKET, longest[window]
        by_length = window[np.lexsort(keys)]
        rows = _cut(longest[by_length], batch_tokens)
        shuffled = rng.permutation(len(rows))
        firsts = (np.cumsum(rows) - rows)[shuffled]
        sizes.append(rows[shuffled])
        order[filled : filled + len(window)] = by_length[ragged_positions(firsts, sizes[-1])]
        filled += len(window)
    rows = np.concatenate(sizes)
    return BatchOrder(order, np.cumsum(rows) - rows)


def is_order_of(version: int, pairs: int) -> bool:
    """Return True if `batch_order` gives the order that it gave in `version`, for a text of `pairs` pairs."""
    return version == ORDER_VERSION or pairs <= WINDOW_PAIRS


def _windows(pairs: int, rng: np.random.Generator) -> Iterator[Lengths]:
    """Yield the pairs of each window; only a text of several windows draws from `rng`."""
    if pairs <= WINDOW_PAIRS:
        yield np.arange(pairs)
        return
    windows, blocks = -(-pairs // WINDOW_PAIRS), -(-pairs // BLOCK_PAIRS)
    hands = np.tile(np.arange(windows), (-(-blocks // windows), 1))
    window_of = rng.permuted(hands, axis=1).ravel()[:blocks]
    by_window = np.argsort(window_of, kind="stable")
    for own in np.split(by_window, np.cumsum(np.bincount(window_of, minlength=windows))[:-1]):
        yield np.concatenate([np.arange(i * BLOCK_PAIRS, min(pairs, (i + 1) * BLOCK_PAIRS)) for i in own.tolist()])


def fixed_batches(pairs: Pairs, batch_tokens: int) -> Iterator[Batch]:
    """Yield all pairs sorted by length, for validation; a pair that exceeds the budget is a batch of its own."""
    longest, difference = _sort_keys(pairs.src_lengths, pairs.tgt_lengths)
    order = np.lexsort((difference, longest))
    rows = _cut(longest[order], batch_tokens)
    yield from batches(pairs, BatchOrder(order, np.cumsum(rows) - rows))


def batches(pairs: Pairs, order: Sequence[Sequence[int]], start: int = 0) -> Iterator[Batch]:
    """Yield the batches of an epoch's `order`, from position `start`."""
    for position in range(start, len(order)):
        indices = order[position]
        yield batch_from_ragged(pairs.src_rows(indices), pairs.tgt_rows(indices))


def costliest(order: BatchOrder, src_lengths: Lengths, tgt_lengths: Lengths, cost: Cost) -> int:
    """Return the position in an epoch's `order` of the batch with the highest cost, the first one on a tie.

    Which batch that is depends on the model: the longest sentences if attention stores a vector for each pair of
    positions, else the most positions.
    """
    src_len, tgt_len = (
        np.maximum.reduceat(lengths[order.indices], order.starts).astype(np.int64)
        for lengths in (src_lengths, tgt_lengths)
    )
    return int(np.argmax(cost(order.rows, src_len, tgt_len)))


def _sort_keys(src_lengths: Lengths, tgt_lengths: Lengths) -> tuple[Lengths, Lengths]:
    """Return the sort keys of pairs: length of the longer side, and signed difference of the two lengths.

    The longer side determines the cost of a batch. The sign alternates with the length (boustrophedon), so that pairs
    are similar across the border of two lengths.
    """
    dtype = np.int16 if max(src_lengths.max(initial=0), tgt_lengths.max(initial=0)) < 2**15 else np.int64  # int16: fast
    src, tgt = src_lengths.astype(dtype), tgt_lengths.astype(dtype)
    longest = np.maximum(src, tgt)
    return longest, (tgt - src) * np.where(longest % 2, dtype(1), dtype(-1))


def _cut(longest: Lengths, batch_tokens: int) -> NDArray[np.int64]:
    """Return the number of rows of each batch of pairs that are sorted by `longest`."""
    cut = torchtext_batch(longest.tolist(), batch_tokens, batch_size)
    rows = np.fromiter((len(batch) for batch in cut), np.int64)
    return rows[rows > 0]  # torchtext yields an empty batch before a row that exceeds the budget


def batch_size(new: int, count: int, size: int) -> int:
    """Return rows × longest row with a row of `new` tokens as number `count`; `size` is the value without it."""
    longest = size // (count - 1) if count > 1 else 0
    return count * max(longest, new)


def _check_budget(longest: Lengths, batch_tokens: int) -> None:
    maximum = int(longest.max(initial=0))
    if maximum > batch_tokens:
        raise ConfigError(
            f"training.batch_tokens={batch_tokens} is less than the longest pair, {maximum} tokens: "
            "raise it or lower data.max_length"
        )
