"""What a validation shows besides its figures: a few translations, and where the network looked for one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

CELL_PIXELS = 12


@dataclass(frozen=True)
class Sample:
    """One sentence of the validation set and what the network makes of it."""

    source: str
    translation: str
    reference: str


@dataclass(frozen=True)
class AttentionMap:
    """Attention of each target piece (row) to each source piece (column), with what stands at the edges."""

    source: list[str]
    target: list[str]
    weights: list[list[float]]

    def image(self) -> UInt8[np.ndarray, "1 height width"]:
        """Return a grey picture of one channel, a square for each weight: the darker, the more."""
        weights = np.nan_to_num(np.array(self.weights)).clip(0, 1)
        grey: UInt8[np.ndarray, "rows columns"] = np.rint(255 * (1 - weights)).astype(np.uint8)
        return grey.repeat(CELL_PIXELS, axis=0).repeat(CELL_PIXELS, axis=1)[None]

    def edges(self) -> str:
        """Return what the columns and rows of the picture stand for, as Markdown."""
        return _verbatim([("columns", " ".join(self.source)), ("rows", " ".join(self.target))])


def as_text(samples: Sequence[Sample]) -> str:
    """Return the samples as Markdown."""
    blocks = [
        _verbatim([("source", one.source), ("translation", one.translation), ("reference", one.reference)])
        for one in samples
    ]
    return "\n    \n".join(blocks)


def _verbatim(rows: Sequence[tuple[str, str]]) -> str:
    """Return labelled lines as Markdown that shows them as they are, whatever signs are in them."""
    return "\n".join(f"    {label:<12} {line}" for label, line in rows)
