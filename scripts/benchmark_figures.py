"""Set-up and figures shared by the measurements of the benchmark."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import torch
from benchmark_work import Settings
from gemm import Product, measure

from seq2seq.config.runtime import AllocatorName, KernelsName, RuntimeConfig

CPU = torch.device("cpu")
SEED = 1


def gemm_figures(work: Sequence[tuple[list[Product], float]], dtype: torch.dtype) -> dict[str, float]:
    """Return the mean share of the matrix products in the measured seconds, and their rate in GFLOP/s."""
    product_secs = [measure(products, dtype) for products, _ in work]
    flops = sum(product.flops for products, _ in work for product in products)
    return {
        "share_gemm": statistics.mean(alone / sec for alone, (_, sec) in zip(product_secs, work, strict=True)),
        "gemm_gflops": flops / sum(product_secs) / 1e9,
    }


def runtime_config(settings: Settings) -> RuntimeConfig:
    """Return the runtime config of our process."""
    allocator, kernels = AllocatorName(settings.allocator), KernelsName(settings.kernels)
    return RuntimeConfig(allocator=allocator, kernels=kernels, threads=settings.threads)


def set_threads(settings: Settings) -> None:
    """Set the number of threads only."""
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)


def environment(dtype: torch.dtype) -> dict[str, Any]:
    """Return dtype, number of threads, version of torch and the instructions that it uses (SEQ2SEQ_ISA limits them)."""
    isa: str = torch.backends.cpu.get_cpu_capability()
    name = str(dtype).removeprefix("torch.")
    return {"dtype": name, "threads": torch.get_num_threads(), "torch": torch.__version__, "isa": isa}
