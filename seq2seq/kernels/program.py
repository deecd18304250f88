"""Calls of kernels that are recorded, to be run later by one call into the library."""

from __future__ import annotations

import threading
from typing import Any

import cffi


class Program:
    """The calls, in order.

    They read and write the memory of the tensors that they were recorded with, which are kept alive.
    """

    def __init__(self) -> None:
        self._functions: list[Any] = []
        self._calls: list[Any] = []
        self._with_threads: list[Any] = []
        self._kept: list[object] = []

    def add(self, function: Any, call: Any, has_threads: bool, kept: object) -> None:
        """Add a call of a kernel: its function and its struct."""
        self._functions.append(function)
        self._calls.append(call)
        self._kept.append(kept)
        if has_threads:
            self._with_threads.append(call)

    def finish(self, ffi: cffi.FFI, function: Any) -> None:
        """End the recording; `function` is the library's that runs a program."""
        functions = [ffi.cast("void (*)(const void *)", one) for one in self._functions]
        kernels, arguments = ffi.new("void (*[])(const void *)", functions), ffi.new("const void *[]", self._calls)
        fields = {"calls": len(self._calls), "kernels": kernels, "arguments": arguments}
        self._function, self._whole = function, ffi.new("struct program_args *", fields)
        self._kept.append((kernels, arguments))

    def run(self, threads: int) -> None:
        """Run the calls with this number of threads."""
        for call in self._with_threads:
            call.threads = threads
        self._function(self._whole)


class Recorder(threading.local):
    """The program that a thread records; None: its calls are run."""

    program: Program | None = None


recorder = Recorder()
