"""The Hydra callback that locks the folder of a run or a sweep before Hydra or the run writes into it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from seq2seq.cli.resume import relative_path
from seq2seq.storage.run_lock import folder_held

_held = contextlib.ExitStack()


class Refused(BaseException):
    """The folder cannot be used. Not an Exception: Hydra would print it as a warning and go on."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class HoldFolder(Callback):
    """Named in conf/train.yaml; locks hydra.run.dir, or hydra.sweep.dir in a sweep."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Lock the folder of the run."""
        _hold(lambda: config.hydra.run.dir, "hydra.run.dir", "run")

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Lock the folder of the sweep; each point locks its own, too."""
        _hold(lambda: config.hydra.sweep.dir, "hydra.sweep.dir", "sweep")


def _hold(folder: Callable[[], str], key: str, use: str) -> None:
    try:
        _held.enter_context(folder_held(relative_path(Path(folder())), key, use=use))
    except Exception as error:
        raise Refused(error) from error


@contextlib.contextmanager
def released_at_the_end() -> Iterator[None]:
    """Release the folder that `HoldFolder` locks in the block.

    Raises:
        Exception: what the callback met, such as a ConfigError that names the process in the folder.
    """
    with _held:
        try:
            yield
        except Refused as refused:
            raise refused.error from refused.error.__cause__
