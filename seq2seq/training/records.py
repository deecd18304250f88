"""What training and validation report: sums over updates, a validation's figures, sample translations, attention."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from seq2seq.config.training import MonitorName

CELL_PIXELS = 12


class Update(NamedTuple):
    """What is known of an update before its loss is: number, learning rate, seconds, and target tokens.

    `slots` are the tokens with padding, `corpus_tokens` those of each corpus of a mix, in its order.
    """

    step: int
    rate: float
    sec: float
    tokens: int
    slots: int
    corpus_tokens: Mapping[str, int]


class UpdateSums(NamedTuple):
    """What parts of an update report besides their gradient, summed over target tokens.

    On a mix of several corpora the negative log-likelihood of each corpus follows these.
    """

    nll: float
    """Negative log-likelihood of the references, in nats."""
    risk: float
    """Expected risk of the sentence of each token; 0 without minimum-risk training."""
    candidate_score: float
    """Mean score of that sentence's candidates, from 0 to 1; 0 without minimum-risk training."""


NO_SUMS = UpdateSums(0.0, 0.0, 0.0)


@dataclass
class Window:
    """Sums over the updates since the last log line. Part of last.pt, which fixes the names of the fields."""

    nll: float = 0.0
    """Negative log-likelihood of all target tokens, in nats."""
    norm: float = 0.0
    """Gradient norms before clipping."""
    rate: float = 0.0
    """Learning rate of the last update."""
    sec: float = 0.0
    """Wall time of the updates, with the wait for their batches; without validating, saving and logging."""
    tokens: int = 0
    """Target tokens without padding."""
    slots: int = 0
    """Target tokens with padding."""
    steps: int = 0
    risk_tokens: int = 0
    """Target tokens of the updates with minimum-risk training."""
    risk: float = 0.0
    """Expected risk of the sentences of those updates, each times its target tokens."""
    candidate_score: float = 0.0
    """Mean score of their candidates, from 0 to 1, likewise."""
    corpus_tokens: dict[str, int] = field(default_factory=dict)
    """Target tokens of each corpus of a mix."""
    corpus_nll: dict[str, float] = field(default_factory=dict)
    """Their negative log-likelihood, in nats; NaN if a window began in an older version, which did not log it."""

    def count_risk(self, *, risk: float, candidate_score: float, tokens: int) -> None:
        """Add the expected risk and the candidates' scores of one update."""
        self.risk += risk
        self.candidate_score += candidate_score
        self.risk_tokens += tokens

    def add(self, update: Update, nll: float, norm: float, corpus_nll: Sequence[float] = ()) -> None:
        """Add one update with its negative log-likelihood, in all and by corpus, and the norm of its gradient."""
        self.nll += nll
        self.norm += norm
        self.rate = update.rate
        self.sec += update.sec
        self.tokens += update.tokens
        self.slots += update.slots
        self.steps += 1
        for (name, tokens), own in zip(update.corpus_tokens.items(), corpus_nll, strict=True):
            if tokens:
                self.corpus_tokens[name] = self.corpus_tokens.get(name, 0) + tokens
                self.corpus_nll[name] = self.corpus_nll.get(name, 0.0) + own

    def corpus_figures(self) -> dict[str, dict[str, float]]:
        """Return what is logged of each corpus of a mix, by its name: share of the target tokens and mean loss."""
        total, counts = sum(self.corpus_tokens.values()), sorted(self.corpus_tokens.items())
        if not counts:
            return {}
        return {
            "token_shares": {name: round(count / total, 4) for name, count in counts},
            "corpus_loss": {name: round(self.corpus_nll[name] / count, 4) for name, count in counts},
        }

    def figures(self) -> dict[str, float]:
        """Return what is logged: means per target token or per update, rounded."""
        return {
            "loss": round(self.nll / max(1, self.tokens), 4),
            "tokens_per_sec": round(self.tokens / max(1e-9, self.sec)),
            "learning_rate": float(f"{self.rate:.4g}"),
            "grad_norm": round(self.norm / self.steps, 4),
            "padding": round(1 - self.tokens / max(1, self.slots), 4),
            **self._risk_figures(),
        }

    def _risk_figures(self) -> dict[str, float]:
        if not self.risk_tokens:
            return {}
        return {
            "expected_risk": round(self.risk / self.risk_tokens, 4),
            "candidate_score": round(100 * self.candidate_score / self.risk_tokens, 2),
        }


@dataclass(frozen=True)
class Sample:
    """A sentence of the validation set with its translation."""

    source: str
    translation: str
    reference: str


@dataclass(frozen=True)
class AttentionMap:
    """Attention weights of one translation: a row per target token, a column per source token."""

    source: list[str]
    target: list[str]
    weights: list[list[float]]

    def image(self) -> UInt8[np.ndarray, "1 height width"]:
        """Return a greyscale image with one square per weight: 0 (or NaN) is white, 1 is black."""
        weights = np.nan_to_num(np.array(self.weights)).clip(0, 1)
        grey: UInt8[np.ndarray, "rows columns"] = np.rint(255 * (1 - weights)).astype(np.uint8)
        return grey.repeat(CELL_PIXELS, axis=0).repeat(CELL_PIXELS, axis=1)[None]

    def axis_labels(self) -> str:
        """Return the tokens of columns and rows as Markdown."""
        return _verbatim([("columns", " ".join(self.source)), ("rows", " ".join(self.target))])


@dataclass(frozen=True)
class Validation:
    """Figures of one validation, and examples to look at.

    `loss` is the mean negative log-likelihood per target token, in nats; BLEU and chrF are in points.
    """

    loss: float
    perplexity: float
    bleu: float
    chrf: float
    samples: list[Sample] = field(default_factory=list)
    attention: AttentionMap | None = None
    bleu_signature: str = ""
    corpora: dict[str, Validation] = field(default_factory=dict)
    """Validations on the sets of the other corpora of a mix, by name."""

    def figures(self) -> dict[str, float]:
        """Return the figures by the names they are logged under."""
        return {"loss": self.loss, "perplexity": self.perplexity, "bleu": self.bleu, "chrf": self.chrf}

    def score(self, monitor: MonitorName) -> tuple[float, float]:
        """Return the monitored figure and a tie-breaker; higher is better, and NaN is worse than any number."""
        figure, tie_breaker = {
            MonitorName.bleu: (self.bleu, -self.loss),
            MonitorName.chrf: (self.chrf, -self.loss),
            MonitorName.loss: (-self.loss, self.bleu),
        }[monitor]
        return _finite_or_worst(figure), _finite_or_worst(tie_breaker)


def samples_as_markdown(samples: Sequence[Sample]) -> str:
    """Return source, translation and reference of each sample."""
    blocks = (
        _verbatim([("source", sample.source), ("translation", sample.translation), ("reference", sample.reference)])
        for sample in samples
    )
    return "\n    \n".join(blocks)


def _verbatim(rows: Sequence[tuple[str, str]]) -> str:
    """Return labelled lines as an indented Markdown block, which shows any character as it is."""
    return "\n".join(f"    {label:<12} {line}" for label, line in rows)


def _finite_or_worst(figure: float) -> float:
    return figure if math.isfinite(figure) else -math.inf
