"""An explanation on a page: matrices of words, and what gates and states do from token to token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seq2seq.reporting.charts import Line, legend, lines
from seq2seq.reporting.markup import MAX_CHARACTERS, heading, note, text

MATRICES = {
    "attention": "Attention: the share of each source word in what the decoder reads for the target word.",
    "occlusion": "Occlusion: by how much log p of the target word falls without the source word. Negative: it rises.",
    "saliency": "Saliency: the size of gradient times embedding of each source word.",
    "integrated gradients": "Integrated gradients: the part of each source word in log p of the target word, "
    "compared with a source whose embeddings are zero.",
}
MAX_SIDE = 40
"""Words of a side shown in a matrix."""


def explanation(result: Mapping[str, Any]) -> list[str]:
    """Return the parts of one explanation (`Explanation.to_dict`)."""
    source, target = result["source"]["words"][:MAX_SIDE], result["target"]["words"][:MAX_SIDE]
    parts = [heading(f"Line {result['line']:,}: {result['source']['text'][:MAX_CHARACTERS]}", 3)]
    if result.get("note"):
        parts.append(note(result["note"]))
    cut = [
        f"the first {MAX_SIDE} of the {len(result[side]['words']):,} {side} words"
        for side in ("source", "target")
        if len(result[side]["words"]) > MAX_SIDE
    ]
    if cut:
        parts.append(note(f"The matrices have {' and '.join(cut)}."))
    integrated = result.get("integrated_gradients") or {}
    matrices = {**result, "integrated gradients": integrated.get("attributions")}
    for name, remark in MATRICES.items():
        if matrices.get(name):
            parts += [note(remark), heat(name, source, target, matrices[name])]
    charts = [layer(one) for one in result["layers"]]
    return [*parts, f"<details><summary>Gates and states of every layer</summary>{''.join(charts)}</details>"]


def heat(name: str, source: Sequence[str], target: Sequence[str], weights: Sequence[Sequence[float]]) -> str:
    """Return a matrix, a row per target word, whose cells are the darker the larger their value."""
    shown = [row[: len(source)] for row in weights[: len(target)]]
    highest = max((abs(value) for row in shown for value in row), default=0.0) or 1.0
    head = "".join(f'<th scope="col">{text(word, 30)}</th>' for word in source)
    rows = (
        f'<tr><th scope="row">{text(word, 30)}</th>'
        + "".join(f'<td class="h{min(9, max(0, round(9 * value / highest)))}">{value:.2f}</td>' for value in row)
        + "</tr>"
        for word, row in zip(target, shown, strict=False)
    )
    return (
        f'<div class="wide"><table class="heat"><caption class="faint">{text(name)}</caption>'
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def layer(result: Mapping[str, Any]) -> str:
    """Return what one layer does, by token: the mean activation of its gates, and the norms of its states."""
    gates = [series(name, gate["mean"]) for name, gate in result["gates"].items()]
    norms = {name: result.get(f"{name}_norm") for name in ("hidden", "cell", "gradient")}
    states = [series(name, values) for name, values in norms.items() if values]
    across = f"{result['side']} token"
    charts = [
        legend([line.name for line in drawn]) + lines(f"{result['name']}: {title}", across, drawn)
        for title, drawn in (("mean activation of gates", gates), ("norms", states))
        if any(line.ys for line in drawn)
    ]
    return f'<div class="plots">{"".join(f"<div>{chart}</div>" for chart in charts)}</div>'


def series(name: str, values: Sequence[float]) -> Line:
    """Return values by token, counted from 1."""
    return Line(name, [float(place) for place in range(1, len(values) + 1)], values)
