"""Synthetic sentence pairs: translate the text of one language, pair it with its translation, score and filter.

Back-translation (Sennrich et al. 2016) translates target text with a reverse model; sequence-level distillation (Kim
and Rush 2016) translates the source of the training text with a teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sacrebleu import BLEU

from seq2seq.config.field import Choice
from seq2seq.inference.forced_scoring import PairScore
from seq2seq.inference.text import valid_unicode
from seq2seq.inference.translation import Translation
from seq2seq.inference.translator import Translator

Score = Callable[[Sequence[str], Sequence[str]], list[PairScore]]
Choose = Callable[[Sequence[Translation], str], Translation]


class Reason(Choice):
    """Why a line gives no pair."""

    blank = "blank"
    too_long = "too_long"
    no_output = "no_output"
    length_ratio = "length_ratio"
    copy = "copy"
    log_prob = "log_prob"
    not_best = "not_best"


@dataclass(frozen=True)
class PairFilter:
    """What a pair must fulfil.

    Attributes:
        max_pieces: maximum number of pieces on each side, EOS not included.
        max_ratio: maximum of the longer side's pieces divided by the shorter side's.
        drop_copies: drop a pair whose sides are the same text.
        min_score: minimum score; None: any.
    """

    max_pieces: int
    max_ratio: float
    drop_copies: bool = False
    min_score: float | None = None


@dataclass(frozen=True)
class SyntheticPair:
    """The line of a text and its translation.

    Attributes:
        given: the line, stripped.
        generated: its translation; empty if the line was not translated.
        score: see `PairMaker`; None if the pair was dropped before it was scored.
        dropped: why the line gives no pair; None if it gives one.
    """

    given: str
    generated: str = ""
    score: float | None = None
    dropped: Reason | None = None


class PairMaker:
    """Translates lines and filters the pairs.

    The score of a pair is the mean log p per piece of the translation. With an `opposite` model, which translates in
    the other direction, it is the log of dual conditional cross-entropy (Junczys-Dowmunt 2018, eq. 1 and 2):
    −|H_A − H_B| − (H_A + H_B) / 2, where H_A and H_B are the cross-entropies per piece of either side given the other.
    It is low if a model finds its side unlikely, or if the models disagree.

    Args:
        translator: makes the translations.
        options: of `Translator.translate_n_best`.
        rule: what a pair must fulfil.
        opposite: returns the scores of lines, given their translations.
        choose: selects among the outputs of a line by its reference; default: the best output.
    """

    def __init__(
        self,
        translator: Translator,
        options: dict[str, Any],
        rule: PairFilter,
        opposite: Score | None = None,
        choose: Choose | None = None,
    ) -> None:
        self._translator, self._options, self._rule = translator, options, rule
        self._opposite, self._choose = opposite, choose

    def make(self, lines: Sequence[str], references: Sequence[str] = ()) -> list[SyntheticPair]:
        """Return one pair per line, in order; `references` are needed by `choose`."""
        given = [valid_unicode(line).strip() for line in lines]
        lengths = [len(ids) for ids in self._translator.tokenizer.encode_src(given)]
        pairs = [
            SyntheticPair(text, dropped=self._before(text, length)) for text, length in zip(given, lengths, strict=True)
        ]
        rows = [i for i, pair in enumerate(pairs) if pair.dropped is None]
        outputs = self._translator.translate_n_best([given[i] for i in rows], **self._options)
        for i, n_best in zip(rows, outputs, strict=True):
            best = self._choose(n_best, references[i]) if self._choose else n_best[0]
            score = best.log_prob / len(best.token_log_probs)
            reason = self._after(given[i], best, lengths[i])
            pairs[i] = SyntheticPair(given[i], best.text, score, reason)
        pairs = self._with_opposite(pairs) if self._opposite else pairs
        return [self._with_minimum(pair) for pair in pairs]

    def _before(self, text: str, pieces: int) -> Reason | None:
        if not pieces:
            return Reason.blank
        return Reason.too_long if pieces > self._rule.max_pieces else None

    def _after(self, given: str, output: Translation, pieces: int) -> Reason | None:
        generated = len(output.ids)
        if not output.text.strip():
            return Reason.no_output
        if generated > self._rule.max_pieces:
            return Reason.too_long
        if max(pieces, generated) > self._rule.max_ratio * min(pieces, generated):
            return Reason.length_ratio
        return Reason.copy if self._rule.drop_copies and output.text.strip() == given else None

    def _with_opposite(self, pairs: Sequence[SyntheticPair]) -> list[SyntheticPair]:
        assert self._opposite is not None
        kept = [pair for pair in pairs if pair.dropped is None]
        scores = iter(self._opposite([pair.generated for pair in kept], [pair.given for pair in kept]))
        return [pair if pair.dropped else _rescored(pair, next(scores)) for pair in pairs]

    def _with_minimum(self, pair: SyntheticPair) -> SyntheticPair:
        low = self._rule.min_score
        if pair.dropped or low is None or (pair.score is not None and pair.score >= low):  # NaN is low
            return pair
        return SyntheticPair(pair.given, pair.generated, pair.score, Reason.log_prob)


def _rescored(pair: SyntheticPair, opposite: PairScore) -> SyntheticPair:
    """Return the pair with its dual score; dropped if it is too long for the opposite model."""
    if not opposite.token_log_probs:
        return SyntheticPair(pair.given, pair.generated, None, Reason.too_long)
    assert pair.score is not None
    score = dual_score(pair.score, opposite.log_prob / len(opposite.token_log_probs))
    return SyntheticPair(pair.given, pair.generated, score)


def best_by_reference(tokenize: str) -> Choose:
    """Return a function that selects the output with the highest sentence BLEU against a reference.

    Of equal ones it selects the first. Sequence-level interpolation: Kim and Rush 2016, section 3.3.

    Args:
        tokenize: sacreBLEU's tokenizer; short outputs have BLEU of effective order.
    """
    metric = BLEU(effective_order=True, tokenize=tokenize)

    def choose(outputs: Sequence[Translation], reference: str) -> Translation:
        return max(outputs, key=lambda output: metric.sentence_score(output.text, [reference]).score)

    return choose


def dual_score(one: float, other: float) -> float:
    """Return the log of dual conditional cross-entropy from the mean log p per piece in both directions."""
    return -abs(one - other) + (one + other) / 2


def best_share(scores: Sequence[float], share: float) -> np.ndarray:
    """Return which of the scores are among the highest `share` of them, rounded up; of equal ones the first."""
    values = np.asarray(scores, dtype=np.float64)
    order = np.argsort(-values, kind="stable")
    kept = np.zeros(len(values), dtype=bool)
    kept[order[: int(np.ceil(share * len(values)))]] = True
    return kept
