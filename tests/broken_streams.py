"""Standard streams as a shell may leave them, set in a forked process before a command starts (forking.py)."""

from __future__ import annotations

import locale
import os
import sys


def closed(*numbers: int) -> None:
    """Close the descriptors, as `<&- >&- 2>&-` do: Python then starts with None for these streams."""
    for number in numbers:
        os.close(number)
        name = ("stdin", "stdout", "stderr")[number]
        setattr(sys, name, None)
        setattr(sys, f"__{name}__", None)


def full(*numbers: int) -> None:
    """Let every write fail for want of space."""
    for number in numbers:
        os.dup2(os.open("/dev/full", os.O_WRONLY), number)


def broken(*numbers: int) -> None:
    """Let every write fail because the reader has ended."""
    for number in numbers:
        reading, writing = os.pipe()
        os.dup2(writing, number)
        os.close(reading)
        os.close(writing)


def ascii_only() -> None:
    """Use ASCII, as `LC_ALL=C PYTHONUTF8=0` does."""
    locale.setlocale(locale.LC_ALL, "C")
    sys.stdout.reconfigure(encoding="ascii", errors="strict")  # type: ignore[union-attr]
    sys.stderr.reconfigure(encoding="ascii", errors="backslashreplace")  # type: ignore[union-attr]
