"""JSON Lines: one object in each line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from operator import getitem, itemgetter
from typing import Any

from seq2seq.data.formats.columns import Columns, check_text
from seq2seq.errors import DataError

_scan: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]


ESCAPE = re.compile(r"\\(?:[nr]|u00(?:00|0[aAdD])|u[dD][89a-fA-F])")
"""What stands in JSON for a line break, a NUL or half of a surrogate pair, which a string has in no other way."""


def json_pairs(lines: Iterable[str], name: str, columns: Columns) -> Iterator[tuple[str, str]]:
    """Yield two fields of each object; a dotted path names a field of an object inside. Blank lines are skipped.

    Raises:
        DataError: a line is no JSON object, or lacks a field, or a field is no string.
    """
    chosen: tuple[str, str] | None = None
    for number, line in enumerate(lines, start=1):
        try:
            record, end = _scan(line, 0)
            if end != len(line):
                record = json.loads(line)
        except (ValueError, StopIteration, RecursionError):
            record = _parsed(line, f"{name}, line {number}")
            if record is None:
                continue
        if type(record) is not dict:
            raise DataError(f"{name}, line {number}: a JSON {type(record).__name__}; expected one object per line")
        if chosen is None:
            chosen = columns.choose(_paths(record), f"{name}, line {number}")
            get = _getter(chosen, record)
        try:
            src, tgt = get(record)
        except (KeyError, TypeError):
            raise _missing(record, chosen, f"{name}, line {number}") from None
        if type(src) is not str or type(tgt) is not str or ("\\" in line and ESCAPE.search(line)):
            where = f"{name}, line {number}"
            src, tgt = check_text(src, where, chosen[0]), check_text(tgt, where, chosen[1])
        yield src, tgt


def is_json_object(line: str) -> bool:
    """Return True for a line of JSON Lines."""
    try:
        return line.lstrip().startswith("{") and isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _parsed(line: str, where: str) -> Any:
    """Return the value of a line; None if it is blank.

    Raises:
        DataError: it is no JSON.
    """
    if not line.strip():
        return None
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where}: not JSON ({error.msg} at character {error.colno}); expected one object per line"
        ) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON that can be read ({error})") from None


def _getter(columns: tuple[str, str], record: dict[str, Any]) -> Callable[[dict[str, Any]], tuple[Any, Any]]:
    """Return the function that gets two fields, by whole name or dotted path, as the first object has them."""
    if all(column in record for column in columns):
        return itemgetter(*columns)
    src, tgt = ([column] if column in record else column.split(".") for column in columns)
    return lambda value: (reduce(getitem, src, value), reduce(getitem, tgt, value))


def _paths(record: dict[str, Any], prefix: str = "", depth: int = 16) -> list[str]:
    """Return the dotted paths of all fields that are no objects."""
    paths = []
    for name, value in record.items():
        inside = _paths(value, f"{prefix}{name}.", depth - 1) if isinstance(value, dict) and depth else []
        paths += inside or [f"{prefix}{name}"]
    return paths


def _missing(record: dict[str, Any], chosen: tuple[str, str], where: str) -> DataError:
    names = _paths(record)
    try:
        Columns(*chosen).choose(names, where)
    except DataError as error:
        return error
    return DataError(f"{where}: {chosen[0]} or {chosen[1]} is not where the first object has it")
