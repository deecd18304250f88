"""Attention weights as a heat map, and word links as marks: source words are columns, target words rows."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from seq2seq.errors import DataError
from seq2seq.pictures.figure import fit, new_figure, style
from seq2seq.pictures.fonts import is_right_to_left, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Links = Collection[tuple[int, int]]

MAX_WORDS = 250
"""Of a side: a picture of more is larger than programs show."""
CELL_INCHES, SMALL_CELL_INCHES = 0.42, 0.25
FEW_WORDS, MANY_WORDS = 15, 40  # up to which number cells are large, and from which they are small
MIN_LABEL_WEIGHT = 0.1
LINKED, WRONG, GOLD = "#1f5fa8", "#d1602c", "0.25"  # are told apart without colour by their shapes, too


def attention_figure(
    src_words: Sequence[str],
    tgt_words: Sequence[str],
    weights: Sequence[Sequence[float]],
    *,
    src_name: str = "source",
    tgt_name: str = "translation",
) -> Figure:
    """Draw the attention of each target word (row) to each source word (column); darker cells have larger weights.

    Weights from 0.1 are written as numbers. The columns of a right-to-left source begin on the right.

    Args:
        src_words: labels of the columns.
        tgt_words: labels of the rows.
        weights: a row per target word, in [0, 1].
        src_name: what the columns are.
        tgt_name: what the rows are.

    Raises:
        ConfigError: Matplotlib is not installed.
        DataError: a side has no words, or more than `MAX_WORDS`.
    """
    with style():
        figure, axes, cell = _grid(src_words, tgt_words, src_name, tgt_name)
        axes.pcolormesh(weights, cmap="Blues", vmin=0, vmax=1, edgecolors="0.88", linewidth=0.4)
        for j, row in enumerate(weights):
            for i, weight in enumerate(row):
                if weight >= MIN_LABEL_WEIGHT:
                    colour, text = "white" if weight > 0.6 else "black", f"{weight:.1f}".lstrip("0")
                    size = 7 if cell > 0.3 else 5.5
                    axes.text(i + 0.5, j + 0.5, text, ha="center", va="center", fontsize=size, color=colour)
        fit(figure, axes, cell * len(src_words), cell * len(tgt_words))
    return figure


def alignment_figure(
    src_words: Sequence[str],
    tgt_words: Sequence[str],
    links: Links,
    sure: Links | None = None,
    possible: Links | None = None,
    *,
    src_name: str = "source",
    tgt_name: str = "target",
) -> Figure:
    """Draw word links (source, target) as dots, and those of a gold alignment as squares around them.

    Args:
        src_words: labels of the columns.
        tgt_words: labels of the rows.
        links: of the alignment.
        sure: sure links of a gold alignment; None: no gold alignment.
        possible: its possible links, with or without the sure ones.
        src_name: what the columns are.
        tgt_name: what the rows are.

    Raises:
        ConfigError, DataError: as `attention_figure`; or a link names a word that does not exist.
    """
    gold = {*(sure or ()), *(possible or ())}
    for source, target in {*links, *gold}:
        if not (0 <= source < len(src_words) and 0 <= target < len(tgt_words)):
            raise DataError(f"link {source}-{target}: the pair has {len(src_words)} and {len(tgt_words)} words")
    with style():
        figure, axes, cell = _grid(src_words, tgt_words, src_name, tgt_name)
        axes.pcolormesh([[0.0] * len(src_words)] * len(tgt_words), cmap="Greys", edgecolors="0.88", linewidth=0.4)
        size = (cell * 72) ** 2  # of a marker: the square of its width in points
        compared = sure is not None or possible is not None
        _mark(axes, {*links} - gold if compared else (), "X", 0.3 * size, "not in gold", color=WRONG, linewidth=0)
        linked = {*links} & gold if compared else links
        _mark(axes, linked, "o", 0.25 * size, "linked", color=LINKED, linewidth=0)
        _mark(
            axes, gold - {*(sure or ())}, "s", 0.6 * size, "possible", facecolor="none", edgecolor=GOLD, linestyle=":"
        )
        _mark(axes, sure or (), "s", 0.6 * size, "sure", facecolor="none", edgecolor=GOLD, linewidth=1.3)
        if compared:
            legend: dict[str, Any] = {
                "loc": "upper left",
                "bbox_to_anchor": (0, 0),
                "borderaxespad": 0.8,
                "borderpad": 0,
            }
            columns = 4 if len(src_words) * cell > 4 else 2
            axes.legend(ncols=columns, frameon=False, fontsize=8, markerscale=10 / (cell * 72), **legend)
        fit(figure, axes, cell * len(src_words), cell * len(tgt_words))
    return figure


def _mark(axes: Axes, links: Links, marker: str, size: float, label: str, **colours: Any) -> None:
    columns = [source + 0.5 for source, _ in sorted(links)]
    axes.scatter(columns, [target + 0.5 for _, target in sorted(links)], size, marker=marker, label=label, **colours)


def _grid(
    src_words: Sequence[str], tgt_words: Sequence[str], src_name: str, tgt_name: str
) -> tuple[Figure, Axes, float]:
    """Return a figure with a labelled grid, and the size of its cells in inches."""
    longest = max(len(src_words), len(tgt_words))
    if not src_words or not tgt_words:
        raise DataError("nothing to draw: the source or the translation is empty")
    if longest > MAX_WORDS:
        raise DataError(f"{longest} words or tokens are too many for a picture: draw a sentence of at most {MAX_WORDS}")
    share = min(1.0, max(0.0, (longest - FEW_WORDS) / (MANY_WORDS - FEW_WORDS)))
    cell = CELL_INCHES + share * (SMALL_CELL_INCHES - CELL_INCHES)
    size = 10 - 2 * share
    figure = new_figure()
    axes = figure.subplots()
    axes.set_xlim(0, len(src_words))
    axes.set_ylim(len(tgt_words), 0)
    axes.set_xticks([i + 0.5 for i in range(len(src_words))], [*map(printable, src_words)], fontsize=size)
    axes.set_yticks([i + 0.5 for i in range(len(tgt_words))], [*map(printable, tgt_words)], fontsize=size)
    axes.xaxis.tick_top()
    for label in itertools.chain(axes.get_xticklabels(), axes.get_yticklabels()):
        label.set_parse_math(False)
    axes.xaxis.set_label_position("top")
    axes.set_xlabel(src_name, fontsize=size, color="0.35")
    axes.set_ylabel(tgt_name, fontsize=size, color="0.35")
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_edgecolor("0.75")
    if max(map(len, src_words)) > 2:  # one or two characters fit into a column
        for label in axes.get_xticklabels():
            label.set(rotation=60, ha="left", rotation_mode="anchor")
    if is_right_to_left(" ".join(src_words)):
        axes.invert_xaxis()
    return figure, axes, cell
