"""What the data room makes and the model reads: special ids and the padded batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

PAD_ID, UNK_ID, BOS_ID, EOS_ID = 0, 1, 2, 3


@dataclass(frozen=True)
class Batch:
    """A padded batch of sentence pairs.

    `src_ids` end in EOS; `tgt_in` is BOS y1 … yn and `tgt_out` is y1 … yn EOS, so position t of `tgt_out` is what
    the decoder must say after reading `tgt_in` up to t (teacher forcing, Williams and Zipser 1989). Padding is PAD_ID.
    """

    src_ids: Int[Tensor, "batch src_len"]
    src_lengths: Int[Tensor, " batch"]
    tgt_in: Int[Tensor, "batch tgt_len"]
    tgt_out: Int[Tensor, "batch tgt_len"]

    @property
    def tgt_tokens(self) -> int:
        """Number of real target tokens, EOS included (a CPU–GPU sync when the batch is on a GPU)."""
        return int((self.tgt_out != PAD_ID).sum())

    @property
    def padded_tokens(self) -> int:
        """Target slots the model computes: rows × longest row."""
        return self.tgt_out.numel()

    def to(self, device: torch.device) -> Batch:
        """Return the same batch on `device`."""
        return Batch(*(t.to(device, non_blocking=True) for t in self._tensors()))

    def split(self, parts: int) -> list[Batch]:
        """Cut the rows into at most `parts` micro-batches, each trimmed to its own longest row."""
        rows = torch.arange(len(self.src_lengths)).tensor_split(parts)
        return [self._rows(index) for index in rows if len(index)]

    def _tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.src_ids, self.src_lengths, self.tgt_in, self.tgt_out

    def _rows(self, index: Tensor) -> Batch:
        src_ids, src_lengths, tgt_in, tgt_out = (t[index] for t in self._tensors())
        tgt_len = int((tgt_out != PAD_ID).sum(1).max())
        return Batch(src_ids[:, : int(src_lengths.max())], src_lengths, tgt_in[:, :tgt_len], tgt_out[:, :tgt_len])


def pad(rows: Sequence[Sequence[int]]) -> tuple[Int[Tensor, "batch len"], Int[Tensor, " batch"]]:
    """Stack id lists of unequal length into one matrix, padded with PAD_ID on the right, and their lengths."""
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.full((len(rows), int(lengths.max())), PAD_ID)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.as_tensor(row)
    return ids, lengths


def make_batch(src: Sequence[Sequence[int]], tgt: Sequence[Sequence[int]]) -> Batch:
    """Build a batch from piece ids without special ids; EOS and BOS are added here."""
    src_ids, src_lengths = pad([[*row, EOS_ID] for row in src])
    tgt_in, _ = pad([[BOS_ID, *row] for row in tgt])
    tgt_out, _ = pad([[*row, EOS_ID] for row in tgt])
    return Batch(src_ids, src_lengths, tgt_in, tgt_out)
