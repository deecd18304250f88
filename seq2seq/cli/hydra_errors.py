"""Errors of Hydra, OmegaConf and the file system as one line."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence

import yaml
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from seq2seq.cli.yaml_errors import Composition
from seq2seq.config.error_messages import explain, nearest_key
from seq2seq.config.loading import compose_config
from seq2seq.errors import ConfigError, Seq2SeqError
from seq2seq.training.trainer import Stopped


def run_with_one_line_errors(work: Callable[[], int], stop_hint: str = "") -> int:
    """Return the exit status of `work`; 129, 130 or 143 after SIGHUP, SIGINT or SIGTERM.

    Args:
        work: returns an exit status.
        stop_hint: printed after the message of a run that a signal stopped: how it continues.

    Raises:
        Seq2SeqError: in place of an exception of Hydra, OmegaConf or the file system.
    """
    try:
        return work()
    except Stopped as stop:
        with contextlib.suppress(OSError):  # the terminal may be closed
            sys.stderr.write(f"{stop}{stop_hint}\n")
        return 128 + stop.signal_number
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(one_line(error)) from error
    except OSError as error:  # the run folder cannot be created, the disk is full
        if isinstance(error, BrokenPipeError):
            raise
        place = f"{error.filename}: " if error.filename else ""
        raise Seq2SeqError(f"{place}{error.strerror or error}") from error


@contextlib.contextmanager
def composing(composition: Composition) -> Iterator[None]:
    """Convert every exception of a composition inside the block to one line.

    Raises:
        ConfigError: in place of an exception of Hydra, OmegaConf or YAML, which have no common base class.
    """
    try:
        yield
    except Seq2SeqError as error:
        error.args = (composition.locate(str(error)),)  # not a new one: a subclass may need more than a message
        raise
    except (
        HydraException,
        OmegaConfBaseException,
        yaml.YAMLError,
        AssertionError,
        AttributeError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise ConfigError(composition.explain(error) or composition.locate(one_line(error))) from error


def composed(overrides: Sequence[str]) -> DictConfig:
    """Return `loading.compose_config(overrides)`.

    Raises:
        ConfigError: an unknown key, a wrong type or an invalid override.
    """
    with composing(Composition(overrides)):
        return compose_config(overrides)


def one_line(error: Exception) -> str:
    """Return the message of a Seq2SeqError, Hydra or OmegaConf error as one line, with the nearest valid key."""
    override = re.match(r"Error merging override \+*([^=]+)=", str(error))
    cause = error.__cause__ or error.__context__
    if isinstance(cause, OmegaConfBaseException) and not isinstance(error, OmegaConfBaseException):
        return explain(cause, key=override[1] if override else "")
    if isinstance(error, OmegaConfBaseException):
        return explain(error)
    message = str(error).partition("Config search path")[0]
    if isinstance(error, Seq2SeqError) or "Available options" in message:
        return " ".join(message.split())
    first = next(iter(message.strip().splitlines()), type(error).__name__)
    if isinstance(error, OverrideParseException):
        return f"cannot parse {error.override!r} ({first}): write KEY=VALUE, and quote special characters"
    if first.startswith("Ambiguous"):
        return " ".join(message.split())
    key = first.split("'")[1] if "'" in first else ""
    near = nearest_key(key)
    return first + (f" Did you mean {near!r}?" if near and near != key else "")
