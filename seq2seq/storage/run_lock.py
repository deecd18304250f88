"""One process at a time uses the folder of a run, a sweep or a search."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from seq2seq.errors import ConfigError
from seq2seq.filesystem.atomic_files import storage_errors
from seq2seq.filesystem.file_locks import LockedError, locked
from seq2seq.filesystem.temporary_files import remove_abandoned
from seq2seq.storage.run_folder import LOCK_NAME, MODELS_NAME

_unused: set[str] = set()
"""Folders that `unused_folder` created."""


@contextlib.contextmanager
def folder_held(folder: Path, key: str, *, use: str = "run") -> Iterator[None]:
    """Create `folder` and lock it against other processes during the block.

    Temporary files of processes that were killed are removed first.

    Args:
        folder: of a run, a sweep or a search.
        key: setting that names the folder, for the error messages.
        use: what runs in it, for the error messages.

    Raises:
        LockedError: another process uses the folder.
        ConfigError: the folder is a file.
        StorageError: the folder cannot be created or written.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder: set another {key}")
    created = not folder.exists() or os.path.abspath(folder) in _unused
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError("no permission to write into the folder")
    with contextlib.ExitStack() as stack:
        if created:
            stack.enter_context(_removed_if_refused(folder))
        try:
            stack.enter_context(locked(folder / LOCK_NAME, wait=False))
        except LockedError as error:
            message = f"another {use} is running in {folder} ({error}): wait until it ends, or set another {key}"
            raise LockedError(message) from None
        remove_abandoned(folder)
        remove_abandoned(folder / MODELS_NAME)
        yield


@contextlib.contextmanager
def _removed_if_refused(folder: Path) -> Iterator[None]:
    """Remove `folder` if the block raises an exception before it has written into it."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            folder.rmdir()  # fails unless it is empty
        raise


def unused_folder(path: str) -> str:
    """Create the folder `path`, or, if it exists, the first of path-2, path-3 ... that does not; return its path.

    Two runs that start in the same second thus have different folders.
    """
    for candidate in itertools.chain([path], (f"{path}-{number}" for number in itertools.count(2))):
        try:
            Path(candidate).mkdir(parents=True)
        except FileExistsError:
            if os.path.lexists(candidate):
                continue
        except OSError:
            pass  # `folder_held` explains it
        break
    _unused.add(os.path.abspath(candidate))
    return candidate
