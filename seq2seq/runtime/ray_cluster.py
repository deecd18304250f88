"""A cluster of Ray: the one that this machine belongs to, or a temporary one of its cores."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import Any

from seq2seq.errors import ConfigError, first_line

RETRIES = 3  # of a task whose process ended


@contextlib.contextmanager
def cluster() -> Iterator[Any]:
    """Yield Ray, connected to the cluster of this machine or of RAY_ADDRESS; without one, to a temporary local one.

    Raises:
        ConfigError: Ray is not installed or does not start.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ConfigError("--engine ray needs Ray: pip install 'attentional-lstm[ray]'") from error
    started = not ray.is_initialized()
    if started:
        try:
            ray.init(include_dashboard=False, logging_level=logging.WARNING)
        except (OSError, RuntimeError, ValueError) as error:
            raise ConfigError(f"Ray does not start: {first_line(error)}") from error
    try:
        yield ray
    finally:
        if started:
            ray.shutdown()
