"""Encode the lines of a text as an augmenter edits them; like `shards`, this module does not import torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from seq2seq.data.corpus import SIDES, Pair, ParallelText
from seq2seq.data.encoding.binarised import PairedIds
from seq2seq.data.encoding.ragged import RaggedIds
from seq2seq.data.encoding.shards import PairEncoder
from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.data.text.augmentation import Augmenter


@dataclasses.dataclass(frozen=True)
class Prepared:
    """The ids of all lines of a text: folders of `shard_pairs` pairs, opened where they are read."""

    shards: Sequence[Path]
    shard_pairs: int

    def span(self, side: str, begin: int, end: int) -> RaggedIds:
        """See `PairedIds.span`; a process has the offsets of the shards of this span in memory only."""
        first, last = begin // self.shard_pairs, -(-end // self.shard_pairs)
        before = first * self.shard_pairs
        return PairedIds(self.shards[first:last]).span(side, begin - before, end - before)


class EditedEncoder:
    """Encodes the lines of a text as an augmenter edits them; `prepared` are the ids of the unedited lines."""

    def __init__(
        self, encoder: PairEncoder, augmenter: Augmenter, text: ParallelText, epoch: int, prepared: Prepared | None
    ) -> None:
        self._encoder, self._augmenter, self._text = encoder, augmenter, text
        self._epoch, self._prepared = epoch, prepared
        self._last: tuple[tuple[int, int], dict[int, Pair]] = (0, 0), {}

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer whose ids `encode` returns."""
        return self._encoder.tokenizer

    def encode(self, side: int, lines: Sequence[str], start: int) -> RaggedIds:
        """See `PairEncoder.encode`; `lines` are those of the text."""
        end = start + len(lines)
        new = {i: pair[side] for i, pair in self._edits(start, end).items() if pair[side] != lines[i]}
        if self._encoder.samplers[side] is not None:
            return self._encoder.encode(side, [new.get(i, line) for i, line in enumerate(lines)], start)
        assert self._prepared is not None
        unedited = self._prepared.span(SIDES[side], start, end)
        return unedited.replaced(list(new), self._encoder.encode(side, list(new.values()), start))

    def _edits(self, start: int, end: int) -> dict[int, Pair]:
        """Return the edited pairs of a chunk, both sides of which are edited together."""
        if self._last[0] != (start, end):
            src, tgt = (list(lines[start:end]) for lines in (self._text.src, self._text.tgt))
            self._last = (start, end), self._augmenter.edited(src, tgt, epoch=self._epoch, start=start)
        return self._last[1]
