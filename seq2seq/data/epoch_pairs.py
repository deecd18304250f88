"""The encoded training pairs of every epoch: always the same ones, or segmented anew each time (subword sampling)."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from seq2seq.atomic_files import telling
from seq2seq.config.data import SamplingConfig
from seq2seq.data.binarised import (
    Encode,
    PairedIds,
    check_not_empty,
    fixed,
    log_dropped,
    prepare,
    write_pairs,
)
from seq2seq.data.corpus import ParallelText
from seq2seq.data.subword_sampling import Sampler
from seq2seq.data.tokenizer import Tokenizer

STALE_SEC = 3600.0
SRC, TGT = 1, 2  # not 0: NumPy's seeds [a, b] and [a, b, 0, 0] are one


def epoch_pairs(
    text: ParallelText, tokenizer: Tokenizer, sampling: SamplingConfig, max_length: int, seed: int, cache: Path
) -> Callable[[int], PairedIds]:
    """Return the pairs of an epoch as a function of its number.

    Pairs with a side of more than `max_length` pieces, EOS included, are dropped.

    Raises:
        DataError: no pair is left. With sampling the function returned raises it, as epochs differ in length.
    """
    if sampling.src is None and sampling.tgt is None:
        pairs = prepare(text, tokenizer, max_length, cache)
        return lambda epoch: pairs
    return SampledEpochs(text, tokenizer, sampling, max_length, seed, cache)


class SampledEpochs:
    """Segments the training text anew for every epoch, as a function of (seed, epoch).

    The files are mapped and lose their names at once, so that the disk is free again when the pairs are let go,
    however the process ends.
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
        """A side whose alpha is None keeps its best segmentation.

        Raises:
            ConfigError: the tokenizer has one segmentation only.
        """
        self._text, self._max_length, self._seed = text, max_length, seed
        self._samplers = {
            SRC: None if sampling.src is None else tokenizer.src_sampler(sampling.src),
            TGT: None if sampling.tgt is None else tokenizer.tgt_sampler(sampling.tgt),
        }
        self._best = {SRC: fixed(tokenizer.encode_src), TGT: fixed(tokenizer.encode_tgt)}
        self._folder = cache / "sampled"
        self._told = False

    def __call__(self, epoch: int) -> PairedIds:
        """Return the pairs of `epoch`; those too long in this segmentation are dropped, and logged the first time only.

        Raises:
            DataError: no pair is left.
            StorageError: the disk refuses.
        """
        with telling(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            remove_stale(self._folder)
            # Where a mapped file cannot be deleted (Windows, NFS) it stays until it is stale.
            with tempfile.TemporaryDirectory(dir=self._folder, ignore_cleanup_errors=True) as name:
                encoders = self._encoder(SRC, epoch), self._encoder(TGT, epoch)
                write_pairs(self._text, *encoders, self._max_length, Path(name))
                pairs = PairedIds(Path(name))
        check_not_empty(pairs, self._max_length)
        if not self._told:
            log_dropped(pairs, self._max_length)
            self._told = True
        return pairs

    def _encoder(self, side: int, epoch: int) -> Encode:
        sampler = self._samplers[side]
        return self._best[side] if sampler is None else _at(sampler, [self._seed, epoch, side])


def _at(sampler: Sampler, seed: Sequence[int]) -> Encode:
    return lambda lines, start: sampler.encode(lines, [*seed, start])


def remove_stale(folder: Path) -> None:
    """Remove what a process left that was killed as it wrote: subfolders in which nothing was written for an hour."""
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # another process removes it, too
            files = [path, *path.iterdir()]
            in_use = any(file.name.startswith(".nfs") for file in files)  # so NFS calls deleted files that are open
            if not in_use and time.time() - max(file.stat().st_mtime for file in files) > STALE_SEC:
                shutil.rmtree(path, ignore_errors=True)
