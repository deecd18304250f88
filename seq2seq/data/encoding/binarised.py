"""Sentence pairs as token ids, encoded once and memory-mapped.

Flat arrays and offsets on disk, in shards: a restarted run does not encode again, and the processes of a machine share
the pages. In memory are the offsets, eight bytes for each pair, and the pages in use.
"""

from __future__ import annotations

import hashlib
import logging
import mmap
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from seq2seq.data.corpus import SIDES, ParallelText, lines_digest
from seq2seq.data.encoding.ragged import RaggedIds, ragged_positions
from seq2seq.data.encoding.shard_workers import write_shards
from seq2seq.data.encoding.shards import MOST_SHARDS, PairEncoder, ShardJob
from seq2seq.data.files.cached_folders import damaged_file, remove_damaged
from seq2seq.data.files.open_files import allow_many, check_limit
from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.errors import DataError, first_line
from seq2seq.filesystem.atomic_files import storage_errors
from seq2seq.filesystem.file_locks import locked

log = logging.getLogger(__name__)

ShardWriter: TypeAlias = Callable[[ShardJob, Sequence[int], Callable[[], None]], None]
"""Writes shards of a job by number and calls the function after each."""

FORMAT = 2
RELEASE_READS = 2_000
MOST_MAPS = 2 * MOST_SHARDS  # all of a temporary folder, whose files are deleted while they are mapped
Ids = NDArray[np.integer[Any]]
Places = NDArray[np.int64]


class _Maps:
    """The id files of shards, mapped when they are used: the MOST_MAPS last used ones stay open."""

    def __init__(self, shards: Sequence[Path]) -> None:
        self._shards, self._lock = shards, Lock()
        self._open: dict[tuple[str, int], Ids] = {}  # the last one used is last

    def __getitem__(self, key: tuple[str, int]) -> Ids:
        """Return the ids of a side of the shard with this number."""
        side, shard = key
        with self._lock:
            ids = self._open.pop(key, None)
            if ids is None:
                ids = _load(self._shards[shard] / f"{side}_ids.npy", mmap_mode="r")
            self._open[key] = ids
            if len(self._open) > MOST_MAPS:
                del self._open[next(iter(self._open))]
        return ids

    def release(self) -> None:
        """Give up the pages that were read: they stay in the system's cache, but count as memory of this process."""
        if hasattr(mmap, "MADV_DONTNEED"):
            with self._lock:
                for ids in self._open.values():
                    if isinstance(ids.base, mmap.mmap):
                        ids.base.madvise(mmap.MADV_DONTNEED)


class PairedIds:
    """Encoded pairs in the folders of `ShardJob`; ids exclude special ids, lengths include EOS."""

    def __init__(self, shards: Sequence[Path], dropped: int = 0) -> None:
        """Memory-map the files; `dropped` is the number of pairs that were too long, here those left out before.

        Raises:
            DataError: a file is missing or damaged.
            StorageError: too many files are open.
        """
        allow_many()
        self._ids = _Maps(shards)
        offsets: dict[str, list[Ids]] = {side: [] for side in SIDES}
        self.shards = tuple(shards)
        self._before, self.dropped = dropped, dropped
        self.folder = shards[0].parent
        for number, folder in enumerate(shards):
            for side in SIDES:
                offsets[side].append(_load(folder / f"{side}_offsets.npy"))
            self.dropped += int(_load(folder / "dropped.npy"))
            for side in SIDES:
                own, ids = offsets[side][-1], self._ids[side, number]
                complete = len(own) == len(offsets["src"][-1]) > 0 and own[0] == 0
                if not complete or own[-1] != len(ids) or (own[1:] < own[:-1]).any():
                    raise DataError(f"{folder} is damaged: {side}_offsets.npy does not fit {side}_ids.npy")
        sizes = np.array([len(own) for own in offsets["src"]])
        self._offsets = {side: np.concatenate(offsets[side]) for side in SIDES}
        self._starts = np.cumsum(sizes) - sizes  # of the shards in these arrays
        self._firsts = self._starts - np.arange(len(sizes))  # first pair of each shard
        self._reads = 0

    def __reduce__(self) -> tuple[type[PairedIds], tuple[tuple[Path, ...], int]]:
        return PairedIds, (self.shards, self._before)

    def __len__(self) -> int:
        return len(self._offsets["src"]) - len(self._starts)

    def src(self, i: int) -> Ids:
        """Return the source ids of pair `i`."""
        return self._row("src", i)

    def tgt(self, i: int) -> Ids:
        """Return the target ids of pair `i`."""
        return self._row("tgt", i)

    def src_rows(self, indices: Sequence[int]) -> RaggedIds:
        """Return the source ids of several pairs."""
        return self._rows("src", indices)

    def tgt_rows(self, indices: Sequence[int]) -> RaggedIds:
        """Return the target ids of several pairs."""
        return self._rows("tgt", indices)

    def span(self, side: str, begin: int, end: int) -> RaggedIds:
        """Return the ids of one side ("src" or "tgt") of the pairs from `begin` to `end`."""
        return self._rows(side, range(begin, end))

    @property
    def src_lengths(self) -> NDArray[np.int32]:
        """Source tokens of every pair, EOS included."""
        return self._lengths("src")

    @property
    def tgt_lengths(self) -> NDArray[np.int32]:
        """Target tokens of every pair, EOS included."""
        return self._lengths("tgt")

    def _lengths(self, side: str) -> NDArray[np.int32]:
        own = np.split(self._offsets[side], self._starts[1:])
        lengths: NDArray[np.int32] = np.concatenate([np.diff(offsets).astype(np.int32) + 1 for offsets in own])
        return lengths

    def _places(self, side: str, pairs: Places) -> tuple[Places, Places, Places]:
        """Return the shards of these pairs, and where in them and how long the ids of one side are."""
        shards = self._shard(pairs)
        begins, ends = (self._offsets[side][pairs + shards + end].astype(np.int64) for end in (0, 1))
        return shards, begins, ends - begins

    def _rows(self, side: str, indices: Sequence[int]) -> RaggedIds:
        shards, begins, lengths = self._places(side, np.asarray(indices, np.int64))
        places = np.cumsum(lengths) - lengths
        ids = np.empty(int(lengths.sum()), self._ids[side, 0].dtype)
        for shard in np.unique(shards).tolist():
            own = shards == shard
            found = self._ids[side, shard][ragged_positions(begins[own], lengths[own])]
            ids[ragged_positions(places[own], lengths[own])] = found
        self._reads += 1
        if self._reads % RELEASE_READS == 0:
            self._ids.release()
        return RaggedIds(ids, lengths)

    def _row(self, side: str, i: int) -> Ids:
        shard = int(self._shard(np.array([i]))[0])
        begin, end = self._offsets[side][i + shard : i + shard + 2].tolist()
        return self._ids[side, shard][begin:end]

    def _shard(self, pairs: Places) -> Places:
        found: Places = np.searchsorted(self._firsts, pairs, side="right") - 1
        return found


def prepare(
    text: ParallelText,
    tokenizer: Tokenizer,
    max_length: int | None,
    cache: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
    write: ShardWriter | None = None,
) -> PairedIds:
    """Encode `text` into the cache, or open the cached ids of the same text, tokenizer and limit; logs nothing.

    One process, with its workers, encodes; others wait for it. Shards that exist are used, damaged ones are logged and
    written again.

    Pairs with a side of more than `max_length` tokens, EOS included, are dropped; None keeps all. `progress` is called
    with the number of shards that are finished and of all. `write` writes shards; default: processes of this machine.

    Raises:
        DataError: no pair is left.
        StorageError: the cache cannot be written.
    """
    folder = cache / "prepared" / _fingerprint(text, tokenizer, max_length)
    job = ShardJob(text, PairEncoder(tokenizer), max_length, folder)
    shards = job.shards()
    if any(map(damaged_file, shards)):
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with locked(folder.with_suffix(".lock"), wait=True):
            _write_missing(job, progress, write or _write_here)
    pairs = PairedIds(shards)
    check_not_empty(pairs, max_length)
    return pairs


def encode_all(job: ShardJob) -> list[Path]:
    """Write all shards of `job` and return their folders; raises as `write_shards`.

    Every rank of a run writes its own at the same time: those of this machine share its cores.
    """
    shards = job.shards()
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # set by torchrun
    write_shards(job, range(len(shards)), max(1, usable_cores() // ranks))
    return shards


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    from seq2seq.runtime.control_groups import cores_allowed  # imports torch, which processes that encode do without
    from seq2seq.runtime.cpu_load import allowed_cores

    return max(1, int(min(len(allowed_cores()), cores_allowed())))


def check_not_empty(pairs: PairedIds, max_length: int | None) -> None:
    """Raise DataError if every pair was too long."""
    if not len(pairs):
        raise DataError(
            f"all {pairs.dropped:,} pairs are longer than {max_length} tokens, "
            "the smaller of data.max_length and training.batch_tokens: raise it"
        )


def log_dropped(pairs: PairedIds, max_length: int | None) -> None:
    """Log how many pairs were too long, if any."""
    if pairs.dropped:
        log.info(
            "dropped %d of %d pairs longer than %s tokens (data.max_length, training.batch_tokens)",
            *(pairs.dropped, len(pairs) + pairs.dropped, max_length),
        )


def _write_here(job: ShardJob, numbers: Sequence[int], done: Callable[[], None]) -> None:
    write_shards(job, numbers, usable_cores(), done)


def _write_missing(job: ShardJob, progress: Callable[[int, int], None], write: ShardWriter) -> None:
    """Write the shards that are missing or damaged; another process may have written them meanwhile."""
    shards, missing = job.shards(), []
    for number, shard in enumerate(shards):
        damaged = damaged_file(shard)
        if damaged is not None:
            remove_damaged(shard, damaged, "the text is encoded again")
            missing.append(number)
    finished = len(shards) - len(missing)

    def done() -> None:
        nonlocal finished
        finished += 1
        progress(finished, len(shards))

    progress(finished, len(shards))
    write(job, missing, done)


def _load(path: Path, mmap_mode: Literal["r"] | None = None) -> Any:
    """Return an array of a shard; raises as `PairedIds`."""
    try:
        return np.load(path, mmap_mode=mmap_mode)
    except (OSError, EOFError, TypeError, ValueError) as error:
        check_limit(error, path)
        raise DataError(f"{path.parent} is damaged: {first_line(error)}") from error


def _fingerprint(text: ParallelText, tokenizer: Tokenizer, max_length: int | None) -> str:
    parts = (FORMAT, tokenizer.fingerprint, max_length, lines_digest(text.src), lines_digest(text.tgt))
    return hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()[:32]
