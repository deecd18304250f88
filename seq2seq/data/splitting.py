"""Dividing a text so that no sentence of either language stands on two sides: held-out pairs, folds.

Sentence collections repeat themselves: "Tom left." has many translations, each of which translates other sentences.
A random split would put the same sentence in training and test. Here sentences that share a pair, directly or
through others, form a component, and a component goes to one side as a whole.
"""

from __future__ import annotations

import hashlib
import heapq
import logging
from dataclasses import dataclass

from seq2seq.data.corpus import ParallelText
from seq2seq.errors import DataError

log = logging.getLogger(__name__)

MAX_COMPONENT_PAIRS = 8  # larger ones would throw away too much: one pair of a held-out component is used
Pair = tuple[str, str]


@dataclass
class Splits:
    """The three parts of a corpus."""

    train: ParallelText
    valid: ParallelText
    test: ParallelText


def hold_out(text: ParallelText, valid: int, test: int) -> Splits:
    """Split off `valid` and `test` pairs, one from each of as many small components.

    A pure function of the set of pairs: neither their order nor the direction of translation matters. Components are
    taken by their smallest hash, so a sentence's chance to be held out does not hang on how many are related to it.
    Training pairs come out in the order of their hashes: the first n are a fair sample. Exact duplicates are removed.

    Raises:
        DataError: too few unrelated sentences to hold anything out.
    """
    groups = sorted(_components(list(dict.fromkeys(text))))
    small = [group for group in groups if len(group) <= MAX_COMPONENT_PAIRS]
    sides = (valid > 0) + (test > 0)
    if len(groups) <= sides or len(small) < sides:
        raise DataError(
            f"{len(text):,} pairs in {len(groups):,} unrelated groups of sentences are too few to hold out validation "
            "and test pairs; give data.valid and data.test"
        )
    if valid + test > len(small) // 10:
        fits = max(1, len(small) // 20)
        valid, test = min(valid, fits), min(test, fits)
        log.warning("small corpus: held out only %d validation and %d test pairs", valid, test)
    held = [group[0][1] for group in small[: valid + test]]
    taken = set(held)
    train = [pair for _, pair in sorted(item for group in groups if group[0][1] not in taken for item in group)]
    return Splits(*(ParallelText.from_pairs(part) for part in (train, held[test:], held[:test])))


def fold(text: ParallelText, part: int, parts: int) -> tuple[ParallelText, ParallelText]:
    """Return training and validation text of fold `part` of `parts` (cross-validation, Stone 1974).

    A pure function of the set of pairs, like `hold_out`. Components go to the fold with the fewest pairs, the largest
    first, so folds differ by few pairs. One that is larger than a fold would leave no equal folds, and none that
    is worth validating on: it is trained on in every fold. Both texts come out in the order of their hashes.

    Raises:
        DataError: fewer unrelated groups of sentences than folds.
    """
    groups = sorted(_components(list(dict.fromkeys(text))), key=lambda group: (-len(group), group[0]))
    rest, everywhere = sum(map(len, groups)), 0
    while everywhere < len(groups) and len(groups[everywhere]) > max(MAX_COMPONENT_PAIRS, rest / parts):
        rest -= len(groups[everywhere])
        everywhere += 1
    if len(groups) - everywhere < parts:
        raise DataError(
            f"data.fold={part}/{parts}: {len(text):,} pairs in {len(groups):,} unrelated groups of sentences are too "
            "few for so many parts"
        )
    if everywhere:
        log.warning(
            "%s pairs hang together by sentences that they share: they are in the training text of every fold",
            f"{sum(map(len, groups[:everywhere])):,}",
        )
    sizes = [(0, number) for number in range(1, parts + 1)]
    train = [item for group in groups[:everywhere] for item in group]
    valid: list[tuple[bytes, Pair]] = []
    for group in groups[everywhere:]:
        size, number = sizes[0]
        heapq.heapreplace(sizes, (size + len(group), number))
        (valid if number == part else train).extend(group)
    one, other = (ParallelText.from_pairs([pair for _, pair in sorted(side)]) for side in (train, valid))
    return one, other


def remove_overlap(text: ParallelText, held_out: ParallelText) -> ParallelText:
    """Drop the pairs that share a sentence with `held_out`, on either side and ignoring case."""
    src, tgt = ({line.lower() for line in side} for side in (held_out.src, held_out.tgt))
    return ParallelText.from_pairs([pair for pair in text if pair[0].lower() not in src and pair[1].lower() not in tgt])


def _components(pairs: list[Pair]) -> list[list[tuple[bytes, Pair]]]:
    """Group pairs connected by a (lower-cased) sentence; each group is sorted by the hash of its pairs."""
    parent = list(range(len(pairs)))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = node = parent[parent[node]]
        return node

    for side in (0, 1):
        first: dict[str, int] = {}
        for node, pair in enumerate(pairs):
            parent[root(node)] = root(first.setdefault(pair[side].lower(), node))
    groups: dict[int, list[tuple[bytes, Pair]]] = {}
    for node, pair in enumerate(pairs):
        groups.setdefault(root(node), []).append((_hash(pair), pair))
    return [sorted(group) for group in groups.values()]


def _hash(pair: Pair) -> bytes:
    return hashlib.blake2b("\t".join(sorted(pair)).encode("utf-8", "surrogatepass"), digest_size=16).digest()
