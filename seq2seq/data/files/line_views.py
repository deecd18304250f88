"""Lines that are read or made when they are used, so that a text of any size takes no memory."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Iterator, Sequence
from typing import overload


class LineView(Sequence[str], abc.ABC):
    """A sequence of lines, of which a slice is a list."""

    @abc.abstractmethod
    def _lines(self, rows: range) -> Iterable[str]:
        """Return the lines with these ascending numbers."""

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        """Return one line or a list."""
        every = range(len(self))
        if isinstance(index, int):
            row = every[index]
            return next(iter(self._lines(range(row, row + 1))))
        rows = every[index]
        return list(self._lines(rows)) if rows.step > 0 else list(self._lines(rows[::-1]))[::-1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines(range(len(self))))
