"""Word alignment from attention: a soft matrix, hard links, and the Pharaoh format for them.

Attention is the weight of each source state in each output token; Bahdanau et al. (2015) read it as a soft alignment.
It is not trained as one: the states encode the whole sentence, and their weight may fall on a neighbour of the word,
on punctuation or on EOS (Koehn and Knowles 2017). It shows what a model did; for reliable links use a word aligner
such as fast_align (Dyer et al. 2013), which writes the same format.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence


def word_attention(
    weights: Sequence[Sequence[float]],
    src_words: Sequence[int | None],
    tgt_words: Sequence[int | None],
    shape: tuple[int, int] | None = None,
) -> list[list[float]]:
    """Return the attention of each target word (row) to each source word (column).

    Weights are summed over the tokens of a source word and averaged over the tokens of a target word; a word without
    tokens has zeros. A row sums to 1 minus the attention to EOS and to tokens outside any word.

    Args:
        weights: a row per target token, a column per source token; further rows and columns (EOS, padding) belong to
            no word.
        src_words: word index of each source token, from 0; None: outside any word.
        tgt_words: word index of each target token.
        shape: number of target and source words; default: up to the last word that has a token.

    Raises:
        ValueError: fewer weights than tokens.
    """
    return [masses[:-1] for masses in _masses(weights, src_words, tgt_words, shape)]


def hard_alignment(
    weights: Sequence[Sequence[float]], src_words: Sequence[int | None], tgt_words: Sequence[int | None]
) -> list[tuple[int, int]]:
    """Link each target word to the source word it attends to most (ties: the leftmost); sorted (source, target) pairs.

    A target word gets no link if it attends more to EOS and tokens outside any word than to each single word.

    Raises:
        ValueError: fewer weights than tokens.
    """
    links = []
    for target, (*masses, outside) in enumerate(_masses(weights, src_words, tgt_words)):
        maximum = max(masses, default=0.0)
        if maximum > 0 and maximum >= outside:
            links.append((masses.index(maximum), target))
    return sorted(links)


def owners(words: Sequence[int | None], spans: Sequence[tuple[int, int]]) -> list[int]:
    """Return for each word the word that its token is counted for: itself, or the one before it.

    In scripts without spaces a token may span several words (characters); it is counted for the first of them.

    Args:
        words: word index of each token, as `Tokenizer.src_words` returns it.
        spans: begin and end of each word.
    """
    have_tokens, found = set(words), list(range(len(spans)))
    for word in range(1, len(spans)):
        if word not in have_tokens and spans[word - 1][1] == spans[word][0]:
            found[word] = found[word - 1]
    return found


def share_tokens(
    links: Sequence[tuple[int, int]],
    attention: Sequence[Sequence[float]],
    src_owners: Sequence[int],
    tgt_owners: Sequence[int],
) -> tuple[list[tuple[int, int]], list[list[float]]]:
    """Give words that share a token (`owners`) the links of that token, and equal parts of its attention.

    Returns:
        Links and attention: a target word has the row of its owner, source words divide the column of theirs.
    """
    linked = set(links)
    shared = [
        (src, tgt)
        for src, src_owner in enumerate(src_owners)
        for tgt, tgt_owner in enumerate(tgt_owners)
        if (src_owner, tgt_owner) in linked
    ]
    sizes = Counter(src_owners)
    return shared, [[attention[tgt][src] / sizes[src] for src in src_owners] for tgt in tgt_owners]


def align_words(
    weights: Sequence[Sequence[float]],
    src_words: Sequence[int | None],
    src_spans: Sequence[tuple[int, int]],
    tgt_words: Sequence[int | None],
    tgt_spans: Sequence[tuple[int, int]],
) -> tuple[list[tuple[int, int]], list[list[float]]]:
    """Return links and attention between the words of two texts, `hard_alignment` and `word_attention`.

    Words without a token of their own share that of the word before them (`share_tokens`).
    """
    links = hard_alignment(weights, src_words, tgt_words)
    attention = word_attention(weights, src_words, tgt_words, (len(tgt_spans), len(src_spans)))
    return share_tokens(links, attention, owners(src_words, src_spans), owners(tgt_words, tgt_spans))


def pharaoh(links: Iterable[tuple[int, int]]) -> str:
    """Write links in the Pharaoh format of Moses and fast_align: `0-0 1-2`, source-target word indices from 0."""
    return " ".join(f"{source}-{target}" for source, target in links)


def _masses(
    weights: Sequence[Sequence[float]],
    src_words: Sequence[int | None],
    tgt_words: Sequence[int | None],
    shape: tuple[int, int] | None = None,
) -> list[list[float]]:
    """Return `word_attention` with a last column for EOS and tokens outside any word."""
    if len(weights) < len(tgt_words) or any(len(row) < len(src_words) for row in weights):
        raise ValueError("fewer attention weights than tokens")
    targets, sources = shape or (_count(tgt_words), _count(src_words))
    shares: list[list[list[float]]] = [[[] for _ in range(sources + 1)] for _ in range(targets)]
    tokens = [0] * targets
    for row, target in zip(weights, tgt_words, strict=False):
        if target is None:
            continue
        tokens[target] += 1
        for column, weight in enumerate(row):
            source = src_words[column] if column < len(src_words) else None
            shares[target][sources if source is None else source].append(weight)
    # fsum: equal masses stay equal however a word is segmented.
    return [[math.fsum(share) / max(n, 1) for share in row] for row, n in zip(shares, tokens, strict=True)]


def _count(words: Iterable[int | None]) -> int:
    return max((word + 1 for word in words if word is not None), default=0)
