"""Training batches, epoch by epoch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from seq2seq.config.data import MAIN, DataConfig
from seq2seq.config.training import TrainingConfig
from seq2seq.data.batches.batch import Batch
from seq2seq.data.batches.batching import BatchOrder, Cost, batch_order, batches, costliest, is_order_of
from seq2seq.data.batches.epoch_pairs import changes_by_epoch, epoch_pairs
from seq2seq.data.batches.mixing import Mixture, Pairs, Part, with_corpora
from seq2seq.data.corpus import ParallelText
from seq2seq.data.encoding.binarised import PairedIds, prepare
from seq2seq.data.files.download import cache_dir
from seq2seq.data.subwords.tokenizer import Tokenizer


class CorpusPairs:
    """Returns the pairs of one corpus in an epoch, by the number of the epoch."""

    def __init__(self, data: DataConfig, training: TrainingConfig, text: ParallelText, tokenizer: Tokenizer) -> None:
        """Drop pairs with a side longer than `data.max_length` or `training.batch_tokens`.

        Raises:
            DataError: no pair is left.
        """
        max_length, cache = min(data.max_length, training.batch_tokens), cache_dir(data.cache_dir)
        pairs_of = epoch_pairs(text, tokenizer, data, max_length, training.seed, cache)
        self._max_length = max_length
        # Preparing reads the whole text: if epochs do not differ, the pairs of any epoch are those that are prepared
        # already. Augmentation prepares without a limit.
        unchanged = functools.partial(prepare, text, tokenizer, None if data.augment.active else max_length, cache)
        self._unchanged = unchanged if changes_by_epoch(data) else functools.partial(pairs_of, 0)
        self._pairs_of = functools.lru_cache(1)(pairs_of)  # if epochs differ, an epoch is encoded at its first use

    def __call__(self, epoch: int) -> PairedIds:
        """Return the pairs of `epoch`."""
        return self._pairs_of(epoch)

    def longest_src(self) -> int:
        """Return the source tokens, without EOS, of the longest training sentence, in its best segmentation."""
        pairs = self._unchanged()
        fits = np.maximum(pairs.src_lengths, pairs.tgt_lengths) <= self._max_length
        return int(pairs.src_lengths[fits].max(initial=1)) - 1


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
        """Read `text`, and `others`, the training texts of the corpora in `data.mix`; see `CorpusPairs`.

        Raises:
            ConfigError: the vocabulary lacks a tag.
            DataError: no pair is left.
        """
        self._training, settings = training, data.corpora()
        texts = {MAIN: text, **(others or {})}
        self._corpora = {name: CorpusPairs(settings[name], training, lines, tokenizer) for name, lines in texts.items()}
        parts = [
            Part(name, corpus, tokenizer.src_symbols(settings[name].tag_symbols), settings[name].weight)
            for name, corpus in self._corpora.items()
        ]
        pairs_of: Callable[[int], Pairs] = self._corpora[MAIN]
        if len(parts) > 1 or parts[0].tag:
            limit = min(data.max_length, training.batch_tokens)
            pairs_of = Mixture(parts, data.mix_temperature, limit, training.seed)
        self._pairs_of = functools.lru_cache(1)(pairs_of)
        self._order_of = functools.lru_cache(1)(self._order)

    def __call__(self, epoch: int, start: int) -> tuple[int, Iterator[Batch]]:
        """Return the number of batches of `epoch` and an iterator over them, from number `start`."""
        order, pairs = self._order_of(epoch), self._pairs_of(epoch)
        return len(order), with_corpora(batches(pairs, order, start), pairs, order, start)

    def is_order_of(self, version: int, epoch: int) -> bool:
        """Return True if the batches of `epoch` are in the order that they had in `version` (`ORDER_VERSION`)."""
        return is_order_of(version, len(self._pairs_of(epoch)))

    def longest_src(self) -> int:
        """Return the source tokens, without tag and EOS, of the longest training sentence in its best segmentation."""
        return max(corpus.longest_src() for corpus in self._corpora.values())

    def worst(self, epoch: int, cost: Cost) -> Batch:
        """Return the batch of `epoch` with the highest cost (see `batching.costliest`)."""
        pairs, order = self._pairs_of(epoch), self._order_of(epoch)
        position = costliest(order, pairs.src_lengths, pairs.tgt_lengths, cost)
        return next(batches(pairs, order, position))

    def _order(self, epoch: int) -> BatchOrder:
        pairs, training = self._pairs_of(epoch), self._training
        return batch_order(pairs.src_lengths, pairs.tgt_lengths, training.batch_tokens, training.seed, epoch)
