"""Command-line flags of the search settings, made from the schema of `DecodeConfig`.

Shared by the commands that translate. Imports neither torch nor OmegaConf, so that `--help` is quick.
"""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from seq2seq.config.decode import DecodeConfig, SearchName, check_overrides
from seq2seq.config.field import Choice, value_range

FIELDS = {field.name: field for field in dataclasses.fields(DecodeConfig)}
_DEFAULTS = DecodeConfig()


def add_search_options(parser: argparse.ArgumentParser) -> None:
    """Add one flag for every field of `DecodeConfig`; a flag that is not given is None, the model's own setting."""
    group = parser.add_argument_group("search (default: the settings stored in the model)")
    for name, field in FIELDS.items():
        default = getattr(_DEFAULTS, name)
        metavar = {int: "N", float: "X"}.get(type(default), "TEXT")
        span = value_range(field).replace(name, metavar)
        notes = "; ".join(filter(None, (field.metadata["unit"], span, "repeatable" * isinstance(default, list))))
        text = f"{field.metadata['doc']} [{notes}]" if notes else field.metadata["doc"]
        options: dict[str, Any] = {"help": text.replace("%", "%%")}
        if isinstance(default, Choice):
            options |= {"choices": tuple(type(default).__members__)}
        elif isinstance(default, list):
            options |= {"action": "append", "metavar": metavar}
        else:
            options |= {"type": type(default), "metavar": metavar}
        group.add_argument(flag_of(name), **options)


def search_overrides(args: argparse.Namespace, stored: DecodeConfig | None = None) -> dict[str, Any]:
    """Return the search settings of the command line, as options of `Translator.translate`.

    Args:
        args: the parsed command line.
        stored: the model's settings; None: not loaded yet, so only the command line itself is checked.

    Raises:
        ConfigError: a value out of range, or a flag that the search ignores; names it and the flag that it needs.
    """
    given = {name: getattr(args, name) for name in FIELDS if getattr(args, name) is not None}
    for name, value in given.items():
        default = getattr(_DEFAULTS, name)
        if isinstance(default, Choice):
            given[name] = type(default)[value]
    check_overrides(given, stored, flag_of)
    return given


def n_best_options(args: argparse.Namespace, stored: DecodeConfig, n_best: int) -> dict[str, Any]:
    """Return `search_overrides` and `n_best`; a beam that the command line does not set is at least that wide.

    Raises:
        ConfigError: as `search_overrides`.
    """
    options = search_overrides(args, stored)
    if options.get("search", stored.search) is SearchName.beam:
        options.setdefault("beam_size", max(stored.beam_size, n_best))
    return options | {"n_best": n_best}


def flag_of(name: str, value: str = "") -> str:
    """Write a field, or a field and its value, as a command-line flag."""
    flag = f"--{name.replace('_', '-')}"
    return f"{flag} {value}" if value else flag
