"""The result of an analysis: tables and lists of sentences, as plain values."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from seq2seq.storage.metrics_file import map_floats

DECIMALS = 3
"""Digits after the point of the numbers of `Analysis.to_dict`."""

Cell: TypeAlias = str | float | int | None
"""What a table shows: text, a number with decimals, a count, or nothing."""


@dataclass(frozen=True)
class Section:
    """One table.

    Attributes:
        title: of the table.
        note: how to read it, in a sentence or two.
        columns: titles; the first column names the row.
        rows: a cell per column.
    """

    title: str
    note: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Example:
    """One sentence.

    Attributes:
        line: its number, from 1.
        src: source.
        ref: reference.
        outputs: of the systems that the list is about.
        scores: sentence chrF of these outputs, from 0 to 100.
        details: what was found in an output, where there is something to say.
    """

    line: int
    src: str
    ref: str
    outputs: dict[str, str]
    scores: dict[str, float]
    details: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Examples:
    """A list of sentences: its title, a note on how they were chosen, and the sentences."""

    title: str
    note: str
    rows: Sequence[Example]


@dataclass(frozen=True)
class Analysis:
    """What `analyse` found.

    Attributes:
        sections: tables.
        examples: lists of sentences.
        faults: numbers of the lines in which a system has a fault, by fault and system.
    """

    sections: list[Section]
    examples: list[Examples]
    faults: dict[str, dict[str, list[int]]]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON.

        The keys are the attributes: `{"sections": [{"title", "note", "columns", "rows"}], "examples": [{"title",
        "note", "rows": [{"line", "src", "ref", "outputs": {system: text}, "scores": {system: number}, "details":
        {system: text}}]}], "faults": {fault: {system: [line]}}}`.
        """
        plain: dict[str, Any] = map_floats(dataclasses.asdict(self), lambda value: round(value, DECIMALS))
        return plain
