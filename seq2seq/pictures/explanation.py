"""What moved each word of a translation, as heat maps side by side: source words are columns, target words rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from seq2seq.errors import DataError
from seq2seq.pictures.attention import MAX_WORDS
from seq2seq.pictures.figure import new_figure, style
from seq2seq.pictures.fonts import is_right_to_left, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELL_INCHES, LABEL_INCHES = 0.34, 0.09  # a cell; a character of a label
MAX_LABEL = 24
SIGNED, SHARES = "RdBu", "Blues"

Matrix = Sequence[Sequence[float]]


def explanation_figure(explanation: Mapping[str, Any]) -> Figure:
    """Draw occlusion, saliency, attention and integrated gradients, as far as an explanation has them.

    Occlusion and integrated gradients are in nats: blue supports the target word, red speaks against it. Saliency is
    drawn as shares of the row, attention as it is, in [0, 1]. The columns of a right-to-left source begin on the right.

    Args:
        explanation: `inference.explanation.Explanation.to_dict()`.

    Raises:
        ConfigError: Matplotlib is not installed.
        DataError: a side has no words, or more than `MAX_WORDS`.
        ValueError: a matrix has another shape.
    """
    src, tgt = ([_label(word) for word in explanation[side]["words"]] for side in ("source", "target"))
    if not src or not tgt or max(len(src), len(tgt)) > MAX_WORDS:
        raise DataError(f"a picture needs 1 to {MAX_WORDS} words on each side, not {len(src)} and {len(tgt)}")
    panels = _panels(explanation)
    if any([len(row) for row in matrix] != [len(src)] * len(tgt) for _, matrix, _ in panels):
        raise ValueError(f"not every matrix has {len(tgt)} rows of {len(src)} values")
    size = (
        CELL_INCHES * len(src) * len(panels) + LABEL_INCHES * max(map(len, tgt)) + 0.6,
        CELL_INCHES * len(tgt) + LABEL_INCHES * max(map(len, src)) + 0.6,
    )
    with style():
        figure = new_figure(*size, layout="constrained")
        for axes, (title, matrix, colours) in zip(
            figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels, strict=True
        ):
            _draw(axes, matrix, colours)
            axes.set_xticks([i + 0.5 for i in range(len(src))], src, rotation=90, fontsize=9, parse_math=False)
            axes.set_yticks([i + 0.5 for i in range(len(tgt))], tgt, fontsize=9, parse_math=False)
            axes.set_xlabel(title, fontsize=9)
            axes.xaxis.tick_top()
            axes.tick_params(length=0)
            if is_right_to_left(" ".join(src)):
                axes.invert_xaxis()
        axes.set_ylim(len(tgt), 0)
    return figure


def _panels(explanation: Mapping[str, Any]) -> list[tuple[str, Matrix, str]]:
    """Return title, values and colours of each matrix."""
    saliency = [[value / (math.fsum(row) or 1.0) for value in row] for row in explanation["saliency"]]
    panels: list[tuple[str, Matrix, str]] = [("removed", _floats(explanation["occlusion"]), SIGNED)]
    panels.append(("saliency", saliency, SHARES))
    if explanation.get("attention") is not None:
        panels.append(("attention", _floats(explanation["attention"]), SHARES))
    if explanation.get("integrated_gradients") is not None:
        attributions = explanation["integrated_gradients"]["attributions"]
        panels.append(("integrated gradients", _floats(attributions), SIGNED))
    return panels


def _floats(matrix: Any) -> Matrix:
    """Return a matrix that was read from a file; what cannot be a number is a TypeError or ValueError."""
    return [[float(value) for value in row] for row in matrix]


def _draw(axes: Axes, matrix: Matrix, colours: str) -> None:
    largest = max((abs(value) for row in matrix for value in row), default=0.0) or 1.0
    low, high = (-largest, largest) if colours == SIGNED else (0, 1)
    axes.pcolormesh(matrix, cmap=colours, vmin=low, vmax=high, edgecolors="0.88", linewidth=0.4)
    axes.set_aspect("equal")


def _label(word: str) -> str:
    text = printable(word)
    return text if len(text) <= MAX_LABEL else f"{text[:MAX_LABEL]}…"
