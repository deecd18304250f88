"""The size of a vocabulary by the size of the corpus (`data.tokenizer.vocab_size=auto`)."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from seq2seq.config.tokenizer import AUTO, PieceType, TokenizerConfig
from seq2seq.data.corpus import ParallelText
from seq2seq.data.subwords.vocabulary_training import VocabularySizeError, train_model

KEY = "data.tokenizer.vocab_size"
BASE_PAIRS, BASE_SIZE, EXPONENT = 30_000, 1_000, 0.7
LEAST, MOST = 500, 32_000
WORDS = 30_000  # Bahdanau et al. 2015, section 4.1: a shortlist of the most frequent words
log = logging.getLogger(__name__)

Sides = Mapping[str, Sequence[str]]


def advised_size(pairs: int) -> int:
    """Return a number of subwords for a corpus of `pairs` sentence pairs: 1,000 × (pairs / 30,000)^0.7.

    It is rounded to hundreds and at least 500, at most 32,000. The curve goes through the usual sizes: about 1,000 for
    30,000 pairs, since small vocabularies are better for little text (Sennrich and Zhang 2019), 4,000 to 16,000 for
    500,000 (here 7,200), 32,000 for millions. It is a start: Ding et al. 2019 find no typical best size for LSTMs, and
    3 to 4 BLEU between good and bad ones.
    """
    size: float = BASE_SIZE * (pairs / BASE_PAIRS) ** EXPONENT
    return min(max(round(size / 100) * 100, LEAST), MOST)


def resolve_size(text: ParallelText, config: TokenizerConfig, cache: Path) -> TokenizerConfig:
    """Return the config with a number for `vocab_size=auto`, which is logged with its reason.

    Raises:
        DataError, StorageError: as `train_model`.
    """
    if config.vocab_size != AUTO:
        return config
    size = WORDS if config.type is PieceType.word else advised_size(len(text))
    reason = f"for {len(text):,} training pairs"
    for sides in trained_sides(text, config):
        fitting = _fitting(sides, config, size, cache)
        if fitting != size:
            reason = f"the {'most' if fitting < size else 'least'} that the training text allows"
        size = fitting
    log.info("%s=auto: %s, %s", KEY, f"{size:,}", reason)
    return dataclasses.replace(config, vocab_size=size)


def trained_sides(text: ParallelText, config: TokenizerConfig) -> list[Sides]:
    """Return the text of every vocabulary that is learned, that is, for which no model is given."""
    if config.joint:
        return [] if config.src_model else [{"source": text.src, "target": text.tgt}]
    sides = [({"source": text.src}, config.src_model), ({"target": text.tgt}, config.tgt_model)]
    return [lines for lines, model in sides if not model]


def _fitting(sides: Sides, config: TokenizerConfig, size: int, cache: Path) -> int:
    """Return `size`, or the nearest one with which a vocabulary can be learned from the text; it is then cached."""
    try:
        train_model(sides, dataclasses.replace(config, vocab_size=size), cache)
    except VocabularySizeError as error:
        return error.nearest
    return size
