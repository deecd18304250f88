"""Compile kernels.cpp once for this machine; without a working compiler, `library` returns the reason."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import platform
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from seq2seq.kernels import cache, compiler, instruction_set

SOURCE = Path(__file__).with_name("kernels.cpp")
HEADER = Path(__file__).with_name("kernels.h")
FLAGS = ["-O3", "-std=c++17", "-fPIC", "-shared", "-Wall", "-Wextra", "-Wno-unknown-pragmas"]
# not -ffast-math, which would break NaN checks
FLAGS += ["-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-fassociative-math"]
COMPILE_SEC = 240.0  # it takes 15 s of CPU time on a slow core, and on a busy machine many times that
ANNOUNCE_SEC = 3.0  # seconds of waiting after which one line says what for
REMEMBER_SEC = 3600.0  # seconds before a compiler that failed or timed out is tried again
NOTES = {"failed": compiler.CompilerFails, "hangs": compiler.CompilerHangs}
"""Endings of the files that remember such a compiler."""
OPENMP = re.compile(r"-fopenmp|-l[gi]?omp|\blib[gi]?omp|\bOpenMP\b|(?<![\w/])[gi]?omp\b")
"""In the error of a compiler that has no OpenMP: unsupported option '-fopenmp', cannot find -lgomp."""

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


@functools.cache
def library(*unusable: str) -> Build:
    """Return the library, compiled if it is not in the user's cache folder.

    Args:
        unusable: why the library does not load that a call without this argument has returned; another one is compiled.
    """
    problem = None
    try:
        command, common = compiler.find(), [*instruction_set.COMPILER_FLAGS[instruction_set.current()], *FLAGS]
        # Apple's compiler has no OpenMP: one thread is better than nothing.
        for flags in ([*common, "-fopenmp"], common):
            try:
                path = _compiled(command, flags, *unusable)
            except compiler.CompilerError as error:
                problem = problem or str(error)
                if not OPENMP.search(problem):
                    break
            else:
                return Build(path, None if problem is None else f"without OpenMP, {problem}")
    except (compiler.CompilerError, compiler.CompilerHangs, cache.LockedError) as error:
        problem = str(error)
    except OSError as error:
        problem = f"the library cannot be written: {error}"
    return Build(None, problem)


def header_hash() -> int:
    """Return the hash of kernels.h that is compiled into the library."""
    return int(hashlib.sha256(HEADER.read_bytes()).hexdigest()[:15], 16)


def _compiled(command: list[str], flags: list[str], *unusable: str) -> Path:
    """Return the shared library from the user's cache, compiling it if it is not there.

    Raises:
        CompilerError: there is no such compiler, or it fails, in this process or in an earlier one.
        CompilerHangs: it does not finish, in this process or in an earlier one.
        LockedError: another process does not finish.
        OSError: the library cannot be written.
    """
    sources = [path.read_text(encoding="utf-8") for path in (SOURCE, *sorted(SOURCE.parent.glob("*.h")))]
    identity = "\0".join([*command, *flags, _machine(), *sources, *unusable])
    name = f"kernels-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.so"
    path = cache.folder_for(name) / name
    if not cache.is_sound(path):
        whole = [*command, *flags, f"-DHEADER_HASH={header_hash()}ull", str(SOURCE)]
        with _announced():
            cache.make(path, lambda made: _compile(whole, made, path), wait_sec=COMPILE_SEC + 10)
    return path


@contextlib.contextmanager
def _announced() -> Iterator[None]:
    """Log a line if the block, which compiles or waits for a process that does, takes longer than `ANNOUNCE_SEC`."""
    text = (
        "compiled kernels: waiting for the C++ compiler, once for this machine (at most %.0f s, then without kernels)"
    )
    timer = threading.Timer(ANNOUNCE_SEC, log.warning, (text, COMPILE_SEC))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _compile(command: list[str], made: Path, library: Path) -> None:
    """Run the compiler. A note beside the library remembers that it failed or did not finish, so that it runs once."""
    notes = {problem: library.with_name(f"{library.name}.{ending}") for ending, problem in NOTES.items()}
    for problem, note in notes.items():
        if note.exists() and 0 <= time.time() - note.stat().st_mtime < REMEMBER_SEC:
            before = note.read_text(encoding="utf-8", errors="replace")
            raise problem(f"{before}; to try again now, delete {note}")
    try:
        compiler.run(command, made, COMPILE_SEC)
    except (compiler.CompilerFails, compiler.CompilerHangs) as error:
        notes[type(error)].write_text(str(error), encoding="utf-8", errors="replace")
        raise


def _machine() -> str:
    """Return what a library depends on besides its sources: a home folder may be shared between machines."""
    try:
        libc = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (AttributeError, ValueError, OSError):
        libc = " ".join(platform.libc_ver())
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return f"{libc} {platform.machine()} {platform.processor()}"
    return libc + "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
