"""Forced decoding: log p of given translations."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Iterable, Sequence

from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.errors import NotFiniteError
from seq2seq.inference.ensemble import ForcedDecoding
from seq2seq.inference.line_parts import MAX_PART_TOKENS
from seq2seq.inference.text import valid_unicode
from seq2seq.search.batched_search import batches
from seq2seq.search.top_k import NAN_MESSAGE

EOS_NAME = "</s>"
MAX_BATCH_TOKENS = 4096
"""Of a forced decoding, whose memory grows with tokens × vocabulary; a search needs sentences × vocabulary."""

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class PairScore:
    """Score of one sentence pair.

    Attributes:
        pieces: target pieces, then EOS.
        token_log_probs: natural log p of each piece, given the source and the pieces before it; empty if the pair was
            too long to be scored.
    """

    pieces: list[str]
    token_log_probs: list[float]

    @property
    def log_prob(self) -> float:
        """Return log p(target | source), NaN if it was not scored."""
        return math.fsum(self.token_log_probs) if self.token_log_probs else math.nan


def forced_batch_tokens(batch_tokens: int) -> int:
    """Return the maximum tokens of a batch of forced decoding if `batch_tokens` is the maximum of a search."""
    return min(batch_tokens, MAX_BATCH_TOKENS)


def score_pairs(
    force_decode: Callable[[Sequence[Sequence[int]], Sequence[Sequence[int]]], list[ForcedDecoding]],
    tokenizer: Tokenizer,
    sources: Sequence[str],
    targets: Sequence[str],
    batch_tokens: int,
    tag: Sequence[int] = (),
) -> list[PairScore]:
    """Score each line of `targets` as the translation of the same line of `sources`; an empty line is a sentence, too.

    A text has several segmentations into pieces; the tokenizer's own is scored. A pair with more than
    `MAX_PART_TOKENS` pieces on a side is not scored, with a warning.

    Args:
        force_decode: forced decoding of one batch: source ids, target ids -> log p of the target tokens.
        tokenizer: of the model.
        sources: source lines.
        targets: target lines.
        batch_tokens: maximum of pairs × longest side in a batch.
        tag: source ids before every source line.

    Raises:
        NotFiniteError: the network computes NaN.
    """
    src_ids = [[*tag, *ids] for ids in tokenizer.encode_src([valid_unicode(line) for line in sources])]
    tgt_ids = tokenizer.encode_tgt([valid_unicode(line) for line in targets])
    lengths = [max(len(src), len(tgt)) + 1 for src, tgt in zip(src_ids, tgt_ids, strict=True)]  # EOS included
    scores = [PairScore([*tokenizer.tgt_pieces(ids), EOS_NAME], []) for ids in tgt_ids]
    scored = [i for i, length in enumerate(lengths) if length <= MAX_PART_TOKENS + 1]
    if len(scored) < len(lengths):
        log.warning("%d pairs are not scored: more than %d pieces", len(lengths) - len(scored), MAX_PART_TOKENS)
    for batch in batches([lengths[i] for i in scored], batch_tokens):
        rows = [scored[i] for i in batch]
        decoded = force_decode([src_ids[i] for i in rows], [tgt_ids[i] for i in rows])
        for i, pair in zip(rows, decoded, strict=True):
            if math.isnan(math.fsum(pair.token_log_probs)):
                raise NotFiniteError(NAN_MESSAGE)
            scores[i] = dataclasses.replace(scores[i], token_log_probs=pair.token_log_probs)
    return scores


def perplexity(scores: Iterable[PairScore]) -> float:
    """Return exp of the mean negative log p of a token, EOS included, over the scored pairs (NaN if there are none)."""
    log_probs = [log_prob for pair in scores for log_prob in pair.token_log_probs]
    if not log_probs:
        return math.nan
    loss = -math.fsum(log_probs) / len(log_probs)
    return math.inf if loss >= 700 else math.exp(loss)
