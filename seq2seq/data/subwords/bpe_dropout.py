"""Sample segmentations of a BPE model (BPE-dropout, Provilkov et al. 2020)."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from seq2seq.data.subwords.subword_vocabulary import Vocabulary

MAX_SEGMENTATIONS = 1 << 18  # in the cache, about 100 MB
LONG_WORD = 64  # characters; longer words are not cached
NEVER = 1 << 40
END = -1

Ints = NDArray[np.int64]


class BpeDropout:
    """Merges the best pair of pieces, as BPE does, but drops each merge for good with probability alpha.

    The merges of a word are numbered in the order in which they are considered; the numbers of the dropped ones
    determine its segmentation.
    """

    def __init__(self, vocabulary: Vocabulary, alpha: float) -> None:
        self._vocabulary, self._alpha = vocabulary, alpha
        # (word, numbers of dropped merges) -> number of merges considered, ids
        self._segmentations: dict[tuple[str, tuple[int, ...]], tuple[int, list[int]]] = {}

    def sample(self, words: Sequence[str], rng: np.random.Generator) -> tuple[Ints, Ints]:
        """See `WordSampler`."""
        if len(self._segmentations) > MAX_SEGMENTATIONS:
            self._segmentations.clear()
        rows: list[list[int]] = [[]] * len(words)
        short = [i for i, word in enumerate(words) if len(word) <= LONG_WORD]
        self._sample_short(words, short, rng, rows)
        for i, word in enumerate(words):
            if len(word) > LONG_WORD:
                rows[i] = self._merge(word, self._drops(rng))[1]
        return np.fromiter(chain.from_iterable(rows), np.int64), np.array([len(row) for row in rows], np.int64)

    def _sample_short(
        self, words: Sequence[str], short: Sequence[int], rng: np.random.Generator, rows: list[list[int]]
    ) -> None:
        """Fill in the rows of short words; all of them draw their next dropped merge together.

        Most words drop none or few merges, so their segmentations recur and are cached.
        """
        active = np.array(short, np.int64)
        drop = np.full(len(active), -1)
        drops: dict[int, tuple[int, ...]] = {}
        while len(active):
            segmentations = [self._segmentation(words[i], drops.get(i, ())) for i in active.tolist()]
            for i, (_, ids) in zip(active.tolist(), segmentations, strict=True):
                rows[i] = ids
            drop = drop + _gaps(rng, self._alpha, len(active))
            dropping = drop < np.array([merges for merges, _ in segmentations])
            active, drop = active[dropping], drop[dropping]
            for i, number in zip(active.tolist(), drop.tolist(), strict=True):
                drops[i] = (*drops.get(i, ()), number)

    def _drops(self, rng: np.random.Generator) -> Iterator[int]:
        drop = -1
        while True:
            drop += int(_gaps(rng, self._alpha, 1)[0])
            yield drop

    def _segmentation(self, word: str, drops: tuple[int, ...]) -> tuple[int, list[int]]:
        cached = self._segmentations.get((word, drops))
        if cached is None:
            cached = self._segmentations[word, drops] = self._merge(word, iter(drops))
        return cached

    def _merge(self, word: str, drops: Iterator[int]) -> tuple[int, list[int]]:
        """Merge the characters of `word`, best pair first, except the merges whose ascending numbers `drops` yields.

        Returns:
            The number of merges considered, and the ids.
        """
        if word in self._vocabulary.symbols:
            return 0, [self._vocabulary.symbols[word]]
        pieces, number, drop = _Pieces(word, self._vocabulary.scores), 0, next(drops, NEVER)
        while (pair := pieces.best_pair()) is not None:
            if number == drop:
                drop = next(drops, NEVER)
            else:
                pieces.join(pair)
            number += 1
        return number, [self._vocabulary.id(piece) for piece in pieces]


class _Pieces:
    """A word as a linked list of pieces, at first its characters, with a heap of the pairs that can be joined."""

    def __init__(self, word: str, scores: dict[str, float]) -> None:
        self._scores = scores
        self._pieces = list(word)  # empty once joined to the piece before it
        self._next = [*range(1, len(word)), END]
        self._previous = [END, *range(len(word) - 1)]
        self._pairs: list[tuple[float, int, int, int]] = []  # a heap of (-score, left, right, length)
        for left in range(len(word) - 1):
            self._push(left, left + 1)

    def __iter__(self) -> Iterator[str]:
        return filter(None, self._pieces)

    def best_pair(self) -> tuple[int, int] | None:
        """Pop the joinable pair with the highest score, the leftmost on a tie; None if there is none."""
        while self._pairs:
            _, left, right, length = heapq.heappop(self._pairs)
            a, b = self._pieces[left], self._pieces[right]
            if a and b and len(a) + len(b) == length:  # otherwise one of them has grown since the push
                return left, right
        return None

    def join(self, pair: tuple[int, int]) -> None:
        """Replace two neighbours by their concatenation."""
        left, right = pair
        self._pieces[left] += self._pieces[right]
        self._pieces[right] = ""
        self._next[left] = self._next[right]
        if self._next[right] != END:
            self._previous[self._next[right]] = left
        self._push(self._previous[left], left)
        self._push(left, self._next[left])

    def _push(self, left: int, right: int) -> None:
        if left == END or right == END:
            return
        piece = self._pieces[left] + self._pieces[right]
        if piece in self._scores:
            heapq.heappush(self._pairs, (-self._scores[piece], left, right, len(piece)))


def _gaps(rng: np.random.Generator, alpha: float, count: int) -> Ints:
    """Return `count` distances to the next dropped merge, if each merge is dropped with probability alpha."""
    if not alpha:
        return np.full(count, NEVER)
    return np.minimum(rng.geometric(alpha, count), NEVER)
