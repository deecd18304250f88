"""Training batches, epoch by epoch."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from seq2seq.config.data import DataConfig
from seq2seq.config.training import TrainingConfig
from seq2seq.data.batch import Batch
from seq2seq.data.batching import BatchOrder, Cost, batch_order, batches, costliest
from seq2seq.data.binarised import prepare
from seq2seq.data.corpus import ParallelText
from seq2seq.data.download import cache_dir
from seq2seq.data.epoch_pairs import epoch_pairs
from seq2seq.data.tokenizer import Tokenizer


class EpochBatches:
    """Returns the batches of an epoch by its number (the trainer's `EpochData`)."""

    def __init__(self, data: DataConfig, training: TrainingConfig, text: ParallelText, tokenizer: Tokenizer) -> None:
        """Drop pairs with a side longer than `data.max_length` or `training.batch_tokens`.

        Raises:
            DataError: no pair is left.
        """
        max_length, cache = min(data.max_length, training.batch_tokens), cache_dir(data.cache_dir)
        pairs_of = epoch_pairs(text, tokenizer, data.sampling, max_length, training.seed, cache)
        self._training = training
        sampled = data.sampling.src is not None or data.sampling.tgt is not None
        # Preparing reads the whole text: without sampling, the pairs of any epoch are those that are prepared already.
        unsampled = functools.partial(prepare, text, tokenizer, max_length, cache)
        self._unsampled = unsampled if sampled else functools.partial(pairs_of, 0)
        self._pairs_of = functools.lru_cache(1)(pairs_of)  # with sampling, an epoch is encoded at its first use
        self._order_of = functools.lru_cache(1)(self._order)

    def __call__(self, epoch: int, start: int) -> tuple[int, Iterator[Batch]]:
        """Return the number of batches of `epoch` and an iterator over them, from number `start`."""
        order = self._order_of(epoch)
        return len(order), batches(self._pairs_of(epoch), order, start)

    def longest_src(self) -> int:
        """Return the source tokens, without EOS, of the longest training sentence, in its best segmentation."""
        return int(self._unsampled().src_lengths.max()) - 1

    def worst(self, epoch: int, cost: Cost) -> Batch:
        """Return the batch of `epoch` with the highest cost (see `batching.costliest`)."""
        pairs, order = self._pairs_of(epoch), self._order_of(epoch)
        position = costliest(order, pairs.src_lengths, pairs.tgt_lengths, cost)
        return next(batches(pairs, order, position))

    def _order(self, epoch: int) -> BatchOrder:
        pairs, training = self._pairs_of(epoch), self._training
        return batch_order(pairs.src_lengths, pairs.tgt_lengths, training.batch_tokens, training.seed, epoch)
