"""Encoded training pairs by epoch: the same ones in every epoch, or newly edited or segmented ones."""

from __future__ import annotations

import contextlib
import functools
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from seq2seq.atomic_files import storage_errors
from seq2seq.config.data import DataConfig
from seq2seq.data.augmentation import Augmenter
from seq2seq.data.batch import RaggedIds
from seq2seq.data.binarised import (
    SIDES,
    Encode,
    PairedIds,
    check_not_empty,
    log_dropped,
    prepare,
    without_position,
    write_pairs,
)
from seq2seq.data.corpus import ParallelText
from seq2seq.data.edits import Pair
from seq2seq.data.subword_sampling import Sampler
from seq2seq.data.tokenizer import Tokenizer

STALE_SEC = 3600.0
SRC, TGT = 1, 2  # not 0: NumPy treats the seeds [a, b] and [a, b, 0, 0] as equal


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

    Without sampling only the edited lines are segmented: the ids of the others are those of the prepared text.

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
        sampling, augment = data.sampling, data.augment
        self._samplers = {
            SRC: None if sampling.src is None else tokenizer.src_sampler(sampling.src),
            TGT: None if sampling.tgt is None else tokenizer.tgt_sampler(sampling.tgt),
        }
        self._text = self._possible(text)
        self._too_long = len(text) - len(self._text)
        self._best = {SRC: without_position(tokenizer.encode_src), TGT: without_position(tokenizer.encode_tgt)}
        self._augmenter = Augmenter(augment.probabilities(), seed) if augment.active else None
        # Without a limit, so that a pair has the same index as in the text.
        self._prepared = functools.cache(functools.partial(prepare, self._text, tokenizer, None, cache))
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
                write_pairs(self._text, *self._encoders(epoch), self._max_length, Path(name), self._too_long)
                pairs = PairedIds(Path(name))
        check_not_empty(pairs, self._max_length)
        if not self._logged:
            log_dropped(pairs, self._max_length)
            self._logged = True
        return pairs

    def _possible(self, text: ParallelText) -> ParallelText:
        """Return `text` without the pairs that are too long in every segmentation: sampling one could take minutes."""
        sides = [(text.src, self._samplers[SRC]), (text.tgt, self._samplers[TGT])]
        too_long = {
            i
            for lines, sampler in sides
            if sampler is not None
            for i, line in enumerate(lines)
            if sampler.always_reaches(line, self._max_length)
        }
        if not too_long:
            return text
        return ParallelText.from_pairs([pair for i, pair in enumerate(text) if i not in too_long])

    def _encoders(self, epoch: int) -> tuple[Encode, Encode]:
        src, tgt = self._encoder(SRC, epoch), self._encoder(TGT, epoch)
        if self._augmenter is None:
            return src, tgt
        edited, text = functools.partial(self._augmenter.edited, epoch=epoch), self._text

        @functools.lru_cache(1)  # both sides of a chunk are edited together
        def edits(start: int, end: int) -> dict[int, Pair]:
            return edited(text.src[start:end], text.tgt[start:end], start=start)

        return self._with_edits(SRC, src, edits), self._with_edits(TGT, tgt, edits)

    def _with_edits(self, side: int, encode: Encode, edits: Callable[[int, int], dict[int, Pair]]) -> Encode:
        """Return `encode` for lines of the text, as edited."""

        def encode_edited(lines: Sequence[str], start: int) -> RaggedIds:
            end = start + len(lines)
            new = {i: pair[side - 1] for i, pair in edits(start, end).items() if pair[side - 1] != lines[i]}
            if self._samplers[side] is not None:
                return encode([new.get(i, line) for i, line in enumerate(lines)], start)
            unedited = self._prepared().span(SIDES[side - 1], start, end)
            return unedited.replaced(list(new), encode(list(new.values()), start))

        return encode_edited

    def _encoder(self, side: int, epoch: int) -> Encode:
        sampler = self._samplers[side]
        return self._best[side] if sampler is None else _seeded(sampler, [self._seed, epoch, side])


def _seeded(sampler: Sampler, seed: Sequence[int]) -> Encode:
    return lambda lines, start: RaggedIds.from_lists(sampler.encode(lines, [*seed, start]))


def remove_stale(folder: Path) -> None:
    """Remove the subfolders of killed processes: those in which no file was written for an hour."""
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # another process removes it at the same time
            files = [path, *path.iterdir()]
            in_use = any(file.name.startswith(".nfs") for file in files)  # NFS renames deleted files that are open
            if not in_use and time.time() - max(file.stat().st_mtime for file in files) > STALE_SEC:
                shutil.rmtree(path, ignore_errors=True)
