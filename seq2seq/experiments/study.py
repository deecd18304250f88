"""A study in its folder: opened by one process at a time, checked to be the same search, taken up after a stop."""

from __future__ import annotations

import contextlib
import itertools
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.atomic_files import first_line
from seq2seq.config.tune import TuneConfig
from seq2seq.errors import ConfigError, StorageError
from seq2seq.experiments.search_space import Point, Space, holds, size
from seq2seq.experiments.sweep_results import read_result
from seq2seq.storage.run_folder import LAST_NAME

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

DATABASE_NAME, LOCK_NAME, STUDY_NAME = "study.db", "lock", "tune"
SETTINGS, TIES, SEARCHED = "settings", "ties", "searched"  # attributes of a study
FOLDER, POINT, ERROR, ATTEMPTS = "folder", "point", "error", "attempts"  # attributes of a trial
MOST_ATTEMPTS = 3
MOST_REPEATS = 3


@contextlib.contextmanager
def opened(folder: Path, maximise: bool) -> Iterator[Study]:
    """Give the study of `folder`; as long as the block lasts no other process has it.

    Raises:
        ConfigError: another process has it.
        StorageError: the database is damaged, or cannot be read or written.
    """
    import optuna
    from sqlalchemy.exc import DatabaseError

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    path, storage = folder.absolute() / DATABASE_NAME, None
    with _locked(folder / LOCK_NAME):
        try:
            storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
            yield optuna.create_study(
                storage=storage,
                study_name=STUDY_NAME,
                direction="maximize" if maximise else "minimize",
                load_if_exists=True,
            )
        except (optuna.exceptions.StorageInternalError, DatabaseError) as error:
            raise StorageError(
                f"cannot use {folder / DATABASE_NAME}: {first_line(error.__cause__ or error)}"
            ) from error
        finally:
            if storage is not None:
                storage.remove_session()
                storage.engine.dispose()


def check_same(study: Study, folder: Path, settings: Mapping[str, str], ties: Mapping[str, str], space: Space) -> None:
    """Make sure that all trials of a study can be compared; ranges may change, nothing else of what matters.

    `settings` are the values that are not searched, `ties` those that are a copy of another key's.

    Raises:
        ConfigError: the study was begun with other settings, or searches other keys or choices.
    """
    from optuna.distributions import check_distribution_compatibility

    attributes = study.user_attrs if study.get_trials(deepcopy=False) else {}
    known: dict[str, str] = attributes.get(SETTINGS, {})
    changed = [f"{key} (was {known[key]})" for key in settings if key in known and known[key] != settings[key]]
    before, now = attributes.get(TIES, dict(ties)), dict(ties)
    changed += [
        f"{key} (was {before.get(key, 'not tied')})" for key in {**before, **now} if before.get(key) != now.get(key)
    ]
    searched = attributes.get(SEARCHED, list(space))
    changed += [f"{key} (was searched)" for key in searched if key not in space]
    changed += [f"{key} (was not searched)" for key in space if key not in searched]
    if changed:
        raise ConfigError(
            f"{folder} holds a search with other settings: {', '.join(changed)}; choose another tune.folder"
        )
    for trial in study.get_trials(deepcopy=False):
        for key, distribution in trial.distributions.items():
            try:
                check_distribution_compatibility(distribution, space[key])
            except ValueError as error:
                raise ConfigError(
                    f"{folder} holds a search of another space: {key} (was {_told(distribution)}); only the ends of a "
                    "range can change, so choose another tune.folder"
                ) from error
    for name, value in ((SETTINGS, dict(settings)), (TIES, now), (SEARCHED, list(space))):
        study.set_user_attr(name, value)


def check_folder(study: Study, folder: Path) -> None:
    """Make sure that no run lies where one of the study's is going to be.

    Raises:
        ConfigError: the folder has a run that the study does not know, as when study.db was deleted.
    """
    known = {trial.user_attrs.get(FOLDER) for trial in study.get_trials(deepcopy=False)}
    for path in sorted(folder.glob("trial_*")):
        if path.name not in known:
            raise ConfigError(
                f"{path} is not of the study in {DATABASE_NAME}: remove it, or choose another tune.folder"
            )


def ask(study: Study, folder: Path, tune: TuneConfig, space: Space, own: Point | None) -> Trial | None:
    """Return the next trial: one that was begun and not ended, the point `own`, or a new one; None: all are tried.

    What is drawn depends on the seed and on the trials that have ended, not on how often the search was stopped. What
    was tried is not tried again: the same settings and seed would make the same run.
    """
    from optuna.pruners import MedianPruner
    from optuna.trial import TrialState

    _take_up_again(study, folder)
    # Of the best score so far, which is less noisy than the last one, among those of the others by then.
    study.pruner = MedianPruner(n_startup_trials=tune.startup_trials)
    ends = ended_trials(study)
    if own is not None and not ends and not _waiting(study):
        study.enqueue_trial(own, user_attrs={POINT: own})
    tried = [trial.params for trial in ends if holds(space, trial.params)]
    for draw in itertools.count():
        if not _waiting(study) and len({str(point) for point in tried}) >= size(space):
            return None
        study.sampler = _sampler(tune, len(ends), draw)
        trial = study.ask(space)
        if trial.params not in tried:
            if FOLDER not in trial.user_attrs:
                trial.set_user_attr(FOLDER, f"trial_{len(ends):04d}")
            return trial
        study.tell(trial, state=TrialState.FAIL)
    raise AssertionError


def fail(study: Study, trial: Trial, message: str) -> None:
    """Record that a trial has failed, and why."""
    from optuna.trial import TrialState

    trial.set_user_attr(ERROR, message)
    study.tell(trial, state=TrialState.FAIL)


def ended_trials(study: Study) -> list[FrozenTrial]:
    """Return the trials that have come to an end of whatever kind, but not the records of those begun again."""
    from optuna.trial import TrialState

    ends = (TrialState.COMPLETE, TrialState.PRUNED)
    return [t for t in study.get_trials(deepcopy=False) if t.state in ends or ERROR in t.user_attrs]


def trial_folder(trial: Trial | FrozenTrial) -> str:
    """Return the name of a trial's run folder; one that is begun again has that of its first attempt."""
    return str(trial.user_attrs[FOLDER])


def minutes_spent(study: Study, folder: Path) -> float:
    """Return how long the runs of all trials have trained."""
    names = {trial_folder(trial) for trial in study.get_trials(deepcopy=False) if FOLDER in trial.user_attrs}
    return sum(read_result(folder / name).minutes for name in names)


def _take_up_again(study: Study, folder: Path) -> None:
    """Queue the trials that were begun and not ended: nobody else is at them, since the study is open here alone.

    Optuna has no way to go on with a trial. It gets a new record with the same values and the same folder, and the old
    one counts for nothing.
    """
    from optuna.trial import TrialState

    queued = [trial.params or trial.user_attrs.get(POINT) for trial in _waiting(study)]
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        point, attributes = {**trial.user_attrs.get(POINT, {}), **trial.params}, dict(trial.user_attrs)
        # Without a folder it was killed while it was drawn, and will be again; queued, between the next two calls.
        if FOLDER in attributes and ERROR not in attributes and point not in queued:
            last, started = folder / attributes[FOLDER] / LAST_NAME, trial.datetime_start
            saved = last.is_file() and started is not None and last.stat().st_mtime > started.timestamp()
            attempts = 0 if saved else attributes.get(ATTEMPTS, 0) + 1
            study.enqueue_trial(point, user_attrs={**attributes, POINT: point, ATTEMPTS: attempts})
        study.tell(trial.number, state=TrialState.FAIL)


def _waiting(study: Study) -> list[FrozenTrial]:
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.WAITING,))


def _sampler(tune: TuneConfig, count: int, draw: int) -> BaseSampler:
    """Return what draws the next trial after `count` others: at random, then by a model of the good ones.

    The model (TPE, Bergstra et al. 2011) is one of all keys together, since size, depth, dropout and rate go together.
    Where it draws what was tried again and again, the next ones are drawn at random.
    """
    import optuna
    from numpy.random import SeedSequence

    seed = int(SeedSequence([tune.seed, count, draw]).generate_state(1)[0])
    if draw >= MOST_REPEATS:
        return optuna.samplers.RandomSampler(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # Optuna 4 says it of multivariate
        return optuna.samplers.TPESampler(n_startup_trials=tune.startup_trials, multivariate=True, seed=seed)


def _told(distribution: Any) -> str:
    """Return a distribution in the grammar it was given in."""
    choices = getattr(distribution, "choices", None)
    if choices is not None:
        return f"choice({','.join(map(str, choices))})"
    return f"{distribution.low} to {distribution.high}"


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other processes out; the system gives the lock back however this one ends.

    Raises:
        ConfigError: another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows: two searches in one folder are not noticed
        yield
        return
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"another search runs in {path.parent}: wait, or choose another tune.folder") from None
        yield
