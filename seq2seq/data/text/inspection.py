"""Statistics and findings of parallel text, collected in one pass; memory is bounded apart from 8-byte digests."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as plain_field
from typing import Any

from seq2seq.data.corpus import Pair
from seq2seq.data.filters.base import Filter
from seq2seq.data.filters.language import identified
from seq2seq.data.filters.pipeline import Example
from seq2seq.data.filters.vocabulary import Unwritable
from seq2seq.data.text.digests import DigestSet
from seq2seq.data.text.scripts import BEYOND_LATIN, letter_counts
from seq2seq.data.text.writing import count_words

SIDES = ("source", "target")
LONGEST = 3
MOST_REPEATED = 5
MAX_COUNTED = 200_000
"""Repeated pairs whose occurrences are counted at a time; the rarer half is forgotten when there are more."""


@dataclass
class Finding:
    """Pairs, or sentences of one side, that something is wrong with.

    Attributes:
        name: of the filter that drops or repairs them, where there is one.
        meaning: what is wrong.
        pairs: how many.
        examples: the first of them.
    """

    name: str
    meaning: str
    pairs: int = 0
    examples: list[Example] = plain_field(default_factory=list)

    def add(self, number: int, pair: Pair, limit: int) -> None:
        """Count a pair; it is the example if there are less than `limit`."""
        self.pairs += 1
        if len(self.examples) < limit:
            self.examples.append(Example(number, *pair))


class Side:
    """Statistics of the sentences of one side."""

    def __init__(self) -> None:
        self.words = self.characters = 0
        self.lengths: Counter[int] = Counter()
        self.letters: Counter[str] = Counter()
        self.longest: list[tuple[int, int, str]] = []

    def add(self, number: int, line: str) -> int:
        """Count a sentence and return its number of words."""
        words = count_words(line)
        self.words += words
        self.characters += len(line)
        self.lengths[words] += 1
        if line.isascii() or (line and max(line) < BEYOND_LATIN):
            self.letters["LATIN"] += len(line) - line.count(" ")  # punctuation included: exact is several times slower
        else:
            self.letters.update(letter_counts(line))
        if len(self.longest) < LONGEST or words > self.longest[-1][0]:
            self.longest = sorted([*self.longest, (words, number, line)], key=lambda entry: (-entry[0], entry[1]))
            del self.longest[LONGEST:]
        return words

    def quantile(self, share: float) -> int:
        """Return the length in words that a share of the sentences does not exceed."""
        rank = share * self.lengths.total()
        for length, count in sorted(self.lengths.items()):
            rank -= count
            if rank <= 0:
                return length
        return 0


class Inspection:
    """What one pass over the pairs found."""

    def __init__(
        self,
        filters: Mapping[str, Filter],
        examples: int = 3,
        sample: int | None = 0,
        lang_id: Filter | None = None,
    ) -> None:
        """Start.

        Args:
            filters: by name; a pair that one of them would drop or change is a finding.
            examples: of each finding.
            sample: pairs whose languages are identified; 0: none, None: all.
            lang_id: also applied to the pairs of the sample; None: the expected languages are not known.
        """
        self.pairs = 0
        self.sides = (Side(), Side())
        self.ratios: Counter[int] = Counter()
        self.findings = {name: Finding(name, check.finding) for name, check in filters.items()}
        self._lang_id = lang_id
        if lang_id is not None:
            self.findings["lang_id"] = Finding("lang_id", lang_id.finding)
        duplicates = {"deduplicate": "a pair that occurred before"}
        duplicates |= {f"deduplicate:by={key}": f"a {side} sentence that occurred before" for key, side in _BY.items()}
        self.duplicates = {name: Finding(name, meaning) for name, meaning in duplicates.items()}
        self.repeated: Counter[Pair] = Counter()
        self.sample: list[tuple[int, Pair]] = []
        self.languages: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
        self._filters, self._examples, self._sample_size = filters, examples, sample
        self._seen = (DigestSet(), DigestSet(), DigestSet())
        self._random = random.Random(0)

    def add(self, pair: Pair) -> None:
        """Look at one pair."""
        self.pairs += 1
        src, tgt = (side.add(self.pairs, line) for side, line in zip(self.sides, pair, strict=True))
        if src and tgt:
            step = round(RATIO_STEPS * math.log2(src / tgt))
            self.ratios[max(-MAX_RATIO_STEP, min(MAX_RATIO_STEP, step))] += 1
        for name, check in self._filters.items():
            result = check(pair)
            if result is not pair and result != pair:
                self.findings[name].add(self.pairs, pair, self._examples)
        self._add_duplicates(pair)
        if self._sample_size is None:
            self._identify(self.pairs, pair)
        elif self._sample_size:
            self._draw(pair)

    def finish(self) -> None:
        """Identify the languages of the sample."""
        for number, pair in sorted(self.sample):
            self._identify(number, pair)

    @property
    def identified(self) -> int:
        """Number of pairs whose languages were identified."""
        return self.languages[0].total()

    def _add_duplicates(self, pair: Pair) -> None:
        texts = ("\n".join(pair), *pair)
        for text, seen, finding in zip(texts, self._seen, self.duplicates.values(), strict=True):
            if text and not seen.add(text):
                finding.add(self.pairs, pair, self._examples)
                if finding.name == "deduplicate":
                    self.repeated[pair] += 1
                    if len(self.repeated) > MAX_COUNTED:
                        self.repeated = Counter(dict(self.repeated.most_common(MAX_COUNTED // 2)))

    def _draw(self, pair: Pair) -> None:
        """Keep the pair with the probability that makes the sample uniform (reservoir sampling, Vitter 1985)."""
        assert self._sample_size is not None
        if len(self.sample) < self._sample_size:
            self.sample.append((self.pairs, pair))
        elif (place := self._random.randrange(self.pairs)) < self._sample_size:
            self.sample[place] = (self.pairs, pair)

    def _identify(self, number: int, pair: Pair) -> None:
        for line, counts in zip(pair, self.languages, strict=True):
            counts[identified(line)] += 1
        if self._lang_id is not None and self._lang_id(pair) is None:
            self.findings["lang_id"].add(number, pair, self._examples)


_BY = {"src": "source", "tgt": "target"}
RATIO_STEPS = 4
"""Bars of the histogram of length ratios between a ratio and its double."""
MAX_RATIO_STEP = 13
"""Larger ratios, about 1 to 10, are counted with it."""


@dataclass
class Leak:
    """Held-out sentences that occur in the training text, ignoring case.

    Attributes:
        name: of the held-out set.
        sentences: how many different ones it has.
        found: those that occur, by side of the training text.
        examples: the first training pairs that have one.
    """

    name: str
    sentences: int
    found: tuple[set[str], set[str]] = plain_field(default_factory=lambda: (set(), set()))
    examples: list[Example] = plain_field(default_factory=list)

    @property
    def leaked(self) -> int:
        """Number of held-out sentences that occur on either side."""
        return len(self.found[0] | self.found[1])


class LeakCheck:
    """Compares training pairs with held-out sentences."""

    def __init__(self, held_out: Mapping[str, Iterable[str]], examples: int) -> None:
        sets = {name: {line.strip().lower() for line in lines} - {""} for name, lines in held_out.items()}
        self.leaks = {name: Leak(name, len(lines)) for name, lines in sets.items()}
        self._sets, self._examples = sets, examples

    def add(self, number: int, pair: Pair) -> None:
        """Look at one training pair."""
        if not self._sets:
            return
        lowered = [line.strip().lower() for line in pair]
        for name, sentences in self._sets.items():
            leak = self.leaks[name]
            hits = [line in sentences for line in lowered]
            if any(hits):
                for hit, found, line in zip(hits, leak.found, lowered, strict=True):
                    if hit:
                        found.add(line)
                if len(leak.examples) < self._examples:
                    leak.examples.append(Example(number, *pair))


def report(
    inspection: Inspection, leaks: Mapping[str, Leak], unwritable: Unwritable | None, notes: Sequence[str]
) -> dict[str, Any]:
    """Return everything as plain values, as `--json` prints it."""
    findings = [*inspection.findings.values(), *inspection.duplicates.values()]
    return {
        "pairs": inspection.pairs,
        "sides": {name: _side(side, inspection.pairs) for name, side in zip(SIDES, inspection.sides, strict=True)},
        "ratios": _ratios(inspection.ratios),
        "findings": [
            {"name": f.name, "meaning": f.meaning, "pairs": f.pairs, "examples": _examples(f.examples)}
            for f in findings
        ],
        "most_repeated": [
            {"times": count + 1, "source": src, "target": tgt}
            for (src, tgt), count in inspection.repeated.most_common(MOST_REPEATED)
        ],
        "leaks": [
            {
                "held_out": leak.name,
                "sentences": leak.sentences,
                "leaked": leak.leaked,
                "in_source": len(leak.found[0]),
                "in_target": len(leak.found[1]),
                "examples": _examples(leak.examples),
            }
            for leak in leaks.values()
        ],
        "languages": {
            "pairs": inspection.identified,
            **{name: dict(found.most_common(5)) for name, found in zip(SIDES, inspection.languages, strict=True)},
        },
        "missing_characters": dict(unwritable.characters.most_common(20)) if unwritable else None,
        "notes": list(notes),
    }


def _side(side: Side, pairs: int) -> dict[str, Any]:
    letters = side.letters.total()
    return {
        "words": side.words,
        "characters": side.characters,
        "mean_words": round(side.words / max(1, pairs), 2),
        "median_words": side.quantile(0.5),
        "words_of_95_percent": side.quantile(0.95),
        "max_words": max(side.lengths, default=0),
        "scripts": {name: round(count / letters, 6) for name, count in side.letters.most_common(6)},
        "lengths": {str(length): count for length, count in sorted(side.lengths.items())},
        "longest": [{"line": number, "words": words, "text": text} for words, number, text in side.longest],
    }


def _ratios(counts: Mapping[int, int]) -> dict[str, int]:
    """Return the histogram of source words per target word, on a logarithmic scale without gaps."""
    steps = range(min(counts), max(counts) + 1) if counts else ()
    return {f"{2 ** (step / RATIO_STEPS):.2f}": counts.get(step, 0) for step in steps}


def _examples(examples: Sequence[Example]) -> list[dict[str, Any]]:
    return [{"line": example.line, "source": example.src, "target": example.tgt} for example in examples]
