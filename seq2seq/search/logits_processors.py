"""What may be said next: processors that forbid tokens, or make them count less, by what a hypothesis has said so far."""

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
    tokens: Int[Tensor, "batch beam said"],
) -> Float[Tensor, "batch beam vocab"]:
    """Return `log_probs` after all processors, as a copy; without processors the same tensor.

    Where `ForcedPrefix` has something to say, no other processor counts. A hypothesis to which the processors leave nothing may
    end, with the log p of EOS that it had: no search runs dry. One that had nothing before gets nothing.
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
    """No EOS before the output has `min_length` tokens, EOS counted."""

    def __init__(self, min_length: Int[Tensor, " batch"]) -> None:
        self.min_length = min_length

    def apply(self, log_probs: Float[Tensor, "batch beam vocab"], tokens: Int[Tensor, "batch beam said"]) -> None:
        """Forbid EOS where the output would be too short with it."""
        too_short = tokens.shape[2] + 1 < self.min_length
        log_probs[:, :, EOS_ID].masked_fill_(too_short[:, None], -torch.inf)

    def keep(self, sentences: Int[Tensor, " kept"]) -> MinLength:
        """Return the processor for these sentences only, in this order."""
        return MinLength(self.min_length[sentences])


class _OfNoSentence:
    """A processor that is the same for every sentence."""

    def keep(self: _R, sentences: Int[Tensor, " kept"]) -> _R:
        """Return the processor itself."""
        return self


class NoRepeatNgrams(_OfNoSentence):
    """Never the same `n` tokens in a row twice within one hypothesis (Paulus et al. 2018, sec. 2.5); EOS is free.

    Raises:
        ValueError: `n` is below 1.
    """

    def __init__(self, n: int) -> None:
        if n < 1:
            raise ValueError(f"n={n} must be at least 1")
        self.n = n

    def apply(self, log_probs: Float[Tensor, "batch beam vocab"], tokens: Int[Tensor, "batch beam said"]) -> None:
        """Forbid every token that would complete an n-gram said before."""
        if tokens.shape[2] < self.n:
            return
        ngrams = tokens.unfold(2, self.n, 1)
        last = ngrams[:, :, :, -1]
        repeats = _ends_in(tokens, ngrams[:, :, :, :-1]) & (last != EOS_ID)
        _forbid(log_probs, last, repeats)


class RepetitionPenalty(_OfNoSentence):
    """Multiplies log p of every token said before by `factor`, however often it was said.

    After Keskar et al. 2019, who do so to logits; log p has one sign, so every model is treated alike.

    Raises:
        ValueError: `factor` is below 1, so log p would rise.
    """

    def __init__(self, factor: float) -> None:
        if not factor >= 1:
            raise ValueError(f"factor={factor} must be at least 1")
        self.factor = factor

    def apply(self, log_probs: Float[Tensor, "batch beam vocab"], tokens: Int[Tensor, "batch beam said"]) -> None:
        """Lower log p of what was said."""
        log_probs.scatter_(2, tokens, log_probs.gather(2, tokens) * self.factor)


class BannedSequences(_OfNoSentence):
    """Never completes one of these sequences of token ids.

    Raises:
        ValueError: a sequence is empty.
    """

    def __init__(self, sequences: Sequence[Sequence[int]]) -> None:
        lengths = {len(sequence) for sequence in sequences}
        if 0 in lengths:
            raise ValueError("an empty sequence cannot be avoided")
        alike = [[list(sequence) for sequence in sequences if len(sequence) == length] for length in sorted(lengths)]
        self.groups = [torch.tensor(group) for group in alike]  # each [sequences, length]

    def apply(self, log_probs: Float[Tensor, "batch beam vocab"], tokens: Int[Tensor, "batch beam said"]) -> None:
        """Forbid the last id of every sequence where the hypothesis ends in the others."""
        for group in self.groups:
            group = group.to(log_probs.device)
            heads, last = group[:, :-1], group[:, -1]
            if heads.shape[1] <= tokens.shape[2]:
                completes = _ends_in(tokens, heads[None, None])
                _forbid(log_probs, last.expand_as(completes), completes)


class ForcedPrefix:
    """Every output begins with its sentence's prefix (token ids, possibly none); its tokens keep their own log p."""

    def __init__(self, prefixes: Sequence[Sequence[int]]) -> None:
        self.prefixes = prefixes

    def apply(self, log_probs: Float[Tensor, "batch beam vocab"], tokens: Int[Tensor, "batch beam said"]) -> None:
        """Forbid all but the prefix's next token."""
        self.force(log_probs, log_probs, tokens.shape[2])

    def force(
        self, log_probs: Float[Tensor, "batch beam vocab"], original: Float[Tensor, "batch beam vocab"], said: int
    ) -> None:
        """Do so in `log_probs`, giving that token the log p it has in `original`, whatever other processors made of it."""
        rows = [row for row, prefix in enumerate(self.prefixes) if said < len(prefix)]
        if not rows:
            return
        forced = [self.prefixes[row][said] for row in rows]
        values = original[rows, :, forced]  # a copy: the two may be one tensor
        log_probs[rows] = -torch.inf
        log_probs[rows, :, forced] = values

    def keep(self, sentences: Int[Tensor, " kept"]) -> ForcedPrefix:
        """Return the processor for these sentences only, in this order."""
        return ForcedPrefix([self.prefixes[sentence] for sentence in sentences.tolist()])


def _ends_in(
    tokens: Int[Tensor, "batch beam said"], heads: Int[Tensor, "#batch #beam heads length"]
) -> Bool[Tensor, "batch beam heads"]:
    """Return which of the heads a hypothesis ends in; every one ends in an empty head."""
    end = tokens[:, :, None, tokens.shape[2] - heads.shape[3] :]
    return (end == heads).all(dim=3)


def _forbid(
    log_probs: Float[Tensor, "batch beam vocab"],
    ids: Int[Tensor, "batch beam ids"],
    forbidden: Bool[Tensor, "batch beam ids"],
) -> None:
    """Set log p of `ids` to -inf where they are forbidden; one may occur several times and be forbidden once."""
    ceilings = torch.where(forbidden, -torch.inf, torch.inf).to(log_probs.dtype)
    log_probs.scatter_reduce_(2, ids, ceilings, "amin")
