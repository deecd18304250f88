"""Write files atomically: after a crash, a kill or a full disk the old file is intact; no reader sees half a file."""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import os
import platform
import re
import shutil
import tempfile
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from seq2seq.errors import StorageError, first_line

ABANDONED_SEC = 24 * 3600
IN_USE_NAME = "in-use.lock"
"""File in a temporary folder that is in use while it does not change: a process holds its lock (`file_locks.hold`)."""


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file in the folder of `path`, sync it to the disk, then rename it to `path`.

    A symbolic link stays: the file it points to is replaced. A device or pipe is written to, not replaced.

    Raises:
        StorageError: the file could not be written (disk full, no permission, a folder); an old file is unchanged.
    """
    with storage_errors(path):
        if is_stream(path):
            _write_stream(path, write)
            return
        path = Path(replaceable(path))
        temporary = path.with_name(f".{path.name}.{_process_tag()}.tmp")
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(path.parent)
        try:
            temporary.touch()
            mode = temporary.stat().st_mode
            write(temporary)
            temporary.chmod(mode)  # safetensors creates files with mode 0600
            sync_file(temporary)
            os.replace(temporary, path)
            sync_folder(path.parent)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()


def check_writable(path: Path) -> None:
    """Check, before work whose result is written to `path`, that it can be; its folder is created.

    Raises:
        StorageError: no permission, or a part of the path is a file.
    """
    if is_stream(path):
        return
    with storage_errors(path):
        folder = Path(replaceable(path)).parent
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


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
def new_folder(path: Path, *, read_only: bool = False) -> Iterator[Path]:
    """Yield a temporary folder that is renamed to `path` at the end of the block; if `path` exists then, it is kept.

    For caches, which several processes may fill at the same time. `read_only` protects its files from being changed.

    Raises:
        StorageError: the folder could not be written.
    """
    with storage_errors(path), part_folder(path.parent) as temporary:
        yield temporary
        for file in temporary.iterdir():
            sync_file(file)
            if read_only:
                file.chmod(file.stat().st_mode & ~0o222)
        sync_folder(temporary)
        try:
            temporary.rename(path)
        except OSError:
            if not path.is_dir():
                raise
        sync_folder(path.parent)


@contextlib.contextmanager
def part_folder(parent: Path) -> Iterator[Path]:
    """Yield a new folder in `parent`, which is removed at the end of the block, and by a later call after a kill.

    Raises:
        OSError: it cannot be created.
    """
    folder = new_part_folder(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def new_part_folder(parent: Path) -> Path:
    """Create the folder of `part_folder`; the caller removes it.

    Raises:
        OSError: it cannot be created.
    """
    parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(parent)
    # Not tempfile: its mode 0700 would survive a rename and lock out other users of a shared cache.
    folder = parent / f".part-{uuid.uuid4().hex}.{_process_tag()}.tmp"
    folder.mkdir()
    return folder


def remove_abandoned(folder: Path) -> None:
    """Remove the temporary files and folders that killed processes left in `folder`, those of this module only.

    Those of a process that cannot be asked, such as one on another machine, are removed a day after their last change,
    unless it holds the lock IN_USE_NAME.
    """
    with contextlib.suppress(OSError):
        for path in [*folder.glob(".*.tmp"), *folder.glob(".part-*")]:
            with contextlib.suppress(OSError):  # another process removes it at the same time
                if _is_abandoned(path):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


def sync_file(path: Path) -> None:
    """Sync the content of a file to the disk.

    Raises:
        OSError: it cannot be written.
    """
    with open(path, "rb+") as file:  # Windows syncs only files opened for writing
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Sync the names in `folder` to the disk; before, a power cut may undo a rename."""
    with contextlib.suppress(OSError):  # Windows cannot open folders, and some network drives cannot sync them
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


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
    if any(name in str(error) for name in ("PytorchStreamWriter", "unexpected pos")):  # torch drops the system's reason
        return "the disk is full, or the file would exceed a quota or size limit"
    if type(error).__name__ == "SafetensorError" or any(n in str(error) for n in ("No space left", "I/O error")):
        return first_line(error)
    return None


def _is_abandoned(path: Path) -> bool:
    """Return True if the name is one of this module's temporary names and its process has ended."""
    match = re.fullmatch(r"\.(?:part-[0-9a-f]{32}|.+\.(?P<pid>\d+)-(?P<place>[0-9a-f]{8})\.tmp)", path.name)
    if match is None:
        return False
    if match["place"] == _place():
        return not _is_running(int(match["pid"]))
    last_change: float = max(file.stat().st_mtime for file in (path, *(path.rglob("*") if path.is_dir() else ())))
    if time.time() - last_change <= ABANDONED_SEC:
        return False
    from seq2seq.file_locks import is_held  # slow to import, and rarely needed

    in_use = path / IN_USE_NAME
    return not (in_use.is_file() and is_held(in_use))


def _process_tag() -> str:
    """Return what names this process in temporary names: process id and place."""
    return f"{os.getpid()}-{_place()}"


@functools.cache
def _place() -> str:
    """Return a hash of what a process id is unique in: this machine or, on Linux, this container."""
    namespace = ""
    with contextlib.suppress(OSError):
        namespace = os.readlink("/proc/self/ns/pid")
    return f"{zlib.crc32(f'{platform.node()} {namespace}'.encode()):08x}"


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
