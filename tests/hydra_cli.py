"""Run the command line of `python -m seq2seq.train` in this process, with any job."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hydra._internal.hydra import Hydra

# seq2seq is imported inside the functions: the import hook of jaxtyping must be installed first.
if TYPE_CHECKING:
    from seq2seq.cli.resume import RunContext
    from seq2seq.config.schema import Config


class Launched(NamedTuple):
    """Result of a command, with the arguments of each job it ran."""

    status: int
    jobs: list[tuple[Config, RunContext]]
    out: str
    err: str


class Launcher:
    """Calls `run_app` with a job (by default one that does nothing) and records the job's arguments.

    Hydra composes every config twice, the first time only to find a `hydra.mode` in it; here only if one is given.
    """

    def __init__(
        self,
        patch: pytest.MonkeyPatch,
        capture: pytest.CaptureFixture[str],
        job: Callable[[Config, RunContext], None] = lambda config, run: None,
        fixed: tuple[str, ...] = (),
    ) -> None:
        self.patch, self.capture, self.job, self.fixed = patch, capture, job, fixed

    def __call__(self, *arguments: str) -> Launched:
        from seq2seq.cli.hydra_app import run_app

        jobs: list[tuple[Config, RunContext]] = []

        def record_and_run(config: Config, run: RunContext) -> None:
            jobs.append((config, run))
            self.job(config, run)

        given = [*self.fixed, *arguments]
        self.patch.setattr(sys, "argv", ["seq2seq.train", *given])
        if not any("hydra.mode" in argument for argument in given):
            self.patch.setattr(Hydra, "get_mode", lambda self, config_name, overrides: None)
        self.capture.readouterr()
        try:
            status = run_app(record_and_run)
        finally:
            self._close_logs()
        return Launched(status, jobs, *self.capture.readouterr())

    def _close_logs(self) -> None:
        """Close the command's log handlers, which would otherwise write to closed streams in later tests."""
        root = logging.getLogger("seq2seq")
        for handler in list(root.handlers):
            root.removeHandler(handler)
            handler.close()
