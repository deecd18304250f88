"""The Hydra application behind `train`: composition, several processes, sweeps."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seq2seq.cli import multirun
from seq2seq.cli.exit_status import OK, run
from seq2seq.cli.hold_folder import released_at_the_end
from seq2seq.cli.hydra_errors import composing, run_with_one_line_errors
from seq2seq.cli.override_paths import full_paths
from seq2seq.cli.resume import RunContext, add_run_dir, prepare_run, relative_path
from seq2seq.cli.yaml_errors import Composition
from seq2seq.config.help import help_text
from seq2seq.config.loading import config_dir, register_schema, to_config, to_dict
from seq2seq.config.paths import user_path
from seq2seq.config.schema import Config
from seq2seq.errors import ConfigError
from seq2seq.experiments.sweep_points import Sweep, task_overrides
from seq2seq.experiments.sweep_table import report
from seq2seq.storage.run_lock import unused_folder
from seq2seq.training.distributed import ProcessGroup, joined_group
from seq2seq.training.trainer import Stopped

Job = Callable[[Config, RunContext], object]


def run_app(job: Job) -> int:
    """Compose the config from `sys.argv`, run `job` and return the exit status.

    0: success. 1: a bug (traceback). 2: a user error (one line). 129, 130, 143: stopped by SIGHUP, SIGINT, SIGTERM. A
    stdout that fails changes the status after the job, which it does not end. For a mistyped key Hydra would print
    several lines and exit with 1; its exceptions are caught here instead.
    """

    def body() -> int:
        register_schema()
        if {"--help", "-h"} & set(sys.argv[1:]):
            sys.stdout.write(help_text())
            return OK
        os.environ["HYDRA_FULL_ERROR"] = "1"
        with joined_group() as group:
            if group.is_main:
                return run_with_one_line_errors(lambda: _run_first_rank(job, group))
            return _run_other_rank(job, group)

    return run(body, completes=True)


def _run_first_rank(job: Job, group: ProcessGroup) -> int:
    """Compose the config, share it with the other ranks and run the job, or every point of a sweep."""
    sweep = Sweep(sys.argv[1:])
    composition = _parse_command_line()
    OmegaConf.register_new_resolver("point_name", sweep.name, replace=True)
    OmegaConf.register_new_resolver("unused_folder", functools.cache(unused_folder), replace=True)
    failed: list[Exception] = []

    @hydra.main(version_base="1.3", config_path=config_dir(), config_name="train")
    def compose_and_run(raw: DictConfig) -> None:
        context = HydraConfig.get()
        folder = Path(context.runtime.output_dir)
        if context.mode is RunMode.MULTIRUN:
            point = sweep.add(context, relative_path(folder))
            multirun.run_point(lambda *prepared: job(*_share(group, *prepared)), raw, point)
            return
        try:
            job(*_share(group, *prepare_run(raw, folder, task_overrides(context))))
        except Exception as error:
            failed.append(error)  # raised below: Hydra would print a line of its own above it

    with released_at_the_end(), composing(composition):
        try:
            compose_and_run()
        finally:
            if sweep.points:
                report(sweep)
    if failed and isinstance(failed[0], ConfigError | OmegaConfBaseException):
        with composing(composition):
            raise failed[0]
    if failed:
        raise failed[0]
    return multirun.exit_status(sweep)


def _parse_command_line() -> Composition:
    """Check the options in `sys.argv`, write its paths in full, and return what Hydra composes from it.

    Raises:
        ConfigError: an unknown option, or a path that is empty or impossible.
    """
    parser = get_args_parser()
    parser.error = _refuse  # type: ignore[method-assign]  # one line instead of Hydra's usage
    args = parser.parse_args()
    sys.argv[1:] = add_run_dir(full_paths(sys.argv[1:]))
    folders = []
    if args.config_dir is not None:
        folders.append(Path(user_path(args.config_dir, "--config-dir")))
        sys.argv += ["--config-dir", str(folders[0])]  # the last one counts
    return Composition(args.overrides, folders)


def _refuse(message: str) -> NoReturn:
    raise ConfigError(f"{message} (see python -m seq2seq.train --help)")


def _share(group: ProcessGroup, config: Config, context: RunContext) -> tuple[Config, RunContext]:
    """Send the config and the run folder, whose name may contain the time, to the other ranks.

    Raises:
        ConfigError: the run is a point of a sweep.
    """
    if group.size > 1 and HydraConfig.get().mode is RunMode.MULTIRUN:
        raise ConfigError("a sweep (-m) cannot run in several processes: run its points one after another")
    group.broadcast((to_dict(config), context.folder, context.resumes))
    return config, replace(context, group=group)


def _run_other_rank(job: Job, group: ProcessGroup) -> int:
    """Run `job` with the config that the first rank sends."""
    placeholder: tuple[dict[str, Any], Path, bool] = {}, Path(), False
    plain, folder, resumes = group.broadcast(placeholder)
    try:
        job(to_config(plain), RunContext(folder, resumes, [], group))
    except Stopped as stop:  # the first rank prints it
        return 128 + stop.signal_number
    return OK
