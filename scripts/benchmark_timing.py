"""Timing shared by all benchmarks. Imports neither torch nor seq2seq, so that other toolkits can use it."""

from __future__ import annotations

import functools
import math
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

BEAMS = {"beam": 5, "greedy": 1}
BATCH_SENTENCES = 64  # per batch, sorted by length
WARM_UP_SENTENCES = 32

T = TypeVar("T")
Output = TypeVar("Output", bound=Sequence[object])


def timed(call: Callable[[], T]) -> tuple[float, T]:
    """Return the seconds that `call` takes and its result."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def spread_over(values: Sequence[T], count: int) -> list[T]:
    """Return `count` evenly spaced values, including the first and the last; all values if there are fewer."""
    if len(values) <= count:
        return list(values)
    return [values[i * (len(values) - 1) // max(1, count - 1)] for i in range(count)]


def peak_rss_mb() -> float:
    """Return the peak resident memory of this process, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def translation_figures(
    lines: Sequence[str], singles: int, translate: Callable[[Sequence[str]], Sequence[Output]]
) -> dict[str, float]:
    """Return the rate of translating all lines together, and the latency of `singles` of them one by one.

    `translate` returns the tokens of each line's translation, without EOS.
    """
    translate(lines[:WARM_UP_SENTENCES])
    sec, outputs = timed(lambda: translate(lines))
    latencies = sorted(timed(functools.partial(translate, [line]))[0] for line in spread_over(lines, singles))
    return {
        "sentences_per_sec": len(lines) / sec,
        "tokens_per_sec": sum(len(tokens) + 1 for tokens in outputs) / sec,
        "latency_p50_ms": 1000 * statistics.median(latencies),
        "latency_p95_ms": 1000 * latencies[math.ceil(0.95 * len(latencies)) - 1],
    }


def in_batches(
    lines: Sequence[str], lengths: Sequence[int], translate: Callable[[Sequence[str]], Sequence[T]]
) -> list[T]:
    """Translate batches of BATCH_SENTENCES lines, sorted by `lengths`; return the outputs in the order of `lines`."""
    order = sorted(range(len(lines)), key=lambda i: lengths[i])
    outputs: dict[int, T] = {}
    for start in range(0, len(order), BATCH_SENTENCES):
        batch = order[start : start + BATCH_SENTENCES]
        outputs.update(zip(batch, translate([lines[i] for i in batch]), strict=True))
    return [outputs[i] for i in range(len(lines))]
