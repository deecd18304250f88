"""Between the command line of `train` and its job: Hydra's composition, resuming, one-line errors, exit codes."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seq2seq.config import Config, config_dir, explain, nearest_key, to_config
from seq2seq.config_help import help_text
from seq2seq.errors import ConfigError, Seq2SeqError
from seq2seq.training.checkpoint import LAST_NAME
from seq2seq.training.trainer import Stopped

FIXED_ON_RESUME = ("model.", "data.tokenizer.")


@dataclass(frozen=True)
class Launch:
    """How a job was started: where it runs, whether it goes on with an older run, what the user typed."""

    folder: Path
    resumes: bool
    overrides: list[str]


def launch(job: Callable[[Config, Launch], None]) -> int:
    """Compose the config from `sys.argv`, run `job` and return the exit status.

    0: done. 1: a bug (traceback). 2: the user's mistake (one line). 130, 143: stopped by SIGINT, SIGTERM. Hydra would
    print several lines and exit 1 for a mistyped key, so its exceptions are let through and told in one line.
    """
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(help_text())
        return 0
    os.environ["HYDRA_FULL_ERROR"] = "1"
    os.environ.setdefault("HYDRA_DEPRECATION_WARNINGS_AS_ERRORS", "0")
    ConfigStore.instance().store(name="train_schema", node=Config)
    failures: list[int] = []

    @hydra.main(version_base="1.3", config_path=config_dir(), config_name="train")
    def compose_and_run(raw: DictConfig) -> None:
        sweep = HydraConfig.get().mode is RunMode.MULTIRUN
        failures.append(_guarded(lambda: job(*_prepare(raw)), sweep))

    return _guarded(lambda: _compose(compose_and_run), sweep=False) or max(failures, default=0)


def _compose(run: Callable[[], object]) -> None:
    folder = _resumed_folder(sys.argv[1:])
    if folder is not None:
        sys.argv.append(f"hydra.run.dir='{folder}'")
    run()


def _resumed_folder(arguments: list[str]) -> Path | None:
    """Return the folder of `training.resume=RUN`: Hydra must be told before it makes a new one."""
    for argument in arguments:
        key, _, value = argument.partition("=")
        value = value.strip("'\"")
        if key == "training.resume" and value not in ("null", "auto", ""):
            folder = Path(value)
            if not (folder / LAST_NAME).is_file():
                raise ConfigError(f"training.resume={value}: there is no {LAST_NAME} in that folder")
            return folder
    return None


def _prepare(raw: DictConfig) -> tuple[Config, Launch]:
    """Turn Hydra's composition, or the config of the run to resume, into a checked config."""
    context = HydraConfig.get()
    folder = Path(context.runtime.output_dir)
    overrides = list(context.overrides.task)
    if raw.training.resume is None or not (folder / LAST_NAME).is_file():
        return to_config(raw), Launch(_shown(folder), False, overrides)
    overrides = [change for change in overrides if not change.startswith("training.resume=")]
    return _resumed_config(folder, overrides), Launch(_shown(folder), True, overrides)


def _resumed_config(folder: Path, overrides: list[str]) -> Config:
    """Return the run's own config with this command's overrides on top.

    Raises:
        ConfigError: an override would change the model, the tokenizer or a whole group.
    """
    try:
        config = OmegaConf.merge(OmegaConf.structured(Config), OmegaConf.load(folder / "config.yaml"))
    except (OSError, OmegaConfBaseException) as error:
        raise ConfigError(f"cannot resume: {folder / 'config.yaml'}: {str(error).splitlines()[0]}") from error
    before = OmegaConf.to_container(config)
    for override in OverridesParser.create().parse_overrides(overrides):
        key = override.key_or_group
        if "." not in key:
            raise ConfigError(f"{key}={override.value()} cannot change on resume: give single keys, not a group")
        OmegaConf.update(config, key, override.value())
    refused = [
        key
        for key in (o.key_or_group for o in OverridesParser.create().parse_overrides(overrides))
        if key.startswith(FIXED_ON_RESUME) and OmegaConf.select(config, key) != _select(before, key)
    ]
    if refused:
        raise ConfigError(f"cannot change on resume: {', '.join(refused)} (the weights were made with other values)")
    return to_config(config)


def _select(container: object, key: str) -> object:
    return OmegaConf.select(OmegaConf.create(container), key)  # type: ignore[call-overload]


def _shown(folder: Path) -> Path:
    """Return `folder` relative to the working directory where that is shorter, for messages and commands."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def _guarded(body: Callable[[], object], sweep: bool) -> int:
    """Run `body`; tell the user's errors in one line. In a sweep a bug ends its own point, not the sweep."""
    try:
        body()
    except Stopped as stop:
        print(f"stopped: {stop}", file=sys.stderr)
        return 128 + stop.signal_number
    except KeyboardInterrupt:
        return 130
    except (Seq2SeqError, HydraException, OmegaConfBaseException) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    except Exception:
        if not sweep:
            raise
        traceback.print_exc()
        return 1
    return 0


def one_line(error: Exception) -> str:
    """Return an error of ours, Hydra's or OmegaConf's as one line that names the key and the nearest valid one."""
    cause = error.__cause__
    if isinstance(error, HydraException) and isinstance(cause, OmegaConfBaseException):
        error = cause
    if isinstance(error, OmegaConfBaseException):
        return explain(error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, Seq2SeqError) or not lines:
        return " ".join(lines) or type(error).__name__
    quoted = lines[0].split("'")[1::2]
    near = nearest_key(quoted[0]) if quoted else None
    if "Available options" in str(error):
        return f"{lines[0]} {' '.join(lines[1:])}"
    return lines[0] + (f" Did you mean {near!r}?" if near and near != quoted[0] else "")
