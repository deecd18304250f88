"""BLEU of sentences, and of any group of them by adding up their counts: text is tokenised once."""

from __future__ import annotations

from collections.abc import Sequence

from sacrebleu import BLEU
from sacrebleu.metrics.bleu import BLEUScore


def sentence_bleu(hypotheses: Sequence[str], references: Sequence[str], tokenize: str) -> list[BLEUScore]:
    """Return BLEU and its counts for each sentence; orders for which a sentence is too short do not count.

    Two blank sentences are equal and have 100, without any counts.
    """
    metric = BLEU(effective_order=True, tokenize=tokenize)
    found = []
    for line, reference in zip(hypotheses, references, strict=True):
        score = metric.sentence_score(line, [reference])
        if not line.strip() and not reference.strip():
            score.score = 100.0
        found.append(score)
    return found


def corpus_bleu(sentences: Sequence[BLEUScore]) -> float:
    """Return the BLEU of sentences together, the same as `metrics.bleu` of their texts."""
    counts, totals = (
        [sum(column) for column in zip(*rows, strict=True)]
        for rows in ([sentence.counts for sentence in sentences], [sentence.totals for sentence in sentences])
    )
    lengths = sum(sentence.sys_len for sentence in sentences), sum(sentence.ref_len for sentence in sentences)
    return float(BLEU.compute_bleu(counts, totals, *lengths, smooth_method="exp").score)
