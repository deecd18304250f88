"""Tables of words in YAML: every entry is checked against the function that makes its word."""

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
"""Makes a word and its name of the keys of an entry, which are its keyword arguments."""


def read_tables(file: Path, makers: Mapping[str, Maker]) -> dict[str, dict[str, Any]]:
    """Read the tables of a file, one for each of `makers`; return name of the table -> name of the word -> word.

    Raises:
        DataError: file, table or entry cannot be used. The message names the entry by table and number.
    """
    try:
        tables = yaml.load(file.read_text(encoding="utf-8"), LOADER)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"{file}: cannot be read: {error}") from error
    if not isinstance(tables, dict) or set(tables) != set(makers):
        raise DataError(f"{file}: must hold exactly the tables {', '.join(makers)}")
    return {name: _words(f"{file}: {name}", tables[name], maker) for name, maker in makers.items()}


def _words(where: str, entries: Any, maker: Maker) -> dict[str, Any]:
    if not isinstance(entries, list):
        raise DataError(f"{where}: must be a list of entries, not {entries!r}")
    wanted, parameters = _types(maker), inspect.signature(maker).parameters
    required = {key for key, parameter in parameters.items() if parameter.default is parameter.empty}
    words: dict[str, Any] = {}
    for number, entry in enumerate(entries, 1):
        here = f"{where}[{number}]"
        if not isinstance(entry, dict):
            raise DataError(f"{here}: must be a mapping, not {entry!r}")
        if missing := required - entry.keys():
            raise DataError(f"{here}: {entry} lacks {', '.join(sorted(missing))}")
        if unknown := entry.keys() - parameters.keys():
            raise DataError(f"{here}: unknown key {', '.join(map(str, unknown))}; known: {', '.join(parameters)}")
        name, word = maker(**{key: _value(f"{here}.{key}", value, wanted[key]) for key, value in entry.items()})
        if name in words:
            raise DataError(f"{here}: there is another {name!r}; add a key")
        words[name] = word
    return words


def _types(maker: Maker) -> dict[str, Any]:
    """Return argument -> type; `T | None`, which only says that a key may be missing, counts as T."""
    optional = (typing.Union, types.UnionType)
    hints = typing.get_type_hints(maker).items()
    return {name: typing.get_args(hint)[0] if typing.get_origin(hint) in optional else hint for name, hint in hints}


def _value(where: str, value: Any, wanted: Any) -> Any:
    """Return the value if it has the type of the argument: str, int, bool, list[str] or Literal."""
    if typing.get_origin(wanted) is typing.Literal:
        fits, meant = value in typing.get_args(wanted), "one of " + ", ".join(typing.get_args(wanted))
    elif typing.get_origin(wanted) is list:
        fits, meant = isinstance(value, list) and all(isinstance(item, str) for item in value), "a list of strings"
    else:
        # Not isinstance: true is an int, too, and `on` without quotes is true.
        fits, meant = type(value) is wanted, f"of type {wanted.__name__}"
    if not fits:
        raise DataError(f"{where}: must be {meant}, not {value!r}")
    return value
