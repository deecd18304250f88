"""Tune the length penalty and the weights of rerankers on the hypotheses of a validation set."""

from __future__ import annotations

import copy
import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sacrebleu import CHRF

from seq2seq.config.decode import DecodeConfig, NormalizationName, SearchName, override
from seq2seq.data.text.bleu_tokenizer import DEFAULT, bleu_tokenizer
from seq2seq.errors import ConfigError, DataError
from seq2seq.evaluation.decoding_search import LEAST_GAIN, Lists, best_weights, metric_of_sums, statistics
from seq2seq.evaluation.metrics import bleu_metric
from seq2seq.evaluation.resampling import paired_tests
from seq2seq.evaluation.significance import BOOTSTRAP, SEED
from seq2seq.inference.reranking import Reranker, pair_scores
from seq2seq.inference.translation import Translation
from seq2seq.inference.translator import Translator
from seq2seq.search.length_penalty import length_penalty

log = logging.getLogger(__name__)

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
        sentences: lines of the text that were tuned on.
    """

    beam_size: int
    default_score: float
    score: float
    p_value: float
    length_penalty: float | None
    weights: list[float]
    sentences: int

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

    A line that is translated in parts is left out, with a warning: each part is reranked alone, while a corpus metric
    knows only whole lines.

    Args:
        translator: with its rerankers.
        sources: of the validation set.
        references: one of each source.
        beam_sizes: each translates the sources once.
        metric: bleu or chrf.
        tgt_lang: target language; default: the only one of the model.
        advance: called with the number of sentences that were translated.

    Raises:
        ConfigError: the model does not decode by beam search, or a reranker does not have the language.
        DataError: every line is translated in parts.
    """
    if translator.decode.search is not SearchName.beam:
        raise ConfigError(f"the model decodes with search={translator.decode.search}: tuning needs beam search")
    tokenize = DEFAULT if translator.data is None else bleu_tokenizer(translator.data)
    translator.tag(tgt_lang)
    plain = alone(translator)
    language = tgt_lang or next(iter(plain.tags.languages), "")
    tuned: list[Tuned] = []
    for size in beam_sizes:
        decode = override(translator.decode, {"beam_size": size})
        kept: list[str] = []  # references
        rows: list[list[Translation]] = []
        pairs: list[list[list[tuple[float, int]]]] = []
        for start in range(0, len(sources), WINDOW):
            lines = sources[start : start + WINDOW]
            found = plain.translate_n_best(lines, size, beam_size=size, tgt_lang=tgt_lang)
            whole = [i for i, outputs in enumerate(found) if not in_parts(outputs[0])]
            kept += [references[start + i] for i in whole]
            found = [found[i] for i in whole]
            read, written = before_recasing(plain, [lines[i] for i in whole], found)
            pairs += model_scores(read, written, language, translator.rerankers, decode.batch_tokens)
            rows += found
            advance(len(lines))
        if not rows:
            raise DataError(
                f"every line has more than {plain.max_part_tokens} tokens and is translated in parts: give shorter ones"
            )
        if len(rows) < len(sources) and not tuned:
            log.warning(
                "%d of %d lines are left out: they are translated in parts", len(sources) - len(rows), len(sources)
            )
        counts = bleu_metric([kept], tokenize, force=True) if metric == "bleu" else CHRF(references=[kept])
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


def in_parts(output: Translation) -> bool:
    """Return whether an output is joined from those of several parts, each of which ended in EOS."""
    return len(output.token_log_probs) - len(output.ids) > 1


def model_scores(
    sources: Sequence[str],
    rows: Sequence[Sequence[Translation]],
    language: str,
    rerankers: Sequence[Reranker],
    batch_tokens: int,
) -> list[list[list[tuple[float, int]]]]:
    """Return log p and number of tokens of each output of each source, of the first model and of each reranker.

    Args:
        sources: one for each row.
        rows: outputs, none of them in parts.
        language: of the outputs.
        rerankers: the other models.
        batch_tokens: of the search.
    """
    found = [[[(_log_prob(output), len(output.token_log_probs))] for output in outputs] for outputs in rows]
    for reranker in rerankers:
        scored = pair_scores(reranker, sources, rows, [language] * len(rows), batch_tokens)
        for own, scores in zip(found, scored, strict=True):
            for output, score in zip(own, scores, strict=True):
                output.append((score.log_prob, len(score.token_log_probs)))
    return found


def _log_prob(output: Translation) -> float:
    """Return log p as the search ranks it; a blank line had no search."""
    return output.ranked_log_prob if output.token_log_probs else output.log_prob


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
        extra[i, : len(own)] = [  # the coverage penalty
            output.score - _log_prob(output) / penalty(max(1, len(output.token_log_probs))) for output in outputs
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
        len(found.valid),
    )
