"""Alignments and confidence of outputs, from one forced decoding of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from seq2seq.data.tokenizer import Tokenizer
from seq2seq.inference.ensemble import ForcedDecoding
from seq2seq.inference.line_parts import LinePart
from seq2seq.inference.output_features import output_features
from seq2seq.inference.translation import Translation, align
from seq2seq.search.batched_search import batches
from seq2seq.storage.calibration import Calibration

MAX_BATCH_TOKENS = 4096
"""Of a forced decoding, whose memory grows with tokens × vocabulary; a search needs sentences × vocabulary."""


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
    for rows in batches(lengths, min(batch_tokens, MAX_BATCH_TOKENS)):
        sources, targets = [pairs[i][0].input.ids for i in rows], [pairs[i][1].ids for i in rows]
        yield from zip(rows, force_decode(sources, targets, distributions=distributions), strict=True)
