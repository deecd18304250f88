"""Find the C++ compiler and run it, for a limited time and with no process left behind."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

ERROR_SIGNS = ("error", "cannot find", "not found")  # the last two are a linker's, which names no error


class CompilerError(Exception):
    """There is no compiler, or it fails."""


class CompilerFails(CompilerError):
    """The compiler has run and failed; the message has its first error."""


class CompilerHangs(Exception):
    """The compiler does not finish."""


def find() -> list[str]:
    """Return the command of the compiler: $CXX, which may have arguments, or the first of c++, g++ and clang++.

    Raises:
        CompilerError: there is none.
    """
    configured = os.environ.get("CXX", "").strip()
    if shutil.which(configured):  # one path, spaces included
        return [configured]
    try:
        command = shlex.split(configured)
    except ValueError as error:
        raise CompilerError(f"CXX={configured} is not a command: {error}") from None
    if command:
        return command
    for name in ("c++", "g++", "clang++"):
        if found := shutil.which(name):
            return [found]
    raise CompilerError("there is no C++ compiler (c++, g++, clang++ or $CXX)")


def run(command: list[str], output: Path, limit_sec: float) -> None:
    """Run a compiler that writes `output`, temporary files beside it; kill all of it at the limit and at Ctrl-C.

    Raises:
        CompilerError: it cannot be started.
        CompilerFails: it fails, or writes nothing.
        CompilerHangs: it has not finished in `limit_sec`.
    """
    environment = {**os.environ, "TMPDIR": str(output.parent), "LC_ALL": "C"}
    errors = output.with_name("errors")  # not a pipe: a process that stays behind would keep it open
    try:
        with errors.open("wb") as stderr:
            process = subprocess.Popen(
                [*command, "-o", str(output)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env=environment,
                start_new_session=True,
            )
    except (OSError, ValueError) as error:
        raise CompilerError(f"{command[0]} failed: {error}") from None
    try:
        status = process.wait(limit_sec)
    except subprocess.TimeoutExpired:
        raise CompilerHangs(f"{command[0]} did not finish in {limit_sec:.0f} s") from None
    finally:
        if process.poll() is None:
            _kill(process)
    if status or not output.is_file():
        reason = _first_error(errors) or (f"exit status {status}" if status else "it has written no library")
        raise CompilerFails(f"{command[0]} failed: {reason}")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and its children (cc1plus, as, ld), which it leads as a group."""
    with contextlib.suppress(ProcessLookupError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def _first_error(errors: Path) -> str:
    """Return the first line that names an error, else the first line."""
    with errors.open("rb") as content:
        lines = content.read(1 << 16).decode(errors="replace").splitlines()
    named = [line.strip() for line in lines if any(sign in line for sign in ERROR_SIGNS)]
    return next(iter(named or lines), "")
