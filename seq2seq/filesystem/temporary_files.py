"""Names of temporary files and folders, by which a later process finds and removes what a killed process has left."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import re
import shutil
import time
import uuid
import zlib
from pathlib import Path

ABANDONED_SEC = 24 * 3600
IN_USE_NAME = "in-use.lock"
"""File in a temporary folder that is in use while it does not change: a process holds its lock (`file_locks.hold`)."""
# Older versions made other names.
_NAME = re.compile(r"\.(?:part-[0-9a-f]{32}|.+\.(?P<pid>\d+)-(?P<place>[0-9a-f]{8})\.tmp)")


def temporary_name() -> str:
    """Return a new name that tells which process made it; short, whatever the name of the final file is."""
    return f".part-{uuid.uuid4().hex}.{os.getpid()}-{_place()}.tmp"


def is_temporary(name: str) -> bool:
    """Return True for the names of this module."""
    return _NAME.fullmatch(name) is not None


def remove_abandoned(folder: Path) -> None:
    """Remove the temporary files and folders that killed processes left in `folder`, those of this module only.

    Those of a process that cannot be asked, such as one on another machine or before a restart of this one, are removed
    a day after their last change. A folder whose lock IN_USE_NAME is held stays.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for path, name in [(Path(entry.path), _NAME.fullmatch(entry.name)) for entry in entries]:
            with contextlib.suppress(OSError):  # another process removes it at the same time
                if name and _is_abandoned(path, name):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


@functools.cache
def remove_abandoned_once(folder: str) -> None:
    """Call `remove_abandoned`, once in this process: a folder of many outputs is not read again for each of them."""
    remove_abandoned(Path(folder))


def _is_abandoned(path: Path, name: re.Match[str]) -> bool:
    """Return True if the process that made the temporary file or folder `path` has ended."""
    if name["place"] == _place():
        if _is_running(int(name["pid"])):
            return False
    else:
        files = (path, *(path.rglob("*") if path.is_dir() else ()))
        if time.time() - max(file.stat().st_mtime for file in files) <= ABANDONED_SEC:
            return False
    in_use = path / IN_USE_NAME
    if not in_use.is_file():
        return True
    from seq2seq.filesystem.file_locks import is_held  # slow to import, and rarely needed

    return not is_held(in_use)


@functools.cache
def _place() -> str:
    """Return a hash of what a process id is unique in: this machine since its start or, on Linux, this container.

    The name of the machine is not enough: cloned machines that share a disk often have the same one.
    """
    parts = [platform.node()]
    with contextlib.suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
    return f"{zlib.crc32(' '.join(parts).encode()):08x}"


def _is_running(process: int) -> bool:
    if os.name != "posix":  # os.kill would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # the process of another user
        pass
    return True
