"""How a config field is declared, and what the declarations give: keys, range checks, effects of a change."""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
from typing import Any

from seq2seq.errors import ConfigError

MAX_COUNT = 10**9
"""Upper bound of what is counted: updates, epochs, pairs. A larger value is a typo."""
MAX_MINUTES = 10**7
"""Upper bound of a time, about 19 years."""
NAME = "NAME"
"""Stands in keys for a name that the user chooses."""


class Effect(enum.Enum):
    """Effect of changing a field between two parts of a run.

    It decides what may change on resume and which sweep points may be extended.
    """

    result = "changes results; may change on resume"
    fixed = "changes what the weights or the kept models mean; cannot change on resume"
    limit = "ends the run earlier or later; may change on resume, and a sweep point may be extended by it"
    process = "changes speed, memory or logging, not results"


class Choice(enum.Enum):
    """One of a few names; prints as its name (in messages, in the folder runs/${data.name})."""

    def __str__(self) -> str:
        return self.name


def field(
    default: Any,
    doc: str,
    *,
    unit: str = "",
    at_least: int | float | None = None,
    at_most: int | float | None = None,
    effect: Effect | None = None,
    used_by: tuple[Choice, ...] | None = None,
    word: str | None = None,
    entries: type | None = None,
) -> Any:
    """Declare one config field.

    Args:
        default: the value; a dataclass nests a group of fields, `list` is an empty list, `dict` an empty dictionary.
        doc: meaning, printed by `--help`.
        unit: printed by `--help`; "path" marks a path, which is stored absolute.
        at_least: smallest value allowed; a number has both bounds, between which the process survives.
        at_most: largest value allowed.
        effect: of changing the value; None: that of the enclosing group, `Effect.result` at the top.
        used_by: algorithms that read the field, whose names start its help; None: all.
        word: what can be given in place of a number, such as "auto".
        entries: dataclass of the values of a dictionary, whose keys are names that the user chooses.
    """
    doc = doc if used_by is None else f"{', '.join(map(str, used_by))}: {doc}"
    metadata = {
        "doc": doc,
        "unit": unit,
        "at_least": at_least,
        "at_most": at_most,
        "effect": effect,
        "used_by": used_by,
        "word": word,
        "entries": entries,
    }
    if isinstance(default, type):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@functools.cache
def walk(group: type, *, entries: bool = False) -> tuple[tuple[str, dataclasses.Field[Any]], ...]:
    """Return every key (`model.hidden_size`) with its field, groups before their members.

    With `entries`, the keys of a dictionary's values follow it (`data.mix.NAME.weight`).
    """
    keys: list[tuple[str, dataclasses.Field[Any]]] = []
    for field in dataclasses.fields(group):
        keys.append((field.name, field))
        inside, prefix = (field.metadata["entries"] if entries else None), f"{field.name}.{NAME}"
        if is_group(field):
            inside, prefix = field.default_factory, field.name
        if inside:
            keys += [(f"{prefix}.{key}", member) for key, member in walk(inside, entries=entries)]
    return tuple(keys)


def schema_key(key: str, group: type) -> str:
    """Return `key` with NAME in place of the user's names: data.mix.web.weight is declared as data.mix.NAME.weight."""
    for known, field in walk(group):
        if field.metadata["entries"] and key.startswith(f"{known}."):
            _, dot, rest = key.removeprefix(f"{known}.").partition(".")
            return f"{known}.{NAME}{dot}{rest}"
    return key


def is_group(field: dataclasses.Field[Any]) -> bool:
    """Return True if the field nests a group of fields."""
    return dataclasses.is_dataclass(field.default_factory)


def effects(group: type, *, entries: bool = False) -> dict[str, Effect]:
    """Return the effect of every key in `group`, as `walk` orders them; a field without one inherits its group's."""
    declared: dict[str, Effect] = {}
    for key, field in walk(group, entries=entries):
        above = key.rpartition(".")[0].removesuffix(f".{NAME}")
        declared[key] = field.metadata["effect"] or declared.get(above, Effect.result)
    return {key: declared[key] for key, field in walk(group, entries=entries) if not is_group(field)}


def check_ranges(group: Any, prefix: str = "") -> None:
    """Check every number in `group` and its nested groups.

    Raises:
        ConfigError: a number is outside its range or not finite; names the key.
    """
    for inner_key, field in walk(type(group)):  # type: ignore[arg-type]  # mypy: type[Any] is not hashable
        key, value = f"{prefix}{inner_key}", functools.reduce(getattr, inner_key.split("."), group)
        low, high, word = (field.metadata[limit] for limit in ("at_least", "at_most", "word"))
        if field.metadata["entries"]:
            for name, entry in value.items():
                check_ranges(entry, f"{key}.{name}.")
            continue
        if word is not None and isinstance(value, str):
            if value == word:
                continue
            raise ConfigError(f"{key}={value} is neither a number nor {word}: {value_range(field)}")
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
