"""How much memory a process can take: the kernel's estimate and the limits of control groups (Linux only)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from seq2seq.runtime.control_groups import group_folders, read_text


def available_bytes(processes: int = 1, root: Path = Path("/")) -> int | None:
    """Return how much memory each of `processes` can take without swapping; None if the system does not report it.

    The kernel's estimate, bounded by the limits of the control groups (containers, batch systems) of this process.
    File pages count as free in both: the kernel drops them when it needs room.

    Args:
        processes: number of processes that share the memory.
        root: folder with `proc` and `sys`.
    """
    free = _table(root / "proc/meminfo").get("MemAvailable")
    if free is None:
        return None
    return max(0, min([free * 1024, *_left_in_groups(root)])) // processes


def _left_in_groups(root: Path) -> Iterator[int]:
    """Yield the bytes left below the limit of each control group: of version 2, then of version 1."""
    for folder in group_folders(root, ""):
        stat = _table(folder / "memory.stat")
        cache = stat.get("inactive_file", 0) + stat.get("active_file", 0)
        yield from _left(folder / "memory.max", folder / "memory.current", cache)
    for folder in group_folders(root, "memory"):
        stat = _table(folder / "memory.stat")
        cache = stat.get("total_inactive_file", 0) + stat.get("total_active_file", 0)
        yield from _left(folder / "memory.limit_in_bytes", folder / "memory.usage_in_bytes", cache)


def _left(limit: Path, usage: Path, cache: int) -> Iterator[int]:
    limit_bytes, used_bytes = read_text(limit).strip(), read_text(usage).strip()
    if limit_bytes.isdigit() and used_bytes.isdigit():  # "max" is no limit
        yield int(limit_bytes) - max(0, int(used_bytes) - cache)


def _table(path: Path) -> dict[str, int]:
    """Return the numbers of a file with lines of a name and a number."""
    rows = [line.replace(":", " ").split() for line in read_text(path).splitlines()]
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}
