"""Encoded training pairs by epoch: the same ones in every epoch, or newly edited or segmented ones."""

from __future__ import annotations

import contextlib
import functools
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from seq2seq.config.data import DataConfig
from seq2seq.data.corpus import ParallelText
from seq2seq.data.encoding import shards
from seq2seq.data.encoding.binarised import PairedIds, check_not_empty, encode_all, log_dropped, prepare
from seq2seq.data.encoding.edited_encoder import EditedEncoder, Prepared
from seq2seq.data.encoding.shards import Encoder, PairEncoder, ShardJob
from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.data.text.augmentation import Augmenter
from seq2seq.data.text.text_store import taken
from seq2seq.filesystem.atomic_files import storage_errors

STALE_SEC = 3600.0


def changes_by_epoch(data: DataConfig) -> bool:
    """Return True if the ids of the training pairs differ between epochs."""
    return data.sampling.src is not None or data.sampling.tgt is not None or data.augment.active


def epoch_pairs(
    text: ParallelText, tokenizer: Tokenizer, data: DataConfig, max_length: int, seed: int, cache: Path
) -> Callable[[int], PairedIds]:
    """Return a function from the number of an epoch to its pairs.

    Pairs with a side of more than `max_length` tokens, EOS included, are dropped.

    Raises:
        DataError: no pair is left. If epochs differ, the returned function raises it, because lengths differ, too.
    """
    if not changes_by_epoch(data):
        pairs = prepare(text, tokenizer, max_length, cache)
        log_dropped(pairs, max_length)
        return lambda epoch: pairs
    return SampledEpochs(text, tokenizer, data, max_length, seed, cache)


class SampledEpochs:
    """Edits and segments the training text for every epoch, as a function of (seed, epoch).

    Without sampling only the edited lines are segmented: unedited lines keep the ids of the prepared text.

    The files are memory-mapped and deleted at once, so that the operating system frees the disk space when the pairs
    are no longer referenced or the process ends, even by a kill.
    """

    def __init__(
        self,
        text: ParallelText,
        tokenizer: Tokenizer,
        data: DataConfig,
        max_length: int,
        seed: int,
        cache: Path,
    ) -> None:
        """A side whose alpha is None uses its best segmentation.

        Raises:
            ConfigError: the tokenizer has one segmentation only.
        """
        self._max_length, self._seed = max_length, seed
        self._encoder = PairEncoder(tokenizer, data.sampling)
        self._text = self._possible(text)
        self._too_long = len(text) - len(self._text)
        self._augmenter = Augmenter(data.augment.probabilities(), seed) if data.augment.active else None
        self._prepared = functools.cache(functools.partial(_prepared, self._text, tokenizer, cache))
        self._folder = cache / "sampled"
        self._logged = False

    def __call__(self, epoch: int) -> PairedIds:
        """Return the pairs of `epoch`, without those too long in this segmentation; log their number the first time.

        Raises:
            DataError: no pair is left.
            StorageError: the files cannot be written.
        """
        with storage_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            remove_stale(self._folder)
            # A mapped file that cannot be deleted (Windows, NFS) is removed later by `remove_stale`.
            with tempfile.TemporaryDirectory(dir=self._folder, ignore_cleanup_errors=True) as name:
                job = ShardJob.temporary(self._text, self._epoch_encoder(epoch), self._max_length, Path(name))
                pairs = PairedIds(encode_all(job), self._too_long)
        check_not_empty(pairs, self._max_length)
        if not self._logged:
            log_dropped(pairs, self._max_length)
            self._logged = True
        return pairs

    def _possible(self, text: ParallelText) -> ParallelText:
        """Return `text` without the pairs that are too long in every segmentation: sampling one could take minutes."""
        possible = np.ones(len(text), bool)
        for lines, sampler in zip((text.src, text.tgt), self._encoder.samplers, strict=True):
            if sampler is not None:
                for i, line in enumerate(lines):
                    if sampler.always_reaches(line, self._max_length):
                        possible[i] = False
        return text if possible.all() else taken(text, np.flatnonzero(possible))

    def _epoch_encoder(self, epoch: int) -> Encoder:
        self._encoder.seed = (self._seed, epoch)
        if self._augmenter is None:
            return self._encoder
        prepared = self._prepared() if None in self._encoder.samplers else None
        return EditedEncoder(self._encoder, self._augmenter, self._text, epoch, prepared)


def _prepared(text: ParallelText, tokenizer: Tokenizer, cache: Path) -> Prepared:
    # Without a limit, so that a pair has the same index as in the text.
    return Prepared(prepare(text, tokenizer, None, cache).shards, shards.SHARD_PAIRS)


def remove_stale(folder: Path) -> None:
    """Remove the subfolders of killed processes: those in which no file was written for an hour."""
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # another process removes it at the same time
            files = [path, *path.rglob("*")]
            in_use = any(file.name.startswith(".nfs") for file in files)  # NFS renames deleted files that are open
            if not in_use and time.time() - max(file.stat().st_mtime for file in files) > STALE_SEC:
                shutil.rmtree(path, ignore_errors=True)
