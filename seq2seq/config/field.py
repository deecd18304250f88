"""How a setting is declared: its default, meaning, unit and range in one place, and what is done with all of them."""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
from collections.abc import Iterator
from typing import Any

from seq2seq.errors import ConfigError


def setting(
    default: Any,
    doc: str,
    *,
    unit: str = "",
    at_least: int | float | None = None,
    at_most: int | float | None = None,
    used_by: tuple[Choice, ...] | None = None,
) -> Any:
    """Declare one config field: default (a dataclass nests a group, `list` is an empty list), meaning, unit, range.

    `used_by` are the algorithms that read the field; their names begin its help (None: all of them).
    """
    doc = doc if used_by is None else f"{', '.join(map(str, used_by))}: {doc}"
    metadata = {"doc": doc, "unit": unit, "at_least": at_least, "at_most": at_most, "used_by": used_by}
    if isinstance(default, type):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def check_ranges(group: Any, prefix: str = "") -> None:
    """Raise ConfigError, naming the key, if a number in `group` or a group in it is outside its range or not finite."""
    for key, field in walk(type(group), prefix):
        value = functools.reduce(getattr, key.removeprefix(prefix).split("."), group)
        low, high = field.metadata["at_least"], field.metadata["at_most"]
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{key}={value} is not a finite number")
        if value is not None and ((low is not None and not value >= low) or (high is not None and not value <= high)):
            raise ConfigError(f"{key}={value} is out of range: {value_range(field)}")


def value_range(field: dataclasses.Field[Any]) -> str:
    """Return the closed range of a field as text, empty if it has none."""
    low, high = field.metadata["at_least"], field.metadata["at_most"]
    if low is None and high is None:
        return ""
    return f"{'' if low is None else f'{low:g} ≤ '}{field.name}{'' if high is None else f' ≤ {high:g}'}"


def walk(group: type, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field[Any]]]:
    """Yield every key (`model.hidden_size`) with its field, groups before their members."""
    for field in dataclasses.fields(group):
        key = f"{prefix}{field.name}"
        yield key, field
        if is_group(field):
            yield from walk(field.default_factory, f"{key}.")  # type: ignore[arg-type]


def is_group(field: dataclasses.Field[Any]) -> bool:
    """Whether the field nests a group of settings."""
    return dataclasses.is_dataclass(field.default_factory)


class Choice(enum.Enum):
    """One of a few names, written as such wherever it is printed: in messages, in the folder runs/${data.name}."""

    def __str__(self) -> str:
        return self.name
