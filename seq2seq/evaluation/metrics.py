"""Corpus metrics by sacreBLEU, with signatures that make them reproducible (Post 2018, A Call for Clarity ...).

Importing this module loads sacreBLEU but not torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sacrebleu import BLEU, CHRF, TER
from sacrebleu.metrics.base import Metric

from seq2seq.errors import DataError


@dataclass(frozen=True)
class Score:
    """The value of one metric, in points, and the sacreBLEU signature of how it was computed."""

    value: float
    signature: str


@dataclass(frozen=True)
class Scores:
    """All metrics of one test set. Higher is better, except for `ter` (edits per 100 reference words).

    Report `bleu`, which is computed on cased text as it is. `bleu_tok_lc`, on lower-cased text tokenised with 13a, is
    for comparison with older papers. Most of them used the Moses tokeniser, which also splits apostrophes
    ("l' homme"): for languages with many apostrophes the figures differ.
    """

    sentences: int
    bleu: Score
    chrf: Score
    ter: Score
    bleu_tok_lc: Score

    def metrics(self) -> dict[str, Score]:
        """Return the scores by name, in the order of the fields."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Score)}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: `name` (two decimals) and `name_signature` of each metric, and `sentences`."""
        plain: dict[str, Any] = {}
        for name, metric in self.metrics().items():
            plain |= {name: round(metric.value, 2), f"{name}_signature": metric.signature}
        return plain | {"sentences": self.sentences}


def score(hypotheses: Sequence[str], references: Sequence[str]) -> Scores:
    """Compute all metrics of detokenised translations, with one reference each.

    Raises:
        DataError: the numbers of hypotheses and references differ or are 0.
    """
    _check(hypotheses, references)
    return Scores(
        sentences=len(hypotheses),
        bleu=_run(BLEU(), hypotheses, references),
        chrf=_run(CHRF(), hypotheses, references),
        ter=_run(TER(), hypotheses, references),
        # force: no second warning if the text looks tokenised
        bleu_tok_lc=_run(BLEU(lowercase=True, tokenize="13a", force=True), hypotheses, references),
    )


def bleu(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Return only the BLEU of `score`, which is fast enough for every validation (TER is the slow metric).

    Raises:
        DataError: the numbers of hypotheses and references differ or are 0.
    """
    _check(hypotheses, references)
    return _run(BLEU(force=True), hypotheses, references).value


def chrf(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Return only the chrF of `score`.

    Raises:
        DataError: the numbers of hypotheses and references differ or are 0.
    """
    _check(hypotheses, references)
    return _run(CHRF(), hypotheses, references).value


def _check(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    if len(hypotheses) != len(references):
        raise DataError(
            f"{len(hypotheses)} hypotheses but {len(references)} references: give one line of each per sentence"
        )
    if not hypotheses:
        raise DataError("nothing to score: there are no hypotheses")


def _run(metric: Metric, hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    value = metric.corpus_score(hypotheses, [references]).score
    return Score(value, str(metric.get_signature()))  # the signature is complete only after the metric has run
