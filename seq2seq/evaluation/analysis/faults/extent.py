"""Outputs that are empty, cut off or too long."""

from __future__ import annotations

from seq2seq.data.filters.agreement import ends_like_a_sentence
from seq2seq.data.text.writing import count_words
from seq2seq.evaluation.analysis.texts import Lines, Texts

SHORT, CUT_OFF, LONG = 0.45, 0.75, 2.0
"""Sizes in shares of the expected one, by the reference and by the source; `CUT_OFF` for an output without its end."""
MIN_WORDS = 4  # by which the output differs from the reference


def empty(texts: Texts, text: Lines) -> dict[int, str]:
    """Find blank outputs for sources and references that are not blank."""
    triples = zip(texts.sources.lines, texts.references.lines, text.lines, strict=True)
    return {i: "" for i, (src, ref, out) in enumerate(triples) if not out.strip() and src.strip() and ref.strip()}


def truncated(texts: Texts, text: Lines) -> dict[int, str]:
    """Find outputs that are much too short, or that are short and lack the end of a sentence."""
    found = {}
    for line, (output, reference) in enumerate(zip(text.lines, texts.references.lines, strict=True)):
        share = max(_shares(texts, text, line), default=1.0)
        if share >= CUT_OFF or not output.strip():
            continue
        ended = ends_like_a_sentence(output) or not ends_like_a_sentence(reference)
        missing = count_words(reference) - count_words(output)
        if missing >= MIN_WORDS and (share < SHORT or not ended):
            found[line] = f"{count_words(output)} words, {count_words(reference)} in the reference"
    return found


def too_long(texts: Texts, text: Lines) -> dict[int, str]:
    """Find outputs that are much longer than the reference and the source lead to expect."""
    found = {}
    for line, (output, reference) in enumerate(zip(text.lines, texts.references.lines, strict=True)):
        share = min(_shares(texts, text, line), default=0.0)
        if share > LONG and count_words(output) - count_words(reference) >= MIN_WORDS:
            found[line] = f"{count_words(output)} words, {count_words(reference)} in the reference"
    return found


def _shares(texts: Texts, text: Lines, line: int) -> list[float]:
    """Return the size of an output as a share of what the reference, and the source, lead to expect."""
    expected = texts.references.sizes[line], texts.growth * texts.sources.sizes[line]
    return [text.sizes[line] / size for size in expected if size]
