"""Measurements of the benchmark, each in its own process: training. Results are plain values.

Each function sets up its system as users would: ours with `runtime.configure` and its precision, the textbook in fp32
with the default allocator. Both get the same batches in the same order.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import textbook
import torch
from benchmark_figures import (
    CPU,
    SEED,
    environment,
    gemm_figures,
    runtime_config,
    set_threads,
)
from benchmark_timing import peak_rss_mb, spread_over, timed
from benchmark_work import MAX_LENGTH, Settings, make_tokenizer, model_config, read
from gemm import BatchShape, training_products
from rich.console import Console

from seq2seq.config.training import PrecisionName, TrainingConfig
from seq2seq.data.batches.batch import Batch
from seq2seq.data.batches.batching import batch_order, batches
from seq2seq.data.encoding.binarised import prepare
from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.model.network import Seq2Seq
from seq2seq.runtime import configure, resolve_precision, seed_everything
from seq2seq.training.callbacks import Callbacks, EpochData, RunOutput
from seq2seq.training.gradient_accumulation import BatchLoss
from seq2seq.training.optimizer import make_optimizer
from seq2seq.training.records import Validation
from seq2seq.training.run_log import NullLog, RunLog, TrainingLog
from seq2seq.training.trainer import Trainer

NEVER = 10**9  # steps


class Update(NamedTuple):
    """One measured update: batch sizes, seconds since the end of the previous update, and seconds of loading."""

    rows: int
    src_len: int
    tgt_len: int
    src_tokens: int
    tgt_tokens: int
    sec: float
    load_sec: float

    @property
    def shape(self) -> BatchShape:
        """Return the sizes that determine the matrix products."""
        return BatchShape(self.rows, self.src_len, self.tgt_len, self.tgt_tokens)


class TimeUp(Exception):
    """The measurement is complete."""


class Stopwatch:
    """Records batches and the end of each update; ends the run when the time is up."""

    def __init__(self, settings: Settings) -> None:
        self.seconds, self.warmup = settings.seconds, settings.warmup
        self.batches: list[Batch] = []
        self.load_sec: list[float] = []
        self.ends: list[float] = []
        self.order_sec = 0.0
        self.epoch_batches = 1

    def watch(self, data: EpochData) -> EpochData:
        """Return `data` such that each batch and the seconds of loading it are recorded."""

        def watched(epoch: int, start: int) -> tuple[int, Iterator[Batch]]:
            self.order_sec, (self.epoch_batches, batches) = timed(lambda: data(epoch, start))
            return self.epoch_batches, self._recorded(batches)

        return watched

    def _recorded(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        while True:
            sec, batch = timed(lambda: next(batches, None))
            if batch is None:
                return
            self.batches.append(batch)
            self.load_sec.append(sec)
            yield batch

    def tick(self) -> None:
        """Record the end of an update; raise TimeUp after the last one."""
        self.ends.append(time.perf_counter())
        if len(self.ends) > self.warmup and self.ends[-1] - self.ends[self.warmup - 1] >= self.seconds:
            raise TimeUp

    def steps(self) -> list[Update]:
        """Return the updates after the warm-up."""
        return [self._step(i) for i in range(self.warmup, len(self.ends))]

    def _step(self, i: int) -> Update:
        batch = self.batches[i]
        rows, src_len = batch.src_ids.shape
        tokens = int(batch.src_lengths.sum()), batch.tgt_tokens
        return Update(rows, src_len, batch.tgt_out.shape[1], *tokens, self.ends[i] - self.ends[i - 1], self.load_sec[i])


class SilentLog(NullLog):
    """Writes nothing; the stopwatch ticks after every update."""

    def __init__(self, stopwatch: Stopwatch) -> None:
        self._stopwatch = stopwatch

    def show_progress(self, share_done: float) -> None:
        """Tick, except before the first update."""
        if share_done:
            self._stopwatch.tick()


def train_ours(settings: Settings, batch_tokens: int) -> dict[str, Any]:
    """Train with the Trainer: loading, forward, backward, clipping, optimizer."""
    configure(runtime_config(settings))
    dtype = resolve_precision(PrecisionName(settings.precision), CPU)
    tokenizer, data = training_data(settings, batch_tokens)
    seed_everything(SEED)
    config = TrainingConfig(
        max_steps=NEVER, validate_every_steps=NEVER, save_every_steps=NEVER, batch_tokens=batch_tokens
    )
    stopwatch = Stopwatch(settings)
    trainer = make_trainer(settings, config, dtype, tokenizer, stopwatch.watch(data), SilentLog(stopwatch))
    with contextlib.suppress(TimeUp):
        trainer.fit()
    return training_figures(settings, stopwatch, dtype)


def make_trainer(
    settings: Settings,
    config: TrainingConfig,
    dtype: torch.dtype,
    tokenizer: Tokenizer,
    data: EpochData,
    log: TrainingLog,
) -> Trainer:
    """Return a trainer of a new network that neither validates nor saves."""
    return Trainer(
        Seq2Seq(model_config(settings.hidden), tokenizer.src_size, tokenizer.tgt_size),
        config,
        dtype,
        data,
        Callbacks(validate=lambda: Validation(0.0, 1.0, 0.0, 0.0), save_model=lambda path: None),
        RunOutput(Path(settings.cache), log, tokenizer.fingerprint),
    )


def overhead(settings: Settings, batch_tokens: int) -> dict[str, Any]:
    """Run the trainer, and before each of its updates a bare update on the same batch."""
    configure(runtime_config(settings))
    dtype = resolve_precision(PrecisionName(settings.precision), CPU)
    tokenizer, data = training_data(settings, batch_tokens)
    seed_everything(SEED)
    config = TrainingConfig(max_steps=NEVER, validate_every_steps=NEVER, batch_tokens=batch_tokens)
    seconds: list[tuple[float, float]] = []

    def in_turn(epoch: int, start: int) -> tuple[int, Iterator[Batch]]:
        count, batches = data(epoch, start)
        return count, alternating(batches)

    def alternating(batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in batches:
            started = time.perf_counter()
            bare_update(batch)
            ended = time.perf_counter()
            yield batch
            seconds.append((time.perf_counter() - ended, ended - started))
            if sum(map(sum, seconds[settings.warmup :])) > settings.seconds:
                raise TimeUp

    def bare_update(batch: Batch) -> None:
        loss, _ = batch_loss(batch)
        torch.autograd.backward(loss / batch.tgt_tokens)
        torch.nn.utils.clip_grad_norm_(weights, config.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    with (
        contextlib.suppress(TimeUp),
        tempfile.TemporaryDirectory() as name,
        RunLog(Path(name), Console(file=io.StringIO())) as log,
    ):
        trainer = make_trainer(settings, config, dtype, tokenizer, in_turn, log)
        batch_loss, weights = BatchLoss(trainer.network, config, dtype), list(trainer.network.parameters())
        optimizer = make_optimizer(weights, config)
        trainer.fit()
    ratio = statistics.median(trainer_sec / bare_sec for trainer_sec, bare_sec in seconds[settings.warmup :])
    return {"overhead_percent": 100 * (ratio - 1), **environment(dtype)}


def train_textbook(settings: Settings, batch_tokens: int) -> dict[str, Any]:
    """Train the textbook network on the same batches."""
    set_threads(settings)
    tokenizer, data = training_data(settings, batch_tokens)
    seed_everything(SEED)
    config, stopwatch = TrainingConfig(), Stopwatch(settings)
    network = textbook.Textbook(model_config(settings.hidden), tokenizer.tgt_size)
    optimizer = torch.optim.Adam(network.parameters())
    network.train()
    watched = stopwatch.watch(data)
    with contextlib.suppress(TimeUp):
        for batch in itertools.chain.from_iterable(watched(epoch, 0)[1] for epoch in itertools.count()):
            textbook.train_step(network, optimizer, batch, config.label_smoothing, config.max_grad_norm)
            stopwatch.tick()
    return training_figures(settings, stopwatch, torch.float32)


def training_data(settings: Settings, batch_tokens: int) -> tuple[Tokenizer, EpochData]:
    """Return the tokenizer and the batches by epoch, as in the train command."""
    text = read(Path(settings.data), "train")
    tokenizer = make_tokenizer(text, settings.vocab, settings.cache)
    pairs = prepare(text, tokenizer, min(MAX_LENGTH, batch_tokens), Path(settings.cache))

    def data(epoch: int, start: int) -> tuple[int, Iterator[Batch]]:
        order = batch_order(pairs.src_lengths, pairs.tgt_lengths, batch_tokens, SEED, epoch)
        return len(order), batches(pairs, order, start)

    return tokenizer, data


def training_figures(settings: Settings, stopwatch: Stopwatch, dtype: torch.dtype) -> dict[str, Any]:
    """Return the measured updates and, for a sample of them, the share of the minimal matrix products."""
    peak, steps = peak_rss_mb(), stopwatch.steps()
    model = model_config(settings.hidden)
    sample = spread_over(sorted(steps, key=lambda step: (step.tgt_len, step.src_len)), settings.samples)
    pairs = [(training_products(model, settings.vocab, step.shape), step.sec) for step in sample]
    return {
        "steps": [step._asdict() for step in steps],
        "order_sec_a_step": stopwatch.order_sec / stopwatch.epoch_batches,
        "peak_rss_mb": peak,
        **gemm_figures(pairs, dtype),
        **environment(dtype),
    }
