"""Training batches, epoch by epoch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping

from seq2seq.config.data import MAIN, DataConfig
from seq2seq.config.training import TrainingConfig
from seq2seq.data.batch import Batch
from seq2seq.data.batching import Cost, batch_order, batches, costliest
from seq2seq.data.binarised import prepare
from seq2seq.data.corpus import ParallelText
from seq2seq.data.download import cache_dir
from seq2seq.data.epoch_pairs import epoch_pairs
from seq2seq.data.mixing import Mixture, Pairs, Part, counted
from seq2seq.data.tokenizer import Tokenizer


class EpochBatches:
    """Returns the batches of an epoch by its number (the trainer's `EpochData`)."""

    def __init__(
        self,
        data: DataConfig,
        training: TrainingConfig,
        text: ParallelText,
        tokenizer: Tokenizer,
        others: Mapping[str, ParallelText] | None = None,
    ) -> None:
        """Drop pairs with a side longer than `data.max_length` or `training.batch_tokens`.

        `others` are the training texts of the corpora in `data.mix`.

        Raises:
            ConfigError: the vocabulary lacks a tag.
            DataError: no pair is left.
        """
        max_length, cache = min(data.max_length, training.batch_tokens), cache_dir(data.cache_dir)
        texts, settings = {MAIN: text, **(others or {})}, data.corpora()
        all_pairs = {
            name: epoch_pairs(lines, tokenizer, data.sampling, max_length, training.seed, cache)
            for name, lines in texts.items()
        }
        self._training = training
        sampled = data.sampling.src is not None or data.sampling.tgt is not None
        # Preparing reads the whole text: without sampling, the pairs of any epoch are those that are prepared already.
        self._unsampled = [
            functools.partial(prepare, lines, tokenizer, max_length, cache)
            if sampled
            else functools.partial(all_pairs[name], 0)
            for name, lines in texts.items()
        ]
        parts = [
            Part(name, pairs_of, tokenizer.src_symbols(settings[name].tag_symbols), settings[name].weight)
            for name, pairs_of in all_pairs.items()
        ]
        pairs_of: Callable[[int], Pairs] = all_pairs[MAIN]
        if len(parts) > 1 or parts[0].tag:
            pairs_of = Mixture(parts, data.mix_temperature, max_length, training.seed)
        self._pairs_of = functools.lru_cache(1)(pairs_of)  # with sampling, an epoch is encoded at its first use
        self._order_of = functools.lru_cache(1)(self._order)

    def __call__(self, epoch: int, start: int) -> tuple[int, Iterator[Batch]]:
        """Return the number of batches of `epoch` and an iterator over them, from number `start`."""
        order = self._order_of(epoch)
        pairs = self._pairs_of(epoch)
        return len(order), counted(batches(pairs, order, start), pairs, order, start)

    def longest_src(self) -> int:
        """Return the source tokens, without tag and EOS, of the longest training sentence in its best segmentation."""
        return max(int(pairs().src_lengths.max()) for pairs in self._unsampled) - 1

    def worst(self, epoch: int, cost: Cost) -> Batch:
        """Return the batch of `epoch` with the highest cost (see `batching.costliest`)."""
        pairs, order = self._pairs_of(epoch), self._order_of(epoch)
        position = costliest(order, pairs.src_lengths, pairs.tgt_lengths, cost)
        return next(batches(pairs, order, position))

    def _order(self, epoch: int) -> list[list[int]]:
        pairs, training = self._pairs_of(epoch), self._training
        return batch_order(pairs.src_lengths, pairs.tgt_lengths, training.batch_tokens, training.seed, epoch)
