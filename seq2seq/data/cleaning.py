"""Clean training text; SentencePiece normalises characters later, when it encodes."""

from __future__ import annotations

import logging

from seq2seq.data.corpus import ParallelText
from seq2seq.errors import DataError

log = logging.getLogger(__name__)


def clean(text: ParallelText) -> ParallelText:
    """Strip surrounding white space, drop pairs with a blank side and log their number.

    For training text only: validation and test sets keep every line, because scores are reported for all lines.

    Raises:
        DataError: every pair has a blank side.
    """
    stripped = [(src.strip(), tgt.strip()) for src, tgt in text]
    kept = [pair for pair in stripped if all(pair)]
    if stripped and not kept:
        raise DataError(f"no training pairs: all {len(stripped):,} have a blank side")
    if len(kept) < len(stripped):
        log.info("dropped %d of %d training pairs: one side is blank", len(stripped) - len(kept), len(stripped))
    return ParallelText.from_pairs(kept)
