"""Limit the instructions of this process, so that any x86-64 processor computes as one that has AVX2 only.

ATen, oneDNN and MKL read their limits from the environment at their first operation, not when they are loaded. Imports
no torch.
"""

from __future__ import annotations

import os

from seq2seq.config.runtime import IsaName
from seq2seq.errors import ConfigError

VARIABLE = "SEQ2SEQ_ISA"
LIBRARIES = {  # variables of ATen, oneDNN (ONEDNN_ overrides DNNL_) and MKL
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "DNNL_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}
_limited = False  # by `limit`
COMPILER_FLAGS = {
    IsaName.auto: ["-march=native"],
    IsaName.avx2: ["-march=x86-64-v3", "-mtune=native"],  # the x86-64 psABI: AVX2, BMI, F16C and FMA
}


def current() -> IsaName:
    """Return the limit of this process, which its environment holds and its children inherit.

    Raises:
        ConfigError: SEQ2SEQ_ISA has an unknown value.
    """
    name = os.environ.get(VARIABLE) or IsaName.auto.name
    if name not in IsaName.__members__:
        raise ConfigError(f"{VARIABLE}={name} is unknown: use {' or '.join(IsaName.__members__)}, or unset it")
    return IsaName[name]


def limit(isa: IsaName) -> None:
    """Limit this process and its children for good, before their first torch operation; `auto` is no limit of its own.

    Raises:
        ConfigError: `isa` is auto after another value: the libraries keep their limits.
    """
    global _limited
    if isa is not IsaName.auto:
        _limited, os.environ[VARIABLE] = True, isa.name
    elif _limited:
        raise ConfigError(
            f"isa=auto: an earlier run of this process set {current()}; start this one as another process"
        )
    limit_libraries()


def limit_libraries() -> None:
    """Limit the libraries as SEQ2SEQ_ISA says; an unknown value is reported by `current`, which every command calls."""
    if os.environ.get(VARIABLE) == IsaName.avx2.name:
        os.environ.update(LIBRARIES)
