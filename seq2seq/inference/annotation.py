"""Alignments, confidence and its features of outputs, from one forced decoding of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.inference.ensemble import ForcedDecoding
from seq2seq.inference.forced_scoring import forced_batch_tokens
from seq2seq.inference.line_parts import LineEncoder, LinePart
from seq2seq.inference.output_features import Features, output_features
from seq2seq.inference.recasing import Recaser
from seq2seq.inference.text import one_line, valid_unicode
from seq2seq.inference.translation import Translation, align
from seq2seq.search.batched_search import batches
from seq2seq.storage.calibration import Calibration


@runtime_checkable  # for the type checks of the tests
class ForceDecode(Protocol):
    """`Translator.force_decode`."""

    def __call__(
        self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], *, distributions: bool = False
    ) -> list[ForcedDecoding]:
        """Return the forced decoding of given outputs."""


@dataclasses.dataclass(frozen=True)
class Annotations:
    """What outputs are annotated with.

    Attributes:
        alignments: alignment and attention.
        calibration: of the confidence; None: no confidence.
    """

    alignments: bool = False
    calibration: Calibration | None = None

    def __bool__(self) -> bool:
        return self.alignments or self.calibration is not None


def annotate(
    force_decode: ForceDecode,
    tokenizer: Tokenizer,
    batch: Sequence[tuple[LinePart, Sequence[Translation]]],
    annotations: Annotations,
    batch_tokens: int,
) -> list[list[Translation]]:
    """Return the outputs of each part with the annotations."""
    pairs = [(part, output) for part, outputs in batch for output in outputs]
    annotated = [output for _, output in pairs]
    confidence = annotations.calibration is not None
    for i, decoded in forced_decodings(force_decode, pairs, batch_tokens, distributions=confidence):
        part, output = pairs[i]
        if annotations.alignments:
            output = align(part, output, decoded.attn_weights.float().tolist(), tokenizer)
        if annotations.calibration is not None:
            found = output_features(part, output.text, output.ids, decoded, tokenizer)
            output = dataclasses.replace(output, confidence=found.confidence(annotations.calibration))
        annotated[i] = output
    rest = iter(annotated)
    return [[next(rest) for _ in outputs] for _, outputs in batch]


def forced_decodings(
    force_decode: ForceDecode,
    pairs: Sequence[tuple[LinePart, Translation]],
    batch_tokens: int,
    *,
    distributions: bool,
) -> Iterator[tuple[int, ForcedDecoding]]:
    """Yield the number of each pair and its forced decoding, in batches of similar length and bounded memory."""
    lengths = [max(len(part.input.ids), len(output.ids)) + 1 for part, output in pairs]
    for rows in batches(lengths, forced_batch_tokens(batch_tokens)):
        sources, targets = [pairs[i][0].input.ids for i in rows], [pairs[i][1].ids for i in rows]
        yield from zip(rows, force_decode(sources, targets, distributions=distributions), strict=True)


class ExistingOutputs:
    """Annotates outputs that were translated before, by this model or elsewhere."""

    def __init__(
        self, force_decode: ForceDecode, tokenizer: Tokenizer, encoder: LineEncoder, recaser: Recaser, batch_tokens: int
    ) -> None:
        """Make one from the parts of a translator; `batch_tokens` is the maximum of a search."""
        self._force_decode, self._tokenizer, self._encoder = force_decode, tokenizer, encoder
        self._recaser, self._batch_tokens = recaser, batch_tokens

    def annotate(
        self, lines: Sequence[str], outputs: Sequence[Translation], annotations: Annotations, tag: list[int]
    ) -> list[Translation]:
        """Return one output of each line, annotated if the line is translated in one part."""
        lines, natural = self.before_recasing(lines, outputs)
        parts = self._whole_lines(lines, tag)
        batch = [(part, [natural[i]]) for i, part in parts.items()]
        rows = annotate(self._force_decode, self._tokenizer, batch, annotations, self._batch_tokens)
        annotated = list(outputs)
        for i, (output,) in zip(parts, rows, strict=True):
            annotated[i] = dataclasses.replace(output, text=outputs[i].text, case=outputs[i].case)
        return annotated

    def features(self, lines: Sequence[str], outputs: Sequence[Translation], tag: list[int]) -> list[Features | None]:
        """Return the features of one output of each line, None if the line is not translated in one part."""
        lines, outputs = self.before_recasing(lines, outputs)
        parts = self._whole_lines(lines, tag)
        places, pairs = list(parts), [(part, outputs[i]) for i, part in parts.items()]
        found: list[Features | None] = [None] * len(lines)
        for i, decoded in forced_decodings(self._force_decode, pairs, self._batch_tokens, distributions=True):
            part, output = pairs[i]
            found[places[i]] = output_features(part, output.text, output.ids, decoded, self._tokenizer)
        return found

    def before_recasing(
        self, lines: Sequence[str], outputs: Sequence[Translation]
    ) -> tuple[Sequence[str], list[Translation]]:
        """Return lines and outputs in the case in which the network read and wrote them."""
        natural, _ = self._recaser.natural_lines(lines, [output.case is None for output in outputs])
        texts = iter(self._tokenizer.decode([output.ids for output in outputs if output.case is not None]))
        return natural, [
            output if output.case is None else dataclasses.replace(output, text=one_line(next(texts)), case=None)
            for output in outputs
        ]

    def _whole_lines(self, lines: Sequence[str], tag: list[int]) -> dict[int, LinePart]:
        """Return the lines that are translated in one part, by number."""
        ids = self._tokenizer.encode_src(["" if line.isspace() else valid_unicode(line) for line in lines])
        whole = [i for i, tokens in enumerate(ids) if 0 < len(tokens) <= self._encoder.max_tokens]
        none = [""] * len(whole)
        parts = self._encoder.encode([lines[i] for i in whole], none, none, None, tags=[tag] * len(whole))
        return {i: row[0] for i, row in zip(whole, parts, strict=True)}
