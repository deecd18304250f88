"""Fixtures of all tests. seq2seq is not imported here: the import hook of jaxtyping is installed after this module."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest

import shape_checks

# The import hook of jaxtyping looks this name up in every module of seq2seq.
jaxtyping.jaxtyped = shape_checks.jaxtyped

# Set before torch is imported and inherited by subprocesses. Small tensors gain nothing from threads, and threads
# busy-wait: with several processes on a core, tests would take many times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# While a module of seq2seq is imported, the import hook of jaxtyping looks for bytecode under names of its own. The
# thousand modules of torch are imported before, with the bytecode that they have; to compile them takes seconds.
if "SEQ2SEQ_ISA" not in os.environ:  # seq2seq must then limit torch before it computes
    import torch  # noqa: F401

# A background job of a shell ignores SIGINT, and one of nohup SIGHUP; subprocesses inherit that, and tests send both.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Compile the kernels before the test processes start: commands that wait for the compiler say so on stderr."""
    if not hasattr(session.config, "workerinput"):
        subprocess.run([sys.executable, "-c", "from seq2seq.kernels import build; build.library()"], check=False)


@pytest.fixture(scope="session")
def corpora() -> Path:
    """Return the folder of real corpora, which the repository does not contain: SEQ2SEQ_DATA, or ../shared/data."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SEQ2SEQ_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no corpora in {folder}: set SEQ2SEQ_DATA to their folder")
    return folder


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> str:
    """Return the name of a device: the CPU and, where there is one, a GPU; mark its tests `device`."""
    import torch

    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA GPU")
    return str(request.param)


@pytest.fixture(autouse=True)
def _quiet_log() -> Iterator[None]:
    """Reset the log level of the package, which commands set, after each test."""
    yield
    logging.getLogger("seq2seq").setLevel(logging.NOTSET)
