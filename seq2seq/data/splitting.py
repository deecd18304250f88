"""Split a text into held-out sets or folds that share no sentence of either language.

Sentence collections repeat themselves: "Tom left." has many translations, each of which translates other sentences.
A random split would put the same sentence into training and test set. Here the pairs connected by shared sentences form
a component, and each component is assigned to one set as a whole.
"""

from __future__ import annotations

import hashlib
import heapq
import logging
from dataclasses import dataclass

from seq2seq.data.corpus import ParallelText
from seq2seq.errors import DataError

log = logging.getLogger(__name__)

MAX_COMPONENT_PAIRS = 8  # a held-out component contributes one pair; holding out a larger one would waste too many
Pair = tuple[str, str]


@dataclass
class Splits:
    """The three parts of a corpus."""

    train: ParallelText
    valid: ParallelText
    test: ParallelText


def hold_out(text: ParallelText, valid: int, test: int) -> Splits:
    """Hold out `valid` and `test` pairs, each from a different small component.

    A pure function of the set of pairs: their order and the direction of translation do not matter. Components are
    held out in the order of their smallest hash, so the probability does not depend on the size of the component.
    Training pairs are sorted by hash, so the first n are a random sample. Exact duplicates are removed.

    Raises:
        DataError: too few components.
    """
    groups = sorted(_components(list(dict.fromkeys(text))))
    small = [group for group in groups if len(group) <= MAX_COMPONENT_PAIRS]
    sets = (valid > 0) + (test > 0)
    if len(groups) <= sets or len(small) < sets:
        raise DataError(
            f"{len(text):,} pairs in {len(groups):,} unrelated groups of sentences are too few to hold out validation "
            "and test pairs; give data.valid and data.test"
        )
    if valid + test > len(small) // 10:
        limit = max(1, len(small) // 20)
        valid, test = min(valid, limit), min(test, limit)
        log.warning("small corpus: held out only %d validation and %d test pairs", valid, test)
    held_out = [group[0][1] for group in small[: valid + test]]
    excluded = set(held_out)
    train = [pair for _, pair in sorted(item for group in groups if group[0][1] not in excluded for item in group)]
    return Splits(*(ParallelText.from_pairs(part) for part in (train, held_out[test:], held_out[:test])))


def fold(text: ParallelText, part: int, parts: int) -> tuple[ParallelText, ParallelText]:
    """Return training and validation text of fold `part` of `parts` (cross-validation, Stone 1974).

    A pure function of the set of pairs, like `hold_out`. Components are assigned, the largest first, to the fold with
    the fewest pairs, so the sizes of the folds differ by few pairs. A component larger than a fold is training text in
    every fold: validating on it would make the folds unequal. Both texts are sorted by hash.

    Raises:
        DataError: fewer components than folds.
    """
    groups = sorted(_components(list(dict.fromkeys(text))), key=lambda group: (-len(group), group[0]))
    remaining, oversized = sum(map(len, groups)), 0
    while oversized < len(groups) and len(groups[oversized]) > max(MAX_COMPONENT_PAIRS, remaining / parts):
        remaining -= len(groups[oversized])
        oversized += 1
    if len(groups) - oversized < parts:
        raise DataError(
            f"data.fold={part}/{parts}: {len(text):,} pairs in {len(groups):,} unrelated groups of sentences are too "
            f"few for {parts} folds"
        )
    if oversized:
        log.warning(
            "%s pairs are connected by shared sentences: they are in the training text of every fold",
            f"{sum(map(len, groups[:oversized])):,}",
        )
    sizes = [(0, number) for number in range(1, parts + 1)]
    train = [item for group in groups[:oversized] for item in group]
    valid: list[tuple[bytes, Pair]] = []
    for group in groups[oversized:]:
        size, number = sizes[0]
        heapq.heapreplace(sizes, (size + len(group), number))
        (valid if number == part else train).extend(group)
    return _sorted_text(train), _sorted_text(valid)


def _sorted_text(items: list[tuple[bytes, Pair]]) -> ParallelText:
    return ParallelText.from_pairs([pair for _, pair in sorted(items)])


def remove_overlap(text: ParallelText, held_out: ParallelText) -> ParallelText:
    """Drop the pairs that share a sentence with `held_out`, on either side and ignoring case."""
    src, tgt = ({line.lower() for line in side} for side in (held_out.src, held_out.tgt))
    return ParallelText.from_pairs([pair for pair in text if pair[0].lower() not in src and pair[1].lower() not in tgt])


def _components(pairs: list[Pair]) -> list[list[tuple[bytes, Pair]]]:
    """Return the components of pairs connected by a lower-cased sentence, each sorted by the hash of its pairs."""
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
