"""The files that a config key names: one, a list, or the matches of a pattern."""

from __future__ import annotations

import glob
import os
import stat
from pathlib import Path
from typing import Any

from seq2seq.config.paths import path_list
from seq2seq.errors import DataError


def expand(value: Any, key: str) -> list[str]:
    """Return the files of a key, the matches of each pattern sorted.

    A path that exists is taken as it is: a name may contain the characters of patterns.

    Raises:
        ConfigError: the value is neither a path nor a list of paths.
        DataError: no file matches a pattern, or a file is a named pipe or a device, which would be waited for, or read
            without end.
    """
    files = [file for path in path_list(value, key) for file in _matches(path, key)]
    for file in files:
        _check_kind(file, key)
    return files


def _matches(path: str, key: str) -> list[str]:
    full = os.path.expanduser(path)
    if not glob.has_magic(path) or os.path.lexists(full):
        return [path]
    matches = sorted(glob.glob(full, recursive=True))
    if not matches:
        raise DataError(f"{key}={path}: no file matches the pattern")
    return matches


def _check_kind(file: str, key: str) -> None:
    try:
        mode = os.stat(os.path.expanduser(file)).st_mode
    except (OSError, ValueError):  # reading it says why
        return
    is_open = stat.S_ISFIFO(mode) and Path(file).is_relative_to("/dev")  # standard input and `<(command)`
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or is_open):
        raise DataError(f"{key}={file} is a pipe or a device: give a text file")
