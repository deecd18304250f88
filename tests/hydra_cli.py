"""`python -m seq2seq.train` in this process: what the user typed, what came of it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import pytest

# seq2seq is imported inside the functions: jaxtyping's import hook must come first.
if TYPE_CHECKING:
    from seq2seq.cli.resume import RunContext
    from seq2seq.config.schema import Config


class Launched(NamedTuple):
    status: int
    jobs: list[tuple[Config, RunContext]]
    out: str
    err: str


class Launcher:
    """Calls `launch` and remembers what the job was given; without a job nothing else happens."""

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

        def remember_and_do(config: Config, run: RunContext) -> None:
            jobs.append((config, run))
            self.job(config, run)

        self.patch.setattr(sys, "argv", ["seq2seq.train", *self.fixed, *arguments])
        self.capture.readouterr()
        try:
            status = run_app(remember_and_do)
        finally:
            self._close_logs()
        return Launched(status, jobs, *self.capture.readouterr())

    def _close_logs(self) -> None:
        """A command ends with its process; here its log files would stay open, and write to closed streams."""
        root = logging.getLogger("seq2seq")
        for handler in list(root.handlers):
            root.removeHandler(handler)
            handler.close()
