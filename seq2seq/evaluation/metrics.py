"""Corpus scores, each with the signature that makes it reproducible (Post 2018, A Call for Clarity in Reporting BLEU).

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
    """One metric's value in points and the sacreBLEU signature that says how it was computed."""

    value: float
    signature: str


@dataclass(frozen=True)
class Scores:
    """All metrics of one test set.

    `bleu` reads cased text as written and is the one to report. `bleu_tok_lc` is for a look at older papers, which
    lower-case and tokenise both sides before counting: it lower-cases and tokenises with 13a. Those papers mostly used
    the Moses tokeniser, which also splits apostrophes ("l' homme"): expect a gap where a language is full of them.
    Higher is better, except for `ter`, which counts edits per 100 reference words.
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
    """Score detokenised translations against one reference each.

    Raises:
        DataError: the two differ in number, or there are none.
    """
    _check(hypotheses, references)
    return Scores(
        sentences=len(hypotheses),
        bleu=_run(BLEU(), hypotheses, references),
        chrf=_run(CHRF(), hypotheses, references),
        ter=_run(TER(), hypotheses, references),
        # force: BLEU above has already warned of text that looks tokenised.
        bleu_tok_lc=_run(BLEU(lowercase=True, tokenize="13a", force=True), hypotheses, references),
    )


def bleu(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Return the BLEU of `score` alone: cheap enough for every validation (TER takes longer than all the others).

    Raises:
        DataError: the two differ in number, or there are none.
    """
    _check(hypotheses, references)
    return _run(BLEU(force=True), hypotheses, references).value


def chrf(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Return the chrF of `score` alone.

    Raises:
        DataError: the two differ in number, or there are none.
    """
    _check(hypotheses, references)
    return _run(CHRF(), hypotheses, references).value


def _check(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    if len(hypotheses) != len(references):
        raise DataError(f"{len(hypotheses)} hypotheses but {len(references)} references: their lines must pair up")
    if not hypotheses:
        raise DataError("nothing to score: there are no hypotheses")


def _run(metric: Metric, hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    value = metric.corpus_score(hypotheses, [references]).score
    return Score(value, str(metric.get_signature()))  # the signature exists only once the metric has run
