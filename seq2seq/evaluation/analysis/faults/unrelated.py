"""Outputs that have nothing to do with the source: fluent sentences that the decoder wrote on its own."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from statistics import median

from seq2seq.evaluation.analysis.texts import Lines, Texts
from seq2seq.evaluation.analysis.words import content_words

MIN_WORDS = {False: 10, True: 20}
"""Words of output and reference, without and with characters as words: shorter ones may differ in all, and be right."""
SHARED_WORDS = {False: 4, True: 8}
"""Words that an output must have to be judged by other evidence."""
UNRELATED, SHARED, DETACHED = 15.0, 25.0, 30.0
"""Sentence chrF below which an output may be unrelated; shared by several sources; hardly dependent on its source."""
MIN_SOURCES = 3
MOST_COMPARED = 200
"""Sources of one output that each of them is compared with: a model that collapsed writes one output for all."""
DEPENDENCE, DEPENDENCE_SHARE = 0.1, 0.35
"""An output depends on its source if it gains more per token (nats), and more than this share of the median output."""
STEM = 4


def hallucinated(
    texts: Texts, text: Lines, scores: Sequence[float], dependence: Sequence[float] | None
) -> dict[int, str]:
    """Find outputs that are unlike the reference, if something else shows that they do not come from the source.

    That is: the model finds the output hardly less probable for another source; or several sources that have nothing in
    common have the same output; or a long output shares not one longer word with reference and source.
    """
    found = dict.fromkeys(_without_overlap(texts, text, scores), "shares no word with the reference")
    found |= _shared(texts, text, scores)
    known = [value for value in dependence or () if not math.isnan(value)]
    threshold = max(DEPENDENCE, DEPENDENCE_SHARE * median(known)) if known else 0.0
    for line, value in enumerate(dependence or ()):
        long_enough = len(text.words[line]) >= SHARED_WORDS[texts.references.lacks_spaces]
        if long_enough and scores[line] < DETACHED and value < threshold:
            found[line] = "nearly as probable for another source"
    return dict(sorted(found.items()))


def _without_overlap(texts: Texts, text: Lines, scores: Sequence[float]) -> list[int]:
    found = []
    for line, output in enumerate(text.words):
        others = texts.references.words[line], texts.sources.words[line]
        shorter = min(len(output), len(others[0]))
        if shorter < MIN_WORDS[texts.references.lacks_spaces] or scores[line] >= UNRELATED:
            continue
        if not _stems(output) & _stems(others[0]) and not _stems(output) & _stems(others[1]):
            found.append(line)
    return found


def _shared(texts: Texts, text: Lines, scores: Sequence[float]) -> dict[int, str]:
    """Find outputs of several sources with no word in common, and say of how many."""
    lines_of: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for line, output in enumerate(text.words):
        if len(output) >= SHARED_WORDS[texts.references.lacks_spaces]:
            lines_of[tuple(output)].append(line)
    found = {}
    for lines in lines_of.values():
        if len(lines) < MIN_SOURCES:
            continue
        stems = {source: _stems(source) for source in (tuple(texts.sources.words[line]) for line in lines)}
        compared = list(stems.values())[:: -(-len(stems) // MOST_COMPARED)]
        at_least = "at least " * (len(compared) < len(stems))
        for line in lines:
            if scores[line] >= SHARED:
                continue
            own = stems[tuple(texts.sources.words[line])]
            different = sum(map(own.isdisjoint, compared))
            if different >= MIN_SOURCES - 1:
                found[line] = f"the output of {at_least}{different + 1} different sources"
    return found


def _stems(line: Sequence[str]) -> set[str]:
    return {word[:STEM] for word in content_words(line)}
