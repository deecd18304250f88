"""What must reach the output as it is: numbers, addresses, tags and placeholders; and letters of the right script."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

from seq2seq.data.filters.agreement import addresses
from seq2seq.data.text.scripts import BEYOND_LATIN, letter_counts
from seq2seq.evaluation.analysis.texts import Lines, Texts

_GROUPED = re.compile(r"(?<![\d.,])\d{1,3}(?:([ \u00a0\u202f.,'’])\d{3})(?:\1\d{3})*(?!\d)")
_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")
_PLACEHOLDER = re.compile(
    r"</?[A-Za-z][\w.:-]*(?:\s[^<>]*)?/?>"  # <b>, <a href="…">
    r"|\{\{?[\w.:!-]*\}?\}|\$\{\w+\}|\[\[\w+\]\]"  # {name}, {0}, {{x}}, ${x}
    r"|%(?:\d+\$|\(\w+\))?[-+#0]*\d*(?:\.\d+)?[sdifgxuc@](?![\w'’])"  # %s, %1$d, %(name)s
    r"|&(?:[a-z]{2,8}|#\d{1,6});"  # &amp;
    r"|__\w{1,40}?__|(?<!\w)@@\w{1,40}@@"
)
MIN_SCRIPT_LETTERS = 2
USUAL = 0.005
"""Share of the letters of all references from which a script belongs to the target language."""
MAIN = 0.1


def numbers(texts: Texts, text: Lines) -> dict[int, str]:
    """Find numbers that source and reference share and the output lacks, and numbers that only the output has.

    A side without digits agrees with everything: its numbers may be words. A digit may have become a word, too.
    """
    found = {}
    for line, (src, ref, out) in enumerate(_may_contain(texts, text, _NUMBER.search)):
        source, reference, output = map(_numbers, (src, ref, out))
        lost = (source & reference) - output
        new = output - (source | reference) if source or reference else Counter()
        if not new:
            lost = Counter({number: count for number, count in lost.items() if len(number) > 1})
        if lost or (new and (source - output)):
            found[line] = _described(lost, new)
    return found


def urls(texts: Texts, text: Lines) -> dict[int, str]:
    """Find web and e-mail addresses that source and reference share and the output lacks or changed."""
    return _changed(texts, text, lambda line: Counter(addresses(line)))


def placeholders(texts: Texts, text: Lines) -> dict[int, str]:
    """Find tags and placeholders (<b>, {name}, %s) that source and reference share and the output lacks or changed."""
    return _changed(texts, text, lambda line: Counter(match[0] for match in _PLACEHOLDER.finditer(line)))


def wrong_script(texts: Texts, text: Lines) -> dict[int, str]:
    """Find letters of a script that the references hardly use.

    Letters that the source has are no fault, unless they are of the script of the source language.
    """
    usual = _scripts(texts.references, USUAL)
    translated = _scripts(texts.sources, MAIN)
    found = {}
    for line, output in enumerate(text.lines):
        if "LATIN" in usual and (output.isascii() or max(output) < BEYOND_LATIN):
            continue
        counts = letter_counts(output)
        source = letter_counts(texts.sources.lines[line])
        allowed = usual | set(letter_counts(texts.references.lines[line])) | (set(source) - translated)
        other = {script: count for script, count in counts.items() if script not in allowed}
        if sum(other.values()) >= MIN_SCRIPT_LETTERS:
            found[line] = ", ".join(script.title() for script in sorted(other))
    return found


def _scripts(text: Lines, share: float) -> set[str]:
    letters: Counter[str] = Counter()
    for line in text.lines:
        letters.update(letter_counts(line))
    return {script for script, count in letters.items() if count >= share * letters.total()}


def _changed(texts: Texts, text: Lines, parts: Callable[[str], Counter[str]]) -> dict[int, str]:
    found = {}
    for line, triple in enumerate(zip(texts.sources.lines, texts.references.lines, text.lines, strict=True)):
        source, reference, output = map(parts, triple)
        lost, new = (source & reference) - output, output - (source | reference)
        if lost or new:
            found[line] = _described(lost, new)
    return found


def _may_contain(texts: Texts, text: Lines, search: Callable[[str], object]) -> Sequence[tuple[str, str, str]]:
    triples = zip(texts.sources.lines, texts.references.lines, text.lines, strict=True)
    return [triple if any(map(search, triple)) else ("", "", "") for triple in triples]


def _numbers(line: str) -> Counter[str]:
    """Return the numbers of a line as Western digits, without the marks between them (1,000 and 1 000 are equal)."""
    line = _GROUPED.sub(lambda match: re.sub(r"\D", "", match[0]), line)
    found = (re.sub(r"\D", "", match[0]) for match in _NUMBER.finditer(line))
    return Counter("".join(str(unicodedata.decimal(digit)) for digit in number).lstrip("0") or "0" for number in found)


def _described(lost: Counter[str], new: Counter[str]) -> str:
    parts = (("lost", lost), ("new", new))
    return "; ".join(f"{what}: {', '.join(sorted(values.elements()))}" for what, values in parts if values)
