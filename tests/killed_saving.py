"""A process that SIGKILL ends inside a save; tests/e2e/test_faults.py prepares its runs with it."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def die_in_save(count: int, share: float) -> None:
    """Let the `count`-th temporary file never get its name: the process ends with this share of it on the disk."""
    rename, left = os.replace, count

    def rename_or_die(source: Path, target: Path) -> None:
        nonlocal left
        left -= Path(source).suffix == ".tmp"
        if left == 0:
            os.truncate(source, int(Path(source).stat().st_size * share))
            os.kill(os.getpid(), signal.SIGKILL)
        rename(source, target)

    os.replace = rename_or_die
