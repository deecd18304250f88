"""The page of `inspect --html`: one file without scripts, fonts or images from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from seq2seq.data.visible import visible

STYLE = """
:root { color-scheme: light dark; --text: #1b1f24; --faint: #5b6470; --line: #d5dae0; --back: #fff; --bar: #3f6fb5; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e4e7eb; --faint: #9aa4b0; --line: #3a414a; --back: #16191d; --bar: #7fa8e0; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1rem; font: 1rem/1.5 system-ui, sans-serif;
  color: var(--text); background: var(--back); }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 18rem), 1fr)); gap: 1rem; }
figure { margin: 0; } figcaption, .faint { color: var(--faint); font-size: .9rem; }
svg { width: 100%; height: auto; } svg rect { fill: var(--bar); } svg text { fill: var(--faint); font-size: 11px; }
td { overflow-wrap: anywhere; }
"""
BARS = 24
WIDTH, HEIGHT, FOOT = 360, 150, 18


def page(result: Mapping[str, Any]) -> str:
    """Return the HTML of a report (`inspection.report`)."""
    sides = result["sides"]
    plots = [_plot(f"words of a {name} sentence", _lengths(side["lengths"])) for name, side in sides.items()]
    plots.append(_plot("source words per target word", list(result["ratios"].items())))
    parts = [
        f"<h1>{result['pairs']:,} pairs</h1>",
        _table(["side", *_KEYS, "scripts"], [_side(name, side) for name, side in sides.items()]),
        f'<div class="plots">{"".join(plots)}</div>',
        "<h2>Findings</h2>",
        _table(["finding", "meaning", "pairs"], [_finding(f) for f in result["findings"]]),
        *(_examples(f"{f['name']}: {f['meaning']}", f["examples"]) for f in result["findings"] if f["examples"]),
        *(_leak(leak) for leak in result["leaks"]),
        *_repeated(result["most_repeated"]),
        *(_longest(name, side["longest"]) for name, side in sides.items()),
        *_languages(result["languages"], list(sides)),
        *_missing(result["missing_characters"]),
        *(f'<p class="faint">{html.escape(note)}</p>' for note in result["notes"]),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{result['pairs']:,} pairs</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


_KEYS = {
    "words": "words",
    "characters": "characters",
    "mean words": "mean_words",
    "median": "median_words",
    "95 %": "words_of_95_percent",
    "longest": "max_words",
}


def text(sentence: str) -> str:
    """Return a sentence as HTML: escaped, and isolated, so that its direction changes nothing around it."""
    return f"<bdi>{html.escape(visible(sentence, 300))}</bdi>"


def _number(value: int | float) -> str:
    return f'<td class="number">{value:,}</td>'


def _cell(content: str) -> str:
    return f"<td>{content}</td>"


def _table(head: Iterable[str], rows: Iterable[str]) -> str:
    titles = "".join(f"<th>{html.escape(title)}</th>" for title in head)
    return f'<div class="wide"><table><tr>{titles}</tr>{"".join(f"<tr>{row}</tr>" for row in rows)}</table></div>'


def _side(name: str, side: Mapping[str, Any]) -> str:
    scripts = ", ".join(f"{script} {share:.2%}" for script, share in side["scripts"].items())
    return _cell(name) + "".join(_number(side[key]) for key in _KEYS.values()) + _cell(html.escape(scripts))


def _finding(finding: Mapping[str, Any]) -> str:
    return _cell(html.escape(finding["name"])) + _cell(html.escape(finding["meaning"])) + _number(finding["pairs"])


def _examples(title: str, examples: Sequence[Mapping[str, Any]]) -> str:
    rows = (_number(e["line"]) + _cell(text(e["source"])) + _cell(text(e["target"])) for e in examples)
    return f"<h2>{html.escape(visible(title))}</h2>" + _table(["line", "source", "target"], rows)


def _leak(leak: Mapping[str, Any]) -> str:
    title = f"{leak['leaked']:,} of {leak['sentences']:,} sentences of {leak['held_out']} occur in the text"
    return _examples(title, leak["examples"])


def _repeated(pairs: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [_number(p["times"]) + _cell(text(p["source"])) + _cell(text(p["target"])) for p in pairs]
    return ["<h2>Most repeated pairs</h2>", _table(["times", "source", "target"], rows)] if rows else []


def _longest(name: str, lines: Sequence[Mapping[str, Any]]) -> str:
    rows = (_number(line["line"]) + _number(line["words"]) + _cell(text(line["text"])) for line in lines)
    return f"<h2>Longest {name} sentences</h2>" + _table(["line", "words", "text"], rows)


def _languages(languages: Mapping[str, Any], sides: Sequence[str]) -> list[str]:
    pairs = languages["pairs"]
    if not pairs:
        return []
    rows = [
        _cell(name) + _cell(", ".join(f"{html.escape(code)} {n / pairs:.1%}" for code, n in languages[name].items()))
        for name in sides
    ]
    return [f"<h2>Languages of {pairs:,} pairs</h2>", _table(["side", "languages"], rows)]


def _missing(characters: Mapping[str, int] | None) -> list[str]:
    rows = [_cell(text(char)) + _cell(f"U+{ord(char):04X}") + _number(n) for char, n in (characters or {}).items()]
    title = "<h2>Characters that the vocabulary lacks</h2>"
    return [title, _table(["character", "code", "sentences"], rows)] if rows else []


def _lengths(lengths: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return at most `BARS` bars of equal width; the last one has every longer sentence."""
    total, counted, usual = sum(lengths.values()), 0, 1
    for length, count in lengths.items():
        counted += count
        usual = int(length)
        if counted >= 0.99 * total:
            break
    width = max(1, -(-(usual + 1) // BARS))
    bars = [0] * BARS
    for length, count in lengths.items():
        bars[min(BARS - 1, int(length) // width)] += count
    labels = [str(bar * width) if width == 1 else f"{bar * width}–{bar * width + width - 1}" for bar in range(BARS)]
    labels[-1] = f"{(BARS - 1) * width} and more"
    return list(zip(labels, bars, strict=True))


def _plot(title: str, bars: Sequence[tuple[str, int]]) -> str:
    """Return a bar chart; each bar names its range and number when it is pointed at."""
    highest, step = max((count for _, count in bars), default=1) or 1, WIDTH / max(1, len(bars))
    drawn = []
    for place, (label, count) in enumerate(bars):
        size = (HEIGHT - FOOT) * count / highest
        shape = f'x="{place * step:.1f}" y="{HEIGHT - FOOT - size:.1f}" width="{0.9 * step:.1f}" height="{size:.1f}"'
        drawn.append(f"<rect {shape}><title>{html.escape(label)}: {count:,}</title></rect>")
    ends = ""
    if bars:
        ends = f'<text x="0" y="{HEIGHT - 4}">{html.escape(bars[0][0])}</text>'
        ends += f'<text x="{WIDTH}" y="{HEIGHT - 4}" text-anchor="end">{html.escape(bars[-1][0])}</text>'
    name = html.escape(title)
    picture = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}">{"".join(drawn)}{ends}</svg>'
    return f"<figure>{picture}<figcaption>{name}</figcaption></figure>"
