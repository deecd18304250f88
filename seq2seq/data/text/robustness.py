"""Test sets as careless users would write them, made from the clean ones without chance: the same on every machine."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence

from seq2seq.config.data import RobustnessName
from seq2seq.data.text.edits import title_case, typos, without_final

TestSet = Sequence[Sequence[str]]
"""Source lines and one list of references or more."""


def with_variants(tests: Mapping[str, TestSet], names: Iterable[RobustnessName]) -> dict[str, TestSet]:
    """Return every test set, followed by its variants, such as `test.upper`."""
    sets: dict[str, TestSet] = {}
    for test, lines in tests.items():
        sets[test] = lines
        for name in names:
            sets[f"{test}.{name}"] = _VARIANTS[name](lines)
    return sets


def clean_name(name: str) -> str | None:
    """Return the name of the clean set of a variant; None if `name` is a clean set."""
    base, _, variant = name.rpartition(".")
    return base if base and variant in RobustnessName.__members__ else None


def ignores_case(name: str) -> bool:
    """Return True for a variant that is scored ignoring case: nobody minds if capitals are translated to capitals."""
    return clean_name(name) is not None and name.endswith((".upper", ".title"))


def _upper(lines: TestSet) -> TestSet:
    return [[line.upper() for line in side] for side in lines]


def _title(lines: TestSet) -> TestSet:
    return [[title_case(line) for line in side] for side in lines]


def _nopunct(lines: TestSet) -> TestSet:
    """Remove the final punctuation of the sources, and of the references of those that had it."""
    src, *references = lines
    new = [without_final(line) for line in src]
    return [new, *([b if s == n else without_final(b) for s, n, b in zip(src, new, side, strict=True)]
                   for side in references)]  # fmt: skip


def _typos(lines: TestSet) -> TestSet:
    src, *references = lines
    return [[typos(line, random.Random(i)) for i, line in enumerate(src)], *references]


_VARIANTS: dict[RobustnessName, Callable[[TestSet], TestSet]] = {
    RobustnessName.upper: _upper,
    RobustnessName.title: _title,
    RobustnessName.nopunct: _nopunct,
    RobustnessName.typos: _typos,
}
