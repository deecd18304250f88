"""What moved each word of a translation: occlusion, saliency, attention and gates, for one sentence."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from seq2seq.storage.metrics_file import map_floats

DIGITS = 6  # significant, of the figures of `to_dict`; the precision of float32
Matrix = list[list[float]]
"""A row per target word, a column per source word."""


@dataclass(frozen=True)
class Side:
    """A text as the network reads or writes it.

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
class Gate:
    """The activations of one gate, by token.

    Attributes:
        mean: over units.
        closed: share of units below 0.1.
        open: share of units above 0.9.
    """

    mean: list[float]
    closed: list[float]
    open: list[float]


@dataclass(frozen=True)
class Layer:
    """What one recurrent layer does in one direction; each list has a value per token of its side, in text order.

    The values of the decoder at token t are those of the step that predicts token t.

    Attributes:
        name: `encoder.1.forward`, `encoder.1.backward`, `decoder.1`, …, from the lowest layer up.
        side: whose tokens it reads: source or target.
        gates: input, forget and output of an LSTM; reset and update of a GRU; of a plain RNN, which has no gates,
            `activation`, the absolute value of its units.
        hidden_norm: L2 norm of the hidden state.
        cell_norm: L2 norm of the memory cell of an LSTM; None: the cell has none.
        gradient_norm: L2 norm of d log p(last target word) / d hidden state: how far the gradient reaches back.
    """

    name: str
    side: str
    gates: dict[str, Gate]
    hidden_norm: list[float]
    cell_norm: list[float] | None
    gradient_norm: list[float]


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
