"""Precision of a translator: the dtype of its matrix products, and whether the decoder's are computed in int8."""

from __future__ import annotations

from typing import NamedTuple

import torch

from seq2seq import runtime
from seq2seq.config.decode import InferencePrecisionName
from seq2seq.config.training import PrecisionName
from seq2seq.errors import ConfigError
from seq2seq.kernels import bindings


class InferencePrecision(NamedTuple):
    """dtype of the matrix products, and whether the decoder's are computed in int8 instead."""

    dtype: torch.dtype
    int8: bool


def resolve_precision(name: InferencePrecisionName | PrecisionName | str, device: torch.device) -> InferencePrecision:
    """Return the precision called `name` (auto, fp32, bf16, fp16, int8); int8 is auto outside the decoder.

    Raises:
        ConfigError: unknown name, or this machine has no int8 or fp16 products on `device`.
    """
    names = InferencePrecisionName.__members__
    if str(name) not in names:
        raise ConfigError(f"precision {str(name)!r} is unknown: use {', '.join(names)}")
    int8 = names[str(name)] is InferencePrecisionName.int8
    if int8 and device.type != "cpu":
        raise ConfigError(f"precision int8 runs on a CPU, not on {device}: add --device cpu, or use fp32 or bf16")
    if int8 and not bindings.has_int8_product():
        reason = bindings.problem() or "this processor has no AVX2"
        raise ConfigError(f"precision int8 is not available ({reason}): use fp32 or bf16")
    dtype = runtime.resolve_precision(PrecisionName.auto if int8 else PrecisionName[str(name)], device)
    return InferencePrecision(dtype, int8)
