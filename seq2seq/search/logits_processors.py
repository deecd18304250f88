"""Logits processors: forbid next tokens, or lower their log p, given the tokens of each hypothesis so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seq2seq.data.special_ids import EOS_ID
from seq2seq.search.protocols import LogitsProcessor

_R = TypeVar("_R")  # typing.Self needs Python 3.11


def apply_processors(
    processors: Sequence[LogitsProcessor],
    log_probs: Float[Tensor, "batch beam vocab"],
    tokens: Int[Tensor, "batch beam length"],
) -> Float[Tensor, "batch beam vocab"]:
    """Return a copy of `log_probs` after all processors; without processors, the same tensor.

    `ForcedPrefix` takes precedence over every other processor. If the processors mask every token of a hypothesis, EOS
    is allowed with its original log p, so no hypothesis is stuck (unless that log p is -inf, too).
    """
    if not processors:
        return log_probs
    changed = log_probs.clone()
    for processor in processors:
        processor.apply(changed, tokens)
    for processor in processors:
        if isinstance(processor, ForcedPrefix):
            processor.force(changed, log_probs, tokens.shape[2])
    stuck = changed.amax(dim=2) == -torch.inf
    changed[:, :, EOS_ID] = torch.where(stuck, log_probs[:, :, EOS_ID], changed[:, :, EOS_ID])
    return changed


class MinLength:
    """Forbids EOS until the output has `min_length` tokens, EOS included."""

    def __init__(self, min_length: Int[Tensor, " batch"]) -> None:
        self.min_length = min_length

    def apply(self, log_probs: Float[Tensor, "batch beam vocab"], tokens: Int[Tensor, "batch beam length"]) -> None:
        """Mask EOS where the output would be too short."""
        too_short = tokens.shape[2] + 1 < self.min_length
        log_probs[:, :, EOS_ID].masked_fill_(too_short[:, None], -torch.inf)

    def keep(self, sentences: Int[Tensor, " kept"]) -> MinLength:
        """Return the processor for these sentences only, in this order."""
        return MinLength(self.min_length[sentences])


class _SharedProcessor:
    """A processor without per-sentence data."""

    def keep(self: _R, sentences: Int[Tensor, " kept"]) -> _R:
        """Return the processor itself."""
        return self


class NoRepeatNgrams(_SharedProcessor):
    """Forbids every n-gram that a hypothesis already contains (Paulus et al. 2018, section 2.5), except with EOS last.

    Raises:
        ValueError: `n` is below 1.
    """

    def __init__(self, n: int) -> None:
        if n < 1:
            raise ValueError(f"n={n} must be at least 1")
        self.n = n

    def apply(self, log_probs: Float[Tensor, "batch beam vocab"], tokens: Int[Tensor, "batch beam length"]) -> None:
        """Mask every token that would complete a repeated n-gram."""
        if tokens.shape[2] < self.n:
            return
        ngrams = tokens.unfold(2, self.n, 1)
        last = ngrams[:, :, :, -1]
        repeats = _ends_in(tokens, ngrams[:, :, :, :-1]) & (last != EOS_ID)
        _mask(log_probs, last, repeats)


class RepetitionPenalty(_SharedProcessor):
    """Multiplies log p of every token that the hypothesis contains by `factor`, once however often it occurs.

    Keskar et al. 2019 scale logits, whose sign differs between models; log p is never positive.

    Raises:
        ValueError: `factor` is below 1, so log p would rise.
    """

    def __init__(self, factor: float) -> None:
        if not factor >= 1:
            raise ValueError(f"factor={factor} must be at least 1")
        self.factor = factor

    def apply(self, log_probs: Float[Tensor, "batch beam vocab"], tokens: Int[Tensor, "batch beam length"]) -> None:
        """Lower log p of the tokens generated so far."""
        log_probs.scatter_(2, tokens, log_probs.gather(2, tokens) * self.factor)


class BannedSequences(_SharedProcessor):
    """Forbids the last token of a banned sequence of ids where the hypothesis ends in the tokens before it.

    Raises:
        ValueError: a sequence is empty.
    """

    def __init__(self, sequences: Sequence[Sequence[int]]) -> None:
        lengths = {len(sequence) for sequence in sequences}
        if 0 in lengths:
            raise ValueError("a banned sequence is empty: remove it")
        self.groups = [  # one per length, each [sequences, length]
            torch.tensor([list(sequence) for sequence in sequences if len(sequence) == length])
            for length in sorted(lengths)
        ]

    def apply(self, log_probs: Float[Tensor, "batch beam vocab"], tokens: Int[Tensor, "batch beam length"]) -> None:
        """Mask every token that would complete a banned sequence."""
        for group in self.groups:
            group = group.to(log_probs.device)
            heads, last = group[:, :-1], group[:, -1]
            if heads.shape[1] <= tokens.shape[2]:
                completes = _ends_in(tokens, heads[None, None])
                _mask(log_probs, last.expand_as(completes), completes)


class ForcedPrefix:
    """Makes every output begin with its sentence's prefix of token ids (may be empty); the tokens keep their log p."""

    def __init__(self, prefixes: Sequence[Sequence[int]]) -> None:
        self.prefixes = prefixes

    def apply(self, log_probs: Float[Tensor, "batch beam vocab"], tokens: Int[Tensor, "batch beam length"]) -> None:
        """Mask every token but the prefix's next one."""
        self.force(log_probs, log_probs, tokens.shape[2])

    def force(
        self, log_probs: Float[Tensor, "batch beam vocab"], original: Float[Tensor, "batch beam vocab"], length: int
    ) -> None:
        """Mask `log_probs` and restore the forced token's log p from `original`, undoing other processors.

        `length` is the number of tokens generated so far.
        """
        rows = [row for row, prefix in enumerate(self.prefixes) if length < len(prefix)]
        if not rows:
            return
        forced = [self.prefixes[row][length] for row in rows]
        values = original[rows, :, forced]  # a copy: `apply` passes the same tensor twice
        log_probs[rows] = -torch.inf
        log_probs[rows, :, forced] = values

    def keep(self, sentences: Int[Tensor, " kept"]) -> ForcedPrefix:
        """Return the processor for these sentences only, in this order."""
        return ForcedPrefix([self.prefixes[sentence] for sentence in sentences.tolist()])


def _ends_in(
    tokens: Int[Tensor, "batch beam length"], heads: Int[Tensor, "#batch #beam heads head_len"]
) -> Bool[Tensor, "batch beam heads"]:
    """Return which heads are suffixes of each hypothesis; an empty head is a suffix of all."""
    end = tokens[:, :, None, tokens.shape[2] - heads.shape[3] :]
    return (end == heads).all(dim=3)


def _mask(
    log_probs: Float[Tensor, "batch beam vocab"],
    ids: Int[Tensor, "batch beam ids"],
    forbidden: Bool[Tensor, "batch beam ids"],
) -> None:
    """Set log p of `ids` to -inf where `forbidden`; an id that occurs several times is forbidden if any of them is."""
    ceilings = torch.where(forbidden, -torch.inf, torch.inf).to(log_probs.dtype)
    log_probs.scatter_reduce_(2, ids, ceilings, "amin")
