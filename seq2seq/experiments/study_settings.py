"""The settings of a search: the searched keys, the keys with one value, and the config of each trial."""

from __future__ import annotations

import functools
import itertools
import operator
import os
from collections.abc import Sequence
from typing import Any

from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from seq2seq.config.field import is_group, walk
from seq2seq.config.literal import quoted
from seq2seq.config.loading import absolute_paths, to_config, to_dict
from seq2seq.config.schema import Config
from seq2seq.errors import ConfigError
from seq2seq.experiments.search_space import (
    Point,
    Space,
    as_overrides,
    baseline_point,
    key_of,
    search_space,
    split_sweeps,
    without_keys,
)

SET_BY_GROUP = "that of the group"  # stored in study.db as the value of a key that a searched group sets


class StudySettings:
    """The settings of all trials, composed once: a change of conf/ during the search has no effect.

    Hydra must be initialised for the constructor only.
    """

    def __init__(self, arguments: Sequence[str], config_dir: str | None) -> None:
        """Compose the settings without search values, and those of each combination of searched group options.

        Args:
            arguments: Overrides of the command line.
            config_dir: Folder of further config groups.

        Raises:
            ConfigError: nothing is searched, or a key or sweep cannot be searched.
            HydraException, OmegaConfBaseException: a key or a group option is unknown, or a value has the wrong type.
        """
        self.fixed, sweeps = split_sweeps(arguments)
        self._config_dir = config_dir
        base, groups = self._compose([])
        self.config = to_config(base)
        """The settings as given: searched keys have the values they would have without a search."""
        if self.config.training.resume is not None or without_keys(self.fixed, ["hydra.run"]) != self.fixed:
            raise ConfigError(
                "runs are stored in tune.folder and resumed there: leave training.resume and hydra.run.dir out"
            )
        self.space: Space = search_space(self.config.tune.space, self.fixed, sweeps, groups)
        if not self.space:
            raise ConfigError("nothing to search: add experiment=tune, or a sweep such as model.hidden_size=128,256")
        self.baseline: Point | None = baseline_point(self.space, base, groups)
        """The settings as given as a point of the space; None if they are outside."""
        self._base, self._fixed_keys = base, {key_of(override) for override in self.fixed}
        self._groups = [key for key in self.space if key in groups]
        self._compose_groups()

    def config_of(self, point: Point) -> Config:
        """Return the config of a trial.

        Raises:
            ConfigError: its values contradict each other.
        """
        return to_config(self._raw_config(point))

    def fixed_settings(self, ignored: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
        """Return key -> value and key -> interpolation of the keys that are neither searched nor `ignored` or below."""
        ignored_prefixes = tuple(f"{key}." for key in ignored)
        keys = [key for key, field in walk(Config) if not is_group(field)]
        keys = [key for key in keys if key not in self.space and not f"{key}.".startswith(ignored_prefixes)]
        unresolved: Any = OmegaConf.to_container(self._base, resolve=False)
        texts = {key: str(functools.reduce(operator.getitem, key.split("."), unresolved)) for key in keys}
        plain = to_dict(self.config)
        values = {key: str(functools.reduce(operator.getitem, key.split("."), plain)) for key in keys}
        for key in keys:
            if key.startswith(tuple(f"{group}." for group in self._groups)) and key not in self._fixed_keys:
                values[key] = texts[key] = SET_BY_GROUP
        ties = {key: text for key, text in texts.items() if text.startswith("${")}
        return {key: value for key, value in values.items() if key not in ties}, ties

    def train_arguments(self, point: Point) -> list[str]:
        """Return the arguments with which `train` has the settings of a trial."""
        folder = [] if self._config_dir is None else ["--config-dir", self._config_dir]
        fixed = [override for override in without_keys(self.fixed, ["tune"]) if key_of(override) not in self.space]
        return [*folder, *fixed, *as_overrides(point)]

    def _compose(self, overrides: Sequence[str]) -> tuple[DictConfig, dict[str, str]]:
        """Return the config with `overrides` after the fixed ones, and the option of each group."""
        overrides = [*self.fixed, *overrides]
        if self._config_dir is not None:
            overrides.append(f"hydra.searchpath=[{quoted(f'file://{os.path.abspath(self._config_dir)}')}]")
        raw = compose("train", overrides=overrides, return_hydra_config=True)
        groups = {key: str(name) for key, name in raw.hydra.runtime.choices.items() if not key.startswith("hydra/")}
        raw = OmegaConf.masked_copy(raw, [str(key) for key in raw if key != "hydra"])
        absolute_paths(raw)
        return raw, groups

    def _compose_groups(self) -> None:
        """Compose each combination of searched group options, and check every choice of the other keys."""
        self._composed = {
            options: self._compose([f"{key}={option}" for key, option in zip(self._groups, options, strict=True)])[0]
            for options in itertools.product(*(self.space[key].choices for key in self._groups))
        }
        first_options = dict(zip(self._groups, next(iter(self._composed)), strict=True))
        for key in self.space.keys() - first_options:
            for choice in getattr(self.space[key], "choices", ()):
                self._raw_config({**first_options, key: choice})  # raises now rather than in a trial

    def _raw_config(self, point: Point) -> DictConfig:
        raw = self._composed[tuple(point[key] for key in self._groups)].copy()
        for text in as_overrides({key: value for key, value in point.items() if key not in self._groups}):
            override = OverridesParser.create().parse_override(text)
            OmegaConf.update(raw, override.key_or_group, override.value())
        absolute_paths(raw)
        return raw
