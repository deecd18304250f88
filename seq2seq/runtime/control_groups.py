"""The control groups of this process (containers, batch systems), which limit its memory and cores; Linux only."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def group_folders(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folder of this process' group and of the groups around it, up to the mount point.

    Inside a container, /proc may name the path outside of it, of which only the mount point exists here.

    Args:
        root: folder with `proc` and `sys`.
        controller: of version 1, such as "memory"; empty: version 2.
    """
    mount = root / "sys/fs/cgroup" / controller
    for line in read_text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            inner = PurePosixPath(path.lstrip("/"))
            yield from (mount / part for part in (inner, *inner.parents))


def cores_allowed(root: Path = Path("/")) -> float:
    """Return how many cores' time the groups grant this process (`docker run --cpus`); infinity: no limit."""
    limits = [_ratio(*read_text(folder / "cpu.max").split()) for folder in group_folders(root, "")]
    for folder in group_folders(root, "cpu"):
        quota, period = (read_text(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
        limits.append(_ratio(quota, period))
    return min(limits, default=math.inf)


def _ratio(quota: str = "", period: str = "") -> float:
    """Return the quota in cores; "max" and -1 are no limit."""
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else math.inf


def read_text(path: Path) -> str:
    """Return the text of a file of the kernel; empty if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
