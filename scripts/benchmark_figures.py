"""Set-up, timing and figures shared by the measurements of the benchmark."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from benchmark_work import Settings
from gemm import Product, measure

from seq2seq.config.runtime import AllocatorName, KernelsName, RuntimeConfig

CPU = torch.device("cpu")
SEED = 1

T = TypeVar("T")


def gemm_figures(work: Sequence[tuple[list[Product], float]], dtype: torch.dtype) -> dict[str, float]:
    """Return the mean share of the matrix products in the measured seconds, and their rate in GFLOP/s."""
    product_secs = [measure(products, dtype) for products, _ in work]
    flops = sum(product.flops for products, _ in work for product in products)
    return {
        "share_gemm": statistics.mean(alone / sec for alone, (_, sec) in zip(product_secs, work, strict=True)),
        "gemm_gflops": flops / sum(product_secs) / 1e9,
    }


def spread_over(values: Sequence[T], count: int) -> list[T]:
    """Return `count` evenly spaced values, including the first and the last; all values if there are fewer."""
    if len(values) <= count:
        return list(values)
    return [values[i * (len(values) - 1) // max(1, count - 1)] for i in range(count)]


def timed(call: Callable[[], T]) -> tuple[float, T]:
    """Return the seconds that `call` takes and its result."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def runtime_config(settings: Settings) -> RuntimeConfig:
    """Return the runtime config of our process."""
    allocator, kernels = AllocatorName(settings.allocator), KernelsName(settings.kernels)
    return RuntimeConfig(allocator=allocator, kernels=kernels, threads=settings.threads)


def set_threads(settings: Settings) -> None:
    """Set the number of threads only."""
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)


def peak_rss_mb() -> float:
    """Return the peak resident memory of this process, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def environment(dtype: torch.dtype) -> dict[str, Any]:
    """Return dtype, number of threads, version of torch and the instructions that it uses (SEQ2SEQ_ISA limits them)."""
    isa: str = torch.backends.cpu.get_cpu_capability()
    name = str(dtype).removeprefix("torch.")
    return {"dtype": name, "threads": torch.get_num_threads(), "torch": torch.__version__, "isa": isa}
