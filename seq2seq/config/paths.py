"""Paths as users write them: `~` is the home folder, and an empty path is a mistake."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from seq2seq.errors import ConfigError

EMPTY = "leave it out, or check the shell variable that it came from"


def user_path(text: str, name: str, empty: str = EMPTY) -> str:
    """Return the path that a user wrote as the value of `name`, a key or an option, with `~` expanded.

    Args:
        text: the path.
        name: named in errors.
        empty: what to do if the path is empty.

    Raises:
        ConfigError: the path is empty, or has a character that no path has.
    """
    if not text:
        raise ConfigError(f"{name} is empty: {empty}")
    for character, word in (("\0", "NUL character"), ("\n", "line break"), ("\r", "carriage return")):
        if character in text:
            raise ConfigError(f"{name}={text!r} has a {word}: write one path")
    return os.path.expanduser(text)


def path_list(value: Any, key: str) -> list[str]:
    """Return the paths in the value of a key that holds one path, a list of paths, or None.

    Raises:
        ConfigError: the value is something else; names the key.
    """
    if value is None:
        return []
    paths = [value] if isinstance(value, str) or not isinstance(value, Sequence) else list(value)
    if not paths or not all(isinstance(path, str | int | float) for path in paths):
        raise ConfigError(f"{key}={value}: give a file, or a list of files: [FILE,FILE]")
    return [str(path) for path in paths]
