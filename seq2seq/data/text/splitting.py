"""Split a text into held-out sets or folds that share no sentence of either language.

Sentence collections repeat themselves: "Tom left." has many translations, each of which translates other sentences.
A random split would put the same sentence into training and test set. Here the pairs connected by shared sentences form
a component, and each component is assigned to one set as a whole.

The text is read once; what is kept of a pair are hashes and numbers, about 70 bytes.
"""

from __future__ import annotations

import heapq
import logging
import operator
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seq2seq.data.corpus import ParallelText
from seq2seq.data.text.text_store import collected, encoded, taken
from seq2seq.errors import DataError

log = logging.getLogger(__name__)

MAX_COMPONENT_PAIRS = 8  # a held-out component contributes one pair; holding out a larger one would waste too many
BLOCK_PAIRS = 10_000
Numbers = NDArray[np.integer[Any]]


@dataclass
class Splits:
    """The three parts of a corpus."""

    train: ParallelText
    valid: ParallelText
    test: ParallelText


@dataclass
class Rows:
    """The numbers of the pairs of the three parts of a text."""

    train: Numbers
    valid: Numbers
    test: Numbers


@dataclass
class Components:
    """Distinct pairs sorted by hash, and the components of pairs connected by a lower-cased sentence.

    Attributes:
        rows: number in the text of each pair.
        component: of each pair, named by the position of its first pair.
        firsts: the components in the order of their first pairs.
        sizes: number of pairs of each of `firsts`.
    """

    rows: Numbers
    component: Numbers
    firsts: Numbers
    sizes: Numbers


def hold_out(text: ParallelText, valid: int, test: int) -> Splits:
    """Hold out `valid` and `test` pairs, each from a different small component.

    A pure function of the set of pairs: their order and the direction of translation do not matter. Components are
    held out in the order of their smallest hash, so the probability does not depend on the size of the component.
    Training pairs are sorted by hash, so the first n are a random sample. Exact duplicates are removed.

    Raises:
        DataError: too few components.
    """
    rows = held_out_rows(text, valid, test)
    return Splits(*(taken(text, part) for part in (rows.train, rows.valid, rows.test)))


def held_out_rows(text: ParallelText, valid: int, test: int) -> Rows:
    """Return the numbers of the pairs of `hold_out`; raises as it."""
    groups = _components(text)
    small = groups.firsts[groups.sizes <= MAX_COMPONENT_PAIRS]
    sets = (valid > 0) + (test > 0)
    if len(groups.firsts) <= sets or len(small) < sets:
        raise DataError(
            f"{len(text):,} pairs in {len(groups.firsts):,} unrelated groups of sentences are too few to hold out "
            "validation and test pairs; give data.valid and data.test, or data.valid_datasets and data.test_datasets "
            "if the corpus is not data=files"
        )
    if valid + test > len(small) // 10:
        limit = max(1, len(small) // 20)
        valid, test = min(valid, limit), min(test, limit)
        log.warning("small corpus: held out only %d validation and %d test pairs", valid, test)
    held_out = small[: valid + test]
    excluded = np.zeros(len(groups.rows), bool)
    excluded[held_out] = True
    train = groups.rows[~excluded[groups.component]]
    return Rows(train, groups.rows[held_out[test:]], groups.rows[held_out[:test]])


def fold(text: ParallelText, part: int, parts: int) -> tuple[ParallelText, ParallelText]:
    """Return training and validation text of fold `part` of `parts` (cross-validation, Stone 1974).

    A pure function of the set of pairs, like `hold_out`. Components are assigned, the largest first, to the fold with
    the fewest pairs, so the sizes of the folds differ by few pairs. A component larger than a fold is training text in
    every fold: validating on it would make the folds unequal. Both texts are sorted by hash.

    Raises:
        DataError: fewer components than folds.
    """
    groups = _components(text)
    largest_first = np.lexsort((groups.firsts, -groups.sizes))
    firsts, sizes = groups.firsts[largest_first], groups.sizes[largest_first]
    remaining, oversized = len(groups.rows), 0
    while oversized < len(sizes) and sizes[oversized] > max(MAX_COMPONENT_PAIRS, remaining / parts):
        remaining -= sizes[oversized]
        oversized += 1
    if len(sizes) - oversized < parts:
        raise DataError(
            f"data.fold={part}/{parts}: {len(text):,} pairs in {len(sizes):,} unrelated groups of sentences are too "
            f"few for {parts} folds"
        )
    if oversized:
        log.warning(
            "%s pairs are connected by shared sentences: they are in the training text of every fold",
            f"{sizes[:oversized].sum():,}",
        )
    fold_of = np.zeros(len(groups.rows), np.int32)  # of each component, at the position of its first pair
    fold_of[firsts[oversized:]] = np.fromiter(_equal_folds(sizes[oversized:].tolist(), parts), np.int32)
    in_valid = fold_of[groups.component] == part
    return taken(text, groups.rows[~in_valid]), taken(text, groups.rows[in_valid])


def _equal_folds(sizes: Iterable[int], parts: int) -> Iterator[int]:
    """Yield for each component the fold that has the fewest pairs."""
    filled = [(0, number) for number in range(1, parts + 1)]
    for size in sizes:
        pairs, number = filled[0]
        heapq.heapreplace(filled, (pairs + size, number))
        yield number


def remove_overlap(text: ParallelText, held_out: ParallelText) -> ParallelText:
    """Drop the pairs that share a sentence with `held_out`, on either side and ignoring case; if none does: `text`."""
    src, tgt = ({line.lower() for line in side} for side in (held_out.src, held_out.tgt))
    kept = bytearray(pair[0].lower() not in src and pair[1].lower() not in tgt for pair in text)
    return text if all(kept) else collected(compress(text, kept), text)


def _components(text: ParallelText) -> Components:
    """Return the distinct pairs of `text` and their components."""
    hashes, swapped, src, tgt = bytearray(), bytearray(), array("q"), array("q")
    for start in range(0, len(text), BLOCK_PAIRS):
        lines = [encoded(side[start : start + BLOCK_PAIRS]) for side in (text.src, text.tgt)]
        hashes += b"".join(map(_hash, *lines))
        swapped += bytes(map(operator.gt, *lines))
        for hashed, side in zip((src, tgt), lines, strict=True):
            hashed.extend(map(hash, map(_lower, side)))
    high, low = np.frombuffer(hashes, ">u8").reshape(-1, 2).T.astype(np.uint64)
    dtype = np.int32 if len(text) < 2**31 else np.int64
    rows = np.lexsort((np.frombuffer(swapped, np.uint8), low, high)).astype(dtype)  # as the tuples (hash, pair)
    repeated = np.ones(max(0, len(rows) - 1), bool)
    for key in (high, low, np.frombuffer(swapped, np.uint8)):
        repeated &= key[rows[1:]] == key[rows[:-1]]
    rows = rows[np.concatenate([np.ones(min(1, len(rows)), bool), ~repeated])]
    del high, low, repeated
    component = np.arange(len(rows), dtype=dtype)
    edges = [_edges(np.frombuffer(side, np.int64)[rows]) for side in (src, tgt)]
    _connect(component, *(np.concatenate(ends) for ends in zip(*edges, strict=True)))
    firsts = np.flatnonzero(component == np.arange(len(rows)))
    return Components(rows, component, firsts, np.bincount(component, minlength=len(rows))[firsts])


def _edges(sentences: Numbers) -> tuple[Numbers, Numbers]:
    """Return the pairs whose sentence occurred before, and for each of them the first pair with this sentence."""
    order = np.argsort(sentences, kind="stable").astype(np.int32 if len(sentences) < 2**31 else np.int64)
    in_order = sentences[order]
    repeats = np.concatenate([np.zeros(min(1, len(order)), bool), in_order[1:] == in_order[:-1]])
    first = np.maximum.accumulate(np.where(repeats, 0, np.arange(len(order), dtype=order.dtype)))
    return order[repeats], order[first[repeats]]


def _connect(component: Numbers, ends: Numbers, others: Numbers) -> None:
    """Give all connected pairs the smallest number among them, in place; `ends` and `others` are the two of an edge."""
    while True:
        one, other = component[ends], component[others]
        open_edges = one != other
        if not open_edges.any():
            return
        ends, others = ends[open_edges], others[open_edges]
        low, high = np.minimum(one, other)[open_edges], np.maximum(one, other)[open_edges]
        np.minimum.at(component, high, low)
        while True:
            shorter = component[component]
            if np.array_equal(shorter, component):
                break
            component[:] = shorter


_EMPTY = blake2b(digest_size=16)


def _hash(src: bytes, tgt: bytes) -> bytes:
    """Return a hash of a pair in either direction; lines of UTF-8 are in the order of their characters."""
    state = _EMPTY.copy()  # faster than a new one
    state.update(src + b"\t" + tgt if src <= tgt else tgt + b"\t" + src)
    return state.digest()


def _lower(line: bytes) -> bytes:
    if line.isascii():
        return line.lower()
    return line.decode("utf-8", "surrogatepass").lower().encode("utf-8", "surrogatepass")
