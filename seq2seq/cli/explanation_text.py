"""An explanation as text to be read at a glance: a row per target word, a row per recurrent layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len

from seq2seq.data.text.visible import visible

if TYPE_CHECKING:
    from seq2seq.inference.explanation import Explanation, Matrix
    from seq2seq.inference.layer_activity import Layer

MOST = 3  # source words shown of a row
WORD_CHARACTERS = 24
LEAST = 0.1  # nats, or share of the row, below which a source word is not shown
BARS = "▁▂▃▄▅▆▇█"
LEVELS_PER_DECADE = 2
LEGEND = (
    "removed: by how much log p of the word falls without the source word (below 0: it rises). saliency, attention: "
    f"shares. Values below {LEAST} are not shown.\n"
)
LAYER_LEGEND = (
    "gates: mean (share below 0.1, share above 0.9) over units and tokens. gradient: norm of d log p(last word) / "
    "d hidden state, token by token; each step of the bars is a factor of 3.\n"
)


def as_text(explanation: Explanation, line: int | None = None) -> str:
    """Return the explanation, of a line of the input, as text; nothing in it is obeyed by a terminal."""
    total = math.fsum(explanation.token_log_probs)
    head = [] if line is None else [["line", str(line)]]
    head += [
        ["source", visible(explanation.source.text, 2000)],
        ["given" if explanation.forced else "translation", visible(explanation.target.text, 2000)],
        ["log p", f"{total:.2f}, {total / len(explanation.token_log_probs):.2f} per token"],
    ]
    if explanation.note:
        head.append(["note", explanation.note])
    words = aligned(_words(explanation)) + LEGEND + _integral(explanation)
    return "\n".join([aligned(head), words, aligned(_layers(explanation)) + LAYER_LEGEND])


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as lines with columns of equal width, on a terminal that gives wide characters two cells."""
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _words(explanation: Explanation) -> list[list[str]]:
    columns: dict[str, Matrix] = {"removed": explanation.occlusion, "saliency": _shares(explanation.saliency)}
    if explanation.attention is not None:
        columns["attention"] = explanation.attention
    if explanation.integrated_gradients is not None:
        columns["integrated gradients"] = explanation.integrated_gradients.attributions
    names = [visible(word, WORD_CHARACTERS) for word in explanation.source.words]
    rows = [["word", "p", *columns]]
    for i, (word, log_prob) in enumerate(zip(explanation.target.words, explanation.word_log_probs, strict=True)):
        cells = [_most(names, matrix[i]) for matrix in columns.values()]
        rows.append([visible(word, WORD_CHARACTERS), f"{math.exp(log_prob):.2f}", *cells])
    return rows


def _integral(explanation: Explanation) -> str:
    """Return how exact the integrated gradients are; empty if there are none."""
    integrated = explanation.integrated_gradients
    if integrated is None:
        return ""
    error = max(map(abs, integrated.errors()))
    return f"integrated gradients: the sum of a row is wrong by at most {error:.2g} ({integrated.steps} points).\n"


def _most(names: Sequence[str], row: Sequence[float]) -> str:
    """Return the source words with the largest absolute values, and these values."""
    order = sorted(range(len(row)), key=lambda i: -abs(row[i]))[:MOST]
    return ", ".join(f"{names[i]} {row[i]:.2f}" for i in order if abs(row[i]) >= LEAST) or "-"


def _shares(matrix: Matrix) -> Matrix:
    sums = [math.fsum(row) for row in matrix]
    return [[value / total if total else 0.0 for value in row] for row, total in zip(matrix, sums, strict=True)]


def _layers(explanation: Explanation) -> list[list[str]]:
    first = explanation.layers[0]
    memory = ["memory cell"] if first.cell_norm is not None else []
    rows = [[f"{explanation.cell} layer", *first.gates, *memory, "hidden state", "gradient"]]
    return rows + [_layer(layer) for layer in explanation.layers]


def _layer(layer: Layer) -> list[str]:
    gates = [
        f"{_mean(gate.mean):.2f} ({_mean(gate.closed):.0%}, {_mean(gate.open):.0%})" for gate in layer.gates.values()
    ]
    norms = [layer.hidden_norm] if layer.cell_norm is None else [layer.cell_norm, layer.hidden_norm]
    return [layer.name, *gates, *(f"norm {_mean(norm):.1f}" for norm in norms), bars(layer.gradient_norm)]


def bars(values: Sequence[float]) -> str:
    """Return a bar per value on a logarithmic scale, from the highest for the largest value to a 3000th and less."""
    largest = max(values)

    def level(value: float) -> int:
        below = math.log10(largest / value) * LEVELS_PER_DECADE if value > 0 else math.inf
        return max(0, len(BARS) - 1 - round(min(below, len(BARS))))

    return "".join(BARS[level(value)] for value in values)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
