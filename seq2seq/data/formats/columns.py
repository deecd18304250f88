"""Which two columns of a file are source and target."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from seq2seq.errors import ConfigError, DataError

SHOWN = 12  # names in a message
LINE_BREAK = re.compile("\r\n?|\n")


@dataclass(frozen=True)
class Columns:
    """The columns that a user asked for.

    Attributes:
        src: name or place (from 1) of the source column; None: it is looked for.
        tgt: of the target column; None if `src` is.
        languages: codes of source and target, names of columns that are looked for, and languages of TMX.
        options: what a message calls the settings of `src` and `tgt`.
    """

    src: str | None = None
    tgt: str | None = None
    languages: tuple[str, str] | None = None
    options: tuple[str, str] = ("--src-column", "--tgt-column")

    def __post_init__(self) -> None:
        if (self.src is None) != (self.tgt is None):
            given, missing = self.options if self.tgt is None else self.options[::-1]
            raise ConfigError(f"{given} is given without {missing}: give both columns, or neither")

    @property
    def given(self) -> tuple[str, str] | None:
        """The columns that the user asked for."""
        return (self.src, self.tgt) if self.src is not None and self.tgt is not None else None

    @property
    def are_places(self) -> bool:
        """True if both columns are given by their place."""
        return self.given is not None and all(map(is_place, self.given))

    def found(self, names: Sequence[str]) -> tuple[str, str] | None:
        """Return the first of the usual pairs of names that `names` contains."""
        codes = [self.languages] if self.languages else []
        usual = [*codes, *((f"translation.{a}", f"translation.{b}") for a, b in codes), ("src", "tgt")]
        for pair in (*usual, ("source", "target")):
            if pair[0] != pair[1] and set(pair) <= set(names):
                return pair
        return None

    def are_named_in(self, names: Sequence[str]) -> bool:
        """Return True if the first line of a file, `names`, is a header with these columns."""
        given = [column for column in self.given or () if not is_place(column)]
        return set(given) <= set(names) if given else self.given is None and self.found(names) is not None

    def choose(self, names: Sequence[str], where: str) -> tuple[str, str]:
        """Return the names of source and target column.

        Args:
            names: of all columns.
            where: the file in messages.

        Raises:
            DataError: a column is missing, or columns are not given and none has a usual name.
        """
        if self.given:
            src, tgt = (self._named(column, names, where) for column in self.given)
            return src, tgt
        found = self.found(names)
        if found is None:
            raise DataError(f"{where}: {_listed(names)}: choose with {self.options[0]} and {self.options[1]}")
        return found

    def _named(self, column: str, names: Sequence[str], where: str) -> str:
        if names.count(column) > 1:
            raise DataError(f"{where}: {names.count(column)} columns are named {column!r}: give the column's place")
        if column in names:
            return column
        if is_place(column) and 1 <= int(column) <= len(names):
            return names[int(column) - 1]
        near = difflib.get_close_matches(column, names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise DataError(f"{where}: no column {column!r}; {_listed(names)}{hint}")


def is_place(column: str) -> bool:
    """Return True for the place of a column, a number from 1."""
    return column.isascii() and column.isdecimal() and len(column) < 6 and int(column) > 0


def one_line(text: str) -> str:
    """Return `text` with a space for each line break: a sentence is one line."""
    return LINE_BREAK.sub(" ", text) if "\n" in text or "\r" in text else text


def check_text(text: object, where: str, column: str) -> str:
    """Return `text` as one line.

    Raises:
        DataError: it is no string, or has a character that no text file has.
    """
    if not isinstance(text, str):
        kind = "null" if text is None else f"{type(text).__name__}, not a string"
        raise DataError(f"{where}: {column} is {kind}")
    if "\0" in text:
        raise DataError(f"{where}: {column} has a NUL character")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise DataError(f"{where}: {column} has half of a surrogate pair, which is no character") from None
    return one_line(text)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"its columns are {', '.join(names[:SHOWN])}{more}" if names else "it has no columns"
