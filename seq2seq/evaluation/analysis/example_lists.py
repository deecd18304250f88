"""Lists of sentences: with faults, the best, the worst, and those in which two systems differ most."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from seq2seq.evaluation.analysis.faults.registry import MEANINGS
from seq2seq.evaluation.analysis.structure import Example, Examples
from seq2seq.evaluation.analysis.texts import Texts

MIN_WORDS = 4
"""Shorter references are no examples if there are enough longer ones: their score says little."""


def fault_examples(
    texts: Texts, faults: Mapping[str, Mapping[str, Mapping[int, str]]], limit: int
) -> Iterator[Examples]:
    """Yield a list for each fault that was found, of at most `limit` sentences per system."""
    for name, by_system in faults.items():
        lines = {line for found in by_system.values() for line in [*found][:limit]}
        rows = []
        for line in sorted(lines):
            details = {system: found[line] for system, found in by_system.items() if line in found}
            rows.append(_example(texts, line, details, details))
        if rows:
            counts = ", ".join(f"{system} {len(found):,}" for system, found in by_system.items())
            yield Examples(f"Fault: {name}", f"{MEANINGS[name].capitalize()}. Lines: {counts}.", rows)


def extremes(texts: Texts, limit: int) -> Iterator[Examples]:
    """Yield the best and the worst sentences, and for each other system those in which it differs most from the first."""
    names = list(texts.systems)
    means = [fmean(values) for values in zip(*texts.scores.values(), strict=True)]
    of = "" if len(names) == 1 else ", mean of the systems"
    worst = sorted(_judged(texts), key=lambda line: (means[line], line))[:limit]
    best = sorted(_judged(texts), key=lambda line: (-round(means[line], 6), -texts.references.sizes[line]))[:limit]
    yield Examples("Worst sentences", f"By sentence chrF{of}.", [_example(texts, line, names) for line in worst])
    yield Examples(
        "Best sentences", f"By sentence chrF{of}; the longest first.", [_example(texts, line, names) for line in best]
    )
    first = names[0]
    for other in names[1:]:
        lead = [a - b for a, b in zip(texts.scores[first], texts.scores[other], strict=True)]
        for better, worse, sign in ((first, other, -1), (other, first, 1)):
            lines = sorted(
                (line for line in _judged(texts) if sign * lead[line] < 0), key=lambda line: sign * lead[line]
            )
            rows = [_example(texts, line, [better, worse]) for line in lines[:limit]]
            if rows:
                note = f"{len(lines):,} sentences have a higher chrF; those with the largest difference."
                yield Examples(f"{better} better than {worse}", note, rows)


def _judged(texts: Texts) -> list[int]:
    lines = [i for i, pair in enumerate(zip(texts.sources.sizes, texts.references.sizes, strict=True)) if all(pair)]
    longer = [line for line in lines if len(texts.references.words[line]) >= MIN_WORDS]
    return longer if 2 * len(longer) >= len(lines) else lines


def _example(
    texts: Texts, line: int, systems: Sequence[str] | Mapping[str, str], details: Mapping[str, str] | None = None
) -> Example:
    return Example(
        line + 1,
        texts.sources.lines[line],
        texts.references.lines[line],
        {name: texts.systems[name].lines[line] for name in systems},
        {name: texts.scores[name][line] for name in systems},
        {name: detail for name, detail in (details or {}).items() if detail},
    )
