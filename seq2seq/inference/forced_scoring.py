"""Forced decoding: what a model thinks of translations that exist already."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterable, Sequence

from seq2seq.inference.text import valid_unicode
from seq2seq.inference.translator import MAX_PART_TOKENS, Translator
from seq2seq.search.batched_search import batches

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class PairScore:
    """What the model thinks of one sentence pair.

    Attributes:
        pieces: target pieces, then EOS.
        token_log_probs: natural log p of each piece, given the source and the pieces before it. Empty where the pair
            was too long to be scored.
    """

    pieces: list[str]
    token_log_probs: list[float]

    @property
    def log_prob(self) -> float:
        """Return log p(target | source), NaN where it was not scored."""
        return math.fsum(self.token_log_probs) if self.token_log_probs else math.nan


def score_pairs(translator: Translator, src: Sequence[str], tgt: Sequence[str]) -> list[PairScore]:
    """Score `tgt` as translations of `src`, line by line; an empty line is an empty sentence.

    The same text can be cut into pieces in several ways; what is scored is the tokenizer's own.
    A pair with more than `MAX_PART_TOKENS` pieces on a side is not scored, and warned about.
    """
    tokenizer = translator.tokenizer
    sources = tokenizer.encode_src([valid_unicode(line) for line in src])
    targets = tokenizer.encode_tgt([valid_unicode(line) for line in tgt])
    names = [[*tokenizer.tgt_pieces(ids), EOS_NAME] for ids in targets]
    lengths = [max(len(source), len(target)) + 1 for source, target in zip(sources, targets, strict=True)]
    scores = [PairScore(pieces, []) for pieces in names]
    short = [i for i, length in enumerate(lengths) if length <= MAX_PART_TOKENS + 1]  # EOS
    if len(short) < len(lengths):
        log.warning("pairs of more than %d pieces are not scored: %d", MAX_PART_TOKENS, len(lengths) - len(short))
    with translator.ready():
        for batch in batches([lengths[i] for i in short], translator.decode.batch_tokens):
            rows = [short[i] for i in batch]
            forced = translator.ensemble.force_decode(
                [sources[i] for i in rows], [targets[i] for i in rows], translator.device
            )
            for i, one in zip(rows, forced, strict=True):
                scores[i] = PairScore(names[i], one.token_log_probs)
    return scores


def perplexity(scores: Iterable[PairScore]) -> float:
    """Return exp of the mean negative log p of a token, EOS included, over all scored pairs (NaN: none)."""
    log_probs = [log_prob for one in scores for log_prob in one.token_log_probs]
    if not log_probs:
        return math.nan
    loss = -math.fsum(log_probs) / len(log_probs)
    return math.exp(loss) if loss < 700 else math.inf


EOS_NAME = "</s>"
