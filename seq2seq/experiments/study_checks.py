"""Check that a study on disk is the search that the command line describes: only then are trials comparable."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.errors import ConfigError
from seq2seq.experiments.search_space import Space
from seq2seq.experiments.study import DATABASE_NAME, FOLDER, SEARCHED, SETTINGS, TIES

if TYPE_CHECKING:
    from optuna import Study


def check_same_search(
    study: Study, folder: Path, settings: Mapping[str, str], ties: Mapping[str, str], space: Space
) -> None:
    """Check a study that has trials against this search, then store the search in it.

    The ends of a range may change; other settings, searched keys and choices must not.

    Args:
        study: The study in `folder`.
        folder: Named in errors.
        settings: Key -> value of what is not searched.
        ties: Key -> interpolation, of keys that copy another key's value.
        space: The searched keys.

    Raises:
        ConfigError: the study has other settings, or searches other keys or choices.
    """
    attributes = study.user_attrs if study.get_trials(deepcopy=False) else {}
    changes = [
        *_changed_settings(attributes.get(SETTINGS, {}), settings),
        *_changed_ties(attributes.get(TIES, ties), ties),
        *_changed_keys(attributes.get(SEARCHED, list(space)), space),
    ]
    if changes:
        raise ConfigError(
            f"{folder} holds a search with other settings: {', '.join(changes)}; choose another tune.folder"
        )
    _check_distributions(study, folder, space)
    for name, value in ((SETTINGS, dict(settings)), (TIES, dict(ties)), (SEARCHED, list(space))):
        study.set_user_attr(name, value)


def check_run_folders(study: Study, folder: Path) -> None:
    """Check that every `trial_*` in `folder` belongs to the study, so that no new trial meets an old run.

    Raises:
        ConfigError: a run is not the study's, for example because study.db was deleted.
    """
    known = {trial.user_attrs.get(FOLDER) for trial in study.get_trials(deepcopy=False)}
    for path in sorted(folder.glob("trial_*")):
        if path.name not in known:
            raise ConfigError(f"{path} is not in the study {DATABASE_NAME}: remove it, or choose another tune.folder")


def _changed_settings(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return [f"{key} (was {before[key]})" for key in now if key in before and before[key] != now[key]]


def _changed_ties(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    return [f"{key} (was {before.get(key, 'not tied')})" for key in keys]


def _changed_keys(before: list[str], now: Space) -> list[str]:
    removed = [f"{key} (was searched)" for key in before if key not in now]
    return removed + [f"{key} (was not searched)" for key in now if key not in before]


def _check_distributions(study: Study, folder: Path, space: Space) -> None:
    """Raise ConfigError if a trial's value was drawn from a distribution that `space` is incompatible with."""
    from optuna.distributions import check_distribution_compatibility

    for trial in study.get_trials(deepcopy=False):
        for key, distribution in trial.distributions.items():
            try:
                check_distribution_compatibility(distribution, space[key])
            except ValueError as error:
                raise ConfigError(
                    f"{folder} holds a search of another space: {key} (was {_as_sweep(distribution)}); only the ends "
                    "of a range can change, so choose another tune.folder"
                ) from error


def _as_sweep(distribution: Any) -> str:
    choices = getattr(distribution, "choices", None)
    if choices is not None:
        return f"choice({','.join(map(str, choices))})"
    return f"{distribution.low} to {distribution.high}"
