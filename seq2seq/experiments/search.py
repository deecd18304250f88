"""Hyper-parameter search: run trials one after another and print the result."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seq2seq.config.schema import Config
from seq2seq.errors import DownloadError, Seq2SeqError, StorageError
from seq2seq.experiments.next_trial import next_trial
from seq2seq.experiments.pruning import PruningCallback, TrialPruned
from seq2seq.experiments.study import ATTEMPTS, ERROR, finished_trials, minutes_spent, record_failure, trial_folder
from seq2seq.experiments.study_checks import check_run_folders, check_same_search
from seq2seq.experiments.study_settings import StudySettings
from seq2seq.experiments.study_table import format_point, format_score, ranked_trials, report
from seq2seq.storage.run_folder import LAST_NAME

if TYPE_CHECKING:
    from optuna import Study, Trial

MAX_ATTEMPTS = 3  # of a trial that is killed before it saves a checkpoint
MAX_CONSECUTIVE_FAILURES = 5
TrainTrial = Callable[[Config, Path, bool, PruningCallback], None]
"""Train a run in a folder, resumed or not, with a validation callback."""


class Search:
    """Trials in `folder`, which `train_trial` trains one after another."""

    def __init__(self, settings: StudySettings, folder: Path, train_trial: TrainTrial) -> None:
        self.settings, self.config, self.folder, self._train_trial = settings, settings.config, folder, train_trial

    def run_trials(self, study: Study, ignored: Sequence[str]) -> None:
        """Run trials until `tune.trials` have finished, an interrupted one first.

        `ignored`: keys that may change during a search, since results do not depend on them.

        Raises:
            ConfigError: the study belongs to another search.
            Seq2SeqError: MAX_CONSECUTIVE_FAILURES trials in a row have failed.
            Stopped: Ctrl-C or SIGTERM; the trial is saved.
        """
        check_same_search(study, self.folder, *self.settings.fixed_settings(ignored), self.settings.space)
        check_run_folders(study, self.folder)
        if self.settings.baseline is None and not finished_trials(study):
            sys.stderr.write("the settings as given are outside the search space: no trial has them\n")
        failures = 0
        while (trial := self._next(study)) is not None:
            error = self._run_or_record_failure(study, trial)
            failures = failures + 1 if error else 0
            if failures == MAX_CONSECUTIVE_FAILURES:
                raise Seq2SeqError(f"{failures} trials in a row have failed, the last one with: {error}") from error

    def print_result(self, study: Study) -> None:
        """Write the table and the commands that evaluate the best model and train with its settings to stdout.

        Raises:
            Seq2SeqError: every trial has failed.
        """
        report(study, self.folder, self.config.training.monitor, self.settings.space, self.settings.baseline)
        errors = [trial.user_attrs.get(ERROR) for trial in finished_trials(study)]
        if errors and all(errors):
            raise Seq2SeqError(f"every trial has failed, the first one with: {errors[0]}")
        if best := ranked_trials(study)[:1]:
            run = shlex.quote(str(self.folder / trial_folder(best[0])))
            arguments = shlex.join(self.settings.train_arguments(best[0].params))
            sys.stdout.write(f"\nBest model so far: {run}\n  python -m seq2seq.evaluate {run}\n")
            sys.stdout.write(f"To train with these settings:\n  python -m seq2seq.train {arguments}\n")

    def _next(self, study: Study) -> Trial | None:
        """Return the next trial, or None if the search is finished; log which, unless `tune.trials` have finished."""
        tune, count = self.config.tune, len(finished_trials(study))
        if count >= tune.trials:
            return None
        if tune.max_minutes is not None and minutes_spent(study, self.folder) >= tune.max_minutes:
            sys.stderr.write(f"tune.max_minutes={tune.max_minutes:g} reached: {count} of {tune.trials} trials\n")
            return None
        trial = next_trial(study, self.folder, tune, self.settings.space, self.settings.baseline)
        if trial is None:
            sys.stderr.write(f"every point of the space has been tried: {count} of {tune.trials} trials\n")
            return None
        point = format_point(trial.params)
        sys.stderr.write(f"\n{trial_folder(trial)} ({count + 1} of {tune.trials}): {point}\n")
        return trial

    def _run_or_record_failure(self, study: Study, trial: Trial) -> Seq2SeqError | None:
        """Run a trial and log how it ended; return the error if it failed."""
        name = trial_folder(trial)
        try:
            sys.stderr.write(f"{name}: {self._run(study, trial)}\n")
        except (StorageError, DownloadError):  # a fault of the machine: the trial is resumed by the next call
            raise
        except Seq2SeqError as error:
            sys.stderr.write(f"{name} failed: {error}\n")  # the search goes on
            record_failure(study, trial, str(error))
            return error
        return None

    def _run(self, study: Study, trial: Trial) -> str:
        """Run or resume a trial, record that it is complete or pruned, and return a message that says so.

        Raises:
            Seq2SeqError: the trial has failed, which is not recorded yet.
            Stopped: Ctrl-C or SIGTERM; the trial is saved.
        """
        from optuna.trial import TrialState

        folder = self.folder / trial_folder(trial)
        if trial.user_attrs.get(ATTEMPTS, 0) >= MAX_ATTEMPTS:
            raise Seq2SeqError(f"killed {MAX_ATTEMPTS} times before it saved a checkpoint, possibly out of memory")
        config = self.settings.config_of(trial.params)
        resumes = (folder / LAST_NAME).is_file()
        if folder.is_dir() and not resumes:
            shutil.rmtree(folder)  # an attempt without a checkpoint
        folder.mkdir(exist_ok=True)
        callback = PruningCallback(trial, config, folder)
        try:
            self._train_trial(config, folder, resumes, callback)
        except TrialPruned:
            study.tell(trial, state=TrialState.PRUNED)
            return f"pruned after {callback.num_validations} validations: best score below the median of earlier trials"
        best = callback.best_score()
        study.tell(trial, best)
        is_best = ranked_trials(study)[0].number == trial.number
        return f"validation {format_score(best, config.training.monitor)}" + (", the best so far" if is_best else "")
