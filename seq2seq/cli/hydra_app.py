"""Between the command line of `train` and its job: Hydra's composition, resuming, one-line errors, exit codes."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seq2seq.atomic_files import first_line
from seq2seq.cli.exit_status import BUG, OK, USER_ERROR, run
from seq2seq.config.field import is_group, walk
from seq2seq.config.help import help_text
from seq2seq.config.schema import Config, absolute_paths, config_dir, explain, nearest_key, to_config, to_dict
from seq2seq.errors import ConfigError, Seq2SeqError
from seq2seq.experiments.sweep_points import Point, Status, Sweep
from seq2seq.experiments.sweep_results import mark_end, read_result
from seq2seq.experiments.sweep_table import report
from seq2seq.storage.model_file import BEST_NAME
from seq2seq.training.checkpoint import LAST_NAME
from seq2seq.training.distributed import ProcessGroup, joined_group
from seq2seq.training.trainer import Stopped

CONFIG_NAME = "config.yaml"
FAILED_NAME = "failed.txt"
FIXED_ON_RESUME = (
    "model.", "data.tokenizer.", "data.fold", "training.init_vocabulary", "training.monitor", "training.ema",
)  # fmt: skip
LIMITS = ("training.max_steps", "training.max_epochs", "training.max_minutes", "training.early_stopping")
NO_MATTER = (  # to what comes out of a run
    "runtime", "training.device", "training.resume", "training.log_every_steps", "training.save_every_steps",
    "data.cache_dir", "tune",
)  # fmt: skip


@dataclass(frozen=True)
class Launch:
    """How a job was started: where it runs, whether it goes on with an older run, what the user typed."""

    folder: Path
    resumes: bool
    overrides: list[str]
    ranks: ProcessGroup = field(default_factory=ProcessGroup)


def launch(job: Callable[[Config, Launch], None]) -> int:
    """Compose the config from `sys.argv`, run `job` and return the exit status.

    0: done. 1: a bug (traceback). 2: the user's mistake (one line). 130, 143: stopped by SIGINT, SIGTERM. Hydra would
    print several lines and exit 1 for a mistyped key, so its exceptions are let through and told in one line.
    """
    ConfigStore.instance().store(name="train_schema", node=Config)
    if {"--help", "-h"} & set(sys.argv[1:]):
        sys.stdout.write(help_text())
        return OK
    os.environ["HYDRA_FULL_ERROR"] = "1"
    ranks = ProcessGroup()
    sweep = Sweep(sys.argv[1:])
    OmegaConf.register_new_resolver("point_name", sweep.name, replace=True)
    failed: list[Exception] = []

    @hydra.main(version_base="1.3", config_path=config_dir(), config_name="train")
    def compose_and_run(raw: DictConfig) -> None:
        context = HydraConfig.get()
        folder = Path(context.runtime.output_dir)
        if context.mode is RunMode.MULTIRUN:
            _run_point(lambda *prepared: job(*_tell(ranks, *prepared)), raw, sweep.add(context, _shown(folder)))
            return
        try:
            job(*_tell(ranks, *_prepare(raw, folder)))
        except Exception as error:
            failed.append(error)  # raised below: Hydra would print a line of its own above it

    def lead() -> int:
        sys.argv[1:] = _with_run_dir(sys.argv[1:])
        try:
            compose_and_run()
        finally:
            if sweep.points:
                report(sweep)
        if failed:
            raise failed[0]
        return _status(sweep)

    def body() -> int:
        nonlocal ranks
        with joined_group() as ranks:
            return in_one_line(lead) if ranks.is_main else _follow(job, ranks)

    return run(body)


def in_one_line(work: Callable[[], int], goes_on: str = "") -> int:
    """Return the status of `work`; turn what Hydra, OmegaConf and the disk raise in it into one line.

    `goes_on` says how the work that a signal has stopped goes on.

    Raises:
        Seq2SeqError: instead of theirs.
    """
    try:
        return work()
    except Stopped as stop:
        sys.stderr.write(f"{stop}{goes_on}\n")
        return 128 + stop.signal_number
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(one_line(error)) from error
    except OSError as error:  # the folder cannot be made, its disk is full
        if isinstance(error, BrokenPipeError):
            raise
        place = f"{error.filename}: " if error.filename else ""
        raise Seq2SeqError(f"{place}{error.strerror or error}") from error


def _tell(ranks: ProcessGroup, config: Config, run: Launch) -> tuple[Config, Launch]:
    """Tell the other ranks what the first has composed; the folder, too, which may be named by the time.

    Raises:
        ConfigError: it is one point of a sweep.
    """
    if ranks.size > 1 and HydraConfig.get().mode is RunMode.MULTIRUN:
        raise ConfigError("a sweep (-m) cannot run in several processes: start its points one after another")
    ranks.broadcast((to_dict(config), run.folder, run.resumes))
    return config, replace(run, ranks=ranks)


def _follow(job: Callable[[Config, Launch], None], ranks: ProcessGroup) -> int:
    """Run `job` as another rank than the first, with what that one has composed."""
    nothing: tuple[dict[str, Any], Path, bool] = {}, Path(), False
    plain, folder, resumes = ranks.broadcast(nothing)
    try:
        job(to_config(plain), Launch(folder, resumes, [], ranks))
    except Stopped as stop:  # the first one says it
        return 128 + stop.signal_number
    return OK


def _run_point(job: Callable[[Config, Launch], None], raw: DictConfig, point: Point) -> None:
    """Run a point of a sweep, or go on with it; one that is finished is left as it is. The others go on if it fails."""
    try:
        (point.folder / FAILED_NAME).unlink(missing_ok=True)
        config, run = _prepare(raw, point.folder.absolute())
        point.monitor = config.training.monitor
        if _is_finished(config, point.folder):
            sys.stderr.write(f"{point.folder}: finished before, skipped\n")
        else:
            job(config, run)
            mark_end(point.folder)
        point.status = Status.finished
    except Exception as error:
        told = isinstance(error, Seq2SeqError | OmegaConfBaseException)
        point.status = Status.failed if told else Status.broken
        message = f"error: {one_line(error)}\n" if told else "".join(traceback.format_exception(error))
        (point.folder / FAILED_NAME).write_text(message, encoding="utf-8")
        sys.stderr.write(message)


def _status(sweep: Sweep) -> int:
    """Return the exit status of a sweep (or of no sweep), after a line that names the points that failed."""
    failed = [point for point in sweep.points.values() if point.status in (Status.failed, Status.broken)]
    if not failed:
        return OK
    names = ", ".join(str(point.folder) for point in failed)
    sys.stderr.write(f"error: {len(failed)} of {len(sweep.points)} points of the sweep failed: {names}\n")
    return BUG if any(point.status is Status.broken for point in failed) else USER_ERROR


def _with_run_dir(arguments: list[str]) -> list[str]:
    """Return the arguments with the folder of `training.resume=RUN` as run folder, before Hydra creates a new one."""
    for position, argument in enumerate(arguments, start=1):
        if not argument.lstrip("+").startswith("training.resume="):
            continue
        override = OverridesParser.create().parse_override(argument)
        value = None if override.is_sweep_override() else override.value()
        if value not in (None, "auto"):
            folder = Path(str(value))
            if not (folder / LAST_NAME).is_file():
                raise ConfigError(f"training.resume={value}: there is no {LAST_NAME} in that folder")
            quoted = str(folder).replace("'", "\\'")
            return [*arguments[:position], f"hydra.run.dir='{quoted}'", *arguments[position:]]
    return arguments


def _prepare(raw: DictConfig, folder: Path) -> tuple[Config, Launch]:
    """Turn Hydra's composition, or the config of the run to resume, into a checked config."""
    overrides = list(HydraConfig.get().overrides.task)
    resume, has_last = raw.training.resume, (folder / LAST_NAME).is_file()
    absolute_paths(raw)
    if resume is None and HydraConfig.get().mode is RunMode.MULTIRUN and (folder / CONFIG_NAME).is_file():
        changes = _changes_of_point(raw, folder)
        return to_config(raw), Launch(_shown(folder), has_last, changes)
    if resume is None and (has_last or (folder / BEST_NAME).is_file()):
        raise ConfigError(
            f"{_shown(folder)} already holds a run: continue it with training.resume="
            f"{_shown(folder) if has_last else 'auto'}, or choose another hydra.run.dir"
        )
    if resume is None or (resume == "auto" and not has_last):
        return to_config(raw), Launch(_shown(folder), False, overrides)
    if not has_last:  # set in a file or in a sweep, which have no say in where the run is
        raise ConfigError(f"training.resume={resume}: name the run on the command line, one run at a time")
    overrides = [change for change in overrides if not change.lstrip("+").startswith("training.resume=")]
    return _resumed_config(raw, folder, overrides), Launch(_shown(folder), True, overrides)


def _resumed_config(raw: DictConfig, folder: Path, overrides: list[str]) -> Config:
    """Return the run's own config with this command's overrides on top.

    A group's choice is accepted where it says what the run has anyway: the same command can be given again.

    Raises:
        ConfigError: an override would change the model, the tokenizer or a whole group.
    """
    own = _own_config(folder)
    config = own.copy()
    parsed = OverridesParser.create().parse_overrides(overrides)
    single = tuple(override.key_or_group for override in parsed if "." in override.key_or_group)
    for override in parsed:
        key = override.key_or_group
        if "." in key:
            OmegaConf.update(config, key, override.value())
        elif _differences(raw, own, f"{key}." if key in own else "", but_for=("training.resume", *single)):
            raise ConfigError(f"{key}={override.value()} cannot change on resume: give single keys, not a group")
    absolute_paths(config)
    refused = [key for prefix in FIXED_ON_RESUME for key in _differences(config, own, prefix)]
    if (config.training.init_from is None) != (own.training.init_from is None):  # a model that was moved may be named
        refused.append("training.init_from")
    if refused:
        told = ", ".join(f"{key} (was {OmegaConf.select(own, key)})" for key in refused)
        raise ConfigError(f"cannot change on resume, the weights were made with other values: {told}")
    return to_config(config)


def _changes_of_point(raw: DictConfig, folder: Path) -> list[str]:
    """Return as overrides in what a point differs from the run that its folder holds.

    Raises:
        ConfigError: in more than its limits, which would make a row of the table that is of two settings.
    """
    own = _own_config(folder)
    if refused := _differences(raw, own, "", but_for=(*LIMITS, *NO_MATTER)):
        told = ", ".join(f"{key} (was {OmegaConf.select(own, key)})" for key in refused)
        raise ConfigError(
            f"{_shown(folder)} holds a run with other settings: {told}; choose another hydra.sweep.dir, or change what "
            "may change on resume with training.resume=auto"
        )
    return [f"{key}={OmegaConf.select(raw, key)}" for key in _differences(raw, own, "", but_for=["training.resume"])]


def _is_finished(config: Config, folder: Path) -> bool:
    """Whether a run in `folder` with the same settings has come to its end."""
    if not (folder / CONFIG_NAME).is_file() or not read_result(folder).ended:
        return False
    return not _differences(OmegaConf.structured(config), _own_config(folder), "", but_for=NO_MATTER)


def _own_config(folder: Path) -> DictConfig:
    """Return the config of the run in `folder`.

    Raises:
        ConfigError: it cannot be read.
    """
    config: DictConfig = OmegaConf.structured(Config)
    try:
        config.merge_with(OmegaConf.load(folder / CONFIG_NAME))
    except Exception as error:  # YAML, OmegaConf and the file system each have their own family
        raise ConfigError(f"cannot resume: {folder / CONFIG_NAME}: {first_line(error)}") from error
    return config


def _differences(one: DictConfig, other: DictConfig, prefix: str, but_for: Sequence[str] = ()) -> list[str]:
    """Return the keys below `prefix`, but not those at or below `but_for`, in which two configs differ."""
    skipped = tuple(f"{key}." for key in but_for)
    keys = [key for key, field in walk(Config) if not is_group(field) and key.startswith(prefix)]
    kept = [key for key in keys if not f"{key}.".startswith(skipped)]
    return [key for key in kept if OmegaConf.select(one, key) != OmegaConf.select(other, key)]


def _shown(folder: Path) -> Path:
    """Return `folder` relative to the working directory where that is shorter, for messages and commands."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def one_line(error: Exception) -> str:
    """Return an error of ours, Hydra's or OmegaConf's as one line that names the key and the nearest valid one."""
    if isinstance(error.__cause__, OmegaConfBaseException):
        error = error.__cause__
    if isinstance(error, OmegaConfBaseException):
        return explain(error)
    message = str(error).partition("Config search path")[0]
    if isinstance(error, Seq2SeqError) or "Available options" in message:
        return " ".join(message.split())
    first = message.splitlines()[0]
    if isinstance(error, OverrideParseException):
        return f"cannot read {error.override!r} ({first}): write KEY=VALUE, and quote a value with special signs"
    if first.startswith("Ambiguous"):
        return " ".join(message.split())
    key = first.split("'")[1] if "'" in first else ""
    near = nearest_key(key)
    return first + (f" Did you mean {near!r}?" if near and near != key else "")
