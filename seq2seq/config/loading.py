"""From Hydra's composition or stored plain values to checked dataclasses, and back."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seq2seq.config.error_messages import explain
from seq2seq.config.field import Choice, walk
from seq2seq.config.literal import literal
from seq2seq.config.paths import user_path
from seq2seq.config.schema import Config
from seq2seq.errors import ConfigError, first_line

OLDER = {
    "data.tokenizer.normalization": "nmt_nfkc",
    "data.tokenizer.max_line_bytes": 4192,
    "data.tokenizer.max_training_bytes": 1_000_000_000_000,
}
"""Values of the keys that files of older versions lack and that now have another default."""


def to_config(raw: DictConfig | ListConfig | dict[str, Any]) -> Config:
    """Check `raw` against the schema and return plain dataclasses.

    Raises:
        ConfigError: unknown key, wrong type or value out of range; the message names the key.
    """
    try:
        # As plain values: a typed node would bring along keys that were added to it (+training.foo=1).
        plain = OmegaConf.to_container(raw, resolve=True) if OmegaConf.is_config(raw) else raw
        merged = OmegaConf.merge(stored_defaults(), literal(plain))
        missing = sorted(OmegaConf.missing_keys(merged))
        if missing:
            raise ConfigError(f"set {' and '.join(missing)}: there is no default")
        config = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        if isinstance(error.__cause__, ConfigError):
            raise error.__cause__ from None
        raise ConfigError(explain(error)) from error
    except (OverflowError, RecursionError, TypeError, ValueError) as error:  # a stored config with damaged values
        raise ConfigError(f"not a config: {first_line(error)}") from error
    assert isinstance(config, Config)
    return config


def stored_defaults() -> DictConfig:
    """Return the schema, with the older values of keys that a stored config may lack; a composed one has every key."""
    config: DictConfig = OmegaConf.structured(Config)
    for key, value in OLDER.items():
        OmegaConf.update(config, key, value)
    return config


def to_dict(config: Config) -> dict[str, Any]:
    """Return nested plain values (enums as their names), ready for YAML or JSON; `to_config` reads them back."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return value.name if isinstance(value, Choice) else value

    return plain(dataclasses.asdict(config))  # type: ignore[no-any-return]


def to_yaml(config: Config) -> str:
    """Return the config as YAML, whose values are text and numbers: `from_yaml` resolves no interpolation."""
    return OmegaConf.to_yaml(OmegaConf.create(literal(to_dict(config))), resolve=True)


def from_yaml(path: Path) -> DictConfig:
    """Return the settings in a file that `to_yaml` made, under the schema; their ranges are not checked.

    Raises:
        ConfigError: the file cannot be read, is not YAML or has other keys.
    """
    config = stored_defaults()
    try:
        config.merge_with(literal(yaml.safe_load(path.read_text(encoding="utf-8"))))
    except Exception as error:  # YAML, OmegaConf and the file system have no common base class
        raise ConfigError(f"{path}: {first_line(error)}") from error
    return config


def with_known_paths(config: Config, folder: Path, run_config: Path | None) -> Config:
    """Return the config of a model with those of its paths that may be used: the model may be another user's.

    Args:
        config: of a model file.
        folder: of the model file; paths inside it are kept.
        run_config: config.yaml of the model's run, whose paths replace all others; None: there are none.

    Raises:
        ConfigError: `run_config` cannot be read.
    """
    run = OmegaConf.structured(Config) if run_config is None else from_yaml(run_config)
    known = OmegaConf.create(literal(to_dict(config)))
    for key in path_keys():
        path = OmegaConf.select(known, key)
        if path is not None and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
            OmegaConf.update(known, key, literal(OmegaConf.select(run, key)))
    return to_config(known)


def absolute_paths(raw: DictConfig) -> None:
    """Write every path in `raw` in full, so that a run can be resumed and evaluated from any folder.

    Raises:
        ConfigError: a path is empty or impossible, or its interpolation cannot be resolved; names the key.
    """
    for key in path_keys():
        try:
            path = OmegaConf.select(raw, key)
        except OmegaConfBaseException as error:
            raise ConfigError(explain(error, key)) from error
        if path is not None:
            full = os.path.abspath(user_path(path, key, empty="null means that there is none"))
            OmegaConf.update(raw, key, literal(full))


def path_keys() -> list[str]:
    """Return the keys whose values are paths."""
    return [key for key, field in walk(Config) if field.metadata["unit"] == "path"]


def register_schema() -> None:
    """Register the root schema, under which conf/train.yaml names it, with Hydra."""
    ConfigStore.instance().store(name="train_schema", node=Config)


def compose_config(overrides: Sequence[str] = ()) -> DictConfig:
    """Compose the config as the command line would, outside a Hydra application.

    Raises:
        HydraException, OmegaConfBaseException: an unknown key, a wrong type or an invalid override.
    """
    from hydra import compose, initialize_config_dir

    register_schema()
    with initialize_config_dir(config_dir=config_dir(), version_base="1.3"):
        return compose("train", overrides=list(overrides))


def config_dir() -> str:
    """Return the absolute path of the Hydra config tree: <package>/conf in a wheel, ../conf in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for candidate in (package / "conf", package.parent / "conf"):
        if (candidate / "train.yaml").is_file():
            return str(candidate)
    raise ConfigError(f"no conf/train.yaml in {package} or {package.parent}; is the installation complete?")
