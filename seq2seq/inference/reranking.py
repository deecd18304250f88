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
from seq2seq.config.decode import DecodeConfig
from seq2seq.config.field import Choice
from seq2seq.data.index.language_codes import base_code
from seq2seq.errors import ConfigError, named_errors
from seq2seq.inference.forced_scoring import PairScore, forced_batch_tokens
from seq2seq.inference.translation import SEARCH, ScorePart, Translation
from seq2seq.search.length_penalty import length_penalty

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

    def language(self, target: str) -> str | None:
        """Return the name that the model has for the language it scores if outputs are in `target`; None: its only one.

        Raises:
            ConfigError: it has several, but not this one.
        """
        known = self.translator.tags.languages
        if len(known) < 2:
            return None
        wanted = self.src if self.reverse else target
        same = (own for own in known if base_code(own) == base_code(wanted))
        named = wanted if wanted in known else next(same, wanted)
        with named_errors(self.name):
            self.translator.tags.ids(named)
        return named

    def scores(
        self, sources: Sequence[str], outputs: Sequence[str], language: str, batch_tokens: int
    ) -> list[PairScore]:
        """Score outputs in `language`, one of each source; `batch_tokens` is that of the search that found them.

        Raises:
            ConfigError, NotFiniteError: as `Translator.score`; the message names the model.
        """
        given = (outputs, sources) if self.reverse else (sources, outputs)
        named = self.language(language)
        with named_errors(self.name):
            return self.translator.score(*given, batch_tokens=forced_batch_tokens(batch_tokens), tgt_lang=named)


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
        models: str | Path | Sequence[str | Path | Sequence[str | Path]],
        weights: float | Sequence[float] | None,
        roles: RerankRole | str | Sequence[RerankRole | str] | None,
    ) -> list[RerankModel]:
        """Return the models with their weights (default: 1) and roles (default: auto); a single value is a list of one.

        Raises:
            ConfigError: a weight or a role is wrong, or is missing for a model.
        """
        models = [models] if isinstance(models, str | Path) else models
        weights = [weights] if isinstance(weights, int | float) else weights
        roles = [roles] if isinstance(roles, RerankRole | str) else roles
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
            ConfigError: the languages do not fit in either direction, and the role is auto; or the model scores the
                source, and the language of a source line, which chooses its tag, is not known.
        """
        role = self._role(_languages(first), _languages(translator.data)) if self.role is RerankRole.auto else self.role
        made = Reranker(self.name, translator, first.src, role is RerankRole.reverse, self.weight)
        if made.reverse:
            sources, _ = _languages(first)
            if len(sources) > 1 and len({*map(tuple, translator.tags.symbols.values())}) > 1:
                raise ConfigError(
                    f"{self.name} scores a source line with the tag of its language, which may be {_shown(sources)} "
                    "and is not known: with --rerank, such a model needs translations from one source language"
                )
            made.language("")  # raises before the search
        return made

    def _role(self, first: tuple[set[str], set[str]], own: tuple[set[str], set[str]]) -> RerankRole:
        """Return what the model scores by its languages; both arguments are sources and targets of a model."""
        (sources, targets), (own_sources, own_targets) = first, own
        if sources <= own_sources and targets <= own_targets:
            return RerankRole.forward
        if targets <= own_sources and sources <= own_targets:
            return RerankRole.reverse
        raise ConfigError(
            f"{self.name} translates {_shown(own_sources)} to {_shown(own_targets)}: it cannot rerank translations "
            f"from {_shown(sources)} to {_shown(targets)}; if these are other names of the same languages, give "
            "--rerank-as forward or reverse"
        )


def rerank_outputs(
    sources: Sequence[str],
    rows: Sequence[Sequence[Translation]],
    languages: Sequence[str],
    rerankers: Sequence[Reranker],
    decode: DecodeConfig,
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
        decode: the search, which has lp and the size of batches.
    """
    penalty = length_penalty(decode.length_normalization, decode.length_penalty)
    parts = [[[ScorePart(SEARCH, 1.0, output.score)] for output in outputs] for outputs in rows]
    for reranker in rerankers:
        scored = pair_scores(reranker, sources, rows, languages, decode.batch_tokens)
        for own, pairs in zip(parts, scored, strict=True):
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
    batch_tokens: int,
) -> list[list[PairScore]]:
    """Return the log-probabilities that a reranker gives each output of each source.

    Args:
        reranker: the model.
        sources: one text for each row.
        rows: the outputs of each source.
        languages: of the outputs of each row.
        batch_tokens: of the search.
    """
    found: list[list[PairScore]] = [[] for _ in rows]
    for language in dict.fromkeys(languages):
        numbers = [number for number, own in enumerate(languages) if own == language]
        pairs = [(number, sources[number], output.text) for number in numbers for output in rows[number]]
        texts = [source for _, source, _ in pairs], [text for _, _, text in pairs]
        scores = reranker.scores(*texts, language, batch_tokens)
        for (number, _, _), score in zip(pairs, scores, strict=True):
            found[number].append(score)
    return found


def _ranked(outputs: Sequence[Translation], parts: Sequence[Sequence[ScorePart]]) -> list[Translation]:
    """Return the outputs of one source, best first."""
    complete = zip(*map(_complete, zip(*parts, strict=True)), strict=True)
    scored = [
        dataclasses.replace(
            output,
            score=sum(part.weight * part.score for part in own if part.weight > 0 and not math.isnan(part.score)),
            parts=list(own),
        )
        for output, own in zip(outputs, complete, strict=True)
    ]
    return sorted(scored, key=lambda output: -output.score)


def _complete(column: Sequence[ScorePart]) -> Sequence[ScorePart]:
    """Return the scores of one model for the outputs of a source; all are NaN if one is, as they cannot be compared."""
    if not any(math.isnan(part.score) for part in column):
        return column
    return [dataclasses.replace(part, score=math.nan) for part in column]


def _languages(data: DataConfig | None) -> tuple[set[str], set[str]]:
    corpora = (data or DataConfig()).corpora().values()
    return {base_code(corpus.src) for corpus in corpora}, {base_code(corpus.tgt) for corpus in corpora}


def _shown(languages: set[str]) -> str:
    return "/".join(sorted(languages))
