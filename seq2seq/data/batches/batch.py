"""The padded batch of sentence pairs that the model reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seq2seq.data.encoding.ragged import RaggedIds
from seq2seq.data.special_ids import BOS_ID, EOS_ID, PAD_ID


@dataclass(frozen=True)
class RowCorpora:
    """The corpus of a mix that each row of a batch comes from: an index into `names`, the corpora of the mix."""

    names: tuple[str, ...]
    of_row: Int[Tensor, " batch"]

    def rows(self, index: Int[Tensor, " rows"]) -> RowCorpora:
        """Return the corpora of some rows."""
        return RowCorpora(self.names, self.of_row[index])


@dataclass(frozen=True)
class Batch:
    """A padded batch of sentence pairs.

    `src_ids` end in EOS; `tgt_in` is BOS y1 … yn and `tgt_out` is y1 … yn EOS, so position t of `tgt_out` is the
    target after the decoder has read `tgt_in` up to t (teacher forcing, Williams and Zipser 1989). Padding is PAD_ID.
    """

    src_ids: Int[Tensor, "batch src_len"]
    src_lengths: Int[Tensor, " batch"]
    tgt_in: Int[Tensor, "batch tgt_len"]
    tgt_out: Int[Tensor, "batch tgt_len"]
    corpora: RowCorpora | None = field(default=None, kw_only=True)
    """Set in training on a mix of several corpora."""
    real: tuple[Int[Tensor, " tokens"], Int[Tensor, " tokens"]] | None = field(default=None, kw_only=True)
    """Rows and columns of the target tokens, without padding; set where finding them would be a CPU–GPU sync."""

    @property
    def tgt_tokens(self) -> int:
        """Number of target tokens without padding, EOS included; a CPU–GPU sync if the batch is on a GPU."""
        return int((self.tgt_out != PAD_ID).sum())

    @property
    def corpus_tokens(self) -> dict[str, int]:
        """Target tokens of each corpus of a mix, in its order; empty: a single corpus."""
        if self.corpora is None:
            return {}
        counts = torch.bincount(self.corpora.of_row[self.real_positions()[0]], minlength=len(self.corpora.names))
        return dict(zip(self.corpora.names, counts.tolist(), strict=True))

    @property
    def padded_tokens(self) -> int:
        """Number of target positions computed, padding included: rows × longest row."""
        return self.tgt_out.numel()

    def real_positions(self) -> tuple[Int[Tensor, " tokens"], Int[Tensor, " tokens"]]:
        """Return the rows and columns of the target tokens without padding, as an index."""
        return real_positions(self.tgt_out) if self.real is None else self.real

    def corpus_sums(self, values: Float[Tensor, " tokens"]) -> Float[Tensor, " corpora"]:
        """Return the sum over each corpus of a mix of `values`, one per target token; no CPU–GPU sync with `real`."""
        assert self.corpora is not None
        of_token = self.corpora.of_row[self.real_positions()[0]]
        return values.new_zeros(len(self.corpora.names)).index_add(0, of_token, values)

    def to(self, device: torch.device) -> Batch:
        """Return the same batch on `device`; the host does not wait for a copy to a GPU."""
        if device.type == "cpu":
            return Batch(*(t.to(device) for t in self._tensors()), corpora=self.corpora)
        pinned = device.type == "cuda" and self.tgt_out.is_cpu

        def moved(tensor: Tensor) -> Tensor:
            return (tensor.pin_memory() if pinned else tensor).to(device, non_blocking=True)

        rows, columns = map(moved, self.real_positions())
        corpora = self.corpora and RowCorpora(self.corpora.names, moved(self.corpora.of_row))
        return Batch(*map(moved, self._tensors()), corpora=corpora, real=(rows, columns))

    def filled(self, multiple: int) -> Batch:
        """Return the batch with rows of padding added, up to a multiple of rows; they change no loss or gradient."""
        missing = -len(self.src_lengths) % multiple
        if not missing:
            return self
        rows = (0, 0, 0, missing)
        src_ids, tgt_in, tgt_out = (
            nn.functional.pad(t, rows, value=PAD_ID) for t in (self.src_ids, self.tgt_in, self.tgt_out)
        )
        # The length is 1: attention over no position is not a number.
        src_lengths = nn.functional.pad(self.src_lengths, (0, missing), value=1)
        first = torch.zeros(missing, dtype=torch.int64)  # the corpus of a row without tokens does not matter
        corpora = self.corpora and self.corpora.rows(torch.cat([torch.arange(len(self.src_lengths)), first]))
        return Batch(src_ids, src_lengths, tgt_in, tgt_out, corpora=corpora)

    def split(self, parts: int) -> list[Batch]:
        """Split the rows into at most `parts` micro-batches, each trimmed to its own longest row."""
        rows = torch.arange(len(self.src_lengths)).tensor_split(parts)
        return [self._rows(index) for index in rows if len(index)]

    def reversed_targets(self) -> Batch:
        """Return the batch with the tokens of each target sentence in reverse order, between the same BOS and EOS."""
        lengths = (self.tgt_out != PAD_ID).sum(1, keepdim=True)  # EOS included
        position = torch.arange(self.tgt_out.shape[1], device=self.tgt_out.device)
        mirrored = torch.where(position < lengths - 1, lengths - 2 - position, position)
        tgt_out = self.tgt_out.gather(1, mirrored)
        tgt_in = torch.where(position < lengths, tgt_out.roll(1, 1), PAD_ID)
        tgt_in[:, 0] = BOS_ID
        return replace(self, tgt_in=tgt_in, tgt_out=tgt_out)

    def twice(self) -> Batch:
        """Return all rows followed by the same rows again, for two passes with different dropout masks (R-Drop).

        The corpora of the rows are left out.
        """
        real = self.real and (
            torch.cat([self.real[0], self.real[0] + len(self.src_lengths)]),
            torch.cat([self.real[1], self.real[1]]),
        )
        return Batch(*(torch.cat([t, t]) for t in self._tensors()), real=real)

    def _tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.src_ids, self.src_lengths, self.tgt_in, self.tgt_out

    def _rows(self, index: Tensor) -> Batch:
        src_ids, src_lengths, tgt_in, tgt_out = (t[index] for t in self._tensors())
        tgt_len = int((tgt_out != PAD_ID).sum(1).max())
        corpora = self.corpora and self.corpora.rows(index)
        src_ids, tgt_in, tgt_out = src_ids[:, : int(src_lengths.max())], tgt_in[:, :tgt_len], tgt_out[:, :tgt_len]
        return Batch(src_ids, src_lengths, tgt_in, tgt_out, corpora=corpora)


def real_positions(ids: Int[Tensor, "batch len"]) -> tuple[Int[Tensor, " tokens"], Int[Tensor, " tokens"]]:
    """Return the rows and columns of the ids that are no padding; a CPU–GPU sync if they are on a GPU."""
    rows, columns = (ids != PAD_ID).nonzero(as_tuple=True)
    return rows, columns


def padded(rows: RaggedIds, *, bos: bool = False, eos: bool = False) -> Int[Tensor, "batch len"]:
    """Return a matrix with one row per list, padded with PAD_ID; optionally with BOS before and EOS after it."""
    longest = int(rows.lengths.max())
    matrix = np.full((len(rows.lengths), bos + longest + eos), PAD_ID, np.int64)
    real = np.arange(longest) < rows.lengths[:, None]
    matrix[:, bos : bos + longest][real] = rows.ids
    if bos:
        matrix[:, 0] = BOS_ID
    if eos:
        matrix[np.arange(len(matrix)), bos + rows.lengths] = EOS_ID
    return torch.from_numpy(matrix)


def pad(lists: Sequence[Sequence[int]]) -> tuple[Int[Tensor, "batch len"], Int[Tensor, " batch"]]:
    """Return id lists as one matrix, padded on the right with PAD_ID, and their lengths."""
    rows = RaggedIds.from_lists(lists)
    return padded(rows), torch.from_numpy(rows.lengths)


def make_batch(src: Sequence[Sequence[int]], tgt: Sequence[Sequence[int]]) -> Batch:
    """Build a batch from id lists without special ids; add EOS and BOS."""
    return batch_from_ragged(RaggedIds.from_lists(src), RaggedIds.from_lists(tgt))


def batch_from_ragged(src: RaggedIds, tgt: RaggedIds) -> Batch:
    """Build the batch of `make_batch` without a Python object per id."""
    return Batch(
        src_ids=padded(src, eos=True),
        src_lengths=torch.from_numpy(src.lengths + 1),
        tgt_in=padded(tgt, bos=True),
        tgt_out=padded(tgt, eos=True),
    )
