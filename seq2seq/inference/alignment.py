"""From the attention on pieces to words: a soft matrix, the links read off it, and the Pharaoh format for them.

Attention says how much of each source state went into each output piece; Bahdanau et al. (2015) read it as a soft
alignment. It was never trained to be one: it weighs states that have read the whole sentence, and may lie on a
neighbour of the word, on punctuation or on EOS (Koehn and Knowles 2017). Good for a look at what a model did; where
links must be right, use a word aligner such as fast_align (Dyer et al. 2013), whose format this is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence


def word_attention(
    weights: Sequence[Sequence[float]],
    src_words: Sequence[int | None],
    tgt_words: Sequence[int | None],
    shape: tuple[int, int] | None = None,
) -> list[list[float]]:
    """Return the attention of each target word (row) to each source word (column).

    A source word receives the sum over its pieces, a target word gives the mean over its own; a word without pieces
    has zeros. A row sums to less than one by what went to EOS and to pieces of no word.

    Args:
        weights: a row of attention for each target piece, a weight for each source piece; rows and columns beyond
            the pieces (EOS, padding) belong to no word.
        src_words: the word of each source piece, from 0.
        tgt_words: the word of each target piece.
        shape: target and source words, where the last ones may have no piece; default: up to the last that has one.

    Raises:
        ValueError: fewer weights than pieces.
    """
    return [masses[:-1] for masses in _masses(weights, src_words, tgt_words, shape)]


def hard_alignment(
    weights: Sequence[Sequence[float]], src_words: Sequence[int | None], tgt_words: Sequence[int | None]
) -> list[tuple[int, int]]:
    """Link each target word to the source word it attends to most, the leftmost of equals: (source, target), sorted.

    A target word that attends more to what is no word (EOS above all) than to any one word has no link.

    Raises:
        ValueError: fewer weights than pieces.
    """
    links = []
    for target, (*masses, elsewhere) in enumerate(_masses(weights, src_words, tgt_words)):
        most = max(masses, default=0.0)
        if most > 0 and most >= elsewhere:
            links.append((masses.index(most), target))
    return sorted(links)


def pharaoh(links: Iterable[tuple[int, int]]) -> str:
    """Write links as `0-0 1-2`: source word - target word, both from 0 (read by Moses, written by fast_align)."""
    return " ".join(f"{source}-{target}" for source, target in links)


def _masses(
    weights: Sequence[Sequence[float]],
    src_words: Sequence[int | None],
    tgt_words: Sequence[int | None],
    shape: tuple[int, int] | None = None,
) -> list[list[float]]:
    """Return `word_attention` with a last column for what belongs to no source word."""
    if len(weights) < len(tgt_words) or any(len(row) < len(src_words) for row in weights):
        raise ValueError("fewer attention weights than pieces")
    targets, sources = shape or (_count(tgt_words), _count(src_words))
    shares: list[list[list[float]]] = [[[] for _ in range(sources + 1)] for _ in range(targets)]
    pieces = [0] * targets
    for row, target in zip(weights, tgt_words, strict=False):
        if target is None:
            continue
        pieces[target] += 1
        for column, weight in enumerate(row):
            source = src_words[column] if column < len(src_words) else None
            shares[target][sources if source is None else source].append(weight)
    # fsum: equal masses stay equal however many pieces they were cut into.
    return [[math.fsum(share) / max(n, 1) for share in row] for row, n in zip(shares, pieces, strict=True)]


def _count(words: Iterable[int | None]) -> int:
    return max((word + 1 for word in words if word is not None), default=0)
