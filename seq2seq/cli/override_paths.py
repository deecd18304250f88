"""Paths among the overrides of a command line: `KEY=~/folder` and `KEY=` before Hydra reads them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from seq2seq.config.literal import quoted, quoted_tags
from seq2seq.config.loading import is_path
from seq2seq.config.paths import user_path
from seq2seq.errors import ConfigError

RUN_KEYS = ("training.resume", "hydra.run.dir", "hydra.sweep.dir")
"""Keys of folders that are needed before the config is composed."""
HOME_IN_LIST = re.compile(r"(?<=[\[,])~[^,\]\s'\"]*")


def full_paths(arguments: Iterable[str]) -> list[str]:
    """Return the arguments with `~` expanded in the values of path keys, and with tags such as <BT> quoted.

    Raises:
        ConfigError: a path is empty or impossible; names the key.
    """
    return [_full_path(argument) for argument in quoted_tags(arguments)]


def _full_path(argument: str) -> str:
    key, equals, _ = argument.partition("=")
    name = key.lstrip("+")
    if not equals or not (name in RUN_KEYS or is_path(name)):
        return argument
    if argument[len(key) + 1 :].startswith("["):
        return HOME_IN_LIST.sub(lambda path: quoted(os.path.expanduser(path[0])), argument)
    text = value_of(argument)
    if text is None or (text == "" and name not in RUN_KEYS[1:]):  # of another key, it is refused where it is read
        return argument
    full = user_path(text, name)
    if name in RUN_KEYS[1:] and "\\${" in text:
        raise ConfigError(f"{name}={text}: Hydra cannot use a run folder with a literal ${{ in its name; rename it")
    return argument if full == text else f"{key}={quoted(full)}"


def value_of(argument: str) -> str | None:
    """Return the text that an override stands for; None if it is no text, or one that Hydra rejects.

    Hydra's grammar has no `~` outside quotes, but shells leave `KEY=~/folder` to the program.
    """
    value = argument.partition("=")[2]
    if value.startswith("~") and not set(value) & set(",'\"[]{}()$\\"):
        return value
    try:
        override = OverridesParser.create().parse_override(argument)
    except HydraException:
        return None
    parsed = None if override.is_sweep_override() else override.value()
    return str(parsed) if isinstance(parsed, str) else None
