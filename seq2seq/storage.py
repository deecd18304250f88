"""Writing files so that a crash, a kill or a full disk never costs the file that was there."""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Callable
from pathlib import Path

from seq2seq.errors import ModelFileError


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to the disk, then rename it over `path`.

    What a killed process left half written is removed.

    Raises:
        ModelFileError: the file could not be written (disk full, no permission); what stood at `path` still does.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for stale in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
            stale.unlink(missing_ok=True)
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:  # Ctrl-C leaves no half file either
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        reason = _write_error(error)
        if reason is None:
            raise
        raise ModelFileError(f"cannot write {path}: {reason}; the file that was there is unchanged") from error


def first_line(error: BaseException) -> str:
    """Return what a library's exception says in one line; the exception's name if it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _write_error(error: BaseException) -> str | None:
    """Return the reason if `error` says that the disk refused, else None.

    torch.save and safetensors wrap the system's OSError in exceptions of their own.
    """
    if isinstance(error, OSError):
        return error.strerror or str(error)
    names = ("PytorchStreamWriter", "No space left", "I/O error", "Io", "unexpected pos")
    if type(error).__name__ == "SafetensorError" or any(name in str(error) for name in names):
        return first_line(error)
    return None
