"""Read files of `data.root`, and single members of archives: no archive is unpacked as a whole.

A member is read into memory, or copied to a file whose name does not come from the archive: no member can be written
outside the folder, or over another file. Links, devices and encrypted members are refused.
"""

from __future__ import annotations

import contextlib
import fnmatch
import gzip
import hashlib
import io
import os
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from seq2seq.data.files.cached_folders import cached_folder
from seq2seq.errors import DataError, Seq2SeqError, StorageError
from seq2seq.filesystem.atomic_files import storage_errors

MAX_BYTES = 512 * 2**20
"""Largest member that is read into memory; smallest size at which a copied one can be a decompression bomb."""
MAX_RATIO = 100
"""Largest ratio of decompressed to compressed bytes above MAX_BYTES; text has 3 to 20."""
MAX_SHARE = 0.9
"""Largest share of the free space of the disk that a copied member may take: other programs write there, too."""
CHUNK = 2**20


def root_folder(root: str) -> Path:
    """Return the folder that `data.root` names.

    Raises:
        DataError: there is no such folder, or it cannot be read.
    """
    try:
        folder = Path(root).expanduser()
        if not folder.is_dir():
            reason = "not a folder" if folder.exists() else "no such folder"
        elif os.access(folder, os.R_OK | os.X_OK):
            return folder
        else:
            reason = "permission denied"
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: ~ of a user that does not exist
        reason = getattr(error, "strerror", None) or str(error)
    raise DataError(f"data.root={root}: {reason}")


def read_file(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None


def untar(path: Path, member: str) -> bytes:
    """Return a member of a .tar.gz file.

    Raises:
        DataError: it cannot be read; the message names archive and member.
    """
    with _errors(f"{path}: damaged archive, cannot read {member}"):
        with gzip.open(path) as compressed:
            content = _read_all(compressed.read)
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            return _read_all(_regular(archive, archive.getmember(member)).read)


def unzip(data: bytes, member: str, archive: str) -> bytes:
    """Return a member of a zip file, which `archive` names in messages.

    Raises:
        DataError: it cannot be read; the message names archive and member.
    """
    with (
        _errors(f"{archive}: cannot read {member}"),
        zipfile.ZipFile(io.BytesIO(data)) as content,
        content.open(_readable(content.getinfo(member))) as file,
    ):
        return _read_all(file.read)


def extract(path: Path, patterns: Sequence[str], cache: Path) -> list[Path]:
    """Copy one member per pattern out of a zip or tar file, unless there are intact copies; return the copies.

    Args:
        path: the archive.
        patterns: names of members, with the wildcards of `fnmatch`.
        cache: folder in which a folder of the copies is made, at once or not at all.

    Raises:
        DataError: a pattern has no member or several, the archive is damaged, or a member is larger than the limits.
        StorageError: the copies cannot be written, or would take nearly all of the disk.
    """
    with _errors(f"cannot read {path}"):
        found = path.stat()
    identity = "\0".join([os.path.realpath(path), str(found.st_size), str(found.st_mtime_ns), *patterns])
    folder = cache / hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    names = [f"{number}{Path(pattern).suffix}" for number, pattern in enumerate(patterns, start=1)]

    def write(temporary: Path) -> None:
        _copy_members(path, patterns, [temporary / name for name in names])

    cached_folder(folder, write, f"{path} is read again")
    return [folder / name for name in names]


def zipped_text(path: Path, name: str, limit: int) -> str:
    """Return the first `limit` bytes of a text in a zip archive; "" if it has none of this name.

    Raises:
        DataError: the archive is damaged.
    """
    with _errors(f"{path}: cannot read {name}"), zipfile.ZipFile(path) as archive:
        if name not in archive.namelist():
            return ""
        with archive.open(_readable(archive.getinfo(name))) as file:
            return file.read(limit).decode("utf-8", "replace")


def _copy_members(path: Path, patterns: Sequence[str], copies: Sequence[Path]) -> None:
    found: dict[str, str] = {}
    limit = _limit(path)
    for member, size, open_member in _members(path):
        for pattern, copy in zip(patterns, copies, strict=True):
            if not fnmatch.fnmatchcase(member.removeprefix("./"), pattern):
                continue
            if pattern in found:
                raise DataError(f"{path}: {found[pattern]} and {member} match {pattern}: expected one file")
            found[pattern] = member
            _check_space(f"{path}: {member}", size, copy.parent)
            with _errors(f"{path}: cannot read {member}"), open_member() as source:
                limit -= _copy(source, copy, limit)
    if missing := [pattern for pattern in patterns if pattern not in found]:
        raise DataError(f"{path}: contains no {' and no '.join(missing)}")


def _members(path: Path) -> Iterator[tuple[str, int, Callable[[], Any]]]:
    """Yield the members of an archive in their order: name, size [bytes], and a function that opens it now."""
    if zipfile.is_zipfile(path):
        with _errors(f"{path}: damaged archive"), zipfile.ZipFile(path) as content:
            for entry in content.infolist():
                if not entry.is_dir():
                    yield entry.filename, entry.file_size, lambda entry=entry: content.open(_readable(entry))  # type: ignore[misc]
        return
    total = 0
    with _errors(f"{path}: damaged archive"), tarfile.open(path, "r|*") as archive:
        for info in archive:
            total += info.size
            _check_size(total, _limit(path))
            if not info.isdir():
                yield info.name, info.size, lambda info=info: _regular(archive, info)  # type: ignore[misc]


def _readable(entry: zipfile.ZipInfo) -> zipfile.ZipInfo:
    if entry.flag_bits & 1:
        raise zipfile.BadZipFile("it is encrypted")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # of others zipfile cannot read a part
        raise zipfile.BadZipFile(f"its compression method {entry.compress_type} is not supported; use deflate")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise zipfile.BadZipFile("it is a link, not a file")
    return entry


def _regular(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Any:
    file = archive.extractfile(info) if info.isreg() else None  # no link is followed
    if file is None:
        raise tarfile.TarError("it is a folder, a link or a device, not a file")
    return file


def _limit(path: Path) -> int:
    return max(MAX_BYTES, MAX_RATIO * path.stat().st_size)


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise ValueError(f"it decompresses to more than {MAX_RATIO} times the size of the archive")


def _check_space(name: str, size: int, folder: Path) -> None:
    """Raise StorageError if a file of `size` bytes leaves less than 1 - MAX_SHARE of the free space in `folder`."""
    free = shutil.disk_usage(folder).free
    if size > MAX_SHARE * free:
        raise StorageError(
            f"{name} has {size:,} bytes, but {free:,} bytes are free in {folder.parent}: free some space"
        )


def _copy(source: Any, copy: Path, limit: int) -> int:
    size = 0
    with copy.open("wb") as file:
        while chunk := source.read(CHUNK):
            size += len(chunk)
            _check_size(size, limit)
            with storage_errors(copy):
                file.write(chunk)
    return size


@contextlib.contextmanager
def _errors(failure: str) -> Iterator[None]:
    try:
        yield
    except Seq2SeqError:
        raise
    except Exception as error:  # damaged headers raise ValueError, struct.error and many others
        reason = getattr(error, "strerror", None) or (error.args[0] if error.args else type(error).__name__)
        raise DataError(f"{failure} ({' '.join(str(reason).split())})") from error


def _read_all(read: Callable[[int], bytes]) -> bytes:
    content = bytearray()
    while chunk := read(CHUNK):
        content += chunk
        if len(content) > MAX_BYTES:
            raise ValueError(f"its content is larger than {MAX_BYTES // 2**20} MiB")
    return bytes(content)
