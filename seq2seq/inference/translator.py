"""Text to text: load a model once (or several that share a vocabulary), translate any number of lines."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from seq2seq import runtime
from seq2seq.config.decode import DecodeConfig, SearchName, check_decode
from seq2seq.config.field import Choice
from seq2seq.config.model import AttentionName
from seq2seq.config.training import PrecisionName
from seq2seq.data.special_ids import UNK_ID
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.errors import ConfigError
from seq2seq.inference.alignment import hard_alignment, word_attention
from seq2seq.inference.ensemble import Predictor
from seq2seq.inference.glossary import Glossary
from seq2seq.inference.mbr import expected_utilities
from seq2seq.inference.text import one_line, split_long, valid_unicode, words_before
from seq2seq.inference.vocabulary_shortlist import Shortlist
from seq2seq.model.cpu.dispatch import has_decoder_step
from seq2seq.model.cpu.packed_linear import has_int8
from seq2seq.model.network import Seq2Seq
from seq2seq.search.batched_search import Source, batches, search, width_of
from seq2seq.search.protocols import Hypothesis
from seq2seq.storage.model_file import load_model

LONGEST_PART = 1000
"""Most source pieces ever translated as one; a longer line is cut into parts (time and memory grow with the square)."""
INT8 = "int8"

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Translation:
    """One output line.

    Attributes:
        text: the line.
        score: what outputs are ranked by; with search=mbr the expected utility.
        log_prob: log p(output | source).
        ids: the pieces that the text was made from.
        token_log_probs: log p of each piece, and of EOS at the end; of a line that was cut, those of its parts in turn.
        alignment: pairs of words (source, target), where asked for.
        attention: of each target word over the source words, where asked for and the line was not cut.
    """

    text: str
    score: float
    log_prob: float
    ids: list[int] = dataclasses.field(default_factory=list, compare=False)
    token_log_probs: list[float] = dataclasses.field(default_factory=list, compare=False)
    alignment: list[tuple[int, int]] | None = dataclasses.field(default=None, compare=False)
    attention: list[list[float]] | None = dataclasses.field(default=None, compare=False)


@dataclasses.dataclass(frozen=True)
class _Part:
    """What is translated as one: a line, or a part of a long one that begins after `words` words of it."""

    text: str
    words: int
    source: Source


class Translator:
    """Translates lines with one network, or with an ensemble; between calls it holds nothing but prepared weights.

    The networks may be in training: they are put in evaluation mode for each call and back afterwards.
    """

    def __init__(
        self,
        networks: Seq2Seq | Sequence[Seq2Seq],
        tokenizer: Tokenizer,
        decode: DecodeConfig | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        weights: Sequence[float] | None = None,
        longest_part: int | None = None,
        int8: bool = False,
        shortlist: Shortlist | None = None,
    ) -> None:
        """Make a translator.

        Args:
            networks: one, or several that share a vocabulary.
            tokenizer: theirs.
            decode: the defaults of every call.
            device: where the networks are.
            dtype: of matrix products.
            weights: of each network in the ensemble; absent: all the same.
            longest_part: source pieces beyond which a line is cut into parts, at most `LONGEST_PART`. What is longer
                than all training text comes out badly: lines of 900 pieces lose nearly everything they say.
            int8: whether the decoder's products are computed in 8 bits; what is not a product stays in `dtype`.
            shortlist: which target pieces a batch may need; absent: all.

        Raises:
            ConfigError: 8 bits for a network whose decoder has no prepared step.
        """
        networks = [networks] if isinstance(networks, Seq2Seq) else networks
        if int8 and not all(map(has_decoder_step, networks)):
            raise ConfigError("precision int8 is not for networks with model.input_feeding=true")
        self.longest_part = min(longest_part or LONGEST_PART, LONGEST_PART)
        self.predictor = Predictor(networks, weights, int8, shortlist)
        self.tokenizer = tokenizer
        self.decode = decode or DecodeConfig()
        self.device = torch.device(device)
        self.dtype = dtype

    @property
    def network(self) -> Seq2Seq:
        """The network; of an ensemble, the first."""
        return self.predictor.networks[0]

    @classmethod
    def load(
        cls,
        *paths: str | Path,
        device: str = "auto",
        precision: PrecisionName | str = PrecisionName.auto,
        weights: Sequence[float] | None = None,
        shortlist: str | Path | None = None,
    ) -> Translator:
        """Load a model file, or the best model of a run folder; several make an ensemble.

        Args:
            paths: model files or run folders; the decode settings of the first become the defaults.
            device: auto, cpu, cuda, cuda:N or mps.
            precision: of matrix products: auto, fp32, bf16, or int8 (the decoder's; the encoder's as with auto).
            weights: of each model in the ensemble; absent: all the same.
            shortlist: a file made by `python -m seq2seq.shortlist`; absent: the whole vocabulary.

        Raises:
            ModelFileError: no model there, or a damaged one.
            ConfigError: unknown device or precision, a device this machine has not, models with different vocabularies,
                or weights that are not one positive number for each.
        """
        names = (*PrecisionName.__members__, INT8)
        name = precision.name if isinstance(precision, PrecisionName) else precision
        if name not in names:
            raise ConfigError(f"precision {precision!r} is unknown: use {', '.join(names)}")
        if weights is not None and (len(weights) != len(paths) or not all(0 < w < float("inf") for w in weights)):
            raise ConfigError(f"weights {weights} are not {len(paths)} positive numbers, one for each model")
        place = runtime.resolve_device(device)
        int8 = name == INT8
        if int8 and not (place.type == "cpu" and has_int8()):
            raise ConfigError("precision int8 needs a CPU, a C++ compiler and a torch with oneDNN's 8-bit products")
        dtype = runtime.resolve_precision(PrecisionName.auto if int8 else PrecisionName[name], place)
        models = [load_model(Path(path), place) for path in paths]
        for path, model in zip(paths, models, strict=True):
            if model.tokenizer.fingerprint != models[0].tokenizer.fingerprint:
                raise ConfigError(f"{path} and {paths[0]} have different vocabularies, so they are no ensemble")
        networks = [model.network for model in models]
        config = models[0].config
        longest = config.data.max_length - 1  # without EOS
        tokenizer = models[0].tokenizer
        words = None if shortlist is None else Shortlist.load(shortlist, tokenizer.fingerprint)
        return cls(networks, tokenizer, config.decode, place, dtype, weights, longest, int8, words)

    def translate(self, lines: Sequence[str], **options: Any) -> list[str]:
        """Translate `lines` in order, one output per input; a blank line gives an empty one.

        Args:
            lines: text, one sentence or more each.
            **options: as for `translate_n_best`: `beam_size=1`, `prefixes=[…]`.

        Raises:
            ConfigError: an option out of range, or options that exclude each other.
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
        **overrides: Any,
    ) -> list[list[Translation]]:
        """Translate `lines` and return for each up to `n_best` outputs, best first and never none.

        They differ in their pieces; two ways to cut one text into pieces are two outputs. Samples may be equal.
        A line that had to be cut gets its parts' outputs of equal rank joined, with the sums of their scores.

        Args:
            lines: text, one sentence or more each.
            n_best: outputs per line, at most `beam_size` (mbr: `samples`); with search=sample, how many are drawn.
            prefixes: how the output of each line must begin; empty: no matter how.
            terms: texts that the output of each line must contain.
            glossary: which terms of a line ask for which in its output.
            alignments: whether to fill in `Translation.alignment` and `attention`.
            **overrides: keys of `DecodeConfig` (`length_penalty=0.6`) that differ from the model's.

        Raises:
            ConfigError: an option out of range, or options that exclude each other.
        """
        if isinstance(lines, str):
            raise TypeError("lines must be a sequence of lines, not one string")
        decode = override(self.decode, overrides)
        self._check(decode, n_best, terms is not None or glossary is not None, alignments)
        prefixes, terms = prefixes or [""] * len(lines), terms or [()] * len(lines)
        texts = ["" if line.isspace() else valid_unicode(line) for line in lines]
        parts = [
            self._parts(text, ids, prefix, wanted, glossary)
            for text, ids, prefix, wanted in zip(texts, self.tokenizer.encode_src(texts), prefixes, terms, strict=True)
        ]
        found = iter(self._translate([part for line_parts in parts for part in line_parts], n_best, decode, alignments))
        return [join([next(found) for _ in line_parts]) for line_parts in parts]

    def _check(self, decode: DecodeConfig, n_best: int, constrained: bool, alignments: bool) -> None:
        width = width_of(decode, n_best)
        if not 1 <= n_best <= width:
            name = "beam_size" if decode.search is SearchName.beam else "samples"
            raise ConfigError(f"n_best={n_best} is out of range: 1 ≤ n_best ≤ {name}={width}")
        if constrained and decode.search is not SearchName.beam:
            raise ConfigError(f"terms that must appear need search=beam, not {decode.search}")
        for name in ("no_repeat_ngram", "never_emit"):
            if constrained and getattr(decode, name):
                raise ConfigError(f"{name} could forbid terms that must appear: give one or the other")
        blind = any(network.config.attention is AttentionName.none for network in self.predictor.networks)
        if blind and (alignments or decode.coverage_penalty):
            asked = "alignments" if alignments else "coverage_penalty"
            raise ConfigError(f"{asked} without attention: the model was trained with model.attention=none")

    def _parts(
        self, text: str, ids: list[int], prefix: str, terms: Sequence[str], glossary: Glossary | None
    ) -> list[_Part]:
        """Return what of the line is translated as one: nothing if it is blank, all of it unless it is very long."""
        cut = [(text, ids)]
        if len(ids) > self.longest_part:
            cut = self._cut(text)
            log.warning("a line of %d characters is translated in %d parts", len(text), len(cut))
        parts: list[_Part] = []
        start = 0
        for part, ids in cut:
            if ids:
                wanted = [*(() if parts else terms), *(glossary.terms_for(part) if glossary else ())]
                phrases = [ids for ids in map(self._phrase, wanted) if ids]
                source = Source(ids, self._target_ids("" if parts else prefix), phrases)
                parts.append(_Part(part, words_before(text, start), source))
            start += len(part)
        return parts

    def _cut(self, text: str) -> list[tuple[str, list[int]]]:
        texts = split_long(text, lambda part: len(self.tokenizer.encode_src([part])[0]), self.longest_part)
        return list(zip(texts, self.tokenizer.encode_src(texts), strict=True))

    def _phrase(self, term: str) -> list[int]:
        ids = self._target_ids(term)
        if UNK_ID in ids:
            log.warning("the vocabulary cannot write the term %r: it is left out", term)
            return []
        return ids

    def _target_ids(self, text: str) -> list[int]:
        return self.tokenizer.encode_tgt([valid_unicode(text)])[0]

    def _translate(
        self, parts: list[_Part], n_best: int, decode: DecodeConfig, alignments: bool
    ) -> list[list[Translation]]:
        """Search in batches of similar length and return the outputs in the order of `parts`."""
        found: list[list[Translation]] = [[] for _ in parts]
        never = [ids for ids in map(self._target_ids, decode.never_emit) if ids]
        # "." is cut into a word start and the stop: without the word start, too, it is not to be said.
        never += [ids[1:] for ids in never if len(ids) > 1 and self.tokenizer.tgt_pieces(ids[:1]) == ["▁"]]
        lengths = [len(part.source.ids) + 1 for part in parts]
        with self.ready():
            for batch in batches(lengths, decode.batch_tokens, width_of(decode, n_best)):
                sources = [parts[i].source for i in batch]
                rows = search(self.predictor, sources, decode, n_best=n_best, never=never, device=self.device)
                for i, hypotheses in zip(batch, rows, strict=True):
                    found[i] = self._outputs(hypotheses, n_best, decode)
                if alignments:
                    self._align([(parts[i], found[i]) for i in batch])
        return found

    def _outputs(self, hypotheses: list[Hypothesis], n_best: int, decode: DecodeConfig) -> list[Translation]:
        """Write the hypotheses as text; candidates of mbr become the `n_best` that agree most with all."""
        texts = [one_line(text) for text in self.tokenizer.decode([one.tokens for one in hypotheses])]
        outputs = [
            Translation(text, one.score, one.log_prob, one.tokens, one.token_log_probs)
            for text, one in zip(texts, hypotheses, strict=True)
        ]
        if decode.search is not SearchName.mbr:
            return outputs
        utilities = expected_utilities(texts, decode.mbr_utility)
        ranked = [dataclasses.replace(one, score=score) for one, score in zip(outputs, utilities, strict=True)]
        distinct = {one.text: one for one in sorted(ranked, key=lambda one: one.score)}  # of equal texts the last stays
        return sorted(distinct.values(), key=lambda one: -one.score)[:n_best]

    def _align(self, batch: list[tuple[_Part, list[Translation]]]) -> None:
        """Look where the model looks when it is made to say these outputs, and note it in them."""
        rows = [(part, outputs, k) for part, outputs in batch for k in range(len(outputs))]
        targets = [outputs[k].ids for _, outputs, k in rows]
        forced = self.predictor.force([part.source.ids for part, *_ in rows], targets, self.device)
        for (part, outputs, k), looked in zip(rows, forced, strict=True):
            one = outputs[k]
            src_words, tgt_words = self.tokenizer.src_words(part.text), self.tokenizer.tgt_words(one.ids, one.text)
            weights = looked.attn_weights.float().tolist()
            pairs = [(part.words + src, tgt) for src, tgt in hard_alignment(weights, src_words, tgt_words)]
            shape = (len(one.text.split()), len(part.text.split()))
            attention = word_attention(weights, src_words, tgt_words, shape)
            outputs[k] = dataclasses.replace(one, alignment=pairs, attention=attention)

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        """Inside the block the networks are in evaluation mode and compute in this translator's precision."""
        if any(network.training for network in self.predictor.networks):
            self.predictor.forget()
        with contextlib.ExitStack() as stack:
            for network in self.predictor.networks:
                stack.enter_context(runtime.evaluating(network))
            stack.enter_context(torch.inference_mode())
            stack.enter_context(runtime.autocast(self.device, self.dtype))
            yield


def join(parts: list[list[Translation]]) -> list[Translation]:
    """Return the outputs of a line from those of its parts: equal ranks joined by a space."""
    if len(parts) == 1:
        return parts[0]
    return [_join(equal) for equal in zip(*parts, strict=False)] if parts else [Translation("", 0.0, 0.0)]


def _join(parts: Sequence[Translation]) -> Translation:
    pairs: list[tuple[int, int]] | None = None if parts[0].alignment is None else []
    words = 0
    for one in parts:
        if pairs is not None:
            pairs += [(src, words + tgt) for src, tgt in one.alignment or ()]
        words += len(one.text.split())
    return Translation(
        " ".join(one.text for one in parts if one.text),
        sum(one.score for one in parts),
        sum(one.log_prob for one in parts),
        [i for one in parts for i in one.ids],
        [log_prob for one in parts for log_prob in one.token_log_probs],
        pairs,
    )


def override(decode: DecodeConfig, changes: Mapping[str, Any]) -> DecodeConfig:
    """Return `decode` with these values changed.

    Raises:
        ConfigError: a value out of range, or a combination that means nothing; the message names the keys.
        TypeError: unknown key.
    """
    named = {name: _choice(name, getattr(decode, name, None), value) for name, value in changes.items()}
    changed = dataclasses.replace(decode, **named)
    check_decode(changed)
    return changed


def _choice(name: str, current: object, value: Any) -> Any:
    """Return the member of a choice that a string names, anything else as it is."""
    if not isinstance(current, Choice) or not isinstance(value, str):
        return value
    members = type(current).__members__
    if value not in members:
        raise ConfigError(f"decode.{name}={value!r} is unknown: use {', '.join(members)}")
    return members[value]
