"""Pairs drawn from several corpora: each has a share of every epoch, and may have a tag before its source sentences.

A draw is an array of indices into the prepared pairs of a corpus; neither text nor ids are copied.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from seq2seq.data.batches.batch import Batch, RowCorpora
from seq2seq.data.encoding.binarised import PairedIds
from seq2seq.data.encoding.ragged import RaggedIds
from seq2seq.errors import DataError

log = logging.getLogger(__name__)

DRAW = 4  # after augmentation.AUGMENT: seeds of other random numbers of an epoch
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Drawn:
    """The pairs of one corpus in an epoch: `indices` into `pairs`, and the ids that come before each source."""

    name: str
    pairs: PairedIds
    indices: Indices
    tag: Sequence[int] = ()


class MixedPairs:
    """Pairs of several corpora, one corpus after the other, with the interface of `PairedIds`."""

    def __init__(self, parts: Sequence[Drawn]) -> None:
        self._parts = parts
        self._starts = np.cumsum([0, *(len(part.indices) for part in parts)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def src_lengths(self) -> NDArray[np.int32]:
        """Source tokens of every pair, tag and EOS included."""
        return np.concatenate([part.pairs.src_lengths[part.indices] + np.int32(len(part.tag)) for part in self._parts])

    @property
    def tgt_lengths(self) -> NDArray[np.int32]:
        """Target tokens of every pair, EOS included."""
        return np.concatenate([part.pairs.tgt_lengths[part.indices] for part in self._parts])

    def src_rows(self, indices: Sequence[int]) -> RaggedIds:
        """Return the source ids of several pairs, with their tags."""
        return self._rows(indices, lambda part, own: part.pairs.src_rows(own).after(part.tag))

    def tgt_rows(self, indices: Sequence[int]) -> RaggedIds:
        """Return the target ids of several pairs."""
        return self._rows(indices, lambda part, own: part.pairs.tgt_rows(own))

    def corpora(self, indices: Sequence[int]) -> RowCorpora | None:
        """Return the corpus of each of several pairs; None if there is one corpus."""
        if len(self._parts) == 1:
            return None
        return RowCorpora(tuple(part.name for part in self._parts), torch.from_numpy(self._owners(indices)))

    def _rows(self, indices: Sequence[int], read: Callable[[Drawn, list[int]], RaggedIds]) -> RaggedIds:
        rows = [read(part, own) for part, own in self._by_corpus(indices)]
        joined = RaggedIds(np.concatenate([row.ids for row in rows]), np.concatenate([row.lengths for row in rows]))
        by_corpus = np.argsort(self._owners(indices), kind="stable")  # the places in `indices` of the joined rows
        return joined.rows(np.argsort(by_corpus))

    def _by_corpus(self, indices: Sequence[int]) -> Iterator[tuple[Drawn, list[int]]]:
        """Yield each corpus that has any of the pairs, with their indices in its prepared pairs."""
        wanted, owners = np.asarray(indices, np.int64), self._owners(indices)
        for number in np.unique(owners).tolist():
            part = self._parts[number]
            yield part, part.indices[wanted[owners == number] - self._starts[number]].tolist()

    def _owners(self, indices: Sequence[int]) -> Indices:
        owners: Indices = np.searchsorted(self._starts, np.asarray(indices, np.int64), side="right") - 1
        return owners


Pairs = PairedIds | MixedPairs


@dataclass(frozen=True)
class Part:
    """A corpus of a mix: its pairs by the number of the epoch, tag ids and weight (None: none is set)."""

    name: str
    pairs_of: Callable[[int], PairedIds]
    tag: Sequence[int] = ()
    weight: float | None = None


class Mixture:
    """Returns the pairs of an epoch, drawn from several corpora, by its number: a function of (seed, epoch).

    An epoch has as many pairs as the corpora together. A corpus with more pairs in it than it has is repeated as a
    whole, and a random part of it is added; of a corpus with fewer, epochs use up one part after the other.
    """

    def __init__(self, parts: Sequence[Part], temperature: float, max_length: int, seed: int) -> None:
        self._parts, self._temperature = parts, temperature
        self._max_length, self._seed = max_length, seed
        self._logged = False

    def __call__(self, epoch: int) -> MixedPairs:
        """Return the pairs of `epoch`; log the corpora the first time.

        Raises:
            DataError: a corpus has no pair that is short enough with its tag.
        """
        prepared = [part.pairs_of(epoch) for part in self._parts]
        kept = [self._short(part, pairs) for part, pairs in zip(self._parts, prepared, strict=True)]
        sizes = [len(indices) for indices in kept]
        drawn = counts(sizes, [part.weight for part in self._parts], self._temperature)
        if not self._logged:
            self._log(prepared, sizes, drawn)
            self._logged = True
        rows = zip(self._parts, prepared, kept, drawn, strict=True)
        return MixedPairs(
            [
                Drawn(part.name, pairs, own[draw(count, len(own), [self._seed, epoch, number])], part.tag)
                for number, (part, pairs, own, count) in enumerate(rows)
            ]
        )

    def _short(self, part: Part, pairs: PairedIds) -> Indices:
        """Return the indices of the pairs that are short enough with the tag."""
        if not part.tag:
            return np.arange(len(pairs))
        kept: Indices = np.flatnonzero(pairs.src_lengths + len(part.tag) <= self._max_length)
        if not len(kept):
            raise DataError(
                f"{part.name}: every source is longer than {self._max_length} tokens with its tag (data.max_length, "
                "training.batch_tokens): raise it"
            )
        return kept

    def _log(self, prepared: Sequence[PairedIds], sizes: Sequence[int], drawn: Sequence[int]) -> None:
        if len(self._parts) == 1:
            return
        total, weighted = sum(drawn), any(part.weight is not None for part in self._parts)
        log.info("%-16s %12s %9s %8s %7s %10s", "corpus", "pairs", "dropped", "weight", "share", "per epoch")
        for part, pairs, size, count in zip(self._parts, prepared, sizes, drawn, strict=True):
            weight = f"{part.weight or 1:g}" if weighted else "-"
            dropped = len(pairs) + pairs.dropped - size
            log.info(
                "%-16s %12s %9s %8s %6.1f%% %9.2fx",
                *(part.name, f"{size:,}", f"{dropped:,}", weight, 100 * count / total, count / size),
            )


def counts(sizes: Sequence[int], weights: Sequence[float | None], temperature: float) -> list[int]:
    """Return the number of pairs that an epoch draws from each corpus; they sum to the pairs of all corpora.

    Shares are in proportion to b^(1/T), where b is the number of pairs or, if any corpus has a weight, the weight
    (default 1), and T the temperature (Arivazhagan et al. 2019, section 4.2).
    """
    weighted = any(weight is not None for weight in weights)
    bases = [1.0 if weight is None else weight for weight in weights] if weighted else sizes
    logs = np.log(bases) / temperature
    shares = np.exp(logs - logs.max())
    exact = shares / shares.sum() * sum(sizes)
    drawn = np.floor(exact).astype(np.int64)
    drawn[np.argsort(drawn - exact, kind="stable")[: sum(sizes) - int(drawn.sum())]] += 1
    return [int(count) for count in drawn]


def draw(count: int, size: int, seed: Sequence[int]) -> Indices:
    """Return `count` indices below `size`, ascending: each as often as `count` holds whole passes, then a random part.

    Args:
        count: of indices.
        size: of the corpus.
        seed: seed of the run, epoch, number of the corpus. The random parts of successive epochs divide a permutation,
            so that a pair returns only after nearly all others. That holds while `size` is the same in all epochs: with
            sampling or augmentation it varies by the pairs that are too long in some, and a pair may return earlier.
    """
    run, epoch, number = seed
    passes, rest = divmod(count, size)
    whole = np.tile(np.arange(size), passes)
    if not rest:
        return whole
    cycle, position = divmod(epoch, size // rest)
    permutation = np.random.default_rng([run, cycle, DRAW, number]).permutation(size)
    return np.concatenate([whole, np.sort(permutation[position * rest : (position + 1) * rest])])


def tagged(pairs: PairedIds, tag: Sequence[int]) -> Pairs:
    """Return the pairs with `tag` before every source."""
    return MixedPairs([Drawn("", pairs, np.arange(len(pairs)), tag)]) if tag else pairs


def with_corpora(batches: Iterator[Batch], pairs: Pairs, order: Sequence[Sequence[int]], start: int) -> Iterator[Batch]:
    """Yield the batches of `order` from number `start`, those of several corpora with the corpus of each row."""
    for number, batch in enumerate(batches, start=start):
        corpora = pairs.corpora(order[number]) if isinstance(pairs, MixedPairs) else None
        yield dataclasses.replace(batch, corpora=corpora) if corpora else batch
