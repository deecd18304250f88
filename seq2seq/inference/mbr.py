"""Minimum Bayes risk: select, among outputs drawn from the model, those most similar to all of them."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence

from sacrebleu import BLEU, CHRF
from sacrebleu.metrics.base import Metric

from seq2seq.config.decode import UtilityName
from seq2seq.data.text.bleu_tokenizer import DEFAULT
from seq2seq.inference.translation import Translation


def select_by_utility(
    samples: Sequence[Translation], utility: UtilityName, n_best: int, tokenize: str = DEFAULT
) -> list[Translation]:
    """Return the `n_best` distinct texts with the highest expected utility, which becomes their score."""
    utilities = expected_utilities([sample.text for sample in samples], utility, tokenize)
    scored = [dataclasses.replace(sample, score=score) for sample, score in zip(samples, utilities, strict=True)]
    distinct = {sample.text: sample for sample in sorted(scored, key=lambda sample: sample.score)}
    return sorted(distinct.values(), key=lambda sample: -sample.score)[:n_best]


def expected_utilities(candidates: Sequence[str], utility: UtilityName, tokenize: str = DEFAULT) -> list[float]:
    """Return the mean similarity (0 to 100) of each candidate to all candidates, itself included.

    The candidates are samples, so they estimate the model's distribution, and duplicates count as often as drawn. The
    candidate with the highest value has the least Bayes risk (Kumar and Byrne 2004) as estimated from samples (Eikema
    and Aziz 2020). Similarity is sacreBLEU's sentence-level chrF, or BLEU with effective order and the tokenizer
    `tokenize`.
    """
    counts = Counter(candidates)
    metrics = [(_metric(utility, reference, tokenize), count) for reference, count in counts.items()]
    values = {}
    for candidate in counts:
        similarities = [count * metric.corpus_score([candidate], None).score for metric, count in metrics]
        values[candidate] = math.fsum(similarities) / len(candidates)  # fsum: independent of the candidates' order
    return [values[candidate] for candidate in candidates]


def _metric(utility: UtilityName, reference: str, tokenize: str) -> Metric:
    """Return a metric with its reference built in, whose n-grams are then counted once instead of per candidate."""
    if utility is UtilityName.chrf:
        return CHRF(references=[[reference]])
    return BLEU(effective_order=True, tokenize=tokenize, references=[[reference]])
