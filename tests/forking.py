"""Commands in processes of their own that start at once: forks of a process that has imported what they need.

`python -m seq2seq.train` spends more time on imports than on the tiny runs of these tests. A fork can be signalled,
killed and limited like any other process. What must see an interpreter start is run with `subprocess`.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

# What the commands import late, too.
IMPORTED = (
    "seq2seq.train", "seq2seq.tune", "torch._dynamo", "optuna", "sqlalchemy", "optuna.samplers",
    "sacrebleu.metrics", "seq2seq.inference.vocabulary_shortlist", "seq2seq.storage.weight_averaging",
    "matplotlib.figure", "matplotlib.backends.backend_svg",
)  # fmt: skip


class Child:
    """`python -m MODULE ARGUMENTS` in a folder; of `subprocess.Popen`'s methods those that the tests use."""

    def __init__(self, module: str, folder: Path, *arguments: str, prepare: Callable[[], object] | None = None) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(IMPORTED))
        self._folder = Path(tempfile.mkdtemp())
        self._paths = [self._folder / name for name in ("out", "err")]
        given = (module, arguments, folder, dict(os.environ), self._paths, prepare)
        self._process = context.Process(target=_run, args=given, daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit status; minus the number of the signal that ended it; None: still running."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """As `returncode`."""
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Signal the process if it is running."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def communicate(self) -> tuple[str, str]:
        """Wait for the end; return what stands on stdout and stderr."""
        self._process.join()
        out, err = (path.read_text("utf-8", "surrogateescape") if path.exists() else "" for path in self._paths)
        shutil.rmtree(self._folder, ignore_errors=True)
        return out, err


class Result(NamedTuple):
    """Exit status, stdout and stderr of a command."""

    status: int
    out: str
    err: str


def call(module: str, folder: Path, *arguments: str, prepare: Callable[[], object] | None = None) -> Result:
    """Run `python -m MODULE ARGUMENTS` in a folder to its end; call `prepare` in its process first."""
    child = Child(module, folder, *arguments, prepare=prepare)
    try:
        out, err = child.communicate()
    finally:
        child.kill()  # of a test whose time is up
    assert child.returncode is not None
    return Result(child.returncode, out, err)


def _run(
    module: str,
    arguments: tuple[str, ...],
    folder: Path,
    environment: dict[str, str],
    paths: list[Path],
    prepare: Callable[[], object] | None,
) -> None:
    for number, path in enumerate(paths, start=1):
        with path.open("wb") as file:
            os.dup2(file.fileno(), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    command = importlib.import_module(module)
    sys.argv = [str(command.__file__), *arguments]
    sys.orig_argv = [sys.executable, "-m", module, *arguments]
    if prepare is not None:
        prepare()
    sys.exit(command.main())
