"""One-line messages for unknown keys and wrong values, with the nearest valid key."""

from __future__ import annotations

import difflib
import re

from omegaconf.errors import (
    GrammarParseError,
    InterpolationKeyError,
    InterpolationResolutionError,
    OmegaConfBaseException,
)

from seq2seq.config.field import NAME, schema_key, walk
from seq2seq.config.schema import Config


def nearest_key(key: str) -> str | None:
    """Return the known key that looks most like `key`, if any does."""
    keys = [known for known, _ in walk(Config, entries=True)]
    same_name = [known for known in keys if known.rpartition(".")[2] == key.rpartition(".")[2]]
    match = difflib.get_close_matches(key, same_name, n=1, cutoff=0) or difflib.get_close_matches(key, keys, n=1)
    if match:
        return match[0]
    last = difflib.get_close_matches(key.rpartition(".")[2], [k.rpartition(".")[2] for k in keys], n=1, cutoff=0.6)
    return next((k for k in keys if last and k.rpartition(".")[2] == last[0]), None)


def unknown_key(key: str) -> str:
    """Return the error text of an unknown key, with the nearest known one."""
    near = nearest_key(key)
    return f"unknown key {key!r}" + (f"; did you mean {near!r}?" if near else "")


def explain(error: OmegaConfBaseException, key: str = "", inside: str = "") -> str:
    """Turn OmegaConf's several lines into one that names the key and the nearest valid one.

    Args:
        error: of OmegaConf.
        key: the key that was read or set, if the error does not know it.
        inside: key of the group to which the error's key is relative; empty: the root.
    """
    message = (error.msg or str(error)).strip().splitlines()[0]
    key = ".".join(filter(None, (inside, error.full_key or key)))
    if isinstance(error, InterpolationResolutionError | GrammarParseError):
        missing = re.search(r"'(.*)' not found", message) if isinstance(error, InterpolationKeyError) else None
        near = nearest_key(missing[1]) if missing else None
        hint = f"; did you mean {near!r}?" if near else ""
        return f"{key}: {message}{hint} (a literal ${{ is written \\${{, in single quotes)".removeprefix(": ")
    if not key:
        return message
    fields = dict(walk(Config, entries=True))
    declared = schema_key(key, Config)
    word = fields[declared].metadata["word"] if declared in fields else None
    if word and (value := re.search(r"Value '(.*)' of type", message)):
        return f"{key}={value[1]} is neither a number nor {word}"
    known = key.startswith("hydra.") or declared in fields or declared.endswith(f".{NAME}")
    return f"{key}: {message}" if known else unknown_key(key)
