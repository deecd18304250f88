"""From Hydra's composition or stored plain values to checked dataclasses, and back."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seq2seq.config.data import DataName, MixConfig
from seq2seq.config.error_messages import explain
from seq2seq.config.field import NAME, Choice, schema_key, walk
from seq2seq.config.literal import literal, quoted_tags
from seq2seq.config.paths import path_list, user_path
from seq2seq.config.schema import Config
from seq2seq.config.text_files import PARTS, FilesConfig
from seq2seq.errors import ConfigError, first_line

OLDER = {
    "data.clean": "none",
    "data.tokenizer.normalization": "nmt_nfkc",
    "data.tokenizer.max_line_bytes": 4192,
    "data.tokenizer.max_training_bytes": 1_000_000_000_000,
    "decode.recase": "off",
}
"""Values of the keys that files of older versions lack and that now have another default."""

FOLDERS_OR_NAMES = ("data.dataset", f"data.mix.{NAME}.dataset")
"""Keys whose values are paths only if there is such a folder."""


def to_config(raw: DictConfig | ListConfig | dict[str, Any]) -> Config:
    """Check `raw` against the schema and return plain dataclasses.

    Raises:
        ConfigError: unknown key, wrong type or value out of range; the message names the key.
    """
    try:
        # As plain values: a typed node would bring along keys that were added to it (+training.foo=1).
        plain = OmegaConf.to_container(raw, resolve=True) if OmegaConf.is_config(raw) else raw
        merged = OmegaConf.merge(stored_defaults(), literal(plain))
        complete_mix(merged)
        if not OmegaConf.is_config(raw):
            _forget_unused_files(merged)
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


@functools.cache
def stored_defaults() -> DictConfig:
    """Return the schema, with the older values of keys that a stored config may lack; a composed one has every key.

    It is made once, as that takes as long as a merge: copy it before a change.
    """
    config: DictConfig = OmegaConf.structured(Config)
    for key, value in OLDER.items():
        OmegaConf.update(config, key, value)
    return _open_mix(config)


def _open_mix(config: DictConfig) -> DictConfig:
    """Let overrides add corpora to `data.mix` by naming one of their keys, without Hydra's +."""
    OmegaConf.set_struct(config.data.mix, False)
    return config


def complete_mix(config: DictConfig | ListConfig) -> None:
    """Replace each corpus in `data.mix` by a full one, with the defaults of the keys that it does not set.

    Raises:
        ConfigError: an unknown key, or a value of the wrong type.
    """
    mix = OmegaConf.select(config, "data.mix")
    for name in list(mix):
        key = f"data.mix.{name}"
        try:
            mix[name] = OmegaConf.merge(OmegaConf.structured(MixConfig), mix[name])
        except OmegaConfBaseException as error:
            raise ConfigError(explain(error, inside=key)) from error
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{key} is not a corpus: set its keys, for example {key}.train.tsv=FILE") from error


def _forget_unused_files(config: DictConfig | ListConfig) -> None:
    """Remove the files of corpora that are not `files` from a stored config: older versions ignored them."""
    for group in (config.data, *config.data.mix.values()):
        if group.name is not DataName.files:
            for part in PARTS:
                group[part] = FilesConfig()


def to_dict(config: Config) -> dict[str, Any]:
    """Return nested plain values (enums as their names), ready for YAML or JSON; `to_config` reads them back."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list):
            return [plain(item) for item in value]
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
    config = stored_defaults().copy()
    try:
        config.merge_with(literal(yaml.safe_load(path.read_text(encoding="utf-8"))))
        complete_mix(config)
        _forget_unused_files(config)
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
    for key in path_keys(known):
        paths = _paths(known, key)
        if not all(Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)) for path in paths):
            value = OmegaConf.select(run, key)
            OmegaConf.update(known, key, literal(list(value) if OmegaConf.is_list(value) else value))
    return to_config(known)


def absolute_paths(raw: DictConfig) -> None:
    """Write every path in `raw` in full, so that a run can be resumed and evaluated from any folder.

    Raises:
        ConfigError: a path is empty or impossible, or its interpolation cannot be resolved; names the key.
    """
    complete_mix(raw)
    for key in path_keys(raw):
        try:
            value = OmegaConf.select(raw, key)
            paths = _paths(raw, key)
        except OmegaConfBaseException as error:
            raise ConfigError(explain(error, key)) from error
        full = [os.path.abspath(user_path(path, key, empty="null means that there is none")) for path in paths]
        if full:
            OmegaConf.update(raw, key, literal(full if OmegaConf.is_list(value) else full[0]))


def path_keys(config: DictConfig) -> list[str]:
    """Return the keys of `config` whose values are paths, or may be."""
    return named_keys((key for key, _ in walk(Config, entries=True) if is_path(key) or key in FOLDERS_OR_NAMES), config)


def named_keys(keys: Iterable[str], config: DictConfig) -> list[str]:
    """Return `keys`, those of `data.mix.NAME` once for each corpus that `config` mixes."""
    names = list(OmegaConf.select(config, "data.mix"))
    return [key.replace(f".{NAME}.", f".{name}.") for key in keys for name in (names if f".{NAME}." in key else [NAME])]


@functools.cache
def is_path(key: str) -> bool:
    """Return True if the value of a key is a path."""
    field = dict(walk(Config, entries=True)).get(schema_key(key, Config))
    return field is not None and field.metadata["unit"] == "path"


def _paths(config: Any, key: str) -> list[str]:
    """Return the paths in the value of a key."""
    paths = path_list(OmegaConf.select(config, key), key)
    may_be_name = schema_key(key, Config) in FOLDERS_OR_NAMES
    return [path for path in paths if not may_be_name or os.path.isdir(os.path.expanduser(path))]


@functools.cache
def register_schema() -> None:
    """Register the root schema, under which conf/train.yaml names it, with Hydra."""
    ConfigStore.instance().store(name="train_schema", node=_open_mix(OmegaConf.structured(Config)))


def compose_config(overrides: Sequence[str] = ()) -> DictConfig:
    """Compose the config as the command line would, outside a Hydra application.

    Raises:
        HydraException, OmegaConfBaseException: an unknown key, a wrong type or an invalid override.
    """
    from hydra import compose, initialize_config_dir

    register_schema()
    with initialize_config_dir(config_dir=config_dir(), version_base="1.3"):
        return compose("train", overrides=quoted_tags(overrides))


def config_dir() -> str:
    """Return the absolute path of the Hydra config tree: <package>/conf in a wheel, ../conf in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for candidate in (package / "conf", package.parent / "conf"):
        if (candidate / "train.yaml").is_file():
            return str(candidate)
    raise ConfigError(f"no conf/train.yaml in {package} or {package.parent}; is the installation complete?")
