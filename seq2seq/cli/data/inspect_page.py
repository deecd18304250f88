"""The page of `inspect --html`: one file without scripts, fonts or images from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seq2seq.reporting import markup
from seq2seq.reporting.charts import bars
from seq2seq.reporting.markup import cell, escaped, heading, note, number, table, text

BARS = 24


def page(result: Mapping[str, Any]) -> str:
    """Return the HTML of a report (`inspection.report`)."""
    sides = result["sides"]
    plots = [bars(f"words of a {name} sentence", _lengths(side["lengths"])) for name, side in sides.items()]
    plots.append(bars("source words per target word", list(result["ratios"].items())))
    parts = [
        f"<h1>{result['pairs']:,} pairs</h1>",
        table(["side", *_KEYS, "scripts"], [_side(name, side) for name, side in sides.items()]),
        f'<div class="plots">{"".join(plots)}</div>',
        "<h2>Findings</h2>",
        table(["finding", "meaning", "pairs"], [_finding(f) for f in result["findings"]]),
        *(_examples(f"{f['name']}: {f['meaning']}", f["examples"]) for f in result["findings"] if f["examples"]),
        *(_leak(leak) for leak in result["leaks"]),
        *_repeated(result["most_repeated"]),
        *(_longest(name, side["longest"]) for name, side in sides.items()),
        *_languages(result["languages"], list(sides)),
        *_missing(result["missing_characters"]),
        *map(note, result["notes"]),
    ]
    return markup.page(f"{result['pairs']:,} pairs", parts)


_KEYS = {
    "words": "words",
    "characters": "characters",
    "mean words": "mean_words",
    "median": "median_words",
    "95 %": "words_of_95_percent",
    "longest": "max_words",
}


def _side(name: str, side: Mapping[str, Any]) -> str:
    scripts = ", ".join(f"{script} {share:.2%}" for script, share in side["scripts"].items())
    return cell(name) + "".join(number(side[key]) for key in _KEYS.values()) + cell(escaped(scripts))


def _finding(finding: Mapping[str, Any]) -> str:
    return cell(escaped(finding["name"])) + cell(escaped(finding["meaning"])) + number(finding["pairs"])


def _examples(title: str, examples: Sequence[Mapping[str, Any]]) -> str:
    rows = (number(e["line"]) + cell(text(e["source"])) + cell(text(e["target"])) for e in examples)
    return heading(title) + table(["line", "source", "target"], rows)


def _leak(leak: Mapping[str, Any]) -> str:
    title = f"{leak['leaked']:,} of {leak['sentences']:,} sentences of {leak['held_out']} occur in the text"
    return _examples(title, leak["examples"])


def _repeated(pairs: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [number(p["times"]) + cell(text(p["source"])) + cell(text(p["target"])) for p in pairs]
    return ["<h2>Most repeated pairs</h2>", table(["times", "source", "target"], rows)] if rows else []


def _longest(name: str, lines: Sequence[Mapping[str, Any]]) -> str:
    rows = (number(line["line"]) + number(line["words"]) + cell(text(line["text"])) for line in lines)
    return f"<h2>Longest {name} sentences</h2>" + table(["line", "words", "text"], rows)


def _languages(languages: Mapping[str, Any], sides: Sequence[str]) -> list[str]:
    pairs = languages["pairs"]
    if not pairs:
        return []
    rows = [
        cell(name) + cell(", ".join(f"{escaped(code)} {n / pairs:.1%}" for code, n in languages[name].items()))
        for name in sides
    ]
    return [f"<h2>Languages of {pairs:,} pairs</h2>", table(["side", "languages"], rows)]


def _missing(characters: Mapping[str, int] | None) -> list[str]:
    rows = [cell(text(char)) + cell(f"U+{ord(char):04X}") + number(n) for char, n in (characters or {}).items()]
    title = "<h2>Characters that the vocabulary lacks</h2>"
    return [title, table(["character", "code", "sentences"], rows)] if rows else []


def _lengths(lengths: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return at most `BARS` bars of equal width; the last one has every longer sentence."""
    total, counted, usual = sum(lengths.values()), 0, 1
    for length, count in lengths.items():
        counted += count
        usual = int(length)
        if counted >= 0.99 * total:
            break
    width = max(1, -(-(usual + 1) // BARS))
    counts = [0] * BARS
    for length, count in lengths.items():
        counts[min(BARS - 1, int(length) // width)] += count
    labels = [str(bar * width) if width == 1 else f"{bar * width}–{bar * width + width - 1}" for bar in range(BARS)]
    labels[-1] = f"{(BARS - 1) * width} and more"
    return list(zip(labels, counts, strict=True))
