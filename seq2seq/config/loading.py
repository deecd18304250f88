"""From Hydra's composition or stored plain values to checked dataclasses, and back."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seq2seq.config.error_messages import explain
from seq2seq.config.field import walk
from seq2seq.config.schema import Config
from seq2seq.errors import ConfigError


def to_config(raw: DictConfig | ListConfig | dict[str, Any]) -> Config:
    """Check `raw` against the schema and return plain dataclasses.

    Raises:
        ConfigError: unknown key, wrong type or value out of range; the message names the key.
    """
    try:
        # As plain values: a typed node would bring along keys that were added to it (+training.foo=1).
        plain = OmegaConf.to_container(raw, resolve=True) if OmegaConf.is_config(raw) else raw
        merged = OmegaConf.merge(OmegaConf.structured(Config), plain)
        missing = sorted(OmegaConf.missing_keys(merged))
        if missing:
            raise ConfigError(f"set {' and '.join(missing)}: there is no default")
        config = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        if isinstance(error.__cause__, ConfigError):
            raise error.__cause__ from None
        raise ConfigError(explain(error)) from error
    assert isinstance(config, Config)
    return config


def to_dict(config: Config) -> dict[str, Any]:
    """Return nested plain values (enums as their names), ready for YAML or JSON; `to_config` reads them back."""
    plain = OmegaConf.to_container(OmegaConf.structured(config), enum_to_str=True)
    assert isinstance(plain, dict)
    return plain  # type: ignore[return-value]


def absolute_paths(raw: DictConfig) -> None:
    """Write every path in `raw` in full, so that a run can be resumed and evaluated from any folder."""
    for key, field in walk(Config):
        path = OmegaConf.select(raw, key) if field.metadata["unit"] == "path" else None
        if path == "":
            raise ConfigError(f"{key} is empty: null means that there is none")
        if path is not None:
            OmegaConf.update(raw, key, os.path.abspath(os.path.expanduser(path)))


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
