"""Precision of a translator: the dtype of its matrix products, and whether the decoder's are computed in int8."""

from __future__ import annotations

from typing import NamedTuple

import torch

from seq2seq import runtime
from seq2seq.config.decode import InferencePrecisionName
from seq2seq.config.training import PrecisionName
from seq2seq.errors import ConfigError
from seq2seq.model.cpu.packed_linear import has_int8


class InferencePrecision(NamedTuple):
    """dtype of the matrix products, and whether the decoder's are computed in int8 instead."""

    dtype: torch.dtype
    int8: bool


def resolve_precision(name: InferencePrecisionName | PrecisionName | str, device: torch.device) -> InferencePrecision:
    """Return the precision called `name` (auto, fp32, bf16, int8); int8 has the dtype of auto outside the decoder.

    Raises:
        ConfigError: unknown name, or this machine has no int8 products on `device`.
    """
    names = InferencePrecisionName.__members__
    if str(name) not in names:
        raise ConfigError(f"precision {str(name)!r} is unknown: use {', '.join(names)}")
    int8 = names[str(name)] is InferencePrecisionName.int8
    if int8 and not (device.type == "cpu" and has_int8()):
        raise ConfigError("precision int8 needs a CPU, a C++ compiler and a torch with oneDNN's 8-bit products")
    dtype = runtime.resolve_precision(PrecisionName.auto if int8 else PrecisionName[str(name)], device)
    return InferencePrecision(dtype, int8)
