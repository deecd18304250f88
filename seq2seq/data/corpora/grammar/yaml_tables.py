"""Read tables of words from YAML; every entry is checked against the function that builds its word."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from seq2seq.errors import DataError

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C loader takes an eighth of the time

Maker = Callable[..., tuple[str, Any]]
"""Returns (name, word) of one entry, whose keys are its keyword arguments."""


def read_tables(file: Path, makers: Mapping[str, Maker]) -> dict[str, dict[str, Any]]:
    """Read the tables of a file, one for each of `makers`; return table name -> word name -> word.

    Raises:
        DataError: the file cannot be read, or a table or entry is invalid. The message names the entry by its table
            and number.
    """
    try:
        tables = yaml.load(file.read_text(encoding="utf-8"), LOADER)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"{file}: cannot be read: {error}") from error
    if not isinstance(tables, dict) or set(tables) != set(makers):
        raise DataError(f"{file}: must contain exactly the tables {', '.join(makers)}")
    return {name: _words(f"{file}: {name}", tables[name], maker) for name, maker in makers.items()}


def _words(table: str, entries: Any, maker: Maker) -> dict[str, Any]:
    if not isinstance(entries, list):
        raise DataError(f"{table}: must be a list of entries, not {entries!r}")
    types_of, parameters = _argument_types(maker), inspect.signature(maker).parameters
    required = {key for key, parameter in parameters.items() if parameter.default is parameter.empty}
    words: dict[str, Any] = {}
    for number, entry in enumerate(entries, 1):
        place = f"{table}[{number}]"
        if not isinstance(entry, dict):
            raise DataError(f"{place}: must be a mapping, not {entry!r}")
        if missing := required - entry.keys():
            raise DataError(f"{place}: {entry} lacks {', '.join(sorted(missing))}")
        if unknown := entry.keys() - parameters.keys():
            raise DataError(f"{place}: unknown key {', '.join(map(str, unknown))}; known: {', '.join(parameters)}")
        name, word = maker(**{key: _checked(f"{place}.{key}", value, types_of[key]) for key, value in entry.items()})
        if name in words:
            raise DataError(f"{place}: there is another {name!r}; add a key")
        words[name] = word
    return words


def _argument_types(maker: Maker) -> dict[str, Any]:
    """Return argument -> type; T for `T | None`, whose None is only the default of a missing key."""
    optional = (typing.Union, types.UnionType)
    hints = typing.get_type_hints(maker).items()
    return {name: typing.get_args(hint)[0] if typing.get_origin(hint) in optional else hint for name, hint in hints}


def _checked(place: str, value: Any, expected: Any) -> Any:
    """Return `value` if it has the expected type: str, int, bool, list[str] or Literal."""
    if typing.get_origin(expected) is typing.Literal:
        valid, expectation = value in typing.get_args(expected), "one of " + ", ".join(typing.get_args(expected))
    elif typing.get_origin(expected) is list:
        valid = isinstance(value, list) and all(isinstance(item, str) for item in value)
        expectation = "a list of strings"
    else:
        # Not isinstance: bool is a subclass of int, and YAML reads an unquoted `on` as true.
        valid, expectation = type(value) is expected, f"of type {expected.__name__}"
    if not valid:
        raise DataError(f"{place}: must be {expectation}, not {value!r}")
    return value
