"""The memory guard of training: a run whose largest batch does not fit is refused before the first update.

A GPU raises an error when its memory is used up; on a CPU the operating system kills the process or starts to swap.
"""

from __future__ import annotations

import functools
import gc
import itertools
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seq2seq.config.model import AttentionName, ModelConfig
from seq2seq.config.training import MinimumRiskConfig, TrainingConfig
from seq2seq.data.batches.batch import Batch
from seq2seq.data.batches.batching import Cost
from seq2seq.data.special_ids import PAD_ID
from seq2seq.errors import ConfigError
from seq2seq.model.network import Seq2Seq, without_weights
from seq2seq.training.available_memory import available_bytes
from seq2seq.training.distributed import ProcessGroup
from seq2seq.training.gradient_accumulation import Counts, GradientAccumulator
from seq2seq.training.loss import CHUNK_TOKENS
from seq2seq.training.minimum_risk import max_candidate_tokens

GIB = 2**30
ESTIMATE_FACTOR = 12.0
"""Upper bound of what a gradient needs as a multiple of `estimated_bytes`, without the weights: 0.1 to 11.8 measured.

R-Drop with a large vocabulary and without kernels needs most: about ten matrices of logits at a time.
"""
MARGIN, OVERHEAD_BYTES = 1.4, 128 * 2**20
"""Growth of the process: MARGIN times its tensors plus OVERHEAD_BYTES.

The heap that `runtime.keep_freed_memory` sets up has gaps (1.0 to 1.5 times was measured, most with many steps in the
graph), and oneDNN keeps compiled code and scratch memory.
"""
CLEAR_FACTOR = 1.5  # measuring stops if the predicted need is above or below the limit by this factor
BUDGET_STEP = 64


# --- guards ----------------------------------------------------------------------------------------------------------


def check_weights(config: ModelConfig, src_size: int, tgt_size: int, available: int | None) -> None:
    """Check, before the network is created, that weights, gradients and Adam's moments fit into `available` bytes.

    Raises:
        ConfigError: they do not; the message names the part with most weights.
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


def guard_memory(
    accumulator: GradientAccumulator,
    network: Seq2Seq,
    worst: Batch,
    config: TrainingConfig,
    group: ProcessGroup,
    copies: int,
) -> None:
    """Check that the gradient of `worst` fits, with `copies` of all weights that are still to be allocated.

    On a GPU it is computed, in as many parts as needed; on a CPU its memory is predicted (`check_memory`).

    Raises:
        ConfigError: it does not fit on a CPU; the message names settings that do.
        Seq2SeqError: a single sentence does not fit on a GPU.
    """
    if accumulator.device.type == "cuda":
        accumulator.fit_to_memory(worst, copies)
    refusal = None
    if accumulator.device.type == "cpu":
        try:
            check_memory(
                accumulator.accumulate_part,
                network,
                worst,
                batch_tokens=config.batch_tokens,
                available=available_bytes(group.local_size),
                micro_batches=config.micro_batches,
                ranks=group.size,
                copies=copies,
                estimate=functools.partial(update_bytes, network, config.minimum_risk),
            )
        except ConfigError as error:
            refusal = error
    if any(row[0] for row in group.all_gather([float(refusal is not None)])):
        raise refusal or ConfigError("another process of this run has too little memory, see its message")


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
    estimate: Cost | None = None,
) -> None:
    """Check that the largest batch of a run fits into memory.

    A run whose estimate is far below the limit passes in milliseconds. Otherwise gradients of some rows are computed
    and measured; weights and random number generators stay unchanged, gradients are reset.

    Args:
        gradient: runs forward and backward of one part, as training does.
        network: its gradients are reset.
        worst: the batch that needs most memory.
        batch_tokens: the budget of a batch.
        available: bytes for each rank; None: unknown, nothing is checked.
        micro_batches: parts that each rank computes one after another.
        ranks: number of ranks that share a batch.
        copies: copies of all weights still to be allocated: 2 (Adam's moments) before the first update, else 0.
        estimate: of the bytes that the gradient of a part holds; default: `estimated_bytes`.

    Raises:
        ConfigError: it does not fit; the message names the largest budget and the number of parts that do.
    """
    rows = math.ceil(len(worst.src_lengths) / (micro_batches * ranks))
    weights = sum(weight.nbytes for weight in network.parameters())
    resident = copies * weights
    if available is None or not torch.profiler.kineto_available():
        return
    sizes = np.array([[rows], [worst.src_ids.shape[1]], [worst.tgt_in.shape[1]]])
    estimated = float((estimate or functools.partial(estimated_bytes, network))(*sizes)[0])
    if OVERHEAD_BYTES + 2 * (resident + weights) + ESTIMATE_FACTOR * estimated < available:
        return
    gc.collect()  # otherwise the profiler warns of memory freed that it has not seen allocated
    with torch.random.fork_rng(devices=[]):
        need = measured_need(gradient, network, worst, rows, resident, available)
    if need.bytes(rows) > available:
        raise ConfigError(_refusal(need, worst, batch_tokens, available, micro_batches, ranks))


def _refusal(need: Need, worst: Batch, batch_tokens: int, available: int, micro_batches: int, ranks: int) -> str:
    """Return the error of `check_memory`: the need and the largest settings that fit."""
    total, longest = len(worst.src_lengths), max(worst.src_ids.shape[1], worst.tgt_in.shape[1])
    needed = need.bytes(math.ceil(total / (micro_batches * ranks)))
    problem = (
        f"training.batch_tokens={batch_tokens}: an update needs about {needed / GIB:.2f} GiB of memory, "
        f"{available / GIB:.2f} GiB are available"
    )
    rows = need.rows(available)
    if rows < 1:
        return (
            f"{problem}, too little even for one pair of {longest} tokens: "
            "lower data.max_length or the sizes of the model"
        )
    budget = min(rows * micro_batches * ranks * longest, batch_tokens)
    budget = max(budget // BUDGET_STEP * BUDGET_STEP, longest)
    return (
        f"{problem}. Lower it to {budget}, or set training.micro_batches={math.ceil(total / (rows * ranks))}, "
        "which does not change the gradient"
    )


# --- what a batch needs ----------------------------------------------------------------------------------------------


def estimated_bytes(network: Seq2Seq, rows: Counts, src_len: Counts, tgt_len: Counts) -> NDArray[Any]:
    """Estimate what the gradients of batches hold, from their sizes alone, to find the batch that needs most.

    Each matrix reads and writes one vector per position of its side. Additive attention has a vector per pair of
    positions, unless its kernels avoid that.
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


def update_bytes(
    network: Seq2Seq, risk: MinimumRiskConfig, rows: Counts, src_len: Counts, tgt_len: Counts
) -> NDArray[Any]:
    """Return `estimated_bytes` of batches, with the candidates of minimum-risk training."""
    if not risk.weight:
        return estimated_bytes(network, rows, src_len, tgt_len)
    return estimated_bytes(network, rows * (1 + risk.samples), src_len, max_candidate_tokens(tgt_len))


def part_bytes(
    accumulator: GradientAccumulator,
    network: Seq2Seq,
    risk: MinimumRiskConfig,
    rows: Counts,
    src_len: Counts,
    tgt_len: Counts,
) -> NDArray[Any]:
    """Return `update_bytes` of the largest part of each batch, with the rows of padding that a GPU adds."""
    return update_bytes(network, risk, accumulator.filled_rows(rows), src_len, tgt_len)


def peak_bytes(work: Callable[[], object]) -> int:
    """Return the peak growth of the memory of all CPU tensors while `work` runs."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # otherwise the profiler logs its start and stop to stderr
    from torch.autograd.profiler import profile

    with profile(profile_memory=True) as recorded:
        work()
    assert recorded.kineto_results is not None
    events = sorted(recorded.kineto_results.events(), key=lambda event: event.start_ns())
    changes: Iterator[int] = (event.nbytes() for event in events if event.name() == "[memory]")
    return max(itertools.accumulate(changes, initial=0))


@dataclass(frozen=True)
class Need:
    """The memory of an update, linear in the rows of one part."""

    fixed: float
    per_row: float

    def tensors(self, rows: int) -> float:
        """Return the bytes of the tensors of a part with `rows` rows."""
        return self.fixed + self.per_row * rows

    def bytes(self, rows: int) -> float:
        """Return the growth of the process with a part of `rows` rows."""
        return MARGIN * self.tensors(rows) + OVERHEAD_BYTES

    def rows(self, available: int) -> int:
        """Return how many rows fit."""
        return max(0, math.floor(((available - OVERHEAD_BYTES) / MARGIN - self.fixed) / max(self.per_row, 1.0)))


def measured_need(
    gradient: Callable[[Batch], object], network: Seq2Seq, worst: Batch, rows: int, resident: int, available: int
) -> Need:
    """Measure gradients of a growing number of rows, and fit a line to the last two.

    Memory is linear only from `CHUNK_TOKENS` target tokens on, the rows of logits that exist at once, and another
    moment of the update may become the peak. So up to a quarter of the batch is measured, unless the answer is clear
    before. This costs the time of half an update, or of 4,096 tokens. A row count whose predicted need exceeds
    `available` is not measured. For the whole batch this prediction omits MARGIN and OVERHEAD_BYTES, so that an
    overestimated slope does not refuse a batch that fits.
    """
    linear_from = 2 * math.ceil(CHUNK_TOKENS / worst.tgt_in.shape[1])
    most = min(rows, max(linear_from, rows // 4))
    weights = sum(weight.nbytes for weight in network.parameters())
    previous, need = (0, float(weights)), Need(float(resident + weights), 0.0)
    for count in sorted({most, *(most >> halvings for halvings in range(1, most.bit_length(), 2))}):
        if (need.tensors(count) if count == rows else need.bytes(count)) > available:
            break
        peak = peak_bytes(functools.partial(gradient, _longest(worst, count)))
        network.zero_grad(set_to_none=True)
        per_row = (peak - previous[1]) / (count - previous[0])
        need, previous = Need(resident + peak - per_row * count, per_row), (count, float(peak))
        if count >= linear_from and not 1 / CLEAR_FACTOR < need.bytes(rows) / available < CLEAR_FACTOR:
            break
    return need


def _longest(batch: Batch, rows: int) -> Batch:
    """Return `rows` copies of the longest source and the longest target of a batch."""
    src = int(batch.src_lengths.argmax())
    tgt = int((batch.tgt_out != PAD_ID).sum(1).argmax())
    return Batch(
        batch.src_ids[src].repeat(rows, 1),
        batch.src_lengths[src].repeat(rows),
        batch.tgt_in[tgt].repeat(rows, 1),
        batch.tgt_out[tgt].repeat(rows, 1),
    )
