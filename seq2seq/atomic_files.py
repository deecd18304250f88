"""Write files atomically: after a crash, a kill or a full disk the old file is intact; no reader sees half a file."""

from __future__ import annotations

import contextlib
import errno
import glob
import io
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from seq2seq.errors import StorageError


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file in the folder of `path`, sync it to the disk, then rename it to `path`.

    For files with one writer: temporary files of killed processes are removed. A symbolic link stays: the file it
    points to is replaced. A device or pipe is written to, not replaced.

    Raises:
        StorageError: the file could not be written (disk full, no permission, a folder); an old file is unchanged.
    """
    with storage_errors(path):
        if is_stream(path):
            _write_stream(path, write)
            return
        path = Path(replaceable(path))
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
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


def is_stream(path: str | Path) -> bool:
    """Return True for what must not be replaced by a file: a device, a pipe, and a standard stream whatever it is."""
    if _descriptor(path) is not None:
        return True
    return os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path))


def open_stream(path: str | Path) -> io.FileIO:
    """Open what `is_stream` accepts for writing, without a buffer; an open descriptor keeps its position in a file.

    Raises:
        OSError: as `open`.
    """
    descriptor = _descriptor(path)
    return io.FileIO(path, "ab") if descriptor is None else io.FileIO(os.dup(descriptor), "wb")


def _descriptor(path: str | Path) -> int | None:
    """Return 1 for /dev/stdout, N for /dev/fd/N; None for other files."""
    name = os.path.abspath(path)
    number = re.fullmatch(r"(?:/dev/fd|/proc/self/fd)/(\d{1,9})", name)
    return int(number[1]) if number else {"/dev/stdout": 1, "/dev/stderr": 2}.get(name)


def replaceable(path: str | Path) -> str:
    """Return the path of the file behind symbolic links.

    Raises:
        OSError: it is a folder, or is protected against writing.
    """
    target = os.path.realpath(path)
    problem = errno.EISDIR if os.path.isdir(target) else 0
    if os.path.isfile(target) and not os.access(target, os.W_OK):
        problem = errno.EACCES
    if problem:
        raise OSError(problem, os.strerror(problem))
    return target


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


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or its class name if the message is empty."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _write_stream(path: Path, write: Callable[[Path], object]) -> None:
    with tempfile.TemporaryDirectory() as folder:  # libraries that write models want a file
        temporary = Path(folder, "file")
        temporary.touch()
        write(temporary)
        with open(temporary, "rb") as content, open_stream(path) as stream:
            shutil.copyfileobj(content, stream)


def _write_error(error: Exception) -> str | None:
    """Return the reason if `error` is a failed write, else None; torch.save and safetensors do not raise OSError."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    names = ("PytorchStreamWriter", "No space left", "I/O error", "unexpected pos")
    if type(error).__name__ == "SafetensorError" or any(name in str(error) for name in names):
        return first_line(error)
    return None
