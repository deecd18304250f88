"""Between a run and the study: validations as they come, and the end of a run that is not worth going on with."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from seq2seq.config.schema import Config
from seq2seq.config.training import MonitorName
from seq2seq.errors import Seq2SeqError
from seq2seq.storage.metrics_file import EventKind, read_events
from seq2seq.storage.run_folder import METRICS_NAME
from seq2seq.training.records import Validation

if TYPE_CHECKING:
    from optuna import Trial


class Pruned(Exception):
    """The run is not worth going on with."""


class Watcher:
    """Reports the validations of a run, and ends it where the study says so.

    They are counted from 1, whatever lies between them: with `training.batch_tokens` searched and one validation an
    epoch, those of the same number are compared. No run is ended in its warm-up or by its first validation alone: all
    scores are near nothing then, and their order says little.
    """

    def __init__(self, trial: Trial, config: Config, folder: Path) -> None:
        self._trial, self._config = trial, config
        self._scores: dict[int, float] = {}
        for event in read_events(folder / METRICS_NAME):  # made before the run was stopped
            if event["event"] == EventKind.validation:
                score = event[config.training.monitor.name]
                self._report(event["step"], math.nan if score is None else score)

    def __call__(self, step: int, validation: Validation) -> None:
        """Report one validation.

        Raises:
            Pruned: the best of the run is worse than that of most others was by then.
        """
        self._report(step, getattr(validation, self._config.training.monitor.name))
        early = len(self._scores) < 2 or step < self._config.training.warmup_steps
        if self._config.tune.prune and not early and self._trial.should_prune():
            raise Pruned

    @property
    def count(self) -> int:
        """The number of validations."""
        return len(self._scores)

    def best(self) -> float:
        """Return the best score.

        Raises:
            Seq2SeqError: there is none that is a number.
        """
        scores = [score for score in self._scores.values() if math.isfinite(score)]
        if not scores:
            raise Seq2SeqError(f"no validation has a finite {self._config.training.monitor}")
        return min(scores) if self._config.training.monitor is MonitorName.loss else max(scores)

    def _report(self, step: int, score: float) -> None:
        if step not in self._scores:
            self._scores[step] = score
            self._trial.report(score, len(self._scores))
