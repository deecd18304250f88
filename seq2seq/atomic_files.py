"""Write files atomically: after a crash, a kill or a full disk the old file is intact; no reader sees half a file."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from seq2seq.errors import StorageError
from seq2seq.errors import first_line as first_line


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file in the folder of `path`, sync it to the disk, then rename it to `path`.

    For files with one writer: temporary files of killed processes are removed.

    Raises:
        StorageError: the file could not be written (disk full, no permission); an old file at `path` is unchanged.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for stale in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
            stale.unlink(missing_ok=True)
        try:
            temporary.touch()
            mode = temporary.stat().st_mode
            write(temporary)
            temporary.chmod(mode)  # safetensors creates files with mode 0600
            with open(temporary, "rb+") as file:  # Windows syncs only files opened for writing
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that is renamed to `path` at the end of the block; if `path` exists then, it is kept.

    For caches, which several processes may fill at the same time.

    Raises:
        StorageError: the folder could not be written.
    """
    with storage_errors(path):
        # Not tempfile: its mode 0700 would survive the rename and lock out other users of a shared cache.
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
def storage_errors(path: Path) -> Iterator[None]:
    """Turn write errors inside the block into one line about `path`.

    Raises:
        StorageError: instead of OSError and of the exceptions in which torch.save and safetensors wrap one.
    """
    try:
        yield
    except Exception as error:
        reason = _write_error(error)
        if reason is None:
            raise
        raise StorageError(f"cannot write {path}: {reason}; the old content is unchanged") from error


def _write_error(error: Exception) -> str | None:
    """Return the reason if `error` is a failed write, else None; torch.save and safetensors do not raise OSError."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    names = ("PytorchStreamWriter", "No space left", "I/O error", "unexpected pos")
    if type(error).__name__ == "SafetensorError" or any(name in str(error) for name in names):
        return first_line(error)
    return None
