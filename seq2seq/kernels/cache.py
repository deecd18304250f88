"""Keep compiled libraries where no other user can put one, each with a digest that is checked before it is loaded."""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import logging
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import filelock

FOLDER = "seq2seq-lstm"
LOCK = "kernels.lock"
BUILD = "kernels-build-"
UNUSED_SEC = 30 * 24 * 3600  # seconds after which a library that no process has looked for is removed

log = logging.getLogger(__name__)


class UnsafeError(OSError):
    """Other users can change a folder or file."""


class LockedError(Exception):
    """Another process has not finished its library."""


def folder_for(name: str) -> Path:
    """Return the first folder that has the library `name` or can be written to.

    They are the user's cache, a folder of the user among the temporary ones, and a new one for this process alone.
    Folders that other users can change are not used: a library runs its code in the process that loads it.

    Raises:
        OSError: there is no such folder.
    """
    for place in (_user_cache, _user_temporary):
        try:
            folder = place()
            folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
            folder = _checked(folder)
            if is_sound(folder / name) or os.access(folder, os.W_OK | os.X_OK):
                return folder
            _log(logging.INFO, f"{folder} cannot be written to")
        except (OSError, RuntimeError) as error:  # RuntimeError: the user has no home folder
            _log(logging.WARNING if isinstance(error, UnsafeError) else logging.INFO, str(error))
    folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def is_sound(library: Path) -> bool:
    """Return whether the library is there and is what was compiled: one that is cut kills the process that loads it."""
    digest = _digest(library)
    try:
        for path in (library, digest):
            _check_owner(path)
            if not path.is_file():
                return False
        found = hashlib.sha256(library.read_bytes()).hexdigest()
        if found != digest.read_text(encoding="ascii"):
            return False
        with contextlib.suppress(OSError):  # in a read-only cache
            os.utime(library, ns=(time.time_ns(), library.stat().st_mtime_ns))  # for `_remove_stale`
    except (OSError, UnicodeDecodeError):
        return False
    return True


def make(library: Path, compile_to: Callable[[Path], object], wait_sec: float) -> None:
    """Let `compile_to` make the library if it is not there yet; other processes wait for it.

    Raises:
        LockedError: another process has not finished in `wait_sec`.
        OSError: the library cannot be written.
    """
    folder = library.parent
    try:
        with filelock.FileLock(folder / LOCK, timeout=wait_sec):
            if is_sound(library):
                return
            _remove_stale(folder)
            with tempfile.TemporaryDirectory(dir=folder, prefix=BUILD) as temporary:
                made = Path(temporary) / library.name
                compile_to(made)
                _digest(made).write_text(hashlib.sha256(made.read_bytes()).hexdigest(), encoding="ascii")
                for file in (made, _digest(made)):
                    file.chmod(0o700)  # whatever the umask
                    with file.open("rb+") as content:
                        os.fsync(content.fileno())
                made.replace(library)  # a kill between the two leaves a library that is not sound
                _digest(made).replace(_digest(library))
    except filelock.Timeout:
        raise LockedError(f"another process has held {folder / LOCK} for {wait_sec:.0f} s") from None
    except NotImplementedError:
        raise OSError(f"the file system of {folder} has no locks") from None


def _user_cache() -> Path:
    configured = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG Base Directory Specification: a relative path is invalid and ignored.
    return (Path(configured) if os.path.isabs(configured) else Path("~/.cache").expanduser()) / FOLDER


def _user_temporary() -> Path:
    user = os.geteuid() if hasattr(os, "geteuid") else os.getlogin()
    return Path(tempfile.gettempdir()) / f"{FOLDER}-{user}"


def _checked(folder: Path) -> Path:
    """Return `folder` without symbolic links.

    Raises:
        UnsafeError: another user can put files there.
        OSError: it cannot be read, or programs there cannot be run.
    """
    if hasattr(os, "geteuid") and folder.lstat().st_uid not in (os.geteuid(), 0):  # the link, not where it leads
        raise UnsafeError(f"{folder} belongs to another user")
    folder = folder.resolve(strict=True)
    _check_owner(folder)
    parent = folder.parent.stat().st_mode
    if parent & stat.S_IWOTH and not parent & stat.S_ISVTX:
        raise UnsafeError(f"{folder.parent} can be written by other users")
    if hasattr(os, "statvfs") and os.statvfs(folder).f_flag & os.ST_NOEXEC:
        raise OSError(f"{folder} is on a file system that is mounted noexec")
    return folder


def _check_owner(path: Path) -> None:
    """Raise UnsafeError if another user than root can change `path`."""
    if not hasattr(os, "geteuid"):  # Windows, where a profile is private
        return
    status = path.stat()
    if status.st_uid not in (os.geteuid(), 0):
        raise UnsafeError(f"{path} belongs to another user")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UnsafeError(f"{path} can be written by other users: delete it")


def _digest(library: Path) -> Path:
    return library.with_name(f"{library.name}.sha256")


def _remove_stale(folder: Path) -> None:
    """Remove what killed compilations have left, and libraries and notes of earlier sources; called under the lock."""
    for path in folder.glob(f"{BUILD}*"):
        shutil.rmtree(path, ignore_errors=True)
    for made in (path for ending in ("so", "failed", "hangs") for path in [*folder.glob(f"kernels-*.{ending}")]):
        with contextlib.suppress(OSError):
            status = made.stat()
            if time.time() - max(status.st_atime, status.st_mtime) > UNUSED_SEC:
                for file in [*folder.glob(f"{made.name}*")]:
                    file.unlink()


@functools.cache  # once per process
def _log(level: int, reason: str) -> None:
    log.log(level, "the compiled kernels are kept in a temporary folder: %s", reason)
