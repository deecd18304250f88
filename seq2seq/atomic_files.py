"""Writing so that a crash, a kill or a full disk never costs what was there, and nobody reads half a file."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from seq2seq.errors import StorageError


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to the disk, then rename it over `path`.

    For files with one writer: what a killed process left half written is removed.

    Raises:
        StorageError: the file could not be written (disk full, no permission); what stood at `path` still does.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with telling(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for stale in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
            stale.unlink(missing_ok=True)
        try:
            temporary.touch()
            mode = temporary.stat().st_mode
            write(temporary)
            temporary.chmod(mode)  # safetensors makes its files 0600
            with open(temporary, "rb+") as file:  # Windows syncs only what may be written
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder that becomes `path` when the block ends well, unless another process was first.

    For caches, which several processes may fill at once.

    Raises:
        StorageError: the disk refuses.
    """
    with telling(path):
        # Not tempfile: its 0700 would outlive the rename and shut out others who share the cache.
        temporary = path.parent / f".part-{uuid.uuid4().hex}"
        temporary.mkdir(parents=True)
        try:
            yield temporary
            for file in temporary.iterdir():
                with file.open("rb") as content:
                    os.fsync(content.fileno())
            try:
                temporary.rename(path)
            except OSError:
                if not path.is_dir():
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def telling(path: Path) -> Iterator[None]:
    """Turn what the disk refuses inside the block into one line about `path`.

    Raises:
        StorageError: instead of OSError, and of what torch.save and safetensors make of one.
    """
    try:
        yield
    except Exception as error:
        reason = _write_error(error)
        if reason is None:
            raise
        raise StorageError(f"cannot write {path}: {reason}; what was there is unchanged") from error


def first_line(error: BaseException) -> str:
    """Return what a library's exception says in one line; the exception's name if it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _write_error(error: Exception) -> str | None:
    """Return the reason if `error` says that the disk refused, else None.

    torch.save and safetensors wrap the system's OSError in exceptions of their own.
    """
    if isinstance(error, OSError):
        return error.strerror or str(error)
    names = ("PytorchStreamWriter", "No space left", "I/O error", "unexpected pos")
    if type(error).__name__ == "SafetensorError" or any(name in str(error) for name in names):
        return first_line(error)
    return None
