"""The memory guard of training on a CPU: a batch that cannot fit is refused before the first update.

Where a GPU says that its memory is used up, an operating system ends the process, or swaps until nobody waits any more.
"""

from __future__ import annotations

import functools
import gc
import itertools
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seq2seq.config.model import AttentionName, ModelConfig
from seq2seq.data.batch import Batch
from seq2seq.data.special_ids import PAD_ID
from seq2seq.errors import ConfigError
from seq2seq.model.network import Seq2Seq, without_weights
from seq2seq.training.loss import CHUNK_TOKENS

Counts = NDArray[np.int64]
GIB = 2**30
ESTIMATE_FACTOR = 12.0
"""A gradient needs less than this times `estimated_bytes`, beside the weights' own: 0.1 to 11.8 were measured.

Most needs R-Drop with a large vocabulary: some ten matrices of logits at a time.
"""
MARGIN, OVERHEAD_BYTES = 1.4, 128 * 2**20
"""The process grows by so many times its tensors, and so many bytes more.

The heap that `runtime.keep_freed_memory` sets up has gaps (times 1.0 to 1.5 were measured, most where many steps are
nodes of the graph); besides, oneDNN keeps compiled code and scratch memory.
"""
CLEARLY = 1.5  # times more or less than there is, by a line through few rows
BUDGET_STEP = 64


# --- what there is ---------------------------------------------------------------------------------------------------


def available_bytes(root: Path = Path("/")) -> int | None:
    """Return how much memory a new process could take without swapping; None where the system does not say.

    The kernel's estimate, bounded by the limits of the control groups (containers, batch systems) that the process is
    in. File pages count as free in both: the kernel drops them when it needs room.

    Args:
        root: folder below which `proc` and `sys` lie.
    """
    free = _table(root / "proc/meminfo").get("MemAvailable")
    if free is None:
        return None
    return max(0, min([free * 1024, *_left_in_groups(root)]))


def _left_in_groups(root: Path) -> Iterator[int]:
    """Yield what is left below the limit of each control group: in version 2, then in version 1."""
    for folder in _groups(root, "", root / "sys/fs/cgroup"):
        stat = _table(folder / "memory.stat")
        cache = stat.get("inactive_file", 0) + stat.get("active_file", 0)
        yield from _left(folder / "memory.max", folder / "memory.current", cache)
    for folder in _groups(root, "memory", root / "sys/fs/cgroup/memory"):
        stat = _table(folder / "memory.stat")
        cache = stat.get("total_inactive_file", 0) + stat.get("total_active_file", 0)
        yield from _left(folder / "memory.limit_in_bytes", folder / "memory.usage_in_bytes", cache)


def _groups(root: Path, controller: str, mounted: Path) -> Iterator[Path]:
    """Yield the folder of this process' group and of those around it, up to where they are mounted.

    Inside a container the path may be the one outside, of which only the last folder, the top one here, is there.
    """
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            inner = PurePosixPath(path.lstrip("/"))
            yield from (mounted / part for part in (inner, *inner.parents))


def _left(limit: Path, used: Path, cache: int) -> Iterator[int]:
    most, now = _text(limit).strip(), _text(used).strip()
    if most.isdigit() and now.isdigit():  # "max" is no limit
        yield int(most) - max(0, int(now) - cache)


def _table(path: Path) -> dict[str, int]:
    """Return the numbers of a file whose lines are a name and a number."""
    rows = [line.replace(":", " ").split() for line in _text(path).splitlines()]
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


# --- what a batch needs ----------------------------------------------------------------------------------------------


def estimated_bytes(network: Seq2Seq, rows: Counts, src_len: Counts, tgt_len: Counts) -> NDArray[Any]:
    """Return roughly what the gradients of batches hold, from sizes alone: which one needs most.

    Every matrix reads and writes its sizes once for each position of its side; additive attention has a vector for each
    pair of positions, where its kernels do not avoid that.
    """
    config = network.config
    src = tgt = 0
    for name, weight in network.named_parameters(remove_duplicate=False):
        if name.endswith("_embedding.weight"):
            src, tgt = (src + config.emb_size, tgt) if name.startswith("src") else (src, tgt + config.emb_size)
        elif weight.dim() == 2 and name.startswith(("encoder.", "decoder.bottom.attention.key.")):
            src += sum(weight.shape)
        elif weight.dim() == 2:
            tgt += sum(weight.shape)
    pair = config.attention_size if config.attention is AttentionName.additive else config.attention_heads
    return 4.0 * rows * (src * src_len + tgt * tgt_len + pair * src_len * tgt_len)


def peak_bytes(work: Callable[[], object]) -> int:
    """Return by how much the memory of all CPU tensors grows at most while `work` runs."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # or the profiler tells standard error when it starts and stops
    from torch.autograd.profiler import profile

    with profile(profile_memory=True) as recorded:
        work()
    assert recorded.kineto_results is not None
    events = sorted(recorded.kineto_results.events(), key=lambda event: event.start_ns())
    changes: Iterator[int] = (event.nbytes() for event in events if event.name() == "[memory]")
    return max(itertools.accumulate(changes, initial=0))


@dataclass(frozen=True)
class Need:
    """The memory of an update as a straight line in the rows of one part."""

    fixed: float
    per_row: float

    def tensors(self, rows: int) -> float:
        """Return what the tensors of a part of so many rows hold."""
        return self.fixed + self.per_row * rows

    def bytes(self, rows: int) -> float:
        """Return by how much the process grows with them."""
        return MARGIN * self.tensors(rows) + OVERHEAD_BYTES

    def rows(self, available: int) -> int:
        """Return how many rows fit."""
        return max(0, math.floor(((available - OVERHEAD_BYTES) / MARGIN - self.fixed) / max(self.per_row, 1.0)))


def measured_need(
    gradient: Callable[[Batch], object], network: Seq2Seq, worst: Batch, rows: int, resident: int, available: int
) -> Need:
    """Measure the gradients of more and more rows, and draw a line through the last two.

    It is straight only from `CHUNK_TOKENS` target tokens on, as fewer logits than that exist at once, and which moment
    needs most may change on the way; so up to a quarter of the batch is tried, unless the answer is clear before. That
    costs the time of half an update at most, or of 4,096 tokens. Nothing is tried that would take all there is; of the
    whole batch the tensors are what counts, as a line that is too steep must not refuse it.
    """
    straight = 2 * math.ceil(CHUNK_TOKENS / worst.tgt_in.shape[1])
    most = min(rows, max(straight, rows // 4))
    weights = sum(weight.nbytes for weight in network.parameters())
    before, need = (0, float(weights)), Need(float(resident + weights), 0.0)
    for count in sorted({most, *(most >> halved for halved in range(1, most.bit_length(), 2))}):
        if (need.tensors(count) if count == rows else need.bytes(count)) > available:
            break
        peak = peak_bytes(functools.partial(gradient, _longest(worst, count)))
        network.zero_grad(set_to_none=True)
        per_row = (peak - before[1]) / (count - before[0])
        need, before = Need(resident + peak - per_row * count, per_row), (count, float(peak))
        if count >= straight and not 1 / CLEARLY < need.bytes(rows) / available < CLEARLY:
            break
    return need


def _longest(batch: Batch, rows: int) -> Batch:
    """Return so many copies of the longest source and the longest target of a batch."""
    src = int(batch.src_lengths.argmax())
    tgt = int((batch.tgt_out != PAD_ID).sum(1).argmax())
    return Batch(
        batch.src_ids[src].repeat(rows, 1),
        batch.src_lengths[src].repeat(rows),
        batch.tgt_in[tgt].repeat(rows, 1),
        batch.tgt_out[tgt].repeat(rows, 1),
    )


def check_weights(config: ModelConfig, src_size: int, tgt_size: int, available: int | None) -> None:
    """Refuse a network whose weights, their gradient and Adam's moments do not fit into `available` bytes.

    Before it is made: what check_memory needs to exist may not fit itself.

    Raises:
        ConfigError: names the part with most weights.
    """
    if available is None:
        return
    counts = without_weights(config, src_size, tgt_size).parameter_counts()
    weights = sum(counts.values())
    need = 4 * weights * torch.get_default_dtype().itemsize
    if need > available:
        part = max(counts, key=lambda name: counts[name])
        raise ConfigError(
            f"{weights:,} weights, {counts[part]:,} of them in the {part}, need {need / GIB:.2f} GiB of memory to be "
            f"trained, {available / GIB:.2f} GiB are available: lower model.hidden_size or the other sizes of the model"
        )


def check_memory(
    gradient: Callable[[Batch], object],
    network: Seq2Seq,
    worst: Batch,
    *,
    batch_tokens: int,
    available: int | None,
    micro_batches: int = 1,
    ranks: int = 1,
    copies: int = 2,
) -> None:
    """Refuse a run whose largest batch needs more memory than there is.

    A run that needs a small share of it is let through by sizes alone, in milliseconds. For others some rows are
    tried; weights and random numbers are left as they are, gradients are set to None.

    Args:
        gradient: makes forward and backward pass of one part, as training does.
        network: whose parameters get the gradient.
        worst: the batch of the run that needs most.
        batch_tokens: the budget it was cut by.
        available: bytes, or None if unknown: then nothing is refused.
        micro_batches: parts that each process computes one after another.
        ranks: processes that share a batch; `available` is what one of them may take.
        copies: of all weights that the run has yet to make: two for Adam, one more for a moving average.

    Raises:
        ConfigError: names the largest budget that fits, and the number of parts with which this one does.
    """
    total, src_len, tgt_len = len(worst.src_lengths), worst.src_ids.shape[1], worst.tgt_in.shape[1]
    rows = math.ceil(total / (micro_batches * ranks))
    weights = sum(weight.nbytes for weight in network.parameters())
    resident = copies * weights
    if available is None or not torch.profiler.kineto_available():
        return
    rough = float(estimated_bytes(network, *np.array([[rows], [src_len], [tgt_len]]))[0])
    if OVERHEAD_BYTES + 2 * (resident + weights) + ESTIMATE_FACTOR * rough < available:
        return
    gc.collect()  # or torch warns of memory that it has not seen being taken
    with torch.random.fork_rng(devices=[]):
        need = measured_need(gradient, network, worst, rows, resident, available)
    if need.bytes(rows) <= available:
        return
    fits, longest = need.rows(available), max(src_len, tgt_len)
    told = f"an update needs about {need.bytes(rows) / GIB:.2f} GiB of memory, {available / GIB:.2f} GiB are available"
    if fits < 1:
        raise ConfigError(
            f"training.batch_tokens={batch_tokens}: {told}, too little even for one pair of {longest} pieces: "
            "lower data.max_length or the sizes of the model"
        )
    budget = min(fits * micro_batches * ranks * longest, batch_tokens)
    budget = max(budget // BUDGET_STEP * BUDGET_STEP, longest)
    raise ConfigError(
        f"training.batch_tokens={batch_tokens}: {told}. Lower it to {budget}, or set "
        f"training.micro_batches={math.ceil(total / (fits * ranks))}, which leaves the gradient as it is"
    )
