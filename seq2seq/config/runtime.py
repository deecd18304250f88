"""Schema of the process settings: threads, allocator, kernels."""

from __future__ import annotations

from dataclasses import dataclass

from seq2seq.config.field import Choice, field


class AllocatorName(Choice):
    """What glibc does with freed memory."""

    auto = "auto"
    default = "default"


class KernelsName(Choice):
    """Whether the compiled CPU kernels are used."""

    auto = "auto"
    plain = "plain"


class IsaName(Choice):
    """Which instructions of the processor are used."""

    auto = "auto"
    avx2 = "avx2"


@dataclass
class RuntimeConfig:
    """Threads, memory, instructions and kernels: speed, not results.

    Except that `isa` and `kernels` change rounding, and `kernels` changes dropout masks.
    """

    allocator: AllocatorName = field(
        AllocatorName.auto,
        "auto: on glibc, keep freed memory for the next tensor (faster); default: return it to the system",
    )
    kernels: KernelsName = field(
        KernelsName.auto,
        "auto: compiled kernels on a CPU if the machine has a C++ compiler; plain: torch operations only",
    )
    isa: IsaName = field(
        IsaName.auto,
        "auto: all instructions that the processor has, or $SEQ2SEQ_ISA; avx2: none above AVX2, so that auto precision "
        "is fp32, to test and measure how an older processor computes",
    )
    threads: int | str | None = field(
        "auto",
        "CPU threads; auto: as many as other processes leave cores for, followed while running; null: torch's default",
        at_least=1,
        at_most=1024,
        word="auto",
    )
