"""Corpus metrics by sacreBLEU, with the signatures that make them reproducible (Post 2018).

Importing this module loads sacreBLEU but not torch.
"""

from __future__ import annotations

import dataclasses
import logging
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sacrebleu import BLEU, CHRF, TER
from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.lib_ter import BeamEditDistance

from seq2seq.data.text.bleu_tokenizer import DEFAULT
from seq2seq.data.text.writing import is_chinese_or_japanese, lacks_spaces, word_spans
from seq2seq.errors import DataError
from seq2seq.evaluation.moses import MOSES, MosesTokenizer

DECIMALS = {"exact_match": 2, "length_ratio": 3, "perplexity": 2}
"""Digits after the point of the numbers without signature."""

# The last line of sacreBLEU's warning about text that looks tokenised names a parameter that no command here has.
logging.getLogger("sacrebleu").addFilter(lambda record: "`force`" not in record.getMessage())


@dataclass(frozen=True)
class Score:
    """The value of one metric, in points, and the sacreBLEU signature of how it was computed."""

    value: float
    signature: str


@dataclass(frozen=True)
class Scores:
    """All metrics of one test set. Higher is better, except for `ter` (edits per 100 reference words).

    Report `bleu`, which is computed on cased text as it is. `bleu_tok_lc`, on lower-cased text with the same tokenizer,
    is for comparison with older papers. Most of them used the Moses tokeniser, which also splits apostrophes
    ("l' homme"): for languages with many apostrophes the figures differ, and `moses-LANGUAGE` is the tokenizer.

    Attributes:
        exact_match: % of the hypotheses that equal a reference, after NFC and with white space normalised.
        length_ratio: tokens of the hypotheses divided by those of the references, as BLEU counts them.
        perplexity: of the references under the model, EOS included; None if no model is known.
        comet: None unless a COMET model is given.
    """

    sentences: int
    bleu: Score
    chrf: Score
    ter: Score
    bleu_tok_lc: Score
    exact_match: float | None = None
    length_ratio: float | None = None
    perplexity: float | None = None
    comet: Score | None = None

    def metrics(self) -> dict[str, Score]:
        """Return the scores of sacreBLEU by name, in the order of the fields."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Score)}

    def figures(self) -> dict[str, float]:
        """Return by name the numbers without signature that are known."""
        values = {name: getattr(self, name) for name in DECIMALS}
        return {name: value for name, value in values.items() if value is not None}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: `name` (two decimals) and `name_signature` of each metric, and what is known.

        The length ratio has three decimals.
        """
        plain: dict[str, Any] = {}
        for name, metric in self.metrics().items():
            plain |= {name: round(metric.value, 2), f"{name}_signature": metric.signature}
        figures = {name: round(value, DECIMALS[name]) for name, value in self.figures().items()}
        return plain | figures | {"sentences": self.sentences}


class Scorer:
    """Scores hypotheses against the same references, which are tokenised once.

    Attributes:
        metrics: those of sacreBLEU by the names in `Scores`, with the references in their cache.
    """

    def __init__(self, *references: Sequence[str], tokenize: str = DEFAULT, ignore_case: bool = False) -> None:
        """See `score`."""
        self._references, self._ignore_case = references, ignore_case
        self.metrics: dict[str, Metric] = {
            "bleu": bleu_metric(references, tokenize, lowercase=ignore_case),
            "chrf": CHRF(lowercase=ignore_case, references=references),
            "ter": _ter(references),
            # force: no second warning if the text looks tokenised
            "bleu_tok_lc": bleu_metric(references, tokenize, lowercase=True, force=True),
        }

    def __call__(self, hypotheses: Sequence[str], rows: Sequence[int] | None = None) -> Scores:
        """Compute all metrics of detokenised translations.

        Args:
            hypotheses: one for each reference.
            rows: of the sentences that are scored, in the same way as all of them; default: all.

        Raises:
            DataError: the numbers of hypotheses and references differ or are 0.
        """
        _check(hypotheses, self._references)
        chosen = range(len(hypotheses)) if rows is None else rows
        results = {}
        for name, metric in self.metrics.items():
            statistics = metric._extract_corpus_statistics(hypotheses, None)
            results[name] = metric._aggregate_and_compute([statistics[i] for i in chosen])
        lines, *references = ([text[i] for i in chosen] for text in (hypotheses, *self._references))
        # A signature is complete only after the metric has run.
        scores = {name: Score(one.score, str(self.metrics[name].get_signature())) for name, one in results.items()}
        return Scores(
            sentences=len(chosen),
            bleu=scores["bleu"],
            chrf=scores["chrf"],
            ter=scores["ter"],
            bleu_tok_lc=scores["bleu_tok_lc"],
            exact_match=exact_match(lines, *references, ignore_case=self._ignore_case),
            length_ratio=results["bleu"].ratio,
        )


def score(
    hypotheses: Sequence[str], *references: Sequence[str], tokenize: str = DEFAULT, ignore_case: bool = False
) -> Scores:
    """Compute all metrics of detokenised translations.

    Args:
        hypotheses: one per sentence.
        references: one per sentence; several, to compare each hypothesis with all of them.
        tokenize: sacreBLEU's tokenizer of BLEU (`data.bleu_tokenizer`), or `moses-` and a language code. TER follows
            the script of the references.
        ignore_case: compute BLEU and chrF of lower-cased text, too; TER always is.

    Raises:
        ConfigError: the package of the tokenizer is not installed.
        DataError: the numbers of hypotheses and references differ or are 0.
    """
    _check(hypotheses, references)
    return Scorer(*references, tokenize=tokenize, ignore_case=ignore_case)(hypotheses)


def exact_match(hypotheses: Sequence[str], *references: Sequence[str], ignore_case: bool = False) -> float:
    """Return the percentage of hypotheses that equal a reference, after NFC and with white space normalised.

    Raises:
        DataError: the numbers of hypotheses and references differ or are 0.
    """
    _check(hypotheses, references)
    right = 0
    for hypothesis, *accepted in zip(hypotheses, *references, strict=True):
        right += _plain(hypothesis, ignore_case) in {_plain(reference, ignore_case) for reference in accepted}
    return 100 * right / len(hypotheses)


def _plain(line: str, ignore_case: bool) -> str:
    text = " ".join(unicodedata.normalize("NFC", line).split())
    return text.lower() if ignore_case else text


def sentence_scores(hypotheses: Sequence[str], *references: Sequence[str]) -> list[float]:
    """Return the chrF of each sentence, from 0 to 100: sentence BLEU is 0 for most short sentences.

    Raises:
        DataError: the numbers of hypotheses and references differ or are 0.
    """
    _check(hypotheses, references)
    metric = CHRF()
    return [
        metric.sentence_score(line, accepted).score for line, *accepted in zip(hypotheses, *references, strict=True)
    ]


def bleu_score(hypotheses: Sequence[str], *references: Sequence[str], tokenize: str = DEFAULT) -> Score:
    """Return only the BLEU of `score`, which is fast enough for every validation (TER is the slow metric).

    Raises:
        DataError: the numbers of hypotheses and references differ or are 0.
    """
    _check(hypotheses, references)
    metric = bleu_metric(references, tokenize, force=True)
    value = metric.corpus_score(hypotheses, None).score
    return Score(value, str(metric.get_signature()))


def bleu(hypotheses: Sequence[str], *references: Sequence[str], tokenize: str = DEFAULT) -> float:
    """Return the value of `bleu_score`."""
    return bleu_score(hypotheses, *references, tokenize=tokenize).value


def chrf(hypotheses: Sequence[str], *references: Sequence[str]) -> float:
    """Return only the chrF of `score`.

    Raises:
        DataError: the numbers of hypotheses and references differ or are 0.
    """
    _check(hypotheses, references)
    return float(CHRF().corpus_score(hypotheses, references).score)


def bleu_metric(
    references: Sequence[Sequence[str]], tokenize: str, *, lowercase: bool = False, force: bool = False
) -> BLEU:
    """Return sacreBLEU's metric with a tokenizer of sacreBLEU or of Moses, and the references in its cache."""
    if not tokenize.startswith(MOSES):
        return BLEU(lowercase=lowercase, force=force, tokenize=tokenize, references=references)
    metric = BLEU(lowercase=lowercase, force=True, tokenize="none")
    metric.tokenizer = MosesTokenizer(tokenize.removeprefix(MOSES))
    metric.tokenizer_signature = metric.tokenizer.signature()
    metric._ref_cache = metric._cache_references(references)
    return metric


def _ter(references: Sequence[Sequence[str]]) -> TER:
    """Return TER over words; without spaces between words, over what sacreBLEU splits in Asian text, or characters.

    Tercom's Asian normalisation splits Chinese and Japanese text only. Other scripts are split into characters here.
    """
    text = [line for lines in references for line in lines]
    if not lacks_spaces(text):
        return TER(references=references)
    if is_chinese_or_japanese(text):
        return TER(normalized=True, asian_support=True, references=references)
    metric = _CharacterTER(references=references)
    metric.tokenizer_signature = f"char-{metric.tokenizer_signature}-noshift"
    return metric


class _CharacterTER(TER):
    """Edits of characters, without shifts: the search for them takes seconds per line of hundreds of characters."""

    def _preprocess_segment(self, sent: str) -> str:
        characters = " ".join(sent[begin:end] for begin, end in word_spans(sent))
        return str(super()._preprocess_segment(characters))

    def _compute_segment_statistics(self, hypothesis: str, ref_kwargs: dict[str, Any]) -> list[float]:
        own, references = hypothesis.split(), ref_kwargs["ref_words"]
        edits = min(BeamEditDistance(words)(own)[0] if words else len(own) for words in references)
        return [float(edits), sum(map(len, references)) / len(references)]


def _check(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    for lines in references:
        if len(hypotheses) != len(lines):
            raise DataError(
                f"{len(hypotheses)} hypotheses but {len(lines)} references: give one line of each per sentence"
            )
    if not hypotheses:
        raise DataError("nothing to score: there are no hypotheses")
