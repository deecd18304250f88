"""A study in its folder: open it in one process at a time, read and record its trials."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from seq2seq.errors import StorageError, first_line
from seq2seq.experiments.sweep_results import read_result
from seq2seq.storage.run_lock import folder_held

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

DATABASE_NAME, STUDY_NAME = "study.db", "tune"
SETTINGS, TIES, SEARCHED = "settings", "ties", "searched"  # attributes of a study
FOLDER, POINT, ERROR, ATTEMPTS = "folder", "point", "error", "attempts"  # attributes of a trial


@contextlib.contextmanager
def open_study(folder: Path, maximise: bool) -> Iterator[Study]:
    """Create or load the study in `folder` and lock it against other processes.

    Raises:
        ConfigError: another process has locked it, or `folder` is a file.
        StorageError: the database is damaged, or cannot be read or written.
    """
    import optuna
    from sqlalchemy.exc import DatabaseError

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path, storage = folder.absolute() / DATABASE_NAME, None
    with folder_held(folder, "tune.folder", use="search"):
        if path.is_file() and _beginning(path) not in (b"", b"SQLite format 3\0"):  # Optuna would not close it
            raise StorageError(f"cannot use {folder / DATABASE_NAME}: it is not a database")
        try:
            storage = optuna.storages.RDBStorage(_database_url(path))
            yield _load_study(storage, maximise)
        except (optuna.exceptions.StorageInternalError, DatabaseError) as error:
            raise StorageError(
                f"cannot use {folder / DATABASE_NAME}: {first_line(error.__cause__ or error)}"
            ) from error
        finally:
            if storage is not None:
                storage.remove_session()
                storage.engine.dispose()


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(16)


def _database_url(path: Path) -> str:
    """Return SQLAlchemy's URL of an SQLite file, whose folder may have any name (`50%`, `what?`)."""
    from sqlalchemy import make_url

    name = f"file:{quote(str(path))}"
    url = f"sqlite:///{name}?uri=true"
    if make_url(url).database == name:
        return url
    return f"sqlite:///{quote(name)}?uri=true"  # SQLAlchemy 2.1 decodes the name before SQLite does


def _load_study(storage: BaseStorage, maximise: bool) -> Study:
    """Create or load the study, and read all of it once.

    Raises:
        StorageError: a part of it is damaged.
    """
    import optuna

    try:
        study = optuna.create_study(
            storage=storage,
            study_name=STUDY_NAME,
            direction="maximize" if maximise else "minimize",
            load_if_exists=True,
        )
        for trial in study.get_trials(deepcopy=False):
            if FOLDER in trial.user_attrs:
                trial_folder(trial)
            if not isinstance(trial.user_attrs.get(POINT, {}), dict):
                raise TypeError(f"the point of trial {trial.number} has no keys")
            if type(trial.user_attrs.get(ATTEMPTS, 0)) is not int:
                raise TypeError(f"the number of attempts of trial {trial.number} is not a number")
        for name, kind in ((SETTINGS, dict), (TIES, dict), (SEARCHED, list)):
            if not isinstance(study.user_attrs.get(name, kind()), kind):
                raise TypeError(f"the attribute {name} is not a {kind.__name__}")
    except (AttributeError, KeyError, RecursionError, RuntimeError, TypeError, ValueError) as error:
        raise StorageError(f"{DATABASE_NAME} is damaged: {first_line(error)}") from error
    return study


def finished_trials(study: Study) -> list[FrozenTrial]:
    """Return the trials that are complete, pruned or failed, without the records of restarted trials."""
    from optuna.trial import TrialState

    states = (TrialState.COMPLETE, TrialState.PRUNED)
    return [t for t in study.get_trials(deepcopy=False) if t.state in states or ERROR in t.user_attrs]


def record_failure(study: Study, trial: Trial, message: str) -> None:
    """Record that a trial failed, with its error message."""
    from optuna.trial import TrialState

    trial.set_user_attr(ERROR, message)
    study.tell(trial, state=TrialState.FAIL)


def trial_folder(trial: Trial | FrozenTrial) -> str:
    """Return the name of a trial's run folder; a restarted trial keeps the folder of its first attempt.

    Raises:
        StorageError: the study names another folder: it is damaged, and its folders are deleted on a restart.
    """
    name = str(trial.user_attrs[FOLDER])
    if not re.fullmatch(r"trial_[0-9]{4,9}", name):
        raise StorageError(f"{DATABASE_NAME} is damaged: trial {trial.number} is in the folder {name!r}")
    return name


def minutes_spent(study: Study, folder: Path) -> float:
    """Return the training time of all trials in minutes."""
    names = {trial_folder(trial) for trial in study.get_trials(deepcopy=False) if FOLDER in trial.user_attrs}
    return sum(read_result(folder / name).minutes for name in names)
