"""Replay: a function made of kernels is recorded once, then run by one call into the library.

With few rows, calling kernels from Python takes longer than running them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from torch import Tensor

from seq2seq.kernels import bindings
from seq2seq.kernels.program import Program

Outputs = TypeVar("Outputs")


class Replay(Generic[Outputs]):
    """Calls a function: as it is, or, from the second call on with inputs of the same shapes, by replaying its kernels.

    Args:
        function: of tensors. Between its kernels it may allocate and take views; it must compute nothing, for that
            would be done only while its kernels are recorded.
    """

    def __init__(self, function: Callable[..., Outputs]) -> None:
        self._function = function
        self._shapes: list[object] = []
        self._recorded: tuple[Program, tuple[Tensor, ...], Outputs] | None = None

    def __call__(self, *inputs: Tensor) -> Outputs:
        """Return what the function returns; the next call overwrites it."""
        shapes: list[object] = [(values.shape, values.dtype) for values in inputs]
        if shapes != self._shapes:
            self._shapes, self._recorded = shapes, None
            return self._function(*inputs)
        if self._recorded is None:
            own = tuple(values.contiguous().clone() for values in inputs)
            with bindings.recording() as program:
                outputs = self._function(*own)
            self._recorded = program, own, outputs
        else:
            program, own, outputs = self._recorded
            for mine, values in zip(own, inputs, strict=True):
                mine.copy_(values)
        program.run(bindings.threads())
        return outputs
