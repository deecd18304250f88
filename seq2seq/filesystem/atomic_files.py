"""Write files atomically: after a crash, a kill or a full disk the old file is intact; no reader sees half a file."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from seq2seq.errors import Seq2SeqError, StorageError, first_line
from seq2seq.filesystem.temporary_files import is_temporary, remove_abandoned_once, temporary_name

UNCHANGED = "the old content is unchanged"


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file in the folder of `path`, sync it to the disk, then rename it to `path`.

    Raises:
        StorageError: the file could not be written (disk full, no permission, a folder); an old file is unchanged.
    """
    with replacing(path) as (temporary,), storage_errors(path):
        write(temporary)


@contextlib.contextmanager
def replacing(*paths: Path) -> Iterator[list[Path]]:
    """Yield an empty temporary file for each path; at the end of the block, all are synced, then renamed to the paths.

    A file that exists keeps its mode. A symbolic link stays: the file it points to is replaced. A device or pipe is
    written to at the end of the block, not replaced. After an exception in the block nothing is changed.

    Raises:
        StorageError: a file could not be written; the message says which files have their new content already.
    """
    with contextlib.ExitStack() as stack:
        contents: list[_NewFile | _NewStreamContent] = []
        for path in paths:
            with storage_errors(path):
                contents.append(_NewStreamContent(path) if is_stream(path) else _NewFile(path))
            stack.callback(contents[-1].remove)
        yield [content.temporary for content in contents]
        for content in contents:
            with storage_errors(content.path):
                content.complete()
        state = UNCHANGED
        for number, content in enumerate(contents, start=1):
            with storage_errors(content.path, state):
                content.place()
            state = f"{', '.join(str(path) for path in paths[:number])}: replaced already, so run the command again"
        for folder in {content.folder for content in contents}:
            sync_folder(folder)


class _NewFile:
    """The new content of a file, in a temporary file until it is complete."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._target = Path(replaceable(path))
        self.folder = self._target.parent
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_abandoned_once(str(self.folder))
        exists = self._target.exists()  # raises if the name is too long: before there is a temporary file
        self.temporary = self.folder / temporary_name()
        self.temporary.touch()
        old = self._target if exists else self.temporary
        self._mode = stat.S_IMODE(old.stat().st_mode)
        self.temporary.chmod(self._mode | stat.S_IRUSR | stat.S_IWUSR)

    def complete(self) -> None:
        sync_file(self.temporary)
        self.temporary.chmod(self._mode)  # safetensors creates files with mode 0600

    def place(self) -> None:
        os.replace(self.temporary, self._target)

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            self.temporary.unlink()


class _NewStreamContent:
    """What is written to a device or pipe, in a file until it is complete: libraries that write models want one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._folder = tempfile.TemporaryDirectory()
        self.folder = Path(self._folder.name)
        self.temporary = self.folder / "file"
        self.temporary.touch()

    def complete(self) -> None:
        with open(self.temporary, "rb") as content, open_stream(self.path) as stream:
            shutil.copyfileobj(content, stream)

    def place(self) -> None:
        """Do nothing: the content is written."""

    def remove(self) -> None:
        self._folder.cleanup()


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
    remove_abandoned_once(os.path.realpath(parent))
    # Not tempfile: its mode 0700 would survive a rename and lock out other users of a shared cache.
    folder = parent / temporary_name()
    folder.mkdir()
    return folder


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
def storage_errors(path: Path, state: str = UNCHANGED) -> Iterator[None]:
    """Turn write errors inside the block into one line about `path`, or about another file that the error names.

    Raises:
        StorageError: instead of OSError and of the exceptions in which torch.save and safetensors wrap one.
        BrokenPipeError: as it is; a command ends with the status of a closed pipe.
    """
    try:
        yield
    except (Seq2SeqError, BrokenPipeError):
        raise
    except Exception as error:
        reason = _write_error(error)
        if reason is None:
            raise
        if other := _other_file(error, path):
            raise StorageError(f"{other}: {reason}; {path} is not written") from error
        raise StorageError(f"cannot write {path}: {reason}; {state}") from error


def _other_file(error: Exception, path: Path) -> str | None:
    """Return the file that a system error names, unless writing `path` touches it: a folder above it, its temporary."""
    name = getattr(error, "filename2", None) or getattr(error, "filename", None)  # filename2: the target of a rename
    if not isinstance(name, str | os.PathLike):
        return None
    own, named = Path(os.path.realpath(path)), Path(os.path.realpath(name))
    related = own == named or own in named.parents or named in own.parents or any(map(is_temporary, named.parts))
    return None if related else os.fspath(name)


def _write_error(error: Exception) -> str | None:
    """Return the reason if `error` is a failed write, else None; torch.save and safetensors do not raise OSError."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if any(name in str(error) for name in ("PytorchStreamWriter", "unexpected pos")):  # torch drops the system's reason
        return "the disk is full, or the file would exceed a quota or size limit"
    if type(error).__name__ == "SafetensorError" or any(n in str(error) for n in ("No space left", "I/O error")):
        return first_line(error)
    return None
