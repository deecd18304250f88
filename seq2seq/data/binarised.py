"""Sentence pairs as token ids, encoded once and memory-mapped.

Flat arrays and offsets on disk: a corpus takes no memory beyond the pages in use, a restarted run does not encode
again, and the processes of a machine share the pages.
"""

from __future__ import annotations

import hashlib
import json
import logging
import zlib
from array import array
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import BinaryIO
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from seq2seq.atomic_files import new_folder, part_folder, storage_errors
from seq2seq.data.batch import RaggedIds, ragged_positions
from seq2seq.data.corpus import ParallelText
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.errors import DataError, first_line
from seq2seq.file_locks import locked

log = logging.getLogger(__name__)

FORMAT = 1
CHUNK_PAIRS = 2_000  # a different value changes the sampled segmentations of a seed
SIDES = ("src", "tgt")
FILES = (*(f"{side}_{part}.npy" for side in SIDES for part in ("ids", "offsets")), "dropped.npy")
CHECKSUMS_NAME = "crc32.json"
READ_BYTES = 1 << 16
Encode = Callable[[Sequence[str], int], RaggedIds]
"""Maps lines and the index of the first one in the text to ids."""


class PairedIds:
    """Encoded pairs in a folder written by `write_pairs`; ids exclude special ids, lengths include EOS."""

    def __init__(self, folder: Path) -> None:
        """Memory-map the files of `folder`; `dropped` is the number of pairs that were too long.

        Raises:
            DataError: a file is missing or damaged.
        """
        try:
            self._ids = {side: np.load(folder / f"{side}_ids.npy", mmap_mode="r") for side in SIDES}
            self._offsets = {side: np.load(folder / f"{side}_offsets.npy") for side in SIDES}
            self.dropped = int(np.load(folder / "dropped.npy"))
        except (OSError, EOFError, TypeError, ValueError) as error:
            raise DataError(f"{folder} is damaged: {first_line(error)}") from error
        for side, offsets in self._offsets.items():
            complete = len(offsets) == len(self._offsets["src"]) > 0 and offsets[0] == 0
            if not complete or offsets[-1] != len(self._ids[side]) or (np.diff(offsets) < 0).any():
                raise DataError(f"{folder} is damaged: {side}_offsets.npy does not fit {side}_ids.npy")

    def __len__(self) -> int:
        return len(self._offsets["src"]) - 1

    def src(self, i: int) -> NDArray[np.int32]:
        """Return the source ids of pair `i`."""
        return self._row("src", i)

    def tgt(self, i: int) -> NDArray[np.int32]:
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
        offsets = self._offsets[side][begin : end + 1]
        return RaggedIds(self._ids[side][offsets[0] : offsets[-1]], np.diff(offsets))

    @property
    def src_lengths(self) -> NDArray[np.int64]:
        """Source tokens of every pair, EOS included."""
        return self._lengths("src")

    @property
    def tgt_lengths(self) -> NDArray[np.int64]:
        """Target tokens of every pair, EOS included."""
        return self._lengths("tgt")

    def _lengths(self, side: str) -> NDArray[np.int64]:
        lengths: NDArray[np.int64] = np.diff(self._offsets[side]) + 1
        return lengths

    def _rows(self, side: str, indices: Sequence[int]) -> RaggedIds:
        pairs = np.asarray(indices, np.int64)
        begins = self._offsets[side][pairs]
        lengths = self._offsets[side][pairs + 1] - begins
        return RaggedIds(self._ids[side][ragged_positions(begins, lengths)], lengths)

    def _row(self, side: str, i: int) -> NDArray[np.int32]:
        offsets = self._offsets[side]
        row: NDArray[np.int32] = self._ids[side][offsets[i] : offsets[i + 1]]
        return row


def prepare(text: ParallelText, tokenizer: Tokenizer, max_length: int | None, cache: Path) -> PairedIds:
    """Encode `text` into the cache, or open the cached ids of the same text, tokenizer and limit; logs nothing.

    One process encodes, others wait for it. Damaged files are logged and written again.

    Pairs with a side of more than `max_length` tokens, EOS included, are dropped; None keeps all.

    Raises:
        DataError: no pair is left.
        StorageError: the cache cannot be written.
    """
    folder = cache / "prepared" / _fingerprint(text, tokenizer, max_length)
    if _damaged_file(folder):
        with storage_errors(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.with_suffix(".lock"), wait=True):
            _write_if_damaged(text, tokenizer, max_length, folder)
    pairs = PairedIds(folder)
    check_not_empty(pairs, max_length)
    return pairs


def without_position(encode: Callable[[Sequence[str]], list[list[int]]]) -> Encode:
    """Return `encode` as an `Encode` that ignores the position of the lines."""
    return lambda lines, start: RaggedIds.from_lists(encode(lines))


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


def write_pairs(
    text: ParallelText,
    encode_src: Encode,
    encode_tgt: Encode,
    max_length: int | None,
    folder: Path,
    dropped_before: int = 0,
) -> None:
    """Encode `text` into the files of `folder` that `PairedIds` reads, except pairs that are too long.

    `dropped_before` counts the pairs that the caller left out because they are too long.
    """
    lengths = {side: array("q") for side in SIDES}
    with (folder / "src_ids.npy").open("w+b") as src_file, (folder / "tgt_ids.npy").open("w+b") as tgt_file:
        files = dict(zip(SIDES, (src_file, tgt_file), strict=True))
        for file in files.values():
            _write_header(file, 0)
        for start in range(0, len(text), CHUNK_PAIRS):
            src = encode_src(text.src[start : start + CHUNK_PAIRS], start)
            tgt = encode_tgt(text.tgt[start : start + CHUNK_PAIRS], start)
            if len(src.lengths) != len(tgt.lengths):
                raise ValueError("one side of the text is shorter than the other")
            longest = np.maximum(src.lengths, tgt.lengths)
            kept = np.flatnonzero(longest < (np.inf if max_length is None else max_length))
            for side, rows in zip(SIDES, (src.rows(kept), tgt.rows(kept)), strict=True):
                lengths[side].frombytes(rows.lengths.tobytes())
                rows.ids.astype(np.int32).tofile(files[side])
        for side, file in files.items():
            file.seek(0)
            _write_header(file, sum(lengths[side]))
    for side in SIDES:
        offsets = np.zeros(len(lengths[side]) + 1, np.int64)
        np.cumsum(lengths[side], out=offsets[1:])
        np.save(folder / f"{side}_offsets.npy", offsets)
    np.save(folder / "dropped.npy", np.int64(dropped_before + len(text) - len(lengths["src"])))


def _write_if_damaged(text: ParallelText, tokenizer: Tokenizer, max_length: int | None, folder: Path) -> None:
    """Encode `text` into `folder`, unless another process did so while this one waited for the lock."""
    damaged = _damaged_file(folder)
    if damaged is None:
        return
    if folder.is_dir():
        log.warning("%s is damaged or missing: the text is encoded again", damaged)
        with storage_errors(folder), part_folder(folder.parent) as removed:  # a process may still read the files
            folder.rename(removed / folder.name)
    with new_folder(folder) as temporary:
        encoders = without_position(tokenizer.encode_src), without_position(tokenizer.encode_tgt)
        write_pairs(text, *encoders, max_length, temporary)
        checksums = {name: _crc32(temporary / name) for name in FILES}
        (temporary / CHECKSUMS_NAME).write_text(json.dumps(checksums), encoding="utf-8")
        for file in temporary.iterdir():  # runs map them: a file that is cut kills its readers
            file.chmod(file.stat().st_mode & ~0o222)


def _damaged_file(folder: Path) -> Path | None:
    """Return the first file that is missing, cut or changed since it was written; None: all are intact.

    An older folder has no checksums: a changed byte in it is not found.
    """
    stored, checksums = folder / CHECKSUMS_NAME, {}
    try:
        if stored.is_file():
            checksums = dict(json.loads(stored.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return stored
    for path in (folder / name for name in FILES):
        try:
            if checksums and _crc32(path) != checksums.get(path.name):
                return path
            np.load(path, mmap_mode="r")
        except (OSError, ValueError, EOFError, BadZipFile):
            return path
    return None


def _crc32(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(READ_BYTES):
            checksum = zlib.crc32(chunk, checksum)
    return checksum


def _write_header(file: BinaryIO, size: int) -> None:
    """Write the header of an int32 .npy file; NumPy pads it, so the header with the final size has the same length."""
    np.lib.format.write_array_header_1_0(file, {"descr": "<i4", "fortran_order": False, "shape": (size,)})


def _fingerprint(text: ParallelText, tokenizer: Tokenizer, max_length: int | None) -> str:
    digest = hashlib.sha256(f"{FORMAT} {tokenizer.fingerprint} {max_length}\n".encode())
    for line in chain(text.src, text.tgt):
        digest.update(line.encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()[:32]
