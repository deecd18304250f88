"""The translator: load a model once (or an ensemble that shares a vocabulary), translate or score any lines."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from seq2seq import runtime
from seq2seq.config.data import DataConfig
from seq2seq.config.decode import (
    MAX_HYPOTHESES,
    DecodeConfig,
    InferencePrecisionName,
    RecaseName,
    SearchName,
    override,
)
from seq2seq.config.model import AttentionName
from seq2seq.config.training import PrecisionName
from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.errors import ConfigError, check_lists, named_errors
from seq2seq.inference.annotation import Annotations, ExistingOutputs
from seq2seq.inference.ensemble import Ensemble, ForcedDecoding
from seq2seq.inference.forced_scoring import PairScore, forced_batch_tokens, score_pairs
from seq2seq.inference.glossary import Glossary
from seq2seq.inference.line_parts import MAX_PART_TOKENS, LineEncoder
from seq2seq.inference.model_loading import load_ensemble
from seq2seq.inference.output_features import Features, check_calibration
from seq2seq.inference.part_search import PartSearch
from seq2seq.inference.precision import resolve_precision
from seq2seq.inference.recasing import Recaser
from seq2seq.inference.reranking import Reranker, RerankModel, RerankRole
from seq2seq.inference.sentences import sentence_splitter
from seq2seq.inference.target_tags import TargetTags
from seq2seq.inference.translation import Translation, in_case, join_parts
from seq2seq.inference.vocabulary_shortlist import Shortlist
from seq2seq.model.cpu.dispatch import has_decoder_step
from seq2seq.model.network import Seq2Seq
from seq2seq.search.batched_search import num_hypotheses
from seq2seq.storage.calibration import Calibration

MAX_WEIGHT = 1e9
"""Of a model in an ensemble; a sum of larger ones may be infinite."""


class Translator:
    """Translates lines with one network or an ensemble. Its only state between calls is prepared weights.

    Networks in training mode are switched to evaluation mode for each call and back after it.
    """

    def __init__(
        self,
        networks: Seq2Seq | Sequence[Seq2Seq],
        tokenizer: Tokenizer,
        decode: DecodeConfig | None = None,
        device: torch.device | str = "cpu",
        precision: InferencePrecisionName | PrecisionName | str = PrecisionName.fp32,
        weights: Sequence[float] | None = None,
        max_part_tokens: int | None = None,
        shortlist: Shortlist | None = None,
        data: DataConfig | None = None,
        calibration: Calibration | None = None,
        rerankers: Sequence[Reranker] = (),
    ) -> None:
        """Make a translator from networks in memory.

        Args:
            networks: one, or several that share a vocabulary.
            tokenizer: of the networks.
            decode: the defaults of every call.
            device: where the networks are.
            precision: of matrix products: auto, fp32, bf16, fp16, or int8 (the decoder's; the encoder's as with auto).
            weights: of each network in the ensemble; default: equal weights.
            max_part_tokens: source tokens above which a line is split, at most `MAX_PART_TOKENS`. Lines longer than all
                training text translate badly: a line of 900 tokens loses nearly all of its content.
            shortlist: candidate target tokens per source token; default: the whole vocabulary.
            data: settings of the training: target languages with their tags, and the BLEU tokenizer of
                mbr_utility=bleu.
            calibration: of the confidence; None: confidence cannot be asked for.
            rerankers: models that rerank the hypotheses of the beam.

        Raises:
            ConfigError: unknown precision, one that this machine does not have, or int8 with input feeding.
        """
        networks = [networks] if isinstance(networks, Seq2Seq) else networks
        self.device = torch.device(device)
        self.dtype, int8 = resolve_precision(precision, self.device)
        if int8 and not all(map(has_decoder_step, networks)):
            raise ConfigError("precision int8 does not support model.input_feeding=true: use fp32 or bf16")
        self.ensemble = Ensemble(networks, weights, int8, shortlist)
        self.tokenizer = tokenizer
        self.decode = decode or DecodeConfig()
        self.calibration = calibration
        self.data, self.rerankers = data, list(rerankers)
        sources = set() if data is None else {corpus.src for corpus in data.corpora().values()}
        self._recaser = Recaser(
            tokenizer, sources.pop() if len(sources) == 1 else ""
        )  # of a line among several: unknown
        self.tags = TargetTags(tokenizer, {} if data is None else data.tags())
        self._encoder = LineEncoder(tokenizer, min(max_part_tokens or MAX_PART_TOKENS, MAX_PART_TOKENS))
        self._search = PartSearch(self.ensemble, self._encoder, self.force_decode, self.device, data)
        self._existing = ExistingOutputs(
            self.force_decode, tokenizer, self._encoder, self._recaser, self.decode.batch_tokens
        )

    @property
    def network(self) -> Seq2Seq:
        """The network; of an ensemble, the first."""
        return self.ensemble.networks[0]

    def weights_changed(self) -> None:
        """Discard what was prepared from the weights; call it after a change in place through `weight.data`.

        The next call sees every other change by itself.
        """
        self.ensemble.invalidate()

    @property
    def max_part_tokens(self) -> int:
        """Source tokens above which a line is split into parts."""
        return self._encoder.max_tokens

    @classmethod
    def load(
        cls,
        *paths: str | Path,
        device: str = "auto",
        precision: InferencePrecisionName | PrecisionName | str = PrecisionName.auto,
        weights: Sequence[float] | None = None,
        shortlist: str | Path | None = None,
        rerank: str | Path | Sequence[str | Path | Sequence[str | Path]] = (),
        rerank_weights: float | Sequence[float] | None = None,
        rerank_as: RerankRole | str | Sequence[RerankRole | str] | None = None,
        batch_tokens: int | None = None,
    ) -> Translator:
        """Load a model file, or the best model of a run folder; several make an ensemble.

        Args:
            paths: model files or run folders; the decode settings of the first become the defaults, and the
                confidence of an ensemble is calibrated as that of the first.
            device: auto, cpu, cuda, cuda:N or mps.
            precision: of matrix products: auto, fp32, bf16, fp16, or int8 (the decoder's; the encoder's as with auto).
            weights: of each model in the ensemble; default: equal weights.
            shortlist: a file made by `python -m seq2seq.shortlist`; default: the whole vocabulary.
            rerank: model or models that rerank the hypotheses of the beam; in a list each is a path, or several that
                form an ensemble.
            rerank_weights: of the score of each of them; default: 1, the weight of the first model.
            rerank_as: whether each of them scores the target (forward) or the source (reverse); default: auto, as its
                languages say.
            batch_tokens: maximum tokens of a batch in every call, forced decoding included; default: that of the model.

        Raises:
            ModelFileError: no model at a path, a damaged one, or one with weights that are not finite.
            ConfigError: a device or precision that is unknown or that this machine does not have, models with different
                vocabularies, weights that are not one positive number per model, or a model that cannot rerank.
        """
        if weights is not None and (len(weights) != len(paths) or not all(0 < w <= MAX_WEIGHT for w in weights)):
            raise ConfigError(f"weights {weights} are not {len(paths)} positive numbers, one for each model")
        place = runtime.resolve_device(device)
        resolve_precision(precision, place)  # before any model is loaded, so that a wrong name fails at once
        rerank_models = RerankModel.of_each(rerank, rerank_weights, rerank_as)
        models = load_ensemble(paths, place)
        first, decode = models[0], models[0].config.decode
        plain = PrecisionName.auto if precision == InferencePrecisionName.int8 else precision  # no search, no int8
        rerankers = []
        for other in rerank_models:
            with named_errors(other.name):
                loaded = cls.load(*other.paths, device=device, precision=plain)
                rerankers.append(other.reranker(loaded, first.config.data))
        return cls(
            [model.network for model in models],
            first.tokenizer,
            decode if batch_tokens is None else override(decode, {"batch_tokens": batch_tokens}),
            place,
            precision,
            weights,
            max_part_tokens=first.text.longest_src or first.config.data.max_length - 1,  # without EOS
            shortlist=None if shortlist is None else Shortlist.load(shortlist, first.tokenizer),
            data=first.config.data,
            calibration=first.calibration,
            rerankers=rerankers,
        )

    def translate(self, lines: Sequence[str], **options: Any) -> list[str]:
        """Translate `lines` in order, one output per input; a blank line gives an empty one.

        Args:
            lines: text, one sentence or more each.
            **options: as for `translate_n_best`: `beam_size=1`, `prefixes=[…]`.

        Raises:
            ConfigError: an option out of range, or options that contradict each other.
        """
        return [best.text for best, *_ in self.translate_n_best(lines, **options)]

    def translate_n_best(
        self,
        lines: Sequence[str],
        n_best: int = 1,
        *,
        prefixes: Sequence[str] | None = None,
        terms: Sequence[Sequence[str]] | None = None,
        glossary: Glossary | None = None,
        alignments: bool = False,
        confidence: bool = False,
        split_sentences: bool = False,
        tgt_lang: str | Sequence[str | None] | None = None,
        **overrides: Any,
    ) -> list[list[Translation]]:
        """Translate `lines` and return up to `n_best` outputs for each, best first; at least one per line.

        The outputs of a beam search differ in their tokens, so two segmentations of one text are two outputs. Samples
        may be equal. The outputs of a split line join those of its parts by rank and sum up their scores.

        Args:
            lines: text, one sentence or more each.
            n_best: outputs per line, at most `beam_size` (mbr: `samples`); with search=sample, how many are drawn.
            prefixes: beginning of each line's output; empty: free.
            terms: texts that each line's output must contain.
            glossary: its target terms are forced into the output of a line that contains their source terms.
            alignments: fill in `Translation.alignment` and `attention`.
            confidence: fill in `Translation.confidence`; the model must be calibrated.
            split_sentences: translate each sentence of a line on its own, and join the translations with the white
                space of the line, line breaks as spaces; needs the extra `data`.
            tgt_lang: target language of all lines, or of each; default: the only one of the model.
            **overrides: fields of `DecodeConfig` (`length_penalty=0.6`) that replace the model's. If they select the
                search, stored fields that it ignores return to their defaults.

        Raises:
            ConfigError: an option out of range, one that the search ignores, or options that contradict each other.
        """
        check_lists(lines=lines, prefixes=prefixes, terms=terms)
        for own in terms or ():
            check_lists(terms=own)
        decode = self.check_options(
            n_best,
            prefixes=prefixes,
            terms=terms,
            glossary=glossary,
            alignments=alignments,
            confidence=confidence,
            split_sentences=split_sentences,
            **overrides,
        )
        languages = [tgt_lang] * len(lines) if tgt_lang is None or isinstance(tgt_lang, str) else tgt_lang
        tags = [self.tag(language) for language in languages]
        prefixes, terms = prefixes or [""] * len(lines), terms or [()] * len(lines)
        splitter = sentence_splitter(self.data.src if self.data else "en") if split_sentences else None
        # A prefix or term is in the output as it is, and so is the line.
        fixed = [
            decode.recase is RecaseName.off or bool(prefix or own or (glossary and glossary.terms_for(line)))
            for line, prefix, own in zip(lines, prefixes, terms, strict=True)
        ]
        lines, cases = self._recaser.natural_lines(lines, fixed)
        parts = self._encoder.encode(lines, prefixes, terms, glossary, splitter, tags)
        annotations = Annotations(alignments, self.calibration if confidence else None)
        known = [*map(self._language, languages)]
        pieces = [part for line_parts in parts for part in line_parts]
        part_languages = [language for language, row in zip(known, parts, strict=True) for _ in row]
        with self.inference_mode():
            outputs = iter(self._search(pieces, part_languages, n_best, decode, annotations, self.rerankers))
        joined = (
            join_parts([next(outputs) for _ in row], [part.spaced for part in row] if splitter else None, confidence)
            for row in parts
        )
        return [
            in_case(outputs, case, language, decode.never_emit)
            for outputs, case, language in zip(joined, cases, known, strict=True)
        ]

    def tag(self, tgt_lang: str | None = None) -> list[int]:
        """Return the ids of the tag of a target language; None: that of the only one.

        Raises:
            ConfigError: the model, or one that reranks, does not have the language, or has several and none is given.
        """
        ids = self.tags.ids(tgt_lang)
        for reranker in self.rerankers:
            reranker.language(self._language(tgt_lang))
        return ids

    def check_options(
        self,
        n_best: int = 1,
        *,
        prefixes: Sequence[str] | None = None,
        terms: Sequence[Sequence[str]] | None = None,
        glossary: Glossary | None = None,
        alignments: bool = False,
        confidence: bool = False,
        split_sentences: bool = False,
        **overrides: Any,
    ) -> DecodeConfig:
        """Check the options of `translate_n_best` without translating; return the search settings they result in.

        Raises:
            ConfigError: an option out of range, one that the search ignores, or options that contradict each other.
        """
        decode = override(self.decode, overrides)
        limit = min(num_hypotheses(decode, n_best), MAX_HYPOTHESES)
        if not 1 <= n_best <= limit:
            name = "beam_size" if decode.search is SearchName.beam else "samples"
            raise ConfigError(f"n_best={n_best} is out of range: 1 ≤ n_best ≤ {name}={limit}")
        if self.rerankers and decode.search is not SearchName.beam:
            raise ConfigError(f"reranking needs search=beam, whose hypotheses it reorders, not {decode.search}")
        if split_sentences:
            sentence_splitter("en")  # raises if it is not installed
            if any(prefixes or ()) or any(terms or ()):
                raise ConfigError("prefixes and terms are those of whole lines: give either them or split_sentences")
        if terms is not None or glossary is not None:
            if decode.search is not SearchName.beam:
                raise ConfigError(f"terms and glossaries need search=beam, not {decode.search}")
            for name in ("no_repeat_ngram", "never_emit"):
                if getattr(decode, name):
                    raise ConfigError(f"{name} may forbid a term that must appear: give either {name} or terms")
        if self.ensemble.reversed_target and any(prefixes or ()):
            raise ConfigError("a prefix is where an output starts, and the model writes from right to left: drop it")
        if confidence:
            check_calibration(self.calibration)
        has_attention = all(n.config.attention is not AttentionName.none for n in self.ensemble.networks)
        for name, requested in (("alignments", alignments), ("coverage_penalty", decode.coverage_penalty)):
            if requested and not has_attention:
                raise ConfigError(f"{name} needs attention: the model was trained with model.attention=none")
        return decode

    def score(
        self,
        sources: Sequence[str],
        targets: Sequence[str],
        *,
        batch_tokens: int | None = None,
        tgt_lang: str | None = None,
    ) -> list[PairScore]:
        """Score each line of `targets` as the translation of the same line of `sources` (forced decoding).

        Args:
            sources: source lines; an empty line is a sentence, too.
            targets: target lines.
            batch_tokens: maximum of pairs × longest side in a batch; default: the decode setting, but not more than
                `forced_scoring.MAX_BATCH_TOKENS`.
            tgt_lang: target language; default: the only one of the model.

        Raises:
            ConfigError: `batch_tokens` is out of range, or the model does not have the target language.
        """
        check_lists(sources=sources, targets=targets)
        if batch_tokens is None:
            batch_tokens = forced_batch_tokens(self.decode.batch_tokens)
        else:
            override(self.decode, {"batch_tokens": batch_tokens})  # raises if it is out of range
        with self.inference_mode():
            tag = self.tags.ids(tgt_lang)
            return score_pairs(self.force_decode, self.tokenizer, sources, targets, batch_tokens, tag)

    def annotate(
        self,
        lines: Sequence[str],
        outputs: Sequence[Translation],
        *,
        alignments: bool = False,
        confidence: bool = False,
        tgt_lang: str | None = None,
    ) -> list[Translation]:
        """Return one output of each line with what `translate_n_best` adds on request.

        The output of a line that is blank or is translated in several parts is returned as it is.

        Args:
            lines: that were translated, without prefixes and terms.
            outputs: one per line.
            alignments: fill in `Translation.alignment` and `attention`.
            confidence: fill in `Translation.confidence`; the model must be calibrated.
            tgt_lang: target language; default: the only one of the model.

        Raises:
            ConfigError: the model has no attention, is not calibrated, or does not have the target language.
        """
        check_lists(lines=lines)
        self.check_options(alignments=alignments, confidence=confidence)
        annotations = Annotations(alignments, self.calibration if confidence else None)
        with self.inference_mode():
            return self._existing.annotate(lines, outputs, annotations, self.tags.ids(tgt_lang))

    def features(
        self, lines: Sequence[str], outputs: Sequence[Translation], *, tgt_lang: str | None = None
    ) -> list[Features | None]:
        """Return the features from which the confidence of one output of each line is computed, to fit a calibration.

        None for a line that is blank or is translated in several parts.
        """
        check_lists(lines=lines)
        with self.inference_mode():
            return self._existing.features(lines, outputs, self.tags.ids(tgt_lang))

    def natural_line(self, line: str, recase: RecaseName | str | None = None) -> str:
        """Return the line as `translate` reads it: in natural case, unless `recase`, by default the model's, is off."""
        off = RecaseName(recase or self.decode.recase) is RecaseName.off
        return line if off else self._recaser.natural(line)[0]

    def before_recasing(
        self, lines: Sequence[str], outputs: Sequence[Translation]
    ) -> tuple[Sequence[str], list[Translation]]:
        """Return lines and outputs in the case in which the network read and wrote them."""
        return self._existing.before_recasing(lines, outputs)

    def force_decode(
        self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], *, distributions: bool = False
    ) -> list[ForcedDecoding]:
        """Return log p and attention of given outputs, as one batch; ids without EOS on both sides.

        With `distributions` also the margins and entropies of the distributions of the tokens.
        """
        with self.inference_mode():
            return self.ensemble.force_decode(sources, targets, self.device, distributions)

    def _language(self, tgt_lang: str | None) -> str:
        return tgt_lang or next(iter(self.tags.languages), "")

    @contextlib.contextmanager
    def inference_mode(self) -> Iterator[None]:
        """Switch the networks to evaluation mode, gradients off and the translator's precision on, inside the block."""
        if any(network.training for network in self.ensemble.networks):
            self.ensemble.invalidate()
        with contextlib.ExitStack() as stack:
            for network in self.ensemble.networks:
                stack.enter_context(runtime.evaluating(network))
            stack.enter_context(torch.inference_mode())
            stack.enter_context(runtime.autocast(self.device, self.dtype))
            yield
