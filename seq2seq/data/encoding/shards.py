"""Write encoded sentence pairs in shards, each a folder: of SHARD_PAIRS and written atomically, if it is to be kept.

A killed process loses the shards that it was writing, and damage to a file costs its shard alone. Shards of a text on
disk are written by several processes (`shard_workers`), which import this module: it does not import torch.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

import numpy as np

from seq2seq.config.tokenizer import SamplingConfig
from seq2seq.data.corpus import SIDES, ParallelText
from seq2seq.data.encoding.ragged import RaggedIds
from seq2seq.data.files.cached_folders import write_folder, write_temporary_folder
from seq2seq.data.subwords.tokenizer import Tokenizer

SHARD_PAIRS = 100_000
MOST_SHARDS = 64  # of a temporary folder
CHUNK_PAIRS = 2_000  # divides SHARD_PAIRS; a different value changes the sampled segmentations of a seed
NUMBERS = (1, 2)  # of the sides in seeds; not 0: NumPy treats the seeds [a, b] and [a, b, 0, 0] as equal


class PairEncoder:
    """Maps lines of either side to ids: to the best segmentation, or to one sampled from a seed."""

    def __init__(self, tokenizer: Tokenizer, sampling: SamplingConfig | None = None, seed: Sequence[int] = ()) -> None:
        """A side whose alpha is None uses its best segmentation; `seed` is that of the run and the epoch.

        Raises:
            ConfigError: the tokenizer has one segmentation only.
        """
        self.tokenizer, self.seed = tokenizer, tuple(seed)
        self._sampling = sampling or SamplingConfig()
        src, tgt = self._sampling.src, self._sampling.tgt
        self.samplers = (
            None if src is None else tokenizer.src_sampler(src),
            None if tgt is None else tokenizer.tgt_sampler(tgt),
        )

    def __reduce__(self) -> tuple[type[PairEncoder], tuple[Tokenizer, SamplingConfig, tuple[int, ...]]]:
        return PairEncoder, (self.tokenizer, self._sampling, self.seed)

    def encode(self, side: int, lines: Sequence[str], start: int) -> RaggedIds:
        """Return the ids of `lines`, the first of which is number `start` of its text; `side` is 0 for the source."""
        sampler = self.samplers[side]
        if sampler is not None:
            return RaggedIds.from_lists(sampler.encode(lines, [*self.seed, NUMBERS[side], start]))
        return RaggedIds.from_lists((self.tokenizer.tgt_rows if side else self.tokenizer.src_rows)(lines))


@runtime_checkable  # for the type checks of the tests
class Encoder(Protocol):
    """A `PairEncoder`, or what changes the lines before; other processes get a copy."""

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer whose ids `encode` returns."""

    def encode(self, side: int, lines: Sequence[str], start: int) -> RaggedIds:
        """See `PairEncoder.encode`."""


@dataclass
class ShardJob:
    """A text to encode into `folder`, except pairs with a side of more than `max_length` tokens, EOS included."""

    text: ParallelText
    encoder: Encoder
    max_length: int | None
    folder: Path
    shard_pairs: int = field(default_factory=lambda: SHARD_PAIRS)
    writer: Callable[[Path, Callable[[Path], object]], None] = write_folder  # see `temporary`

    @classmethod
    def temporary(cls, text: ParallelText, encoder: Encoder, max_length: int | None, folder: Path) -> ShardJob:
        """Return a job for files that this process alone reads and soon removes: at most MOST_SHARDS shards."""
        size = SHARD_PAIRS * (-(-len(text) // (SHARD_PAIRS * MOST_SHARDS)) or 1)
        return cls(text, encoder, max_length, folder, size, write_temporary_folder)

    def shards(self) -> list[Path]:
        """Return the folders of all shards; an empty text has one."""
        return [self.folder / f"{number:05d}" for number in range(-(-len(self.text) // self.shard_pairs) or 1)]

    def write(self, number: int) -> None:
        """Write one shard.

        Raises:
            StorageError: it cannot be written.
        """
        start = number * self.shard_pairs
        self.writer(self.shards()[number], lambda folder: self._write(folder, start, start + self.shard_pairs))

    def _write(self, folder: Path, start: int, stop: int) -> None:
        """Encode the pairs from `start` into the files of `folder`."""
        part = ParallelText(self.text.src[start:stop], self.text.tgt[start:stop])
        tokenizer = self.encoder.tokenizer
        dtypes = [np.min_scalar_type(size - 1).newbyteorder("<") for size in (tokenizer.src_size, tokenizer.tgt_size)]
        lengths = [array("q"), array("q")]
        with (folder / "src_ids.npy").open("w+b") as src_file, (folder / "tgt_ids.npy").open("w+b") as tgt_file:
            files = (src_file, tgt_file)
            for file, dtype in zip(files, dtypes, strict=True):
                _write_header(file, dtype, 0)
            for begin in range(0, len(part), CHUNK_PAIRS):
                src, tgt = (
                    self.encoder.encode(side, list(lines[begin : begin + CHUNK_PAIRS]), start + begin)
                    for side, lines in enumerate((part.src, part.tgt))
                )
                if len(src.lengths) != len(tgt.lengths):
                    raise ValueError("one side of the text is shorter than the other")
                longest = np.maximum(src.lengths, tgt.lengths)
                kept = np.flatnonzero(longest < (np.inf if self.max_length is None else self.max_length))
                for side, (file, rows) in enumerate(zip(files, (src, tgt), strict=True)):
                    short = rows if len(kept) == len(longest) else rows.rows(kept)
                    lengths[side].frombytes(short.lengths.astype(np.int64).tobytes())
                    short.ids.astype(dtypes[side]).tofile(file)
            for file, dtype, sizes in zip(files, dtypes, lengths, strict=True):
                file.seek(0)
                _write_header(file, dtype, sum(sizes))
        for name, sizes in zip(SIDES, lengths, strict=True):
            offsets = np.zeros(len(sizes) + 1, np.int64)
            np.cumsum(sizes, out=offsets[1:])
            np.save(folder / f"{name}_offsets.npy", offsets.astype(np.min_scalar_type(int(offsets[-1]))))
        np.save(folder / "dropped.npy", np.int64(len(part) - len(lengths[0])))


def _write_header(file: BinaryIO, dtype: np.dtype[np.generic], size: int) -> None:
    """Write the header of an .npy file; NumPy pads it, so the header with the final size has the same length."""
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (size,)}
    np.lib.format.write_array_header_1_0(file, described)
