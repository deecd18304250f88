"""Parallel text, in memory or on disk, and a corpus: its training, validation and test sets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from seq2seq.config.data import MAIN
from seq2seq.data.files.line_views import LineView

DIGEST_LINES = 1_000
SIDES = ("src", "tgt")
Pair: TypeAlias = tuple[str, str]
T = TypeVar("T")


@dataclass
class ParallelText:
    """Line-aligned sentences of two languages: lists, or `StoredLines` for text that may be larger than memory."""

    src: Sequence[str]
    tgt: Sequence[str]

    def __len__(self) -> int:
        return len(self.src)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return zip(self.src, self.tgt, strict=True)

    def first(self, limit: int | None) -> ParallelText:
        """Return the first `limit` pairs; all pairs if `limit` is None."""
        return self if limit is None else ParallelText(self.src[:limit], self.tgt[:limit])

    def swapped(self) -> ParallelText:
        """Return the text with source and target exchanged."""
        return ParallelText(self.tgt, self.src)

    @classmethod
    def from_pairs(cls, pairs: Sequence[tuple[str, str]]) -> ParallelText:
        """Build a text in memory from (source, target) pairs."""
        return cls([src for src, _ in pairs], [tgt for _, tgt in pairs])


def lines_digest(lines: Sequence[str]) -> str:
    """Return a hash of lines; `StoredLines` of a whole file know theirs."""
    known = getattr(lines, "digest", None)
    if known:
        return str(known)
    digest = hashlib.sha256()
    for start in range(0, len(lines), DIGEST_LINES):
        digest.update(line_bytes(lines[start : start + DIGEST_LINES]))
    return digest.hexdigest()


def text_bytes(lines: Sequence[str]) -> int:
    """Return the number of bytes of lines, each with a line feed; `StoredLines` of a whole file know theirs."""
    known = getattr(lines, "bytes", None)
    if known is not None:
        return int(known)
    return sum(len(line_bytes(lines[start : start + DIGEST_LINES])) for start in range(0, len(lines), DIGEST_LINES))


def line_bytes(lines: Sequence[str]) -> bytes:
    """Return lines as bytes, each with a line feed at its end."""
    return "\n".join([*lines, ""]).encode("utf-8", "surrogatepass")


def corpus_sets(held_out: Mapping[str, T], corpus: str) -> dict[str, T]:
    """Return the sets of one corpus, by their names in it, of those that are named as by `Corpus.held_out_texts`."""
    names = ((name.rpartition("."), value) for name, value in held_out.items())
    return {part: value for (owner, _, part), value in names if owner == ("" if corpus == MAIN else corpus)}


class ChainedLines(LineView):
    """The lines of several texts, one text after the other, without a copy of them."""

    def __init__(self, parts: Sequence[Sequence[str]]) -> None:
        self._parts = parts

    @property
    def bytes(self) -> int:
        """The number that `text_bytes` returns."""
        return sum(map(text_bytes, self._parts))

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def _lines(self, rows: range) -> Iterator[str]:
        before = 0
        for part in self._parts:
            start = rows.start - before
            first = start if start > 0 else start % rows.step
            yield from part[first : max(0, rows.stop - before) : rows.step]
            before += len(part)


@dataclass
class Corpus:
    """Training and validation text and the test sets by name; the tokenizer is trained on `tokenizer_text`.

    `held_out` names the sets ("valid" and names of test sets) that are drawn from the training text or made with it:
    another training text gives other sets.
    """

    train: ParallelText
    valid: ParallelText
    tests: dict[str, ParallelText]
    tokenizer_text: ParallelText | None = None  # default: `train`
    held_out: frozenset[str] = frozenset()
    mix: dict[str, Corpus] = field(default_factory=dict)
    """Further corpora by name; an empty `valid`, and no `tests`, where none is given."""

    def held_out_texts(self) -> dict[str, ParallelText]:
        """Return the sets that `held_out` names, and NAME.SET for those of `mix`."""
        others = {f"{name}.{part}": text for name, own in self.mix.items() for part, text in own.own_held_out().items()}
        return self.own_held_out() | others

    def own_held_out(self) -> dict[str, ParallelText]:
        """Return the sets that `held_out` names, without those of `mix`."""
        sets = {"valid": self.valid, **self.tests}
        return {name: sets[name] for name in sorted(self.held_out)}

    def all_tests(self) -> dict[str, ParallelText]:
        """Return the test sets by name, NAME.SET for those of `mix`."""
        others = {f"{name}.{test}": text for name, own in self.mix.items() for test, text in own.tests.items()}
        return self.tests | others

    def sizes(self) -> dict[str, int]:
        """Return the number of pairs of each set by name, NAME.SET for those of `mix`."""
        own = {"train": self.train, "valid": self.valid, **self.tests}
        sizes = {name: len(text) for name, text in own.items()}
        return sizes | {
            f"{name}.{part}": size for name, other in self.mix.items() for part, size in other.sizes().items()
        }

    def vocabulary_text(self) -> ParallelText:
        """Return the text that the tokenizer is trained on: that of all corpora."""
        text = self.tokenizer_text or self.train
        if not self.mix:
            return text
        texts = [text, *(own.train for own in self.mix.values())]
        return ParallelText(ChainedLines([own.src for own in texts]), ChainedLines([own.tgt for own in texts]))
