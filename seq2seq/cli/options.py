"""The search settings as command-line flags, made from their schema, and the models they are for.

Shared by the commands that translate. It imports neither torch nor OmegaConf, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from seq2seq.config.decode import DecodeConfig, NormalizationName, SearchName
from seq2seq.config.field import Choice, check_ranges, value_range
from seq2seq.errors import ConfigError

FIELDS = {field.name: field for field in dataclasses.fields(DecodeConfig)}
# What each search does not look at.
UNUSED = {
    SearchName.beam: ("samples", "temperature", "top_k", "top_p", "seed", "mbr_utility"),
    SearchName.sample: ("beam_size", "coverage_penalty", "samples", "mbr_utility"),
    SearchName.mbr: ("beam_size", "length_normalization", "length_penalty", "coverage_penalty"),
}
_DEFAULTS = DecodeConfig()


def add_search_options(parser: argparse.ArgumentParser) -> None:
    """Add one flag for every field of `DecodeConfig`; those left out are None, the model's own setting."""
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


def search_overrides(args: argparse.Namespace, model: DecodeConfig | None = None) -> dict[str, Any]:
    """Return the settings given on the command line as keys of `DecodeConfig`, to be put over the model's.

    Where the command line chooses the search, what the model stores for another one is put back to its default.

    Args:
        args: the parsed command line.
        model: the model's settings; without them only what the command line alone decides is checked.

    Raises:
        ConfigError: a value out of range, or a flag that would be ignored; names it and the flag that it needs.
    """
    given = {name: getattr(args, name) for name in FIELDS if getattr(args, name) is not None}
    for name, value in given.items():
        default = getattr(_DEFAULTS, name)
        if isinstance(default, Choice):
            given[name] = type(default)[value]
    check_ranges(dataclasses.replace(_DEFAULTS, **given), "decode.")
    search: SearchName | None = given.get("search", model and model.search)
    unused = UNUSED[search] if search else ()
    for name in unused:
        if name in given:
            users = " or ".join(str(other) for other, names in UNUSED.items() if name not in names)
            raise ConfigError(f"{flag_of(name)} needs --search {users}, not {search}")
    normalization = given.get("length_normalization", model and model.length_normalization)
    if normalization is NormalizationName.none and "length_penalty" in given:
        raise ConfigError("--length-penalty has no meaning with --length-normalization none")
    others = {name: getattr(_DEFAULTS, name) for name in unused} if "search" in given else {}
    return others | given


def flag_of(name: str) -> str:
    """Return the flag of a setting, or of anything else that argparse stores under `name`."""
    return f"--{name.replace('_', '-')}"
