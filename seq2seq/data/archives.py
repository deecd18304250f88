"""Read files of `data.root`, and single members of archives into memory: nothing is unpacked into a folder."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from seq2seq.errors import DataError

MAX_BYTES = 512 * 2**20  # of decompressed data: no corpus here is a tenth of it
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
            info = archive.getmember(member)
            file = archive.extractfile(info) if info.isreg() else None  # no link is followed
            if file is None:
                raise tarfile.TarError("it is a folder, a link or a device, not a file")
            return _read_all(file.read)


def unzip(data: bytes, member: str, archive: str) -> bytes:
    """Return a member of a zip file, which `archive` names in messages.

    Raises:
        DataError: it cannot be read; the message names archive and member.
    """
    with _errors(f"{archive}: cannot read {member}"), zipfile.ZipFile(io.BytesIO(data)) as content:
        info = content.getinfo(member)
        if info.flag_bits & 1:
            raise zipfile.BadZipFile("it is encrypted")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # of others zipfile cannot read a part
            raise zipfile.BadZipFile(f"its compression method {info.compress_type} is not supported; use deflate")
        with content.open(info) as file:
            return _read_all(file.read)


@contextlib.contextmanager
def _errors(failure: str) -> Iterator[None]:
    try:
        yield
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
