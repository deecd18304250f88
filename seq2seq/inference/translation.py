"""The output of a translator: text, scores, tokens and, on request, alignment."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.data.text.writing import join_sentences, word_spans
from seq2seq.inference.alignment import align_words
from seq2seq.inference.confidence import BLANK, Confidence, join_confidences
from seq2seq.inference.line_parts import LinePart
from seq2seq.inference.recasing import LineCase
from seq2seq.inference.sentences import join_with_spacing
from seq2seq.inference.text import one_line
from seq2seq.search.protocols import Hypothesis

SEARCH = "search"


@dataclasses.dataclass(frozen=True)
class ScorePart:
    """What one model contributes to the score of a reranked output.

    Attributes:
        model: its name; `search` is the model that found the output.
        weight: by which its score is multiplied.
        score: log p over the length penalty; NaN if an output of the line is too long for the model, which then does
            not count. Of a line in parts: the sum over the parts for which the model counts; NaN if there is none.
    """

    model: str
    weight: float
    score: float


@dataclasses.dataclass(frozen=True)
class Translation:
    """One output line.

    Attributes:
        text: the line.
        score: the ranking criterion; with search=mbr the expected utility.
        log_prob: log p(output | source).
        ids: token ids of the text, without EOS.
        token_log_probs: log p of each token and of EOS; those of a split line's parts are concatenated.
        alignment: linked words (source, target), if requested.
        attention: of each target word (row) to each source word, if requested and the line was not split.
        confidence: probabilities that the line and each of its words are right, if requested.
        case: that of a source line that was read in natural case (`decode.recase`), in which `text` is written;
            `ids` are those of the text in natural case.
        parts: the scores of all models, if other models rerank the outputs; `score` is their weighted sum.
        ranked_log_prob: log p from which the search computes the score: `log_prob`, lowered by
            `decode.repetition_penalty`.
    """

    text: str
    score: float
    log_prob: float
    ids: list[int] = dataclasses.field(default_factory=list, compare=False)
    token_log_probs: list[float] = dataclasses.field(default_factory=list, compare=False)
    alignment: list[tuple[int, int]] | None = dataclasses.field(default=None, compare=False)
    attention: list[list[float]] | None = dataclasses.field(default=None, compare=False)
    confidence: Confidence | None = dataclasses.field(default=None, compare=False)
    case: LineCase | None = dataclasses.field(default=None, compare=False)
    parts: list[ScorePart] = dataclasses.field(default_factory=list, compare=False)
    ranked_log_prob: float = dataclasses.field(default=math.nan, compare=False)


def detokenise(hypotheses: Sequence[Hypothesis], tokenizer: Tokenizer) -> list[Translation]:
    """Return the hypotheses as text, each on one line."""
    texts = [one_line(text) for text in tokenizer.decode([hypothesis.tokens for hypothesis in hypotheses])]
    return [
        Translation(
            text,
            found.score,
            found.log_prob,
            found.tokens,
            found.token_log_probs,
            ranked_log_prob=found.ranked_log_prob,
        )
        for text, found in zip(texts, hypotheses, strict=True)
    ]


def align(
    part: LinePart, output: Translation, attn_weights: Sequence[Sequence[float]], tokenizer: Tokenizer
) -> Translation:
    """Return `output` with the alignment and attention of its words to those of the line of `part`.

    `attn_weights` has a row per target token and EOS, and a column per source token and EOS.
    """
    src_spans, tgt_spans = word_spans(part.text), word_spans(output.text)
    src_words = [None] * part.tag_tokens + tokenizer.src_words(part.text, src_spans)
    tgt_words = tokenizer.tgt_words(output.ids, output.text, tgt_spans)
    links, attention = align_words(attn_weights, src_words, src_spans, tgt_words, tgt_spans)
    return dataclasses.replace(
        output, alignment=[(part.first_word + src, tgt) for src, tgt in links], attention=attention
    )


def join_parts(
    parts: Sequence[Sequence[Translation]], spaced: Sequence[str] | None = None, confidence: bool = False
) -> list[Translation]:
    """Return the outputs of a line from those of its parts: outputs of equal rank.

    Args:
        parts: the outputs of each part.
        spaced: the source parts with the white space that joins the outputs; None: as their script does.
        confidence: a blank line, which has no parts, gets one.
    """
    if not parts:
        return [Translation("", 0.0, 0.0, confidence=BLANK if confidence else None)]
    return [_join(equal_rank, spaced) for equal_rank in zip(*parts, strict=False)]


def _join(parts: Sequence[Translation], spaced: Sequence[str] | None) -> Translation:
    texts = [part.text for part in parts]
    text = join_sentences(texts) if spaced is None else join_with_spacing(spaced, texts)
    if len(parts) == 1:
        return dataclasses.replace(parts[0], text=text)
    links: list[tuple[int, int]] | None = None if parts[0].alignment is None else []
    words = 0
    for part in parts:
        if links is not None:
            links += [(src, words + tgt) for src, tgt in part.alignment or ()]
        words += len(word_spans(part.text))
    confidences = [part.confidence for part in parts if part.confidence is not None]
    return Translation(
        text,
        sum(part.score for part in parts),
        sum(part.log_prob for part in parts),
        [token for part in parts for token in part.ids],
        [log_prob for part in parts for log_prob in part.token_log_probs],
        links,
        confidence=join_confidences(confidences) if confidences else None,
        parts=[_sum(column) for column in zip(*(part.parts for part in parts), strict=True)],
        ranked_log_prob=sum(part.ranked_log_prob for part in parts),
    )


def _sum(column: Sequence[ScorePart]) -> ScorePart:
    scores = [part.score for part in column if not math.isnan(part.score)]
    return dataclasses.replace(column[0], score=sum(scores) if scores else math.nan)


def in_case(
    outputs: Sequence[Translation], case: LineCase | None, language: str, banned: Sequence[str]
) -> list[Translation]:
    """Return the outputs of a line in the case that it had (None: as they are), unless that makes a `banned` text."""
    if case is None:
        return list(outputs)
    cased = [(output, case.apply(output.text, language)) for output in outputs]
    return [
        dataclasses.replace(output, case=case, text=output.text if _adds_any(banned, output.text, text) else text)
        for output, text in cased
    ]


def _adds_any(banned: Sequence[str], before: str, after: str) -> bool:
    return any(text in after and text not in before for text in banned)
