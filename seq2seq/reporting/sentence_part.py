"""A sentence on a page: source, translations and reference, whose words light up by attention."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from seq2seq.data.text.writing import word_spans
from seq2seq.reporting.markup import escaped, text

MAX_WORDS, MAX_CHARACTERS = 200, 3000
"""Shown of a text; the rest is cut."""
LEVELS = (0.3, 0.5, 0.7, 0.9)
"""Confidence below which a word is underlined, by class c0 to c3."""


def sentence(row: Mapping[str, Any], languages: tuple[str, str]) -> str:
    """Return a sentence of `sentences.shown`; the words of the first system show their attention."""
    src, tgt = map(language, languages)
    first, *others = row["outputs"].items()
    data = word_data(row)
    source = words(row["src"], src, [{}] * MAX_WORDS if row["attention"] else [])
    parts = [
        f'<dt>source</dt><dd class="src">{source}</dd>',
        f'<dt>{text(first[0], 60)}</dt><dd class="attends">{words(first[1], tgt, data)}</dd>',
        *(f"<dt>{text(name, 60)}</dt><dd>{words(output, tgt)}</dd>" for name, output in others),
        f"<dt>reference</dt><dd>{words(row['ref'], tgt)}</dd>",
    ]
    measured = [f"chrF {row['scores'][first[0]]:.1f}"]
    if row["sentence_confidence"] is not None:
        measured.append(f"confidence {100 * row['sentence_confidence']:.0f} %")
    readout = '<output class="faint" aria-live="polite">&nbsp;</output>' if data else ""
    return block(f"line {row['line']:,}: {', '.join(measured)}", parts, readout)


def example(row: Mapping[str, Any], languages: tuple[str, str]) -> str:
    """Return a sentence of an analysis."""
    src, tgt = map(language, languages)
    parts = [f"<dt>source</dt><dd>{words(row['src'], src)}</dd>"]
    for system, output in row["outputs"].items():
        said = [f"chrF {row['scores'][system]:.1f}"] if system in row["scores"] else []
        said += [row["details"][system]] if row.get("details", {}).get(system) else []
        remark = f'<br><span class="faint">{text("; ".join(said))}</span>' if said else ""
        parts.append(f"<dt>{text(system, 60)}</dt><dd>{words(output, tgt)}{remark}</dd>")
    parts.append(f"<dt>reference</dt><dd>{words(row['ref'], tgt)}</dd>")
    return block(f"line {row['line']:,}", parts)


def block(title: str, parts: Sequence[str], after: str = "") -> str:
    """Return the frame of a sentence."""
    name = escaped(title)
    content = f'<div class="faint">{name}</div><dl>{"".join(parts)}</dl>{after}'
    return f'<article class="sentence" aria-label="{name}">{content}</article>'


def word_data(row: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the attributes of each word of the first system: its attention and confidence."""
    attention, confidence = row["attention"] or [], row["confidence"] or []
    found = []
    for place in range(max(len(attention), len(confidence))):
        data = {}
        if place < len(attention):
            data["a"] = " ".join(f"{source}:{percent}" for source, percent in attention[place])
        if place < len(confidence):
            data["p"] = f"{confidence[place]:.2f}"
        found.append(data)
    return found


def words(sentence: str, lang: str, data: Sequence[Mapping[str, str]] = ()) -> str:
    """Return a sentence as HTML, isolated; words that have data can be pointed at and focused.

    Args:
        sentence: the text.
        lang: its language as an attribute.
        data: of each word (`word_spans`).
    """
    spans = [(begin, min(end, MAX_CHARACTERS)) for begin, end in word_spans(sentence) if begin < MAX_CHARACTERS]
    end = spans[MAX_WORDS][0] if len(spans) > MAX_WORDS else min(len(sentence), MAX_CHARACTERS)
    cut = "…" if end < len(sentence) else ""
    if not data:
        return f"<bdi{lang}>{text_of(sentence[:end])}{cut}</bdi>"
    parts, done = [], 0
    for place, span in enumerate(spans[:MAX_WORDS]):
        parts.append(text_of(sentence[done : span[0]]))
        parts.append(word(sentence[slice(*span)], data[place] if place < len(data) else {}, focusable=not place))
        done = span[1]
    return f"<bdi{lang}>{''.join(parts)}{text_of(sentence[done:end])}{cut}</bdi>"


def word(content: str, data: Mapping[str, str], focusable: bool) -> str:
    """Return one word; the first of a sentence is reached with Tab, the others with the arrow keys."""
    attributes = "".join(f' data-{name}="{value}"' for name, value in data.items())
    level = next((number for number, limit in enumerate(LEVELS) if float(data.get("p", 1)) < limit), None)
    style = "w" if level is None else f"w c{level}"
    return (
        f'<span class="{style}" role="button" tabindex="{0 if focusable else -1}"{attributes}>{text_of(content)}</span>'
    )


def text_of(content: str) -> str:
    """Return a part of a sentence as HTML."""
    return escaped(content, MAX_CHARACTERS)


def language(code: str) -> str:
    """Return the attribute of a language, for fonts, hyphenation and screen readers."""
    tag = code.replace("_", "-")
    return f' lang="{tag}"' if re.fullmatch(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*", tag) else ""
