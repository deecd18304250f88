"""Draw the next trial of a study, or restart one that was interrupted.

The draw depends on `tune.seed` and the finished trials alone, so an interrupted search draws the trials of an
uninterrupted one.
"""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from seq2seq.config.tune import TuneConfig
from seq2seq.experiments.search_space import Point, Space, contains, number_of_points
from seq2seq.experiments.study import ATTEMPTS, ERROR, FOLDER, POINT, finished_trials
from seq2seq.storage.run_folder import LAST_NAME

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

MAX_REPEATS = 3  # draws of known points before the sampler draws at random


def next_trial(study: Study, folder: Path, tune: TuneConfig, space: Space, baseline: Point | None) -> Trial | None:
    """Return the next trial: an interrupted one, else `baseline` as the first, else a new point.

    A point is tried once: the same settings and seed would repeat the run. Return None if every point of the space
    was tried.
    """
    from optuna.pruners import MedianPruner
    from optuna.trial import TrialState

    _requeue_interrupted(study, folder)
    # Compares best scores so far, which are less noisy than latest scores.
    study.pruner = MedianPruner(n_startup_trials=tune.startup_trials)
    finished = finished_trials(study)
    if baseline is not None and not finished and not _queued(study):
        study.enqueue_trial(baseline, user_attrs={POINT: baseline})
    tried = [trial.params for trial in finished if contains(space, trial.params)]
    for draw in itertools.count():
        if not _queued(study) and len({str(point) for point in tried}) >= number_of_points(space):
            return None
        study.sampler = _sampler(tune, len(finished), draw)
        trial = study.ask(space)
        if trial.params not in tried:
            if FOLDER not in trial.user_attrs:
                trial.set_user_attr(FOLDER, f"trial_{len(finished):04d}")
            return trial
        study.tell(trial, state=TrialState.FAIL)
    raise AssertionError


def _requeue_interrupted(study: Study, folder: Path) -> None:
    """Queue the trials that a stop or a kill has interrupted; the lock ensures that no other process runs them.

    Optuna cannot resume a trial: a new record gets the same values and folder, and the old one is marked as failed.
    """
    from optuna.trial import TrialState

    queued = [trial.params or trial.user_attrs.get(POINT) for trial in _queued(study)]
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        attributes = dict(trial.user_attrs)
        point = {**attributes.get(POINT, {}), **trial.params}
        # Without a folder it was killed while it was drawn, and is drawn again. If its point is queued already, the
        # kill came between the enqueue_trial and the tell below.
        if FOLDER in attributes and ERROR not in attributes and point not in queued:
            attempts = 0 if _has_saved(trial, folder) else attributes.get(ATTEMPTS, 0) + 1
            study.enqueue_trial(point, user_attrs={**attributes, POINT: point, ATTEMPTS: attempts})
        study.tell(trial.number, state=TrialState.FAIL)


def _has_saved(trial: FrozenTrial, folder: Path) -> bool:
    """Return whether this attempt of a trial has written a checkpoint."""
    last, started = folder / trial.user_attrs[FOLDER] / LAST_NAME, trial.datetime_start
    return last.is_file() and started is not None and last.stat().st_mtime > started.timestamp()


def _queued(study: Study) -> list[FrozenTrial]:
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.WAITING,))


def _sampler(tune: TuneConfig, finished: int, draw: int) -> BaseSampler:
    """Return the sampler after `finished` trials: random at first, then TPE (Bergstra et al. 2011).

    TPE is multivariate, since good sizes, depths, dropout and learning rates depend on each other. After MAX_REPEATS
    draws of known points the sampler is random again.
    """
    import optuna
    from numpy.random import SeedSequence

    seed = int(SeedSequence([tune.seed, finished, draw]).generate_state(1)[0])
    if draw >= MAX_REPEATS:
        return optuna.samplers.RandomSampler(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of `multivariate` in Optuna 4
        return optuna.samplers.TPESampler(n_startup_trials=tune.startup_trials, multivariate=True, seed=seed)
