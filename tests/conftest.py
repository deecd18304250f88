"""Fixtures of all tests. Nothing of seq2seq is imported at the top: jaxtyping's import hook is installed after it."""

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

# Set before torch is imported, and inherited by test processes and by the commands that tests start. Small tensors gain
# nothing from threads, and threads wait busily: where processes share cores, work takes many times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")


# A shell's background jobs start with Ctrl-C ignored, and so would every command the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def corpora() -> Path:
    """Folder of real corpora, no part of the project: SEQ2SEQ_DATA, else ../shared/data beside the repository."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SEQ2SEQ_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no corpora in {folder}; SEQ2SEQ_DATA names another folder")
    return folder


@pytest.fixture(autouse=True)
def _quiet_log() -> Iterator[None]:
    """A command sets the level of the package's log; in a test it must not stay for the tests that follow."""
    yield
    logging.getLogger("seq2seq").setLevel(logging.NOTSET)
