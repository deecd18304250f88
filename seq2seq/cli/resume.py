"""From Hydra's composition to the config of a run: a new one, a resumed one, or a point of a sweep."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from seq2seq.config.field import Effect, effects
from seq2seq.config.literal import quoted
from seq2seq.config.loading import OLDER, absolute_paths, from_yaml, named_keys, to_config
from seq2seq.config.schema import Config
from seq2seq.config.tokenizer import AUTO
from seq2seq.errors import ConfigError
from seq2seq.experiments.sweep_points import task_overrides
from seq2seq.storage.run_folder import BEST_NAME, CONFIG_NAME, LAST_NAME
from seq2seq.training.distributed import ProcessGroup


@dataclass(frozen=True)
class RunContext:
    """How a run was started.

    Attributes:
        folder: the run folder.
        resumes: True if the run continues an earlier one in `folder`.
        overrides: Hydra overrides of the command line.
        group: the processes that train together.
    """

    folder: Path
    resumes: bool
    overrides: list[str] = field(default_factory=list)
    group: ProcessGroup = field(default_factory=ProcessGroup)


def add_run_dir(arguments: list[str]) -> list[str]:
    """Return the arguments with the folder of `training.resume=RUN` as hydra.run.dir, so that Hydra creates no other.

    Raises:
        ConfigError: the folder has no checkpoint.
    """
    for position, argument in enumerate(arguments, start=1):
        if not argument.lstrip("+").startswith("training.resume="):
            continue
        override = OverridesParser.create().parse_override(argument)
        value = None if override.is_sweep_override() else override.value()
        if value not in (None, "auto"):
            folder = Path(str(value))
            if not (folder / LAST_NAME).is_file():
                raise ConfigError(f"training.resume={value}: no {LAST_NAME} in that folder")
            return [*arguments[:position], f"hydra.run.dir={quoted(str(folder))}", *arguments[position:]]
    return arguments


def prepare_point(raw: DictConfig, folder: Path) -> tuple[Config, RunContext]:
    """Return the config and start of one sweep point, as `prepare_run` does.

    A point with a run in its folder continues it even without `training.resume`.
    """
    overrides = task_overrides(HydraConfig.get())
    if raw.training.resume is not None or not (folder / CONFIG_NAME).is_file():
        return prepare_run(raw, folder, overrides)
    absolute_paths(raw)
    changes = _extend_point(raw, folder)
    return to_config(raw), RunContext(relative_path(folder), (folder / LAST_NAME).is_file(), changes)


def prepare_run(raw: DictConfig, folder: Path, overrides: list[str]) -> tuple[Config, RunContext]:
    """Return the checked config of the run in `folder`, and how the run starts.

    Args:
        raw: as Hydra composed it.
        folder: the run folder.
        overrides: Hydra overrides of the command line.

    Raises:
        ConfigError: an invalid config, a folder that already holds a run, or an override that cannot change on resume.
    """
    resume, has_last = raw.training.resume, (folder / LAST_NAME).is_file()
    absolute_paths(raw)
    if resume is None and (has_last or (folder / BEST_NAME).is_file()):
        raise ConfigError(
            f"{relative_path(folder)} already holds a run: continue it with training.resume="
            f"{relative_path(folder) if has_last else 'auto'}, or set another hydra.run.dir"
        )
    if resume is None or (resume == "auto" and not has_last):
        return to_config(raw), RunContext(relative_path(folder), False, overrides)
    if not has_last:  # training.resume was set in a file or swept; neither can choose the run folder
        raise ConfigError(
            f"training.resume={resume}: no {LAST_NAME} in {relative_path(folder)}; "
            "name one run folder, not in a config file or a sweep"
        )
    overrides = [change for change in overrides if not change.lstrip("+").startswith("training.resume=")]
    return _resumed_config(raw, folder, overrides), RunContext(relative_path(folder), True, overrides)


def same_settings(config: Config, folder: Path) -> bool:
    """Return True if the run in `folder` has the settings of `config`, except those that do not change results."""
    keys = [key for key, effect in effects(Config).items() if effect is not Effect.process]
    raw, stored = OmegaConf.structured(config), _stored_config(folder)
    _settle(raw, stored)
    return not _differences(raw, stored, keys)


def process_keys() -> list[str]:
    """Return the keys that change speed, memory or logging, but no result."""
    return _keys_with(Effect.process)


def relative_path(folder: Path) -> Path:
    """Return `folder` relative to the working directory if it is inside, for messages and commands."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def _resumed_config(raw: DictConfig, folder: Path, overrides: list[str]) -> Config:
    """Return the config stored with the run, with this command's overrides on top.

    A group choice is accepted if it changes nothing, so that the command that started the run can be given again.

    Raises:
        ConfigError: an override changes a field with `Effect.fixed`, or a whole group.
    """
    stored = _stored_config(folder)
    config = stored.copy()
    parsed = OverridesParser.create().parse_overrides(overrides)
    _settle(raw, stored)
    single = [override.key_or_group for override in parsed if "." in override.key_or_group]
    ignored = tuple(f"{key}." for key in ("training.resume", *OLDER, *single))
    for override in parsed:
        key = override.key_or_group
        if "." in key:
            OmegaConf.update(config, key, override.value())
            continue
        prefix = f"{key}." if key in stored else ""
        compared = [k for k in effects(Config) if k.startswith(prefix) and not f"{k}.".startswith(ignored)]
        if _differences(raw, stored, compared):
            raise ConfigError(f"{key}={override.value()} cannot change on resume: override single keys, not a group")
    absolute_paths(config)
    _settle(config, stored)
    refused = _differences(config, stored, named_keys(_keys_with(Effect.fixed), config))
    if {*config.data.mix} != {*stored.data.mix}:
        refused.append("data.mix")
    if (config.training.init_from is None) != (stored.training.init_from is None):  # another path to it is accepted
        refused.append("training.init_from")
    if refused:
        raise ConfigError(
            f"cannot change on resume, because the weights depend on it: {_with_stored_values(refused, stored)}"
        )
    return to_config(config)


def _extend_point(raw: DictConfig, folder: Path) -> list[str]:
    """Return, as overrides, how a sweep point differs from the run in its folder.

    Raises:
        ConfigError: it differs in more than limits; one row of the table would then mix two settings.
    """
    stored = _stored_config(folder)
    _settle(raw, stored)
    keys = [key for key, effect in effects(Config).items() if effect not in (Effect.limit, Effect.process)]
    if refused := _differences(raw, stored, keys):
        raise ConfigError(
            f"{relative_path(folder)} holds a run with other settings: {_with_stored_values(refused, stored)}; set "
            "another hydra.sweep.dir, or continue the run with training.resume=auto"
        )
    changed = _differences(raw, stored, [key for key in effects(Config) if key != "training.resume"])
    return [f"{key}={OmegaConf.select(raw, key)}" for key in changed]


def _settle(raw: DictConfig, stored: DictConfig) -> None:
    """Replace `auto` by the number that the stored run took for it."""
    if raw.data.tokenizer.vocab_size == AUTO:
        raw.data.tokenizer.vocab_size = stored.data.tokenizer.vocab_size


def _stored_config(folder: Path) -> DictConfig:
    """Return the config of the run in `folder`.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return from_yaml(folder / CONFIG_NAME)
    except ConfigError as error:
        raise ConfigError(f"cannot resume: {error}") from error


def _differences(one: DictConfig, other: DictConfig, keys: Collection[str]) -> list[str]:
    return [key for key in keys if OmegaConf.select(one, key) != OmegaConf.select(other, key)]


def _keys_with(effect: Effect) -> list[str]:
    return [key for key, declared in effects(Config, entries=True).items() if declared is effect]


def _with_stored_values(keys: Collection[str], stored: DictConfig) -> str:
    """Return each key with its stored value, of a dictionary the names in it."""

    def shown(value: object) -> object:
        return (", ".join(map(str, value)) or "empty") if isinstance(value, DictConfig) else value

    return ", ".join(f"{key} (was {shown(OmegaConf.select(stored, key))})" for key in keys)
