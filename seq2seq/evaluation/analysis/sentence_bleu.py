"""BLEU of sentences, and of any group of them by adding up their counts: text is tokenised once."""

from __future__ import annotations

from collections.abc import Sequence

from sacrebleu import BLEU
from sacrebleu.metrics.bleu import BLEUScore


def sentence_bleu(hypotheses: Sequence[str], references: Sequence[str], tokenize: str) -> list[BLEUScore]:
    """Return BLEU and its counts for each sentence; orders for which a sentence is too short do not count."""
    metric = BLEU(effective_order=True, tokenize=tokenize)
    return [metric.sentence_score(line, [reference]) for line, reference in zip(hypotheses, references, strict=True)]


def corpus_bleu(sentences: Sequence[BLEUScore]) -> float:
    """Return the BLEU of sentences together, the same as `metrics.bleu` of their texts."""
    counts, totals = (
        [sum(column) for column in zip(*rows, strict=True)]
        for rows in ([sentence.counts for sentence in sentences], [sentence.totals for sentence in sentences])
    )
    lengths = sum(sentence.sys_len for sentence in sentences), sum(sentence.ref_len for sentence in sentences)
    return float(BLEU.compute_bleu(counts, totals, *lengths, smooth_method="exp").score)
