"""A fingerprint of a file's content: two files with the same one are the same, whatever their names and dates are."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

from seq2seq.errors import DataError

_BLOCK_BYTES = 2**20


def file_digest(path: str | Path) -> str:
    """Return 32 hexadecimal digits of BLAKE2b over the bytes of a file.

    Raises:
        DataError: the file cannot be read.
    """
    digest = blake2b(digest_size=16)
    try:
        with open(path, "rb") as content:
            while block := content.read(_BLOCK_BYTES):
                digest.update(block)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    return digest.hexdigest()
