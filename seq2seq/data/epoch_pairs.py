"""Encoded training pairs by epoch: the same ones in every epoch, or newly segmented ones (subword sampling)."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from seq2seq.atomic_files import storage_errors
from seq2seq.config.data import SamplingConfig
from seq2seq.data.binarised import PairedIds, check_not_empty, encode_all, log_dropped, prepare
from seq2seq.data.corpus import ParallelText
from seq2seq.data.shards import PairEncoder, ShardJob
from seq2seq.data.text_store import taken
from seq2seq.data.tokenizer import Tokenizer

STALE_SEC = 3600.0


def epoch_pairs(
    text: ParallelText, tokenizer: Tokenizer, sampling: SamplingConfig, max_length: int, seed: int, cache: Path
) -> Callable[[int], PairedIds]:
    """Return a function from the number of an epoch to its pairs.

    Pairs with a side of more than `max_length` tokens, EOS included, are dropped.

    Raises:
        DataError: no pair is left. With sampling the returned function raises it, because segmentations differ in
            length.
    """
    if sampling.src is None and sampling.tgt is None:
        pairs = prepare(text, tokenizer, max_length, cache)
        log_dropped(pairs, max_length)
        return lambda epoch: pairs
    return SampledEpochs(text, tokenizer, sampling, max_length, seed, cache)


class SampledEpochs:
    """Segments the training text for every epoch, as a function of (seed, epoch).

    The files are memory-mapped and deleted at once, so that the operating system frees the disk space when the pairs
    are no longer referenced or the process ends, even by a kill.
    """

    def __init__(
        self,
        text: ParallelText,
        tokenizer: Tokenizer,
        sampling: SamplingConfig,
        max_length: int,
        seed: int,
        cache: Path,
    ) -> None:
        """A side whose alpha is None uses its best segmentation.

        Raises:
            ConfigError: the tokenizer has one segmentation only.
        """
        self._max_length, self._seed = max_length, seed
        self._encoder = PairEncoder(tokenizer, sampling)
        self._text = self._possible(text)
        self._too_long = len(text) - len(self._text)
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
                self._encoder.seed = (self._seed, epoch)
                shards = encode_all(ShardJob(self._text, self._encoder, self._max_length, Path(name)))
                pairs = PairedIds(shards, self._too_long)
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


def remove_stale(folder: Path) -> None:
    """Remove the subfolders of killed processes: those in which no file was written for an hour."""
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # another process removes it at the same time
            files = [path, *path.rglob("*")]
            in_use = any(file.name.startswith(".nfs") for file in files)  # NFS renames deleted files that are open
            if not in_use and time.time() - max(file.stat().st_mtime for file in files) > STALE_SEC:
                shutil.rmtree(path, ignore_errors=True)
