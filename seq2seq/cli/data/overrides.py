"""Overrides of the config among the arguments of a subcommand."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seq2seq.config.data import DataConfig
    from seq2seq.config.schema import Config


def is_override(text: str) -> bool:
    """Return True for KEY=VALUE; a file may have such a name, too."""
    return "=" in text and not os.path.lexists(text)


def run_config(overrides: Sequence[str]) -> Config:
    """Return the config of a command line.

    Raises:
        ConfigError: an invalid override.
    """
    from seq2seq.cli.hydra_errors import composed
    from seq2seq.cli.override_paths import full_paths
    from seq2seq.config.loading import to_config

    return to_config(composed(full_paths(overrides)))


def data_config(overrides: Sequence[str]) -> DataConfig:
    """Return the data config of a command line; raises as `run_config`."""
    return run_config(overrides).data
