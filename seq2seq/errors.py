"""Exceptions caused by the user's input; a command prints their one line and exits with status 2."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


class Seq2SeqError(Exception):
    """Invalid input of the user (a file, a key, a device), not a bug of this program."""


class ConfigError(Seq2SeqError):
    """A config key is unknown, mistyped, out of range or contradicts another; the message names it."""


class DataError(Seq2SeqError):
    """A text file is missing, unreadable, empty or not parallel; the message names file and line."""


class DownloadError(Seq2SeqError):
    """A corpus could not be downloaded or its digest is wrong; the message names the alternatives."""


class StorageError(Seq2SeqError):
    """A file could not be written; an old file in its place is unchanged."""


class NotFiniteError(Seq2SeqError, FloatingPointError):
    """A network computes NaN or infinity: its weights are damaged or its training diverged."""


class ModelFileError(Seq2SeqError):
    """A model or checkpoint file is missing, corrupt, of another format version, or does not fit the run."""


def check_lists(**values: object) -> None:
    """Check that no argument, of those that are lists of texts or paths, is a single one, read letter by letter.

    Raises:
        TypeError: names the argument.
    """
    for name, value in values.items():
        if isinstance(value, str):
            raise TypeError(f"{name} must be a list, not one string: write [{value[:40]!r}]")


@contextlib.contextmanager
def named_errors(name: str) -> Iterator[None]:
    """Begin the message of a `Seq2SeqError` that is raised inside with `name`, unless it has the name already."""
    try:
        yield
    except Seq2SeqError as error:
        if name in str(error):
            raise
        raise type(error)(f"{name}: {error}") from error


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or its class name if the message is empty."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
