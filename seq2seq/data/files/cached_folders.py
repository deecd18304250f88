"""Folders of a cache that are written once, checked at every use, and written again if they are damaged."""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Callable
from pathlib import Path

from seq2seq.data.files.open_files import check_limit
from seq2seq.filesystem.atomic_files import new_folder, part_folder, storage_errors
from seq2seq.filesystem.file_locks import locked

log = logging.getLogger(__name__)

CHECKSUMS_NAME = "crc32.json"
READ_BYTES = 1 << 16


def cached_folder(folder: Path, write: Callable[[Path], object], again: str) -> bool:
    """Let `write` fill `folder`, unless it exists and is intact; return True if it was written.

    One process writes, others wait for it. `again` says in a log message what happens to damaged files.

    Raises:
        StorageError: the cache cannot be written.
    """
    if damaged_file(folder) is None:
        return False
    with storage_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_suffix(".lock"), wait=True):
        damaged = damaged_file(folder)
        if damaged is None:
            return False
        remove_damaged(folder, damaged, again)
        write_folder(folder, write)
    return True


def write_folder(folder: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a folder, add checksums and rename it to `folder`; one that exists then is kept.

    Raises:
        StorageError: it cannot be written.
    """
    with new_folder(folder, read_only=True) as temporary:  # runs map them: a file that is cut kills its readers
        write(temporary)
        checksums = {file.name: _crc32(file) for file in sorted(temporary.iterdir())}
        (temporary / CHECKSUMS_NAME).write_text(json.dumps(checksums), encoding="utf-8")


def write_temporary_folder(folder: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill `folder`, which this process alone reads and soon removes: without checksums and sync.

    Raises:
        StorageError: it cannot be written.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True)
        write(folder)


def remove_damaged(folder: Path, damaged: Path, again: str) -> None:
    """Log a warning and move `folder` away, if it exists; a process may still read its files.

    Raises:
        StorageError: it cannot be moved.
    """
    if folder.is_dir():
        log.warning("%s is damaged or missing: %s", damaged, again)
        with storage_errors(folder), part_folder(folder.parent) as removed:
            folder.rename(removed / folder.name)


def damaged_file(folder: Path) -> Path | None:
    """Return the first file that is missing, cut or changed since it was written; None: all are intact.

    Raises:
        StorageError: too many files are open.
    """
    stored = folder / CHECKSUMS_NAME
    try:
        checksums: dict[str, int] = dict(json.loads(stored.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        check_limit(error, stored)
        return stored
    for name, checksum in checksums.items():
        try:
            if _crc32(folder / name) != checksum:
                return folder / name
        except OSError as error:
            check_limit(error, folder / name)
            return folder / name
    return None if checksums else stored


def _crc32(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(READ_BYTES):
            checksum = zlib.crc32(chunk, checksum)
    return checksum
