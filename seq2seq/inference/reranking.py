"""Rerank the outputs of a search by the log-probabilities that other models give them.

A model that writes from right to left finds other errors than one that writes from left to right (Liu et al. 2016,
"Agreement on target-bidirectional neural machine translation"; Sennrich et al. 2016, "Edinburgh neural machine
translation systems for WMT 16"). A model of the opposite direction finds outputs that leave out a part of the source
(the noisy channel: Li and Jurafsky 2016, "Mutual information and diverse decoding"; Yee et al. 2019, "Simple and
effective noisy channel modeling").
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seq2seq.config.data import DataConfig
from seq2seq.config.field import Choice
from seq2seq.data.index.language_codes import base_code
from seq2seq.errors import ConfigError
from seq2seq.inference.forced_scoring import PairScore
from seq2seq.inference.translation import SEARCH, ScorePart, Translation
from seq2seq.search.length_penalty import LengthPenalty

if TYPE_CHECKING:
    from seq2seq.inference.translator import Translator

MAX_WEIGHT = 1e9
"""Of a reranker; a sum of larger scores may be infinite."""


class RerankRole(Choice):
    """What a reranker scores: the target given the source, or the source given the target."""

    auto = "auto"
    forward = "forward"
    reverse = "reverse"


@dataclasses.dataclass(frozen=True)
class Reranker:
    """A model that scores the outputs of another one.

    Attributes:
        name: for messages and JSON.
        translator: the model; its vocabulary is its own, as it scores text.
        src: source language of the model whose outputs it scores.
        reverse: it scores the source given the target.
        weight: of its score; that of the search has weight 1.
    """

    name: str
    translator: Translator
    src: str
    reverse: bool = False
    weight: float = 1.0

    def scores(self, sources: Sequence[str], outputs: Sequence[str], language: str) -> list[PairScore]:
        """Score outputs in `language`, one of each source."""
        wanted = self.src if self.reverse else language
        known = self.translator.tags.languages
        same = (own for own in known if base_code(own) == base_code(wanted))
        named = wanted if wanted in known else next(same, wanted)
        given = (outputs, sources) if self.reverse else (sources, outputs)
        return self.translator.score(*given, tgt_lang=named if len(known) > 1 else None)


@dataclasses.dataclass(frozen=True)
class RerankModel:
    """A model file that reranks, or several that form an ensemble.

    Attributes:
        paths: of the models.
        weight: of its score.
        role: what it scores.
    """

    paths: tuple[str, ...]
    weight: float
    role: RerankRole

    @property
    def name(self) -> str:
        """The paths as the command line has them."""
        return ",".join(self.paths)

    @classmethod
    def of_each(
        cls,
        models: Sequence[str | Path | Sequence[str | Path]],
        weights: Sequence[float] | None,
        roles: Sequence[RerankRole | str] | None,
    ) -> list[RerankModel]:
        """Return the models with their weights (default: 1) and roles (default: auto).

        Raises:
            ConfigError: a weight or a role is wrong, or is missing for a model.
        """
        for name, values in (("weights", weights), ("roles (--rerank-as)", roles)):
            if values is not None and len(values) != len(models):
                raise ConfigError(f"{len(values)} {name} for {len(models)} rerankers: give one for each (--rerank)")
        paths = [(str(model),) if isinstance(model, str | Path) else tuple(map(str, model)) for model in models]
        for weight in weights or ():
            if not 0 <= weight <= MAX_WEIGHT:
                raise ConfigError(f"rerank weight {weight:g} is out of range: 0 ≤ weight ≤ {MAX_WEIGHT:g}")
        for role in roles or ():
            if role not in RerankRole.__members__.values() and role not in RerankRole.__members__:
                raise ConfigError(f"rerank_as={role!r} is unknown: use {', '.join(RerankRole.__members__)}")
        return [
            cls(own, weight, RerankRole(role))
            for own, weight, role in zip(
                paths, weights or [1.0] * len(paths), roles or [RerankRole.auto] * len(paths), strict=True
            )
        ]

    def reranker(self, translator: Translator, first: DataConfig) -> Reranker:
        """Make the loaded model a reranker of the outputs of a model that was trained on `first`.

        Raises:
            ConfigError: the languages do not fit in either direction, and the role is auto.
        """
        if self.role is not RerankRole.auto:
            return Reranker(self.name, translator, first.src, self.role is RerankRole.reverse, self.weight)
        (sources, targets), (other_sources, other_targets) = _languages(first), _languages(translator.data)
        if sources <= other_sources and targets <= other_targets:
            return Reranker(self.name, translator, first.src, False, self.weight)
        if targets <= other_sources and base_code(first.src) in other_targets:
            return Reranker(self.name, translator, first.src, True, self.weight)
        raise ConfigError(
            f"{self.name} translates {_shown(other_sources)} to {_shown(other_targets)}: it cannot rerank translations "
            f"from {_shown(sources)} to {_shown(targets)}; if these are other names of the same languages, give "
            "--rerank-as forward or reverse"
        )


def rerank_outputs(
    sources: Sequence[str],
    rows: Sequence[Sequence[Translation]],
    languages: Sequence[str],
    rerankers: Sequence[Reranker],
    penalty: LengthPenalty,
) -> list[list[Translation]]:
    """Return the outputs of each source, best first by the weighted sum of the scores of all models.

    score(y) = s(y) + sum_k w_k log p_k / lp(n_k): s(y) is the score of the search; p_k is p(y | x), or p(x | y) of a
    reverse model; n_k is the number of tokens, EOS included, whose probability it is. Outputs of equal score keep
    their order.

    Args:
        sources: one text for each row.
        rows: the outputs of each source.
        languages: of the outputs of each row.
        rerankers: the other models.
        penalty: lp of the search.
    """
    parts = [[[ScorePart(SEARCH, 1.0, output.score)] for output in outputs] for outputs in rows]
    for reranker in rerankers:
        for own, pairs in zip(parts, pair_scores(reranker, sources, rows, languages), strict=True):
            for scores, pair in zip(own, pairs, strict=True):
                tokens = len(pair.token_log_probs)
                value = pair.log_prob / penalty(tokens) if tokens else math.nan
                scores.append(ScorePart(reranker.name, reranker.weight, value))
    return [_ranked(outputs, own) for outputs, own in zip(rows, parts, strict=True)]


def pair_scores(
    reranker: Reranker,
    sources: Sequence[str],
    rows: Sequence[Sequence[Translation]],
    languages: Sequence[str],
) -> list[list[PairScore]]:
    """Return the log-probabilities that a reranker gives each output of each source."""
    found: list[list[PairScore]] = [[] for _ in rows]
    for language in dict.fromkeys(languages):
        numbers = [number for number, own in enumerate(languages) if own == language]
        pairs = [(number, sources[number], output.text) for number in numbers for output in rows[number]]
        scores = reranker.scores([source for _, source, _ in pairs], [text for _, _, text in pairs], language)
        for (number, _, _), score in zip(pairs, scores, strict=True):
            found[number].append(score)
    return found


def _ranked(outputs: Sequence[Translation], parts: Sequence[Sequence[ScorePart]]) -> list[Translation]:
    """Return the outputs of one source, best first; a model that could not score all of them does not count."""
    columns = zip(*parts, strict=True)
    counts = [column[0].weight > 0 and not any(math.isnan(part.score) for part in column) for column in columns]
    scored = [
        dataclasses.replace(
            output,
            score=sum(part.weight * part.score for part, counted in zip(own, counts, strict=True) if counted),
            parts=list(own),
        )
        for output, own in zip(outputs, parts, strict=True)
    ]
    return sorted(scored, key=lambda output: -output.score)


def _languages(data: DataConfig | None) -> tuple[set[str], set[str]]:
    corpora = (data or DataConfig()).corpora().values()
    return {base_code(corpus.src) for corpus in corpora}, {base_code(corpus.tgt) for corpus in corpora}


def _shown(languages: set[str]) -> str:
    return "/".join(sorted(languages))
