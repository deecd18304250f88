"""Features of an output from which its confidence is computed, by two logistic regressions (`storage.calibration`).

They come from the forced decoding of the output by the network in full precision: how probable its tokens are, how near
other tokens come, and what the attention reads. A network without attention has zeros for the features of attention; as
they never change, they get no weight.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.data.text.writing import word_spans, words_of
from seq2seq.errors import ConfigError
from seq2seq.inference.confidence import Confidence
from seq2seq.inference.ensemble import ForcedDecoding
from seq2seq.inference.line_parts import LinePart
from seq2seq.storage.calibration import Calibration

UNCOVERED = 0.3  # attention to a source token, summed over the output
LEAST_WEIGHT = 1e-9  # whose logarithm is computed


class SentenceFeatures(NamedTuple):
    """Features of a whole output; logarithms are natural, and means are over tokens, EOS included."""

    mean_log_prob: float
    mean_probability: float
    mean_margin: float
    mean_entropy: float
    end_log_prob: float
    """Of EOS: low if the output stops too early or too late."""
    mean_word_probability: float
    log_characters: float
    log_words: float
    log_source_tokens: float
    copied: float
    """Share of the words that are words of the source."""
    attention_entropy: float
    attention_to_end: float
    uncovered: float
    """Share of the source tokens that the output hardly attends to."""
    highest_coverage: float
    """Attention to the source token that is attended to most."""


class WordFeatures(NamedTuple):
    """Features of a word, of its neighbours and of its sentence."""

    log_prob: float
    probability: float
    lowest_probability: float
    """Of its tokens."""
    lowest_margin: float
    first_margin: float
    """Of its first token, with which the word is often decided."""
    highest_entropy: float
    attention_entropy: float
    attention_to_end: float
    coverage: float
    """Of the source token that the word attends to most."""
    punctuation: float
    copied: float
    repeated: float
    first: float
    previous_probability: float
    next_probability: float
    sentence_mean_log_prob: float
    sentence_attention_entropy: float
    sentence_log_words: float
    sentence_log_source_tokens: float


@dataclass(frozen=True)
class Features:
    """The features of an output and of each word of `word_spans(text)`."""

    sentence: SentenceFeatures
    words: list[WordFeatures]

    def confidence(self, calibration: Calibration) -> Confidence:
        """Return the probabilities."""
        words = [calibration.word.probability(word._asdict()) for word in self.words]
        return Confidence(calibration.sentence.probability(self.sentence._asdict()), words)


def check_calibration(calibration: Calibration | None) -> None:
    """Check that confidence can be computed.

    Raises:
        ConfigError: the model has no calibration, or one with features that this version does not know.
    """
    how = "run python -m seq2seq.calibrate MODEL --src FILE --ref FILE with text that it was not trained on"
    if calibration is None:
        raise ConfigError(f"confidence: the model is not calibrated: {how}")
    unknown = {*calibration.sentence.weights} - {*SentenceFeatures._fields} or (
        {*calibration.word.weights} - {*WordFeatures._fields}
    )
    if unknown:
        raise ConfigError(f"confidence: the model was calibrated by another version ({min(unknown)}): {how}")


def output_features(
    part: LinePart, text: str, ids: Sequence[int], decoded: ForcedDecoding, tokenizer: Tokenizer
) -> Features:
    """Return the features of an output.

    Args:
        part: what was translated.
        text: the output.
        ids: of the output, without EOS.
        decoded: its forced decoding, with margins and entropies.
        tokenizer: of the model.
    """
    spans = word_spans(text)
    words = [text[begin:end] for begin, end in spans]
    counts, known = Counter(words), {word.casefold() for word in words_of(part.text)}
    copied = [float(word.casefold() in known) for word in words]
    tokens = _tokens_of_words(tokenizer.tgt_words(ids, text, spans), len(words))
    attention = _Attention.of(decoded, len(part.input.ids), part.tag_tokens)
    log_probs, margins, entropies = decoded.token_log_probs, decoded.margins, decoded.entropies
    word_log_probs = [math.fsum(log_probs[token] for token in own) for own in tokens]
    probabilities = [*map(math.exp, word_log_probs)]
    around = [1.0, *probabilities, math.exp(log_probs[-1])]
    sentence = SentenceFeatures(
        mean_log_prob=_mean(log_probs),
        mean_probability=_mean([*map(math.exp, log_probs)]),
        mean_margin=_mean(margins),
        mean_entropy=_mean(entropies),
        end_log_prob=log_probs[-1],
        mean_word_probability=_mean(probabilities),
        log_characters=math.log1p(len(text)),
        log_words=math.log1p(len(words)),
        log_source_tokens=math.log1p(len(part.input.ids) - part.tag_tokens),
        copied=_mean(copied),
        attention_entropy=_mean(attention.entropies),
        attention_to_end=_mean(attention.to_end),
        uncovered=_mean([float(coverage < UNCOVERED) for coverage in attention.coverage]),
        highest_coverage=max(attention.coverage, default=0.0),
    )
    rows = [
        WordFeatures(
            log_prob=word_log_probs[i],
            probability=probabilities[i],
            lowest_probability=math.exp(min(log_probs[token] for token in own)),
            lowest_margin=min(margins[token] for token in own),
            first_margin=margins[own[0]],
            highest_entropy=max(entropies[token] for token in own),
            attention_entropy=_mean([attention.entropies[token] for token in own]),
            attention_to_end=_mean([attention.to_end[token] for token in own]),
            coverage=_mean([attention.attended[token] for token in own]),
            punctuation=float(not any(map(str.isalnum, words[i]))),
            copied=copied[i],
            repeated=float(counts[words[i]] > 1),
            first=float(i == 0),
            previous_probability=around[i],
            next_probability=around[i + 2],
            sentence_mean_log_prob=sentence.mean_log_prob,
            sentence_attention_entropy=sentence.attention_entropy,
            sentence_log_words=sentence.log_words,
            sentence_log_source_tokens=sentence.log_source_tokens,
        )
        for i, own in enumerate(tokens)
    ]
    return Features(sentence, rows)


class _Attention(NamedTuple):
    """What the attention of an output reads.

    Attributes:
        entropies: of the attention to the source, for each target token.
        to_end: attention to EOS of the source.
        attended: coverage of the source token that each target token attends to most.
        coverage: attention to each source token, summed over the target tokens.
    """

    entropies: list[float]
    to_end: list[float]
    attended: list[float]
    coverage: list[float]

    @classmethod
    def of(cls, decoded: ForcedDecoding, source_ids: int, tag_tokens: int) -> _Attention:
        """Read the weights; a network without attention has none, or a single one for the whole source."""
        weights = decoded.attn_weights.float().cpu().numpy()
        rows, columns = weights.shape
        if columns != source_ids + 1 or source_ids == tag_tokens:
            zeros = [0.0] * rows
            return cls(zeros, zeros, zeros, [])
        own = weights[:, tag_tokens:-1]
        coverage = own.sum(0)
        entropies = -(own * np.log(np.maximum(own, LEAST_WEIGHT))).sum(1)
        attended = coverage[own.argmax(1)]
        return cls(entropies.tolist(), weights[:, -1].tolist(), attended.tolist(), coverage.tolist())


def _tokens_of_words(words: Sequence[int | None], count: int) -> list[list[int]]:
    """Return the tokens of each word; one without tokens of its own shares those of the word before it, or EOS."""
    tokens: list[list[int]] = [[] for _ in range(count)]
    for token, word in enumerate(words):
        if word is not None:
            tokens[word].append(token)
    for i, own in enumerate(tokens):
        if not own:
            tokens[i] = tokens[i - 1] if i else [len(words)]
    return tokens


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0
