"""Filters one after the other, and what each of them did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as plain_field

from seq2seq.data.corpus import Pair
from seq2seq.data.filters.base import Filter


@dataclass(frozen=True)
class Example:
    """A pair that a filter dropped or changed, as it was before."""

    line: int
    src: str
    tgt: str


@dataclass
class Tally:
    """What a filter did: pairs that it dropped and changed, and the first of them as examples."""

    removed: int = 0
    changed: int = 0
    examples: list[Example] = plain_field(default_factory=list)


class Pipeline:
    """Applies filters to pairs, one pair at a time; each sees what the ones before it return.

    Attributes:
        filters: by the spec that names them in reports.
        tallies: of each filter.
        total: pairs so far; the sum of `kept` and of all that were removed.
        kept: pairs that no filter dropped.
    """

    def __init__(self, filters: Mapping[str, Filter], examples: int = 0) -> None:
        """Keep at most `examples` examples of each filter."""
        self.filters = dict(filters)
        self.tallies = {name: Tally() for name in filters}
        self.total = self.kept = 0
        self._examples = examples

    def judge(self, pair: Pair) -> tuple[Pair, str | None]:
        """Return the pair as the filters leave it, and which of them drops it (None: it is kept)."""
        self.total += 1
        for name, apply in self.filters.items():
            result = apply(pair)
            if result is None:
                self._record(name, pair, removed=True)
                return pair, name
            if result is not pair and result != pair:
                self._record(name, pair, removed=False)
                pair = result
        self.kept += 1
        return pair, None

    def keep_all(self, src: Sequence[str], tgt: Sequence[str]) -> bool:
        """Count the pairs as kept if a quick look shows that no filter drops or changes any; False: judge each.

        The sentences have no white space around them.
        """
        texts = "\n".join(src), "\n".join(tgt)
        if not all(apply.keeps_all(*texts) for apply in self.filters.values()):
            return False
        self.total += len(src)
        self.kept += len(src)
        return True

    def finding(self, name: str) -> str:
        """Return what is wrong with the pairs that a filter drops or changes."""
        return self.filters[name].finding

    def _record(self, name: str, pair: Pair, removed: bool) -> None:
        tally = self.tallies[name]
        tally.removed += removed
        tally.changed += not removed
        if len(tally.examples) < self._examples:
            tally.examples.append(Example(self.total, *pair))
