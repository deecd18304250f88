"""Clean training text; SentencePiece normalises characters later, when it encodes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

from seq2seq.data.corpus import ParallelText
from seq2seq.data.text_store import collected
from seq2seq.errors import DataError

log = logging.getLogger(__name__)


def clean(text: ParallelText) -> ParallelText:
    """Return `text` as `cleaned` yields it."""
    return collected(cleaned(text), text)


def cleaned(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Strip surrounding white space, drop pairs with a blank side and log their number at the end.

    For training text only: validation and test sets keep every line, because scores are reported for all lines.

    Raises:
        DataError: every pair has a blank side.
    """
    total = kept = 0
    for src, tgt in pairs:
        total += 1
        pair = src.strip(), tgt.strip()
        if all(pair):
            kept += 1
            yield pair
    if total and not kept:
        raise DataError(f"no training pairs: all {total:,} have a blank side")
    if kept < total:
        log.info("dropped %d of %d training pairs: one side is blank", total - kept, total)
