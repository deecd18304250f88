"""The measurements of the benchmark, each made in a process of its own; figures are plain values.

Every function sets up its system as its users would: ours with `runtime.configure` and its own precision, the textbook
in fp32 with the allocator as it is. Both get the same batches, or sentences, in the same order.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import math
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import textbook
import torch
from benchmark_work import MAX_LENGTH, Settings, make_tokenizer, model_config, read
from gemm import BatchShape, Product, SearchStep, measure, search_products, training_products
from rich.console import Console
from torch import Tensor

from seq2seq.batch import Batch
from seq2seq.config import AllocatorName, KernelsName, RuntimeConfig
from seq2seq.data.batches import batch_order, batches
from seq2seq.data.binarised import prepare
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.decode_config import DecodeConfig
from seq2seq.decoding import searching
from seq2seq.decoding.predictor import Predictor, PredictorState
from seq2seq.decoding.protocols import Prediction
from seq2seq.decoding.translator import INT8, Translator
from seq2seq.model.network import Seq2Seq
from seq2seq.runtime import configure, resolve_precision, seed_everything
from seq2seq.training.loggers import NoLog, RunLog
from seq2seq.training.optimizer import make_optimizer
from seq2seq.training.trainer import EpochData, Trainer, Validation, watch_nothing
from seq2seq.training.update import BatchLoss
from seq2seq.training_config import PrecisionName, TrainingConfig

CPU = torch.device("cpu")
SEED = 1
NEVER = 10**9  # steps
BEAMS = {"beam": 5, "greedy": 1}
TEXTBOOK_SENTENCES = 64  # translated together, the most alike in length
WARM_UP_SENTENCES = 32

T = TypeVar("T")


# --- training --------------------------------------------------------------------------------------------------------


class Step(NamedTuple):
    """One measured update: sizes of its batch, seconds from the end of the one before, of which loading the batch."""

    rows: int
    src_len: int
    tgt_len: int
    src_tokens: int
    tgt_tokens: int
    sec: float
    load_sec: float

    @property
    def shape(self) -> BatchShape:
        """Return the sizes that decide the matrix products."""
        return BatchShape(self.rows, self.src_len, self.tgt_len, self.tgt_tokens)


class TimeUp(Exception):
    """Enough has been measured."""


class Stopwatch:
    """Notes the batches that go by and the end of every update; stops the run when the time is up."""

    def __init__(self, settings: Settings) -> None:
        self.seconds, self.warmup = settings.seconds, settings.warmup
        self.batches: list[Batch] = []
        self.load_sec: list[float] = []
        self.ends: list[float] = []
        self.order_sec = 0.0
        self.epoch_batches = 1

    def watch(self, data: EpochData) -> EpochData:
        """Return the same data, noting what is taken from it and how long that takes."""

        def watched(epoch: int, start: int) -> tuple[int, Iterator[Batch]]:
            self.order_sec, (self.epoch_batches, made) = timed(lambda: data(epoch, start))
            return self.epoch_batches, self._noted(made)

        return watched

    def _noted(self, made: Iterator[Batch]) -> Iterator[Batch]:
        while True:
            sec, batch = timed(lambda: next(made, None))
            if batch is None:
                return
            self.batches.append(batch)
            self.load_sec.append(sec)
            yield batch

    def tick(self) -> None:
        """Note the end of an update; raises TimeUp after the last."""
        self.ends.append(time.perf_counter())
        if len(self.ends) > self.warmup and self.ends[-1] - self.ends[self.warmup - 1] >= self.seconds:
            raise TimeUp

    def steps(self) -> list[Step]:
        """Return the updates after the warm-up."""
        return [self._step(i) for i in range(self.warmup, len(self.ends))]

    def _step(self, i: int) -> Step:
        batch = self.batches[i]
        rows, src_len = batch.src_ids.shape
        tokens = int(batch.src_lengths.sum()), batch.tgt_tokens
        return Step(rows, src_len, batch.tgt_out.shape[1], *tokens, self.ends[i] - self.ends[i - 1], self.load_sec[i])


class SilentLog(NoLog):
    """Writes nothing; tells the stopwatch where an update ends."""

    def __init__(self, stopwatch: Stopwatch) -> None:
        self._stopwatch = stopwatch

    def step(self, *figures: Any, **named: Any) -> None:
        """Called after every update."""
        self._stopwatch.tick()


def train_ours(settings: Settings, batch_tokens: int) -> dict[str, Any]:
    """Train with the real loop: loading, forward, backward, clipping, optimizer."""
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
    settings: Settings, config: TrainingConfig, dtype: torch.dtype, tokenizer: Tokenizer, data: EpochData, log: RunLog
) -> Trainer:
    """Return a trainer of a new network that neither validates nor keeps anything."""
    return Trainer(
        Seq2Seq(model_config(settings.hidden), tokenizer.src_size, tokenizer.tgt_size),
        config,
        dtype,
        data=data,
        validate=lambda: Validation(0.0, 1.0, 0.0, 0.0),
        keep=lambda path: None,
        watch=watch_nothing,
        run_log=log,
        folder=Path(settings.cache),
        pieces=tokenizer.fingerprint,
    )


def overhead(settings: Settings, batch_tokens: int) -> dict[str, Any]:
    """Make updates with all that the trainer does, and before each one its mathematics alone, on the same batch."""
    configure(runtime_config(settings))
    dtype = resolve_precision(PrecisionName(settings.precision), CPU)
    tokenizer, data = training_data(settings, batch_tokens)
    seed_everything(SEED)
    config = TrainingConfig(max_steps=NEVER, validate_every_steps=NEVER, batch_tokens=batch_tokens)
    seconds: list[tuple[float, float]] = []

    def in_turn(epoch: int, start: int) -> tuple[int, Iterator[Batch]]:
        count, made = data(epoch, start)
        return count, timed(made)

    def timed(made: Iterator[Batch]) -> Iterator[Batch]:
        for batch in made:
            started = time.perf_counter()
            bare(batch)
            ended = time.perf_counter()
            yield batch
            seconds.append((time.perf_counter() - ended, ended - started))
            if sum(map(sum, seconds[settings.warmup :])) > settings.seconds:
                raise TimeUp

    def bare(batch: Batch) -> None:
        summed, _ = loss(batch)
        torch.autograd.backward(summed / batch.tgt_tokens)
        torch.nn.utils.clip_grad_norm_(weights, config.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    with (
        contextlib.suppress(TimeUp),
        tempfile.TemporaryDirectory() as name,
        RunLog(Path(name), config.log_every_steps, Console(file=io.StringIO())) as log,
    ):
        trainer = make_trainer(settings, config, dtype, tokenizer, in_turn, log)
        loss, weights = BatchLoss(trainer.network, config, dtype), list(trainer.network.parameters())
        optimizer = make_optimizer(weights, config)
        trainer.fit()
    ratio = statistics.median(whole / alone for whole, alone in seconds[settings.warmup :])
    return {"overhead_percent": 100 * (ratio - 1), **environment(dtype)}


def train_textbook(settings: Settings, batch_tokens: int) -> dict[str, Any]:
    """Train as a tutorial does, on the same batches."""
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
    """Return the vocabulary, and the batches of an epoch as the training command makes them."""
    text = read(Path(settings.data), "train")
    tokenizer = make_tokenizer(text, settings.vocab, settings.cache)
    pairs = prepare(text, tokenizer, min(MAX_LENGTH, batch_tokens), Path(settings.cache))

    def data(epoch: int, start: int) -> tuple[int, Iterator[Batch]]:
        order = batch_order(pairs.src_lengths, pairs.tgt_lengths, batch_tokens, SEED, epoch)
        return len(order), batches(pairs, order, start)

    return tokenizer, data


def training_figures(settings: Settings, stopwatch: Stopwatch, dtype: torch.dtype) -> dict[str, Any]:
    """Return the measured updates, and the share that the least matrix products have of some of them."""
    peak, steps = peak_rss_mb(), stopwatch.steps()
    model = model_config(settings.hidden)
    sample = spread_over(sorted(steps, key=lambda step: (step.tgt_len, step.src_len)), settings.samples)
    pairs = [(training_products(model, settings.vocab, step.shape), step.sec) for step in sample]
    return {
        "steps": [step._asdict() for step in steps],
        "order_sec_a_step": stopwatch.order_sec / stopwatch.epoch_batches,
        "peak_rss_mb": peak,
        **shares(pairs, dtype),
        **environment(dtype),
    }


# --- translation -----------------------------------------------------------------------------------------------------


def translate_ours(settings: Settings) -> dict[str, Any]:
    """Translate with our search: together, and one by one."""
    configure(runtime_config(settings))
    lines, translator = translation_work(settings, settings.precision)
    for start in range(0, len(lines), TEXTBOOK_SENTENCES):
        our_translate(translator, BEAMS["beam"], lines[start : start + TEXTBOOK_SENTENCES])
    figures: dict[str, Any] = {"peak_rss_64_mb": peak_rss_mb()}
    for name, beam_size in BEAMS.items():
        translate = functools.partial(our_translate, translator, beam_size)
        figures[name] = translation_figures(settings, lines, translate)
    figures["peak_rss_mb"] = peak_rss_mb()
    return {**figures, **search_shares(settings, translator, lines), **environment(translator.dtype)}


def translate_textbook(settings: Settings) -> dict[str, Any]:
    """Translate as a tutorial does, with the same weights, limits and length penalty."""
    set_threads(settings)
    lines, translator = translation_work(settings, "fp32")
    network, figures = textbook.copy_of(translator.network).eval(), dict[str, Any]()
    for name, beam_size in BEAMS.items():
        translate = functools.partial(textbook_translate, network, translator.tokenizer, translator.decode, beam_size)
        figures[name] = translation_figures(settings, lines, translate)
    return {**figures, "peak_rss_mb": peak_rss_mb(), **environment(torch.float32)}


def translation_work(settings: Settings, precision: str) -> tuple[list[str], Translator]:
    """Return the sentences, and the given model or a random one whose outputs are about as long as the source."""
    folder = Path(settings.data)
    lines = read(folder, "val").src[: settings.sentences]
    if settings.model:
        return lines, Translator.load(settings.model, device="cpu", precision=precision)
    tokenizer = make_tokenizer(read(folder, "train"), settings.vocab, settings.cache)
    seed_everything(SEED)
    network = Seq2Seq(model_config(settings.hidden), tokenizer.src_size, tokenizer.tgt_size)
    decode = DecodeConfig(max_length_ratio=1.0, max_length_extra=1)
    int8 = precision == INT8
    dtype = resolve_precision(PrecisionName("auto" if int8 else precision), CPU)
    return lines, Translator(network, tokenizer, decode, CPU, dtype, int8=int8)


def our_translate(translator: Translator, beam_size: int, lines: Sequence[str]) -> list[list[int]]:
    """Translate `lines` with the project's translator; return ids without EOS."""
    return [best.ids for best, *_ in translator.translate_n_best(lines, beam_size=beam_size)]


def textbook_translate(
    network: textbook.Textbook, tokenizer: Tokenizer, decode: DecodeConfig, beam_size: int, lines: Sequence[str]
) -> list[list[int]]:
    """Translate `lines`, sorted by length, in batches of so many sentences; return ids without EOS."""
    sources = tokenizer.encode_src(lines)
    order = sorted(range(len(lines)), key=lambda i: len(sources[i]))
    outputs: list[list[int]] = [[] for _ in lines]
    for start in range(0, len(order), TEXTBOOK_SENTENCES):
        batch = order[start : start + TEXTBOOK_SENTENCES]
        limits = [searching.Source(sources[i], [], []).longest(decode) for i in batch]
        found = textbook.beam_search(network, [sources[i] for i in batch], limits, beam_size, decode.length_penalty)
        for i, ids in zip(batch, found, strict=True):
            outputs[i] = ids
    tokenizer.decode(outputs)
    return outputs


def translation_figures(
    settings: Settings, lines: Sequence[str], translate: Callable[[Sequence[str]], list[list[int]]]
) -> dict[str, float]:
    """Return the rate of translating all lines together, and the latency of single ones."""
    translate(lines[:WARM_UP_SENTENCES])
    sec, outputs = timed(lambda: translate(lines))
    singles = [[line] for line in spread_over(lines, settings.singles)]
    latencies = sorted(timed(functools.partial(translate, single))[0] for single in singles)
    return {
        "sentences_per_sec": len(lines) / sec,
        "tokens_per_sec": sum(len(ids) + 1 for ids in outputs) / sec,
        "latency_p50_ms": 1000 * statistics.median(latencies),
        "latency_p95_ms": 1000 * latencies[math.ceil(0.95 * len(latencies)) - 1],
    }


def search_shares(settings: Settings, translator: Translator, lines: Sequence[str]) -> dict[str, float]:
    """Return the share that the least matrix products have of the beam search of some batches."""
    lengths = [len(ids) + 1 for ids in translator.tokenizer.encode_src(lines)]
    beam_size, predictor = BEAMS["beam"], translator.predictor
    model, vocab = translator.network.config, translator.tokenizer.tgt_size
    together = list(searching.batches(lengths, translator.decode.batch_tokens, beam_size))
    work = []
    for batch in spread_over(together, settings.samples):
        chosen = [lines[i] for i in batch]
        sec, _ = timed(functools.partial(translator.translate, chosen, beam_size=beam_size))
        translator.predictor = counting = CountingPredictor(predictor.networks, int8=predictor.int8)
        translator.translate(chosen, beam_size=beam_size)
        translator.predictor = predictor
        longest = lengths[batch[0]]
        work.append((search_products(model, vocab, len(batch), longest, counting.steps), sec))
    return shares(work, translator.dtype)


class CountingPredictor(Predictor):
    """Notes the size of every step that a search takes."""

    def __init__(self, networks: Sequence[Seq2Seq], int8: bool) -> None:
        super().__init__(networks, int8=int8)
        self.steps: list[SearchStep] = []

    def step(self, last: Tensor, state: PredictorState) -> tuple[Prediction, PredictorState]:
        """Note the size, then do what is asked."""
        sentences, beam = last.shape
        self.steps.append(SearchStep(sentences, beam, state.memories[0].mask.shape[1]))
        return super().step(last, state)


# --- data ------------------------------------------------------------------------------------------------------------


def prepare_pairs(settings: Settings, folder: str) -> dict[str, float]:
    """Read the text of `folder` and encode it to ids on disk."""
    configure(runtime_config(settings))
    tokenizer = make_tokenizer(read(Path(settings.data), "train"), settings.vocab, settings.cache)
    figures = {"start_rss_mb": peak_rss_mb()}
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        read_sec, text = timed(functools.partial(read, Path(folder), "train"))
        figures["read_rss_mb"] = peak_rss_mb()
        prepare_sec, pairs = timed(functools.partial(prepare, text, tokenizer, MAX_LENGTH, Path(cache)))
    figures["pairs_per_min"] = 60 * (len(pairs) + pairs.dropped) / (read_sec + prepare_sec)
    return {**figures, "peak_rss_mb": peak_rss_mb()}


# --- shared ----------------------------------------------------------------------------------------------------------


def shares(work: Sequence[tuple[list[Product], float]], dtype: torch.dtype) -> dict[str, float]:
    """Return the mean share that the products have of the seconds they are given with, and the rate they reach."""
    alone = [measure(products, dtype) for products, _ in work]
    flops = sum(product.flops for products, _ in work for product in products)
    return {
        "share_gemm": statistics.mean(least / sec for least, (_, sec) in zip(alone, work, strict=True)),
        "gemm_gflops": flops / sum(alone) / 1e9,
    }


def spread_over(values: Sequence[T], count: int) -> list[T]:
    """Return `count` of the values at equal distances, the first and the last among them; all, if they are fewer."""
    if len(values) <= count:
        return list(values)
    return [values[i * (len(values) - 1) // max(1, count - 1)] for i in range(count)]


def timed(call: Callable[[], T]) -> tuple[float, T]:
    """Return the seconds that `call` takes, and its result."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def runtime_config(settings: Settings) -> RuntimeConfig:
    """Return how our process is set up."""
    allocator, kernels = AllocatorName(settings.allocator), KernelsName(settings.kernels)
    return RuntimeConfig(allocator=allocator, kernels=kernels, threads=settings.threads)


def set_threads(settings: Settings) -> None:
    """Set the number of threads and nothing else."""
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)


def peak_rss_mb() -> float:
    """Return the most memory this process has had resident so far, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def environment(dtype: torch.dtype) -> dict[str, Any]:
    """Return what the figures depend on beside the code."""
    name = str(dtype).removeprefix("torch.")
    return {"dtype": name, "threads": torch.get_num_threads(), "torch": torch.__version__}
