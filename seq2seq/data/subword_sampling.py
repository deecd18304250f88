"""Segmentations drawn at random: subword regularisation (Kudo 2018) and BPE-dropout (Provilkov et al. 2020).

SentencePiece draws them, too, but never twice the same: its generator is salted anew in every process, so that no seed
brings a segmentation back and a resumed run would read another text. Here NumPy draws, from the same distributions.
A line falls into words that no piece crosses; what it takes to cut a word is worked out once and kept for the next
time. This module does not import torch.
"""

from __future__ import annotations

import heapq
import math
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, chain, pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from seq2seq.data.special_ids import UNK_ID
from seq2seq.errors import ConfigError

SPACE = "▁"
UNK_PENALTY = 10.0  # SentencePiece's: how much less likely than the least likely piece an unknown character is
MAX_EDGES = 1 << 22  # of kept lattices: some 200 MB
MAX_OUTCOMES = 1 << 18  # of kept merges: some 100 MB
LONG_WORD = 64  # characters
BITS = 32  # of a drawn number
END = -1
FAR = 1 << 40

Normalise = Callable[[Sequence[str]], list[str]]
Ints = NDArray[np.int64]


class Sampler:
    """Cuts lines into pieces drawn by p^alpha (unigram), or merged with the share alpha of merges left out (bpe)."""

    def __init__(self, model: bytes, normalise: Normalise, alpha: float) -> None:
        """Read a serialised SentencePiece model; `normalise` is what it does to lines before it cuts them.

        Raises:
            ConfigError: the model is neither unigram nor bpe.
        """
        self._vocabulary = Vocabulary(model)
        self._normalise = normalise
        self._words: Words = (Lattices if self._vocabulary.unigram else Merges)(self._vocabulary, alpha)

    def encode(self, lines: Sequence[str], seed: Sequence[int]) -> list[list[int]]:
        """Return piece ids without special ids: a function of the model, alpha, `lines` and `seed`, of nothing else."""
        cut = [self._vocabulary.words(line) for line in self._normalise(lines)]
        ids, sizes = self._words.draw(list(chain.from_iterable(cut)), np.random.default_rng(list(seed)))
        words = np.cumsum([0, *map(len, cut)])
        bounds = np.concatenate([[0], np.cumsum(sizes)])[words].tolist()
        flat = ids.tolist()
        rows = [flat[begin:end] for begin, end in pairwise(bounds)]
        return [self._vocabulary.spell(row) for row in rows] if (ids < 0).any() else rows


class Words(Protocol):
    """A way to cut words at random."""

    def draw(self, words: Sequence[str], rng: np.random.Generator) -> tuple[Ints, Ints]:
        """Return the ids of all words, one word after another, and how many each has; `Vocabulary.spell` reads them.

        The numbers drawn, and what they mean, depend on `words` alone, not on what earlier calls left behind.
        """


class Vocabulary:
    """The pieces of a SentencePiece model that text is cut into; `symbols` are those that are never cut or joined."""

    def __init__(self, model: bytes) -> None:
        # Not at the top: it needs protobuf, which TensorBoard brings along but a translator does without.
        from sentencepiece import sentencepiece_model_pb2

        proto: Any = sentencepiece_model_pb2.ModelProto.FromString(model)  # type: ignore[attr-defined]
        kind, trained_as = type(proto).SentencePiece, type(proto.trainer_spec)
        if proto.trainer_spec.model_type not in (trained_as.UNIGRAM, trained_as.BPE):
            raise ConfigError("data.sampling: the given SentencePiece model is neither unigram nor bpe")
        self.unigram = proto.trainer_spec.model_type == trained_as.UNIGRAM
        pieces = list(enumerate(proto.pieces))
        self.ids: dict[str, int] = {piece.piece: i for i, piece in pieces if piece.type == kind.NORMAL}
        self.scores: dict[str, float] = {piece: proto.pieces[i].score for piece, i in self.ids.items()}
        self.symbols: dict[str, int] = {piece.piece: i for i, piece in pieces if piece.type == kind.USER_DEFINED}
        self._bytes = [i for i, piece in pieces if piece.type == kind.BYTE]
        # A model whose pieces span words, or end in the space, has one word: the line.
        spans = any(SPACE in piece[1:] for piece in self.ids)
        self._word = re.compile(".+" if spans else f"{SPACE}[^{SPACE}]*|[^{SPACE}]+", re.DOTALL)
        longest_first = sorted(self.symbols, key=len, reverse=True)
        self._symbol = re.compile(f"({'|'.join(map(re.escape, longest_first))})") if longest_first else None

    def words(self, text: str) -> list[str]:
        """Cut normalised text where no piece can cross; a symbol is a word of its own."""
        if self._symbol is None:
            return self._word.findall(text)
        parts = enumerate(self._symbol.split(text))  # every second one is a symbol
        return list(chain.from_iterable([part] if i % 2 else self._word.findall(part) for i, part in parts))

    def id(self, piece: str) -> int:
        """Return the id of a piece, of an unknown character a negative number."""
        return self.ids[piece] if piece in self.ids else -1 - ord(piece)

    def spell(self, row: Iterable[int]) -> list[int]:
        """Write unknown characters as bytes; a run of them as one UNK_ID where the model has no bytes."""
        ids: list[int] = []
        for i in row:
            if i >= 0:
                ids.append(i)
            elif self._bytes:
                ids.extend(self._bytes[byte] for byte in chr(-1 - i).encode())
            elif ids[-1:] != [UNK_ID]:
                ids.append(UNK_ID)
        return ids


class Lattices:
    """Unigram: every way to cut a word, each as likely as the alpha-th power of its pieces' probability (Kudo 2018).

    A cut is a walk from the first character to the end, and all words walk at once: each draws one of the edges that
    leave its node, weighted by what is to come behind them. The walk knows whole numbers only, so that it does not
    depend on where in the arrays a word's edges lie.
    """

    def __init__(self, vocabulary: Vocabulary, alpha: float) -> None:
        self._vocabulary, self._alpha = vocabulary, alpha
        self._longest = max(map(len, vocabulary.ids), default=1)
        self._unknown = min(vocabulary.scores.values(), default=0.0) - UNK_PENALTY
        self._forget()

    def _forget(self) -> None:
        self._starts: dict[str, int] = {}
        # Of every edge: the end of its share in [node, node + 1), in units of 2^-BITS; the node it leads to; its piece.
        self._shares, self._targets, self._ids = array("q"), array("q"), array("q")
        self._nodes = 0

    def draw(self, words: Sequence[str], rng: np.random.Generator) -> tuple[Ints, Ints]:
        """See `Words`."""
        if len(self._ids) > MAX_EDGES:
            self._forget()
        node = np.array([self._start(word) for word in words], np.int64)
        shares, targets, ids = (np.frombuffer(edges, np.int64) for edges in (self._shares, self._targets, self._ids))
        word = np.arange(len(words))
        owners, drawn = [word[:0]], [word[:0]]
        while len(word):
            chosen = np.searchsorted(shares, (node << BITS) | rng.integers(0, 1 << BITS, len(word)), side="right")
            owners.append(word)
            drawn.append(ids[chosen])
            node = targets[chosen]
            word, node = word[node != END], node[node != END]
        owner = np.concatenate(owners)
        return np.concatenate(drawn)[np.argsort(owner, kind="stable")], np.bincount(owner, minlength=len(words))

    def _start(self, word: str) -> int:
        start = self._starts.get(word)
        if start is None:
            start = self._starts[word] = self._nodes
            self._add(word)
        return start

    def _add(self, word: str) -> None:
        size, first = len(word), self._nodes
        edges = [self._leaving(word, i) for i in range(size)]
        behind = [0.0] * (size + 1)  # log of the summed p^alpha of all ways to cut what follows
        weights: list[list[float]] = [[]] * size
        for i in reversed(range(size)):
            logs = [self._alpha * score + behind[end] for end, _, score in edges[i]]
            most = max(logs)
            behind[i] = most + math.log(sum(math.exp(x - most) for x in logs))
            weights[i] = [math.exp(x - behind[i]) for x in logs]
        for i in range(size):
            self._shares.extend(_shares(first + i, weights[i]))
            self._targets.extend(END if end == size else first + end for end, _, _ in edges[i])
            self._ids.extend(id_ for _, id_, _ in edges[i])
        self._nodes += size

    def _leaving(self, word: str, begin: int) -> list[tuple[int, int, float]]:
        """Return (end, id, score) of every piece that begins there; an unknown character counts as one."""
        known = self._vocabulary
        if word in known.symbols:
            return [(len(word), known.symbols[word], 0.0)]
        ends = range(begin + 1, min(begin + self._longest, len(word)) + 1)
        pieces = [(end, word[begin:end]) for end in ends]
        found = [(end, known.ids[piece], known.scores[piece]) for end, piece in pieces if piece in known.ids]
        if word[begin] in known.ids:
            return found
        return [(begin + 1, known.id(word[begin]), self._unknown), *found]


def _shares(node: int, weights: Sequence[float]) -> list[int]:
    """Divide [node, node + 1) by the weights, which sum to about 1; return where each share ends, times 2^BITS."""
    whole, begin = 1 << BITS, node << BITS
    ends = [begin + min(int(end * whole), whole) for end in accumulate(weights)]
    ends[-1] = begin + whole
    return ends


class Merges:
    """BPE-dropout: the best merge is made as ever, but each time with probability alpha passed over for good."""

    def __init__(self, vocabulary: Vocabulary, alpha: float) -> None:
        self._vocabulary, self._alpha = vocabulary, alpha
        self._outcomes: dict[tuple[str, tuple[int, ...]], tuple[int, list[int]]] = {}

    def draw(self, words: Sequence[str], rng: np.random.Generator) -> tuple[Ints, Ints]:
        """See `Words`."""
        if len(self._outcomes) > MAX_OUTCOMES:
            self._outcomes.clear()
        rows: list[list[int]] = [[]] * len(words)
        short = [i for i, word in enumerate(words) if len(word) <= LONG_WORD]
        self._draw_short(words, short, rng, rows)
        for i, word in enumerate(words):
            if len(word) > LONG_WORD:
                rows[i] = self._merge(word, self._drops(rng))[1]
        return np.fromiter(chain.from_iterable(rows), np.int64), np.array([len(row) for row in rows], np.int64)

    def _draw_short(
        self, words: Sequence[str], short: Sequence[int], rng: np.random.Generator, rows: list[list[int]]
    ) -> None:
        """Fill in the rows of the words that come again and again: all draw their next drop at once.

        Most have none. A few drops make an outcome that is worth keeping.
        """
        active = np.array(short, np.int64)
        drop = np.full(len(active), -1)
        drops: dict[int, tuple[int, ...]] = {}
        while len(active):
            outcomes = [self._outcome(words[i], drops.get(i, ())) for i in active.tolist()]
            for i, (_, ids) in zip(active.tolist(), outcomes, strict=True):
                rows[i] = ids
            drop = drop + _gaps(rng, self._alpha, len(active))
            met = drop < np.array([count for count, _ in outcomes])
            active, drop = active[met], drop[met]
            for i, at in zip(active.tolist(), drop.tolist(), strict=True):
                drops[i] = (*drops.get(i, ()), at)

    def _drops(self, rng: np.random.Generator) -> Iterator[int]:
        drop = -1
        while True:
            drop += int(_gaps(rng, self._alpha, 1)[0])
            yield drop

    def _outcome(self, word: str, drops: tuple[int, ...]) -> tuple[int, list[int]]:
        known = self._outcomes.get((word, drops))
        if known is None:
            known = self._outcomes[word, drops] = self._merge(word, iter(drops))
        return known

    def _merge(self, word: str, drops: Iterator[int]) -> tuple[int, list[int]]:
        """Merge the characters of `word`, best pair first, but for those whose turn `drops` names in rising order.

        Returns:
            How many pairs had their turn, and the ids.
        """
        if word in self._vocabulary.symbols:
            return 0, [self._vocabulary.symbols[word]]
        pieces, turns, drop = _Chain(word, self._vocabulary.scores), 0, next(drops, FAR)
        while (pair := pieces.best_pair()) is not None:
            if turns == drop:
                drop = next(drops, FAR)
            else:
                pieces.join(pair)
            turns += 1
        return turns, [self._vocabulary.id(piece) for piece in pieces]


class _Chain:
    """The characters of a word on their way to become pieces."""

    def __init__(self, word: str, scores: dict[str, float]) -> None:
        self._scores = scores
        self._pieces = list(word)  # that of a character joined to the one before it is empty
        self._next = [*range(1, len(word)), END]
        self._before = [END, *range(len(word) - 1)]
        self._pairs: list[tuple[float, int, int, int]] = []  # a heap of (-score, left, right, length)
        for left in range(len(word) - 1):
            self._offer(left, left + 1)

    def __iter__(self) -> Iterator[str]:
        return filter(None, self._pieces)

    def best_pair(self) -> tuple[int, int] | None:
        """Take the pair with the highest score, the leftmost of several, out of those that may be joined."""
        while self._pairs:
            _, left, right, length = heapq.heappop(self._pairs)
            a, b = self._pieces[left], self._pieces[right]
            if a and b and len(a) + len(b) == length:  # else one of them has grown since
                return left, right
        return None

    def join(self, pair: tuple[int, int]) -> None:
        """Make one piece of two neighbours."""
        left, right = pair
        self._pieces[left] += self._pieces[right]
        self._pieces[right] = ""
        self._next[left] = self._next[right]
        if self._next[right] != END:
            self._before[self._next[right]] = left
        self._offer(self._before[left], left)
        self._offer(left, self._next[left])

    def _offer(self, left: int, right: int) -> None:
        if left == END or right == END:
            return
        piece = self._pieces[left] + self._pieces[right]
        if piece in self._scores:
            heapq.heappush(self._pairs, (-self._scores[piece], left, right, len(piece)))


def _gaps(rng: np.random.Generator, alpha: float, count: int) -> Ints:
    """Return how many turns on the next drop is, when each is dropped with probability alpha."""
    if not alpha:
        return np.full(count, FAR)
    return np.minimum(rng.geometric(alpha, count), FAR)
