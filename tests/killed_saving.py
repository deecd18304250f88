"""`python -m` for a process that SIGKILL ends inside a save; tests/e2e/test_faults.py starts it.

    python tests/killed_saving.py COUNT SHARE -m MODULE ARGUMENTS...

The COUNT-th temporary file never gets its name: the process kills itself with SHARE of the file on the disk.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from pathlib import Path


def main() -> None:
    """Run the module."""
    count, share, _, module, *arguments = sys.argv[1:]
    rename, left = os.replace, int(count)

    def rename_or_die(source: Path, target: Path) -> None:
        nonlocal left
        left -= source.suffix == ".tmp"
        if left == 0:
            os.truncate(source, int(source.stat().st_size * float(share)))
            os.kill(os.getpid(), signal.SIGKILL)
        rename(source, target)

    os.replace = rename_or_die
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


main()
