"""Compiles kernels.cpp for this machine, once, and loads it; without a compiler there is no library and no error."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("kernels.cpp")
FLAGS = ["-O3", "-march=native", "-std=c++17", "-fPIC", "-shared"]
FLAGS += ["-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-fassociative-math"]  # NaN keeps its meaning
COMPILE_SEC = 60

log = logging.getLogger(__name__)


@functools.cache
def library() -> ctypes.CDLL | None:
    """Return the compiled kernels, or None where there is no C++ compiler, or where one fails."""
    found = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    compiler = shlex.split(os.environ.get("CXX", "")) or ([found] if found else None)
    if not compiler:
        return None
    for flags in ([*FLAGS, "-fopenmp"], FLAGS):  # Apple's compiler has no OpenMP: one thread is better than nothing
        with contextlib.suppress(OSError, RuntimeError, subprocess.SubprocessError):
            return ctypes.CDLL(str(_compiled(compiler, flags)))
    log.debug("kernels.cpp could not be compiled with %s", " ".join(compiler))
    return None


def _compiled(compiler: list[str], flags: list[str]) -> Path:
    """Return the shared library from the user's cache, compiling it if it is not there."""
    sources = [path.read_text(encoding="utf-8") for path in (SOURCE, *sorted(SOURCE.parent.glob("*.h")))]
    identity = "\0".join([*compiler, *flags, _machine(), *sources])
    name = f"kernels-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.so"
    folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "seq2seq-lstm"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder):  # may be written to
            pass
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="seq2seq-kernels-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if not (folder / name).is_file():
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            made = Path(temporary) / name
            command = [*compiler, *flags, str(SOURCE), "-o", str(made)]
            subprocess.run(command, check=True, capture_output=True, timeout=COMPILE_SEC)
            made.replace(folder / name)  # whole or not at all: another process may be doing the same
    return folder / name


def _machine() -> str:
    """Return what `-march=native` depends on: a home folder may be shared between machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    return platform.libc_ver()[1] + "\n".join(
        sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    )
