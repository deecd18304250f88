"""Compile kernels.cpp once for this machine; without a working compiler, `library` returns the reason."""

from __future__ import annotations

import atexit
import functools
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import filelock

SOURCE = Path(__file__).with_name("kernels.cpp")
HEADER = Path(__file__).with_name("kernels.h")
FLAGS = ["-O3", "-march=native", "-std=c++17", "-fPIC", "-shared", "-Wall", "-Wextra", "-Wno-unknown-pragmas"]
# not -ffast-math, which would break NaN checks
FLAGS += ["-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-fassociative-math"]
COMPILE_SEC = 240  # 15 s of CPU time on a slow core; a busy machine takes several times that
REMEMBER_SEC = 3600  # seconds before a compiler that timed out is tried again

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Build:
    """The compiled library, or why there is none.

    Attributes:
        path: shared library; None: there is none.
        problem: why there is no library, or in what it falls short; None: it is complete.
    """

    path: Path | None
    problem: str | None = None


class CompilerHangs(Exception):
    """The compiler has not finished in `COMPILE_SEC`, in this process or in an earlier one."""


@functools.cache
def library() -> Build:
    """Return the library, compiled if it is not in the user's cache folder."""
    found = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    compiler = shlex.split(os.environ.get("CXX", "")) or ([found] if found else None)
    if not compiler:
        return Build(None, "there is no C++ compiler (c++, g++, clang++ or $CXX)")
    problem = None
    for flags in ([*FLAGS, "-fopenmp"], FLAGS):  # Apple's compiler has no OpenMP: one thread is better than nothing
        try:
            path = _compiled(compiler, flags)
        except CompilerHangs as error:
            return Build(None, str(error))
        except (OSError, subprocess.SubprocessError) as error:
            problem = problem or f"{shlex.join(compiler)} failed: {_first_error(error)}"
        else:
            return Build(path, None if problem is None else f"without OpenMP, {problem}")
    return Build(None, problem)


def header_hash() -> int:
    """Return the hash of kernels.h that is compiled into the library."""
    return int(hashlib.sha256(HEADER.read_bytes()).hexdigest()[:15], 16)


def _compiled(compiler: list[str], flags: list[str]) -> Path:
    """Return the shared library from the user's cache, compiling it if it is not there; other processes wait for it.

    Raises:
        CompilerHangs: the compiler does not finish. A file in the cache remembers that, so that it is waited for once.
        OSError, subprocess.SubprocessError: there is no such compiler, or it fails.
    """
    sources = [path.read_text(encoding="utf-8") for path in (SOURCE, *sorted(SOURCE.parent.glob("*.h")))]
    identity = "\0".join([*compiler, *flags, _machine(), *sources])
    name = f"kernels-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.so"
    folder = _cache_folder()
    if not (folder / name).is_file():
        with filelock.FileLock(folder / f"{name}.lock"):
            if not (folder / name).is_file():
                _compile([*compiler, *flags, f"-DHEADER_HASH={header_hash()}ull"], folder / name)
    return folder / name


def _compile(command: list[str], path: Path) -> None:
    hangs = path.with_name(f"{path.name}.hangs")
    if hangs.exists() and time.time() - hangs.stat().st_mtime < REMEMBER_SEC:
        raise CompilerHangs(f"{command[0]} did not finish before; to try again now, delete {hangs}")
    with tempfile.TemporaryDirectory(dir=path.parent) as temporary:
        made = Path(temporary) / path.name
        try:
            subprocess.run(
                [*command, str(SOURCE), "-o", str(made)], check=True, capture_output=True, timeout=COMPILE_SEC
            )
        except subprocess.TimeoutExpired:
            hangs.touch()
            raise CompilerHangs(f"{command[0]} did not finish in {COMPILE_SEC} s") from None
        made.replace(path)  # whole or not at all


def _cache_folder() -> Path:
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "seq2seq-lstm"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder):  # may be written to
            pass
    except (OSError, RuntimeError):  # RuntimeError: the user has no home folder
        folder = Path(tempfile.mkdtemp(prefix="seq2seq-kernels-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _first_error(error: Exception) -> str:
    """Return the compiler's first line that names an error, or the exception's own words."""
    lines = (getattr(error, "stderr", None) or b"").decode(errors="replace").splitlines()
    named = [line.strip() for line in lines if "error" in line]
    return (named or lines or [str(error)])[0]


def _machine() -> str:
    """Return what `-march=native` depends on: a home folder may be shared between machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    return platform.libc_ver()[1] + "\n".join(
        sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    )
