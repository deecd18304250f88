"""Tune the length penalty and the weights of rerankers on the hypotheses of a validation set."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sacrebleu import CHRF

from seq2seq.config.decode import DecodeConfig, NormalizationName, SearchName, override
from seq2seq.data.text.bleu_tokenizer import DEFAULT, bleu_tokenizer
from seq2seq.errors import ConfigError
from seq2seq.evaluation.decoding_search import LEAST_GAIN, Lists, best_weights, metric_of_sums, statistics
from seq2seq.evaluation.metrics import bleu_metric
from seq2seq.evaluation.resampling import paired_tests
from seq2seq.evaluation.significance import BOOTSTRAP, SEED
from seq2seq.inference.reranking import Reranker, pair_scores
from seq2seq.inference.translation import Translation
from seq2seq.inference.translator import Translator
from seq2seq.search.length_penalty import length_penalty

WINDOW = 500  # sentences that are translated together
LENGTH_PENALTIES = tuple(step / 10 for step in range(21))


@dataclass(frozen=True)
class Tuned:
    """The best settings found for a beam size.

    Attributes:
        beam_size: hypotheses of each sentence.
        default_score: metric of the model alone, with its own length penalty.
        score: metric with the settings found, of the same hypotheses.
        p_value: of their difference, by paired bootstrap resampling.
        length_penalty: best value; None: the model does not normalise by length.
        weights: of the rerankers.
    """

    beam_size: int
    default_score: float
    score: float
    p_value: float
    length_penalty: float | None
    weights: list[float]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return dataclasses.asdict(self)


def tune(
    translator: Translator,
    sources: Sequence[str],
    references: Sequence[str],
    beam_sizes: Sequence[int],
    metric: str = "bleu",
    tgt_lang: str | None = None,
    advance: Callable[[int], object] = lambda sentences: None,
) -> list[Tuned]:
    """Return the best settings of each beam size, those with the highest metric first.

    Args:
        translator: with its rerankers.
        sources: of the validation set.
        references: one of each source.
        beam_sizes: each translates the sources once.
        metric: bleu or chrf.
        tgt_lang: target language; default: the only one of the model.
        advance: called with the number of sentences that were translated.

    Raises:
        ConfigError: the model does not decode by beam search.
    """
    if translator.decode.search is not SearchName.beam:
        raise ConfigError(f"the model decodes with search={translator.decode.search}: tuning needs beam search")
    tokenize = DEFAULT if translator.data is None else bleu_tokenizer(translator.data)
    counts = bleu_metric([references], tokenize, force=True) if metric == "bleu" else CHRF(references=[references])
    plain = alone(translator)
    tuned = []
    for size in beam_sizes:
        decode = override(translator.decode, {"beam_size": size})
        rows: list[list[Translation]] = []
        pairs: list[list[list[tuple[float, int]]]] = []
        for start in range(0, len(sources), WINDOW):
            lines = sources[start : start + WINDOW]
            found = plain.translate_n_best(lines, size, beam_size=size, tgt_lang=tgt_lang)
            read, written = before_recasing(plain, lines, found)
            pairs += model_scores(read, written, tgt_lang or next(iter(plain.tags.languages), ""), translator.rerankers)
            rows += found
            advance(len(lines))
        tuned.append(_tuned(lists(rows, pairs, counts, decode), counts, decode))
    return sorted(tuned, key=lambda one: -one.score)


def alone(translator: Translator) -> Translator:
    """Return the same translator without its rerankers; they share the networks."""
    plain = copy.copy(translator)
    plain.rerankers = []
    return plain


def before_recasing(
    translator: Translator, lines: Sequence[str], rows: Sequence[Sequence[Translation]]
) -> tuple[list[str], list[list[Translation]]]:
    """Return lines and their outputs in the case in which a translation is reranked."""
    natural = [translator.before_recasing([line] * len(row), row) for line, row in zip(lines, rows, strict=True)]
    return [read[0] for read, _ in natural], [written for _, written in natural]


def model_scores(
    sources: Sequence[str], rows: Sequence[Sequence[Translation]], language: str, rerankers: Sequence[Reranker]
) -> list[list[list[tuple[float, int]]]]:
    """Return log p and number of tokens of each output of each source, of the first model and of each reranker."""
    found = [[[(output.log_prob, len(output.token_log_probs))] for output in outputs] for outputs in rows]
    for reranker in rerankers:
        scored = pair_scores(reranker, sources, rows, [language] * len(rows))
        for own, scores in zip(found, scored, strict=True):
            for output, score in zip(own, scores, strict=True):
                output.append((score.log_prob, len(score.token_log_probs)))
    return found


def lists(
    rows: Sequence[Sequence[Translation]],
    pairs: Sequence[Sequence[Sequence[tuple[float, int]]]],
    metric: Any,
    decode: DecodeConfig,
) -> Lists:
    """Return the hypotheses of all sentences as arrays."""
    longest, models = max(map(len, rows)), len(pairs[0][0])
    values = np.zeros((len(rows), longest, models, 2))
    extra, valid = np.zeros((len(rows), longest)), np.zeros((len(rows), longest), bool)
    penalty = length_penalty(decode.length_normalization, decode.length_penalty)
    for i, (outputs, own) in enumerate(zip(rows, pairs, strict=True)):
        values[i, : len(own)] = own
        valid[i, : len(own)] = True
        # The coverage penalty; of a line in parts also what its parts, normalised one by one, have more.
        extra[i, : len(own)] = [
            output.score - output.log_prob / penalty(max(1, len(output.token_log_probs))) for output in outputs
        ]
    texts = [[output.text for output in outputs] for outputs in rows]
    return Lists(values[..., 0], values[..., 1], extra, valid, statistics(metric, texts))


def _tuned(found: Lists, counts: Any, decode: DecodeConfig) -> Tuned:
    metric, own = metric_of_sums(counts), decode.length_penalty
    normalised = decode.length_normalization is not NormalizationName.none
    models = found.log_probs.shape[2]
    before = found.chosen(found.scores(length_penalty(decode.length_normalization, own)), np.eye(models)[0])
    best_penalty, best, best_value = own, np.eye(models)[0], -np.inf
    others = sorted(LENGTH_PENALTIES, key=lambda alpha: abs(alpha - own)) if normalised else []
    for alpha in [own, *others]:  # of equal ones the model's own wins, then the nearest to it
        scores = found.scores(length_penalty(decode.length_normalization, alpha))
        weights, value = best_weights(found, scores, metric)
        if value > best_value + LEAST_GAIN:
            best_penalty, best, best_value = alpha, weights, value
    after = found.chosen(found.scores(length_penalty(decode.length_normalization, best_penalty)), best)
    test = paired_tests(counts, [before.tolist(), after.tolist()], BOOTSTRAP, 0, SEED)[1]
    return Tuned(
        decode.beam_size,
        metric(before.sum(0)),
        metric(after.sum(0)),
        test["p_bootstrap"],
        best_penalty if normalised else None,
        best[1:].tolist(),
    )
