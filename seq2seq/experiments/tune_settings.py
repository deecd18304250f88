"""From a command line to the settings of every trial: what is searched, what is the same in all of them."""

from __future__ import annotations

import functools
import itertools
import operator
import os
from collections.abc import Collection, Sequence
from typing import Any

from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from seq2seq.config.field import is_group, walk
from seq2seq.config.loading import absolute_paths, to_config, to_dict
from seq2seq.config.schema import Config
from seq2seq.errors import ConfigError
from seq2seq.experiments.search_space import (
    Point,
    Space,
    but_for,
    key_of,
    overrides,
    own_point,
    search_space,
    split_sweeps,
)


class Settings:
    """The settings of a search. Hydra must be initialised, and is asked nothing any more once this is made.

    So a file of conf/ may change while the search goes on.
    """

    def __init__(self, arguments: Sequence[str], config_dir: str | None) -> None:
        """Compose the settings as given, and each choice of the groups that are searched.

        Raises:
            ConfigError: nothing is searched, or what cannot be.
            HydraException, OmegaConfBaseException: a key or a choice is unknown, a value of the wrong type.
        """
        self.fixed, sweeps = split_sweeps(arguments)
        self._config_dir = config_dir
        base, groups = self._compose([])
        self.config = to_config(base)
        """The settings as given, in which what is searched has its value without a search."""
        if self.config.training.resume is not None or but_for(self.fixed, ["hydra.run"]) != self.fixed:
            raise ConfigError(
                "the runs are in tune.folder and go on there: leave training.resume and hydra.run.dir out"
            )
        self.space: Space = search_space(self.config.tune.space, self.fixed, sweeps, groups)
        if not self.space:
            raise ConfigError("nothing to search: add experiment=tune, or a sweep such as model.hidden_size=128,256")
        self.own: Point | None = own_point(self.space, base, groups)
        self._base, self._given = base, {key_of(text) for text in self.fixed}
        self._compose_choices(groups)

    def of(self, point: Point) -> Config:
        """Return the settings of a trial.

        Raises:
            ConfigError: they do not go together.
        """
        return to_config(self._of(point))

    def same_in_all(self, but: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
        """Return the values of keys that are not searched nor below `but`, and the interpolations among them."""
        keys = [key for key, field in walk(Config) if not is_group(field)]
        moved = tuple(f"{name}." for name in but)
        keys = [key for key in keys if key not in self.space and not f"{key}.".startswith(moved)]
        written: Any = OmegaConf.to_container(self._base, resolve=False)
        texts = {key: str(functools.reduce(operator.getitem, key.split("."), written)) for key in keys}
        plain = OmegaConf.create(to_dict(self.config))
        values = {key: str(OmegaConf.select(plain, key)) for key in keys}
        for key in keys:
            if key.startswith(tuple(f"{group}." for group in self._groups)) and key not in self._given:
                values[key] = texts[key] = "that of the group"
        ties = {key: text for key, text in texts.items() if text.startswith("${")}
        return {key: value for key, value in values.items() if key not in ties}, ties

    def command(self, point: Point) -> list[str]:
        """Return the arguments with which `train` has the settings of a trial."""
        folder = [] if self._config_dir is None else ["--config-dir", self._config_dir]
        fixed = [text for text in but_for(self.fixed, ["tune"]) if key_of(text) not in self.space]
        return [*folder, *fixed, *overrides(point)]

    def _compose(self, values: Sequence[str]) -> tuple[DictConfig, dict[str, str]]:
        """Return the settings with `values` on top, and the choice of each group."""
        given = [*self.fixed, *values]
        if self._config_dir is not None:
            path = os.path.abspath(self._config_dir).replace("'", "\\'")
            given.append(f"hydra.searchpath=['file://{path}']")
        raw = compose("train", overrides=given, return_hydra_config=True)
        groups = {key: str(name) for key, name in raw.hydra.runtime.choices.items() if not key.startswith("hydra/")}
        raw = OmegaConf.masked_copy(raw, [str(key) for key in raw if key != "hydra"])
        absolute_paths(raw)
        return raw, groups

    def _compose_choices(self, groups: Collection[str]) -> None:
        self._groups = [key for key in self.space if key in groups]
        self._composed = {
            choices: self._compose([f"{key}={choice}" for key, choice in zip(self._groups, choices, strict=True)])[0]
            for choices in itertools.product(*(self.space[key].choices for key in self._groups))
        }
        some = dict(zip(self._groups, next(iter(self._composed)), strict=True))
        for key in self.space.keys() - some:
            for choice in getattr(self.space[key], "choices", ()):  # told now if it is none
                self._of({**some, key: choice})

    def _of(self, point: Point) -> DictConfig:
        raw = self._composed[tuple(point[key] for key in self._groups)].copy()
        for text in overrides({key: value for key, value in point.items() if key not in self._groups}):
            override = OverridesParser.create().parse_override(text)
            OmegaConf.update(raw, override.key_or_group, override.value())
        absolute_paths(raw)
        return raw
