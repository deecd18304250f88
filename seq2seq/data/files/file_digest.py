"""Fingerprints of a file's content: two files with the same one are the same, whatever their names and dates are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from seq2seq.errors import DataError

_BLOCK_BYTES = 2**20


def file_digest(path: str | Path) -> str:
    """Return 32 hexadecimal digits of BLAKE2b over the bytes of a file.

    Raises:
        DataError: the file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    try:
        for block in _blocks(path):
            digest.update(block)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    return digest.hexdigest()


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal, as publishers of files write it.

    Raises:
        OSError: as `open`.
    """
    digest = hashlib.sha256()
    for block in _blocks(path):
        digest.update(block)
    return digest.hexdigest()


def _blocks(path: str | Path) -> Iterator[bytes]:
    with open(path, "rb") as content:
        while block := content.read(_BLOCK_BYTES):
            yield block
