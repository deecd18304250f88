"""JSON Lines: one object in each line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from typing import Any

from seq2seq.data.formats.columns import Columns, check_text
from seq2seq.errors import DataError

_scan: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]


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
            of_src, of_tgt = (_getter(column, record) for column in chosen)
        try:
            src, tgt = of_src(record), of_tgt(record)
        except (KeyError, TypeError):
            raise _missing(record, chosen, f"{name}, line {number}") from None
        # Without an escape, a string has no line break, NUL or surrogate.
        if type(src) is not str or type(tgt) is not str or "\\" in line:
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
        raise DataError(f"{where}: not JSON ({error.msg} at character {error.colno})") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON that can be read ({error})") from None


def _getter(column: str, record: dict[str, Any]) -> Callable[[Any], Any]:
    """Return the function that gets a field, by its whole name or by a dotted path, as the first object has it."""
    if column in record or "." not in column:
        return itemgetter(column)
    parts = [itemgetter(part) for part in column.split(".")]

    def get(value: Any) -> Any:
        for part in parts:
            value = part(value)
        return value

    return get


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
