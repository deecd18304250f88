"""Measurements of the benchmark on a device, each in its own process: training and search of a preset on random ids.

Random ids need no corpus and no tokenizer, so that a bare machine measures a vocabulary of any size. The share of the
roofline is the rate of the network's minimal matrix products (scripts/gemm.py) in the whole work, divided by
the rate of one large product in the same type on the same device.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmark_figures import SEED, runtime_config
from benchmark_timing import peak_rss_mb
from benchmark_work import Settings
from gemm import BatchShape, SearchStep, search_products, training_products

from seq2seq.config.decode import DecodeConfig
from seq2seq.config.loading import compose_config, to_config
from seq2seq.config.model import ModelConfig
from seq2seq.config.training import PrecisionName, TrainingConfig
from seq2seq.data.batches.batch import Batch, make_batch
from seq2seq.data.batches.batching import batch_order
from seq2seq.data.special_ids import SPECIAL_IDS
from seq2seq.inference.ensemble import Ensemble
from seq2seq.model.network import Seq2Seq
from seq2seq.runtime import autocast, configure, evaluating, resolve_device, resolve_precision, seed_everything
from seq2seq.search.batched_search import SearchInput, search
from seq2seq.training.callbacks import Callbacks, RunOutput
from seq2seq.training.records import Validation
from seq2seq.training.run_log import NullLog
from seq2seq.training.trainer import Trainer

PAIRS, MEAN_LENGTH, LONGEST = 4096, 25, 50  # as in WMT's news text, cut at 50
PEAK_SIZE = {"cuda": 8192, "cpu": 1024}  # rows of the product that measures the peak
PEAK_REPEATS = 10


class TimeUp(Exception):
    """The measurement is complete."""


def train_on_device(settings: Settings, model: str, precision: str, batch_tokens: int) -> dict[str, Any]:
    """Train a preset with the Trainer; updates are waited for only where the measurement begins and ends."""
    device, dtype, network = set_up(settings, model, precision)
    batches = random_batches(settings.vocab, batch_tokens)
    config = TrainingConfig(max_steps=10**9, validate_every_steps=10**9, save_every_steps=10**9)
    watch = Watch(device, settings)

    def data(epoch: int, start: int) -> tuple[int, Iterator[Batch]]:
        return len(batches), watch.watched(batches)

    with contextlib.suppress(TimeUp), tempfile.TemporaryDirectory() as folder:
        callbacks = Callbacks(validate=lambda: Validation(0.0, 1.0, 0.0, 0.0), save_model=lambda path: None)
        output = RunOutput(Path(folder), NullLog(), "random ids")
        Trainer(network, config, dtype, data, callbacks, output).fit()
    shapes = [
        BatchShape(len(batch.src_ids), batch.src_ids.shape[1], batch.tgt_out.shape[1], batch.tgt_tokens)
        for batch in watch.measured_batches
    ]
    flops = sum(p.flops for shape in shapes for p in training_products(network.config, settings.vocab, shape))
    return {
        "tgt_tokens_per_sec": sum(shape.tgt_tokens for shape in shapes) / watch.sec,
        "sentences_per_sec": sum(shape.rows for shape in shapes) / watch.sec,
        "updates_per_sec": len(shapes) / watch.sec,
        **roofline(flops / watch.sec, device, dtype),
        "peak_memory_mb": peak_memory_mb(device),
        "work": {"device": name_of(device), "torch": torch.__version__, "weights": weights_of(network)},
    }


def translate_on_device(settings: Settings, model: str, precision: str, rows: int) -> dict[str, Any]:
    """Search with beam 5 and greedily, in batches of `rows` sentences, and one sentence alone."""
    device, dtype, network = set_up(settings, model, precision)
    ensemble, numbers = Ensemble([network]), np.random.default_rng(SEED)
    sentences = sorted(random_ids(numbers, settings.sentences, settings.vocab), key=len)
    figures: dict[str, Any] = {}
    with evaluating(network), torch.inference_mode(), autocast(device, dtype):
        for name, beam in (("beam_5", 5), ("greedy", 1)):
            decode = DecodeConfig(beam_size=beam, max_length_ratio=1.0, max_length_extra=1)

            def translate(inputs: list[list[int]], decode: DecodeConfig = decode) -> int:
                outputs = search(ensemble, [SearchInput(ids, [], []) for ids in inputs], decode, device=device)
                return sum(len(best.tokens) + 1 for best, *_ in outputs)

            translate(sentences[: min(rows, len(sentences))])  # warm-up
            began = now(device)
            tokens = sum(translate(sentences[i : i + rows]) for i in range(0, len(sentences), rows))
            sec = now(device) - began
            alone = sentences[:: max(1, len(sentences) // settings.singles)][: settings.singles]
            began = now(device)
            for sentence in alone:
                translate([sentence])
            latency = (now(device) - began) / len(alone)
            steps = [
                (batch, [SearchStep(len(batch), beam, len(batch[-1]) + 1)] * (len(batch[-1]) + 1))
                for batch in (sentences[i : i + rows] for i in range(0, len(sentences), rows))
            ]
            flops = sum(
                p.flops
                for batch, own in steps
                for p in search_products(network.config, settings.vocab, len(batch), len(batch[-1]) + 1, own)
            )
            figures |= {
                f"{name}_sentences_per_sec": len(sentences) / sec,
                f"{name}_tokens_per_sec": tokens / sec,
                f"{name}_latency_ms": 1000 * latency,
                **{f"{name}_{key}": value for key, value in roofline(flops / sec, device, dtype).items()},
            }
    return figures | {"peak_memory_mb": peak_memory_mb(device), "work": {"device": name_of(device)}}


class Watch:
    """Counts the batches of the measured time, which begins after the warm-up, and ends the run after `seconds`."""

    def __init__(self, device: torch.device, settings: Settings) -> None:
        self._device, self._settings = device, settings
        self.measured_batches: list[Batch] = []
        self.sec = 0.0
        self._taken, self._began = 0, 0.0

    def watched(self, batches: list[Batch]) -> Iterator[Batch]:
        """Yield the batches; raise TimeUp when the time is up."""
        for batch in batches:
            if self._taken == self._settings.warmup:
                self._began = now(self._device)
            elif self._taken > self._settings.warmup and time.perf_counter() - self._began > self._settings.seconds:
                self.sec = now(self._device) - self._began
                raise TimeUp
            if self._taken >= self._settings.warmup:
                self.measured_batches.append(batch)
            self._taken += 1
            yield batch


def set_up(settings: Settings, model: str, precision: str) -> tuple[torch.device, torch.dtype, Seq2Seq]:
    """Configure the process; return device, type of the products and a new network of a preset.

    Raises:
        ConfigError: the device is missing or cannot compute in this precision; or there is no such preset.
    """
    configure(runtime_config(settings))
    device = resolve_device(settings.device)
    dtype = resolve_precision(PrecisionName(precision), device)
    seed_everything(SEED)
    network = Seq2Seq(preset(model), settings.vocab, settings.vocab).to(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    return device, dtype, network


def preset(name: str) -> ModelConfig:
    """Return the network of `model=NAME`."""
    return to_config(compose_config(["data=grammar", f"model={name}"])).model


def random_ids(numbers: np.random.Generator, count: int, vocab: int) -> list[list[int]]:
    """Return sentences of 1 to LONGEST - 1 random tokens, with lengths spread as in text."""
    lengths = np.clip(numbers.gamma(3.0, MEAN_LENGTH / 3, count).astype(int), 1, LONGEST - 1)
    return [numbers.integers(len(SPECIAL_IDS), vocab, length).tolist() for length in lengths]


def random_batches(vocab: int, batch_tokens: int) -> list[Batch]:
    """Return the batches of an epoch of random pairs, ordered and cut as in training."""
    numbers = np.random.default_rng(SEED)
    src = random_ids(numbers, PAIRS, vocab)
    tgt = [numbers.integers(len(SPECIAL_IDS), vocab, len(ids)).tolist() for ids in src]
    lengths = np.array([len(ids) + 1 for ids in src])
    order = batch_order(lengths, lengths, batch_tokens, SEED, 0)
    return [make_batch([src[i] for i in rows], [tgt[i] for i in rows]) for rows in order]


def roofline(flops_per_sec: float, device: torch.device, dtype: torch.dtype) -> dict[str, float]:
    """Return the rate of the products, and its share of the rate of one large product."""
    return {"tflops": flops_per_sec / 1e12, "share_roofline": flops_per_sec / peak_flops(device, dtype)}


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Return the rate of a large matrix product."""
    size = PEAK_SIZE[device.type]
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    multiply: Callable[[], object] = lambda: torch.mm(a, b)  # noqa: E731
    for _ in range(2):
        multiply()
    began = now(device)
    for _ in range(PEAK_REPEATS):
        multiply()
    return 2 * size**3 * PEAK_REPEATS / (now(device) - began)


def now(device: torch.device) -> float:
    """Return the time in seconds after the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def peak_memory_mb(device: torch.device) -> float:
    """Return the peak memory of tensors on a GPU, or of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return peak_rss_mb()


def name_of(device: torch.device) -> str:
    """Return the name of the card, or the kind of the device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def weights_of(network: Seq2Seq) -> int:
    """Return the number of weights."""
    return sum(network.parameter_counts().values())
