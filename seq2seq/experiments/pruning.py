"""Report a trial's validations to the study and end the trial if the study prunes it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from seq2seq.config.schema import Config
from seq2seq.config.training import MonitorName
from seq2seq.errors import Seq2SeqError
from seq2seq.storage.metrics_file import Event, EventKind, visit_events
from seq2seq.storage.run_folder import METRICS_NAME
from seq2seq.training.records import Validation

if TYPE_CHECKING:
    from optuna import Trial


class TrialPruned(Exception):
    """The study has pruned the trial."""


class PruningCallback:
    """Validation callback of a trial: reports the monitored score, raises TrialPruned.

    Validations are compared by number, from 1, not by step: `training.batch_tokens`, and so the steps of an epoch, may
    be searched. No trial is pruned during warm-up or at its first validation: scores are near zero and poorly ordered.
    """

    def __init__(self, trial: Trial, config: Config, folder: Path) -> None:
        self._trial, self._config = trial, config
        self._scores: dict[int, float] = {}
        visit_events(folder / METRICS_NAME, self._report_earlier)  # of the run before it was interrupted

    def __call__(self, step: int, validation: Validation) -> None:
        """Report a validation.

        Raises:
            TrialPruned: the best score so far is below the median of earlier trials at the same validation.
        """
        self._report(step, getattr(validation, self._config.training.monitor.name))
        too_early = len(self._scores) < 2 or step < self._config.training.warmup_steps
        if self._config.tune.prune and not too_early and self._trial.should_prune():
            raise TrialPruned

    @property
    def num_validations(self) -> int:
        """The number of validations of the trial."""
        return len(self._scores)

    def best_score(self) -> float:
        """Return the best monitored score.

        Raises:
            Seq2SeqError: no validation has a finite score.
        """
        scores = [score for score in self._scores.values() if math.isfinite(score)]
        if not scores:
            raise Seq2SeqError(f"no validation has a finite {self._config.training.monitor}")
        return min(scores) if self._config.training.monitor is MonitorName.loss else max(scores)

    def _report_earlier(self, event: Event) -> None:
        if event["event"] == EventKind.validation:
            score = event[self._config.training.monitor.name]
            self._report(int(event["step"]), math.nan if score is None else float(score))

    def _report(self, step: int, score: float) -> None:
        if step not in self._scores:
            self._scores[step] = score
            self._trial.report(score, len(self._scores))
