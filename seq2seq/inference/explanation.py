"""What moved each word of a translation: occlusion, saliency, attention and gates, for one sentence."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from seq2seq.config.model import AttentionName
from seq2seq.data.text.writing import word_spans
from seq2seq.errors import DataError, NotFiniteError
from seq2seq.inference import word_effects
from seq2seq.inference.alignment import owners
from seq2seq.inference.forced_scoring import EOS_NAME
from seq2seq.inference.layer_activity import Layer, observe
from seq2seq.inference.text import one_line, valid_unicode
from seq2seq.inference.translator import Translator
from seq2seq.inference.word_effects import ForcedPair
from seq2seq.model.network import Seq2Seq
from seq2seq.runtime import evaluating
from seq2seq.search.top_k import NAN_MESSAGE
from seq2seq.storage.metrics_file import map_floats

MAX_TOKENS = 250
"""Of a text that is explained: time grows with the product of both lengths, and longer ones cannot be read."""
DIGITS = 6  # significant, of the figures of `to_dict`; the precision of float32
Matrix = list[list[float]]
"""A row per target word, a column per source word."""


@dataclass(frozen=True)
class Side:
    """A text as the network reads or writes it.

    In scripts without spaces a token may span several words (characters), which share its figures: its occlusion and
    its rows are those of each, its attention and saliency as a column are divided.

    Attributes:
        text: the text.
        words: of the text (`data.writing.word_spans`).
        tokens: subwords, with the tags of the target language before those of a source, and EOS.
        token_words: index of the word of each token; None: outside any word (tags, EOS).
    """

    text: str
    words: list[str]
    tokens: list[str]
    token_words: list[int | None]


@dataclass(frozen=True)
class IntegratedGradients:
    """Integrated gradients (Sundararajan et al. 2017), from embeddings of zero to those of the source.

    Attributes:
        steps: points of the integral.
        attributions: of each target word (row) to each source word (column), with sign.
        outside: attribution to tokens outside any word, by target word.
        difference: log p(word) minus that with embeddings of zero, by target word. A row and its `outside` sum to it,
            up to the error of the integral.
    """

    steps: int
    attributions: Matrix
    outside: list[float]
    difference: list[float]

    def errors(self) -> list[float]:
        """Return by how much each row and its `outside` miss the difference; more `steps` make it smaller."""
        rows = zip(self.attributions, self.outside, self.difference, strict=True)
        return [math.fsum(row) + outside - difference for row, outside, difference in rows]


@dataclass(frozen=True)
class Explanation:
    """A translation and what moved its words.

    Attributes:
        source: the source text.
        target: the translation.
        forced: whether the translation was given; otherwise it is the model's own.
        cell: kind of the recurrent cells (`model.cell`).
        token_log_probs: log p of each target token, EOS included.
        word_log_probs: log p of each target word, the sum over its tokens.
        occlusion: log p(word) minus log p(word | source without the source word). Positive: the source word made the
            target word more probable.
        saliency: sum over units of |gradient × embedding|, where the gradient is that of log p(word).
        attention: mean over the tokens of a target word, sum over those of a source word; None without attention.
        outside: share of each row of `saliency` and `attention` that is on EOS and tags.
        integrated_gradients: if requested.
        layers: gates and states of every recurrent layer.
        note: what must be known to read the figures, such as that the first model of an ensemble is explained; empty:
            nothing.
    """

    source: Side
    target: Side
    forced: bool
    cell: str
    token_log_probs: list[float]
    word_log_probs: list[float]
    occlusion: Matrix
    saliency: Matrix
    attention: Matrix | None
    outside: dict[str, list[float]]
    integrated_gradients: IntegratedGradients | None
    layers: list[Layer]
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the explanation as JSON objects, with the names of the attributes."""
        rounded: dict[str, Any] = map_floats(dataclasses.asdict(self), lambda value: float(f"{value:.{DIGITS}g}"))
        return rounded


def explain(
    translator: Translator,
    source: str,
    target: str | None = None,
    *,
    tgt_lang: str | None = None,
    integrated_steps: int = 0,
    **search: Any,
) -> Explanation:
    """Explain the translation of one sentence, or a given translation, which is forced on the decoder.

    All figures are computed in fp32, or in the type of the weights, whatever the precision of the translator. Of an
    ensemble the first model is explained.

    Args:
        translator: whose search finds the translation.
        source: one sentence; one in CAPITALS without a `target` is explained as it is translated (`decode.recase`).
        target: its translation; default: the translator's own.
        tgt_lang: target language; default: the only one of the model.
        integrated_steps: points of integrated gradients; 0: none.
        **search: settings of the search that finds the translation, as of `Translator.translate`.

    Raises:
        ConfigError: the model does not have the target language.
        DataError: a text is empty or has more than `MAX_TOKENS` tokens, or the source is translated in parts.
        NotFiniteError: the network computes NaN.
    """
    read = source if target is not None else translator.natural_line(source, search.get("recase"))
    src = _source(translator, read, tgt_lang)
    tgt = _given(translator, target) if target is not None else _translated(translator, source, tgt_lang, search)
    network = translator.network
    pair = ForcedPair(src.ids, tgt.ids, tgt.positions)
    with evaluating(network), torch.enable_grad():
        seen = observe(network, pair)
        if math.isnan(math.fsum(seen.token_log_probs)):
            raise NotFiniteError(NAN_MESSAGE)
        saliency = word_effects.saliency(network, pair)
        occlusion = word_effects.occlusion(network, pair, src.positions)
        integral = _integrated(network, pair, src, integrated_steps) if integrated_steps else None
    attention = None
    if network.config.attention is not AttentionName.none:
        attention = torch.stack([seen.attn_weights[word].sum(0) / max(1, len(word)) for word in tgt.positions])
    outside = {"saliency": src.outside_share(saliency)}
    return Explanation(
        src.side,
        tgt.side,
        forced=target is not None,
        cell=network.config.cell.value,
        token_log_probs=seen.token_log_probs,
        word_log_probs=[math.fsum(seen.token_log_probs[at] for at in word) for word in tgt.positions],
        occlusion=occlusion.tolist(),
        saliency=src.by_words(saliency),
        attention=None if attention is None else src.by_words(attention),
        outside=outside if attention is None else outside | {"attention": src.outside_share(attention)},
        integrated_gradients=integral,
        layers=seen.layers,
        note=_note(translator),
    )


class _Text:
    """A text with its ids, and the positions of the tokens of each word; words that share tokens have the same."""

    def __init__(self, text: str, ids: Sequence[int], pieces: Sequence[str], token_words: Sequence[int | None]) -> None:
        spans = word_spans(text)
        words = [text[begin:end] for begin, end in spans]
        self.side = Side(text, words, [*pieces, EOS_NAME], [*token_words, None])
        self.ids, owner = list(ids), owners(token_words, spans)
        self.positions = [[at for at, word in enumerate(token_words) if word == owner[i]] for i in range(len(words))]
        sizes = Counter(owner)
        self._shares = [sizes[i] for i in owner]

    def by_words(self, rows: Float[Tensor, "words tokens"]) -> Matrix:
        """Sum the columns over the tokens of each word."""
        columns = [rows[:, at].sum(1) / share for at, share in zip(self.positions, self._shares, strict=True)]
        matrix: Matrix = torch.stack(columns, dim=1).tolist()
        return matrix

    def outside(self, rows: Float[Tensor, "words tokens"]) -> Float[Tensor, " words"]:
        """Sum the columns of tokens outside any word."""
        return rows[:, [at for at, word in enumerate(self.side.token_words) if word is None]].sum(1)

    def outside_share(self, rows: Float[Tensor, "words tokens"]) -> list[float]:
        """Return the share of each row that is on tokens outside any word; 0 for a row of zeros."""
        shares: list[float] = (self.outside(rows) / rows.sum(1).clamp(min=torch.finfo(rows.dtype).tiny)).tolist()
        return shares


def _source(translator: Translator, text: str, tgt_lang: str | None) -> _Text:
    text, tokenizer = valid_unicode(text), translator.tokenizer
    tag, (ids,) = translator.tags.ids(tgt_lang), tokenizer.encode_src([text])
    if not ids or not word_spans(text):
        raise DataError("the text is empty: give a sentence")
    _check_length("text", ids, min(MAX_TOKENS, translator.max_part_tokens))
    ids, words = [*tag, *ids], [*[None] * len(tag), *tokenizer.src_words(text, word_spans(text))]
    return _Text(text, ids, tokenizer.src_pieces(ids), words)


def _translated(translator: Translator, source: str, tgt_lang: str | None, search: Mapping[str, Any]) -> _Text:
    best = translator.translate_n_best([source], tgt_lang=tgt_lang, **search)[0][0]
    return _target(translator, best.ids, "the translation is empty, so no word can be explained: give one (--tgt)")


def _given(translator: Translator, text: str) -> _Text:
    (ids,) = translator.tokenizer.encode_tgt([valid_unicode(text)])
    return _target(translator, ids, "the given translation is empty: give a sentence")


def _target(translator: Translator, ids: Sequence[int], empty: str) -> _Text:
    """Return what the network writes: normalised, unknown characters as ⁇; `empty` is the message if it is nothing."""
    tokenizer = translator.tokenizer
    text = one_line(tokenizer.decode([ids])[0])
    if not text.strip():
        raise DataError(empty)
    _check_length("translation", ids, MAX_TOKENS)
    return _Text(text, ids, tokenizer.tgt_pieces(ids), tokenizer.tgt_words(ids, text, word_spans(text)))


def _check_length(name: str, ids: Sequence[int], limit: int) -> None:
    if len(ids) > limit:
        raise DataError(f"the {name} has {len(ids):,} tokens, more than {limit}: explain one sentence at a time")


def _integrated(network: Seq2Seq, pair: ForcedPair, src: _Text, steps: int) -> IntegratedGradients:
    attributions, difference = word_effects.integrated_gradients(network, pair, steps)
    return IntegratedGradients(
        steps, src.by_words(attributions), src.outside(attributions).tolist(), difference.tolist()
    )


def _note(translator: Translator) -> str:
    models = len(translator.ensemble.networks)
    return f"the first of {models} models is explained" if models > 1 else ""
