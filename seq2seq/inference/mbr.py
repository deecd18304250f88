"""Minimum Bayes risk: among outputs drawn from the model, which agrees most with all the others."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from sacrebleu import BLEU, CHRF
from sacrebleu.metrics.base import Metric

from seq2seq.config.decode import UtilityName


def expected_utilities(candidates: Sequence[str], utility: UtilityName) -> list[float]:
    """Return for each candidate its mean similarity to all of them, itself included, 0 to 100.

    The candidate with the highest value has the least Bayes risk (Kumar and Byrne 2004) as far as samples can tell
    (Eikema and Aziz 2020): they stand for the model's distribution, so one drawn twice counts twice. Similarity is
    sacreBLEU's sentence-level chrF, or BLEU with effective order. The values do not depend on the candidates' order.
    """
    counts = Counter(candidates)
    metrics = [(_metric(utility, reference), count) for reference, count in counts.items()]
    values = {}
    for candidate in counts:
        similarities = [count * metric.corpus_score([candidate], None).score for metric, count in metrics]
        values[candidate] = math.fsum(similarities) / len(candidates)  # fsum: the same in any order
    return [values[candidate] for candidate in candidates]


def _metric(utility: UtilityName, reference: str) -> Metric:
    """Return a metric that holds its reference, whose n-grams are then counted once, not for every candidate."""
    if utility is UtilityName.chrf:
        return CHRF(references=[[reference]])
    return BLEU(effective_order=True, references=[[reference]])
