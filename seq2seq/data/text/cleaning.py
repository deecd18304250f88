"""Clean training text; SentencePiece normalises characters later, when it encodes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

from seq2seq.config.data import DataConfig
from seq2seq.data.corpus import ParallelText
from seq2seq.data.files.chunks import chunks
from seq2seq.data.filters.pipeline import Pipeline
from seq2seq.data.filters.presets import HARMLESS, PRESETS, pipeline
from seq2seq.data.text.text_store import collected
from seq2seq.errors import DataError

log = logging.getLogger(__name__)

BLOCK_PAIRS = 1_000


def clean(text: ParallelText, config: DataConfig | None = None) -> ParallelText:
    """Return `text` as `cleaned` yields it."""
    return collected(cleaned(text, config), text)


def cleaned(pairs: Iterable[tuple[str, str]], config: DataConfig | None = None) -> Iterator[tuple[str, str]]:
    """Strip surrounding white space, apply the filters of `data.clean` and log what they dropped at the end.

    For training text only: validation and test sets keep every line, because scores are reported for all lines. The
    result is a function of the pairs and of the config: a resumed run reads the same text.

    Args:
        pairs: of the training text.
        config: of the data; None: what is harmless for any text.

    Raises:
        ConfigError: a filter needs a package that is not installed.
        DataError: every pair is dropped.
    """
    if config is None:
        filters = pipeline(HARMLESS, ("", ""))
    else:
        filters = pipeline(PRESETS[str(config.clean)], (config.src, config.tgt))
    for block in chunks(pairs, BLOCK_PAIRS):
        src, tgt = ([*map(str.strip, side)] for side in zip(*block, strict=True))
        stripped = zip(src, tgt, strict=True)
        if filters.keep_all(src, tgt):
            yield from stripped
        else:
            judged = map(filters.judge, stripped)
            yield from (pair for pair, reason in judged if reason is None)
    removed = _reasons(filters, "removed")
    if filters.total and not filters.kept:
        blank = filters.tallies["empty"].removed == filters.total
        problem = "have a blank side" if blank else f"are dropped (data.clean): {removed}"
        raise DataError(f"no training pairs: all {filters.total:,} {problem}")
    if removed:
        log.info("dropped %d of %d training pairs: %s", filters.total - filters.kept, filters.total, removed)
    if changed := _reasons(filters, "changed"):
        log.info("repaired training pairs: %s", changed)


def _reasons(filters: Pipeline, kind: str) -> str:
    """Return what the filters found, the number of pairs after each finding if there are several."""
    counts = {name: getattr(tally, kind) for name, tally in filters.tallies.items() if getattr(tally, kind)}
    if len(counts) == 1 and kind == "removed":
        return filters.finding(next(iter(counts)))
    return ", ".join(f"{filters.finding(name)} {count}" for name, count in counts.items())
