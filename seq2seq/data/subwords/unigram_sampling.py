"""Sample segmentations of a unigram model (subword regularisation, Kudo 2018)."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from seq2seq.data.subwords.subword_vocabulary import Vocabulary

UNK_PENALTY = 10.0  # SentencePiece's: log p of an unknown character is that of the least likely piece minus this
MAX_EDGES = 1 << 22  # in the cached lattices, about 200 MB
BITS = 32  # of a random number
END = -1

Ints = NDArray[np.int64]


class UnigramLattices:
    """Every segmentation of a word with probability proportional to (product of its pieces' p)^alpha.

    A segmentation is a path through the lattice of a word, from its first character to its end. All words advance
    together: each draws one of the edges that leave its node, weighted by the summed probability of the paths through
    it (forward filtering, backward sampling). Shares are integers, so that a draw does not depend on the position of
    the edges in the arrays, and thus not on the words sampled before.
    """

    def __init__(self, vocabulary: Vocabulary, alpha: float) -> None:
        self._vocabulary, self._alpha = vocabulary, alpha
        self._unknown_score = min(vocabulary.scores.values(), default=0.0) - UNK_PENALTY
        self._clear()

    def _clear(self) -> None:
        self._first_nodes: dict[str, int] = {}
        # Per edge: the end of its share of [node, node + 1) in units of 2^-BITS, the node that it leads to, its piece.
        self._shares, self._targets, self._ids = array("q"), array("q"), array("q")
        self._nodes = 0

    def sample(self, words: Sequence[str], rng: np.random.Generator) -> tuple[Ints, Ints]:
        """See `WordSampler`."""
        if len(self._ids) > MAX_EDGES:
            self._clear()
        node = np.array([self._first_node(word) for word in words], np.int64)
        shares, targets, ids = (np.frombuffer(edges, np.int64) for edges in (self._shares, self._targets, self._ids))
        word = np.arange(len(words))
        owners, drawn = [word[:0]], [word[:0]]
        while len(word):
            edge = np.searchsorted(shares, (node << BITS) | rng.integers(0, 1 << BITS, len(word)), side="right")
            owners.append(word)
            drawn.append(ids[edge])
            node = targets[edge]
            word, node = word[node != END], node[node != END]
        owner = np.concatenate(owners)
        return np.concatenate(drawn)[np.argsort(owner, kind="stable")], np.bincount(owner, minlength=len(words))

    def _first_node(self, word: str) -> int:
        node = self._first_nodes.get(word)
        if node is None:
            node = self._first_nodes[word] = self._nodes
            self._add_lattice(word)
        return node

    def _add_lattice(self, word: str) -> None:
        size, first = len(word), self._nodes
        edges = [self._edges(word, i) for i in range(size)]
        suffix = [0.0] * (size + 1)  # log of the sum of p^alpha over all segmentations of the rest of the word
        weights: list[list[float]] = [[]] * size
        for i in reversed(range(size)):
            logs = [self._alpha * score + suffix[end] for end, _, score in edges[i]]
            largest = max(logs)
            suffix[i] = largest + math.log(sum(math.exp(x - largest) for x in logs))
            weights[i] = [math.exp(x - suffix[i]) for x in logs]
        for i in range(size):
            self._shares.extend(_share_ends(first + i, weights[i]))
            self._targets.extend(END if end == size else first + end for end, _, _ in edges[i])
            self._ids.extend(id_ for _, id_, _ in edges[i])
        self._nodes += size

    def _edges(self, word: str, begin: int) -> list[tuple[int, int, float]]:
        """Return (end, id, score) of every piece that starts at `begin`; an unknown character is a piece, too."""
        vocabulary = self._vocabulary
        if word in vocabulary.symbols:
            return [(len(word), vocabulary.symbols[word], 0.0)]
        ends = range(begin + 1, min(begin + vocabulary.longest, len(word)) + 1)
        candidates = [(end, word[begin:end]) for end in ends]
        edges = [(end, vocabulary.ids[c], vocabulary.scores[c]) for end, c in candidates if c in vocabulary.ids]
        if word[begin] in vocabulary.ids:
            return edges
        return [(begin + 1, vocabulary.id(word[begin]), self._unknown_score), *edges]


def _share_ends(node: int, weights: Sequence[float]) -> list[int]:
    """Divide [node, node + 1) by weights that sum to about 1; return the ends of the shares, times 2^BITS."""
    whole, begin = 1 << BITS, node << BITS
    ends = [begin + min(int(end * whole), whole) for end in accumulate(weights)]
    ends[-1] = begin + whole
    return ends
