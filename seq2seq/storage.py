"""Writing files so that a crash, a kill or a full disk never costs the file that was there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from seq2seq.errors import ModelFileError


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to the disk, then rename it over `path`.

    Raises:
        ModelFileError: the file could not be written (disk full, no permission); what stood at `path` still does.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except Exception as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        reason = _write_error(error)
        if reason is None:
            raise
        raise ModelFileError(f"cannot write {path}: {reason}; the file that was there is unchanged") from error


def _write_error(error: Exception) -> str | None:
    """Return the reason if `error` says that the disk refused, else None.

    torch.save and safetensors wrap the system's OSError in exceptions of their own.
    """
    if isinstance(error, OSError):
        return error.strerror or str(error)
    names = ("PytorchStreamWriter", "No space left", "I/O error", "Io", "unexpected pos")
    if type(error).__name__ == "SafetensorError" or any(name in str(error) for name in names):
        return str(error).splitlines()[0]
    return None
