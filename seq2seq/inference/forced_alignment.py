"""Attention and word alignment of given translations, by forced decoding."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from seq2seq.config.model import AttentionName
from seq2seq.data.text.writing import word_spans
from seq2seq.errors import ConfigError, NotFiniteError
from seq2seq.inference.alignment import align_words
from seq2seq.inference.forced_scoring import forced_batch_tokens
from seq2seq.inference.line_parts import MAX_PART_TOKENS
from seq2seq.inference.text import valid_unicode
from seq2seq.inference.translator import Translator
from seq2seq.search.batched_search import batches
from seq2seq.search.top_k import NAN_MESSAGE

END = "(end)"
"""Name of EOS."""

log = logging.getLogger(__name__)

Spans = list[tuple[int, int]]


@dataclass(frozen=True)
class AlignedPair:
    """A sentence pair and the attention between its words, or between its tokens.

    Attributes:
        src: source words or tokens.
        tgt: target words or tokens.
        attention: of each target word (row) to each source word.
        links: linked words (source, target), from 0; of tokens: none.
    """

    src: list[str]
    tgt: list[str]
    attention: list[list[float]]
    links: list[tuple[int, int]]


def check_attention(translator: Translator) -> None:
    """Check that every network has attention.

    Raises:
        ConfigError: one has none.
    """
    if any(network.config.attention is AttentionName.none for network in translator.ensemble.networks):
        raise ConfigError("the model was trained with model.attention=none: it has no attention to align or draw")


def align_pairs(
    translator: Translator,
    sources: Sequence[str],
    targets: Sequence[str],
    *,
    spans: Callable[[str], Spans] = word_spans,
    tgt_lang: str | None = None,
) -> list[AlignedPair | None]:
    """Align the words of each line of `targets` with those of the same line of `sources`.

    Args:
        translator: whose attention aligns them.
        sources: source lines.
        targets: target lines.
        spans: begin and end of the words of a text; default: `word_spans`.
        tgt_lang: target language; default: the only one of the model.

    Returns:
        A pair for each line; None, with a warning, if a side has more than `MAX_PART_TOKENS` tokens.

    Raises:
        ConfigError: the model has no attention, or does not have the target language.
        NotFiniteError: the network computes NaN.
    """
    tokenizer, tag = translator.tokenizer, translator.tags.ids(tgt_lang)
    sources, targets = [*map(valid_unicode, sources)], [*map(valid_unicode, targets)]
    ids = [[*tag, *src] for src in tokenizer.encode_src(sources)], tokenizer.encode_tgt(targets)
    aligned: list[AlignedPair | None] = [None] * len(sources)
    for i, weights in forced_attention(translator, *ids):
        source, target = sources[i], targets[i]
        src_spans, tgt_spans = spans(source), spans(target)
        src_words = [None] * len(tag) + (tokenizer.src_words(source, src_spans) if src_spans else [])
        tgt_words = tokenizer.given_tgt_words(target, tgt_spans) if tgt_spans else []
        links, attention = align_words(weights, src_words, src_spans, tgt_words, tgt_spans)
        words = [source[begin:end] for begin, end in src_spans], [target[begin:end] for begin, end in tgt_spans]
        aligned[i] = AlignedPair(*words, attention, links)
    return aligned


def align_tokens(
    translator: Translator, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]
) -> list[AlignedPair | None]:
    """Return the attention between the tokens of each pair, EOS included; ids are without EOS.

    Raises:
        ConfigError, NotFiniteError: as `align_pairs`.
    """
    aligned: list[AlignedPair | None] = [None] * len(sources)
    for i, weights in forced_attention(translator, sources, targets):
        src, tgt = translator.tokenizer.src_pieces(sources[i]), translator.tokenizer.tgt_pieces(targets[i])
        aligned[i] = AlignedPair([*src, END], [*tgt, END], weights, [])
    return aligned


def forced_attention(
    translator: Translator, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]
) -> Iterator[tuple[int, list[list[float]]]]:
    """Yield the number of each pair, from 0, and its attention weights [target, source]; the last of each is EOS.

    Pairs come in any order; those with more than `MAX_PART_TOKENS` tokens on a side are left out, with a warning.
    """
    check_attention(translator)
    lengths = [max(len(src), len(tgt)) + 1 for src, tgt in zip(sources, targets, strict=True)]
    short = [i for i, length in enumerate(lengths) if length <= MAX_PART_TOKENS + 1]
    if len(short) < len(lengths):
        log.warning("%d pairs are not aligned: more than %d tokens", len(lengths) - len(short), MAX_PART_TOKENS)
    for batch in batches([lengths[i] for i in short], forced_batch_tokens(translator.decode.batch_tokens)):
        rows = [short[i] for i in batch]
        decoded = translator.force_decode([sources[i] for i in rows], [targets[i] for i in rows])
        for i, pair in zip(rows, decoded, strict=True):
            weights = pair.attn_weights.float().tolist()
            if any(math.isnan(weight) for row in weights for weight in row):
                raise NotFiniteError(NAN_MESSAGE)
            yield i, weights
