"""How busy the cores are that this process may use; Linux only."""

from __future__ import annotations

import os
from pathlib import Path

from seq2seq.runtime.control_groups import read_text

TICKS_PER_SEC = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def allowed_cores() -> set[int]:
    """Return the numbers of the cores that this process may run on (`taskset`, batch systems)."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def waiting_sec(root: Path = Path("/")) -> float | None:
    """Return for how long the threads of this process have waited for a core, summed; None if it is not known.

    It is the second number of /proc/PID/task/TID/schedstat (Linux, Documentation/scheduler/sched-stats.rst). A thread
    that ends takes its time with it.
    """
    tasks = root / "proc/self/task"
    try:
        names = os.listdir(tasks)
    except OSError:
        return None
    rows = [read_text(tasks / name / "schedstat").split() for name in names]
    times = [int(row[1]) for row in rows if len(row) == 3]
    return sum(times) / 1e9 if times else None


def idle_sec(cores: set[int], root: Path = Path("/")) -> float | None:
    """Return for how long these cores have been idle, summed; None if it is not known.

    The columns of /proc/stat are user, nice, system, idle and iowait, in ticks (proc_stat(5)).
    """
    rows = [line.split() for line in read_text(root / "proc/stat").splitlines()]
    times = [int(row[4]) + int(row[5]) for row in rows if row and row[0] in {f"cpu{core}" for core in cores}]
    return sum(times) / TICKS_PER_SEC if times else None
