"""Locks between processes. The system releases a lock when its process ends, however it ends."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock

from seq2seq.errors import ConfigError, StorageError

log = logging.getLogger(__name__)

WAIT_LOG_SEC = 3.0


class LockedError(ConfigError, StorageError):
    """Another process holds a lock; the message is its id and host, as far as they are known."""


@contextlib.contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold the lock file `path` during the block; it contains process id and host, and is removed at the end.

    The file of a process that ended locks nothing. If the file system has no locks, a warning is logged and the block
    runs without one; a warning also says which process is waited for, after WAIT_LOG_SEC.

    Raises:
        LockedError: another process holds the lock, and `wait` is false.
    """
    with contextlib.suppress(OSError):
        path.touch()  # with the mode of the user's umask: in a shared folder, others may lock the file, too
    lock = filelock.FileLock(path)
    held = _acquired(lock, path, wait)
    try:
        if held and not isinstance(lock, filelock.SoftFileLock):  # which writes the file itself
            with contextlib.suppress(OSError):  # Windows: a locked file cannot be written
                path.write_text(f"{os.getpid()} {platform.node()}\n", encoding="utf-8")
        yield
    finally:
        if held:
            with contextlib.suppress(OSError):
                path.unlink()  # while it is locked: filelock does not lock a file that was removed meanwhile
            lock.release()


def _acquired(lock: filelock.BaseFileLock, path: Path, wait: bool) -> bool:
    """Acquire the lock and return True; False if the file system has no locks. Raises as `locked`."""
    try:
        try:
            lock.acquire(timeout=WAIT_LOG_SEC if wait else 0)
        except filelock.Timeout:
            if not wait:
                raise LockedError(_holder(path)) from None
            log.warning("waiting for %s, which holds %s", _holder(path), path)
            lock.acquire()
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        log.warning("cannot lock %s (%s): no other process may use the folder now", path, reason)
        return False
    return True


def hold(path: Path) -> Callable[[], object]:
    """Lock the new file `path` until the returned function is called, or this process ends.

    If the file system has no locks, nothing is locked.
    """
    lock = filelock.FileLock(path, thread_local=False)  # any thread may release it
    with contextlib.suppress(filelock.Timeout, OSError, NotImplementedError):
        path.touch()  # as in `locked`
        lock.acquire(timeout=0)
    return lock.release


def is_held(path: Path) -> bool:
    """Return True if a process holds the lock file `path`, or if that cannot be found out."""
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except (filelock.Timeout, OSError, NotImplementedError):
        return True
    lock.release()
    return False


def _holder(path: Path) -> str:
    try:
        process, host = path.read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return "another process"
    return f"process {process} on {host}"
