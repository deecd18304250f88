"""Measurements of the benchmark, each in its own process: preparing generated text of any size, and training on it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmark_figures import CPU, runtime_config
from benchmark_timing import peak_rss_mb
from benchmark_training import NEVER, SilentLog, Stopwatch, TimeUp, make_trainer
from benchmark_work import Settings
from generated_pairs import write_pairs

from seq2seq.cli.hydra_errors import composed
from seq2seq.config.loading import to_config
from seq2seq.config.training import PrecisionName, TrainingConfig
from seq2seq.data.batches.batch import Batch
from seq2seq.data.batches.epoch_batches import EpochBatches
from seq2seq.data.corpora.load import load_corpus
from seq2seq.data.files.download import cache_dir
from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.runtime import configure, resolve_precision
from seq2seq.storage.provenance import fingerprint

SAMPLE_SEC = 0.2
TIMER_SEC = 0.001  # what the prepare command rounds its seconds to


def prepare_generated(settings: Settings, pairs: int) -> dict[str, float]:
    """Generate text, prepare it with the command, and train on it in another process."""
    Path(settings.cache).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.cache) as name:
        folder = Path(name)
        files = folder / "train.en", folder / "train.de"
        write_pairs(*files, pairs)
        overrides = ["data=files", "data.src=en", "data.tgt=de", f"data.cache_dir={folder}"]
        overrides.append(f"data.tokenizer.vocab_size={settings.vocab}")
        overrides += [f"data.train.{side}={file}" for side, file in zip(("src", "tgt"), files, strict=True)]
        command = [sys.executable, "-m", "seq2seq.data", "prepare", *overrides, "--json"]
        prepared = json.loads((measured := watched(command))["output"])
        seconds = prepared["seconds"]
        call = [json.dumps(part) for part in ("train_on_prepared", vars(settings), {"overrides": overrides})]
        benchmark = Path(__file__).with_name("benchmark.py")
        training = watched([sys.executable, str(benchmark), "measure", *call])
        return {
            "pairs_per_min": 60 * pairs / max(TIMER_SEC, seconds["text"] + seconds["encoding"]),
            **{f"{part}_sec": sec for part, sec in seconds.items()},
            "parent_peak_mb": measured["parent_mb"],
            "with_workers_peak_mb": measured["all_mb"],
            "training_peak_mb": training["parent_mb"],
            **json.loads(training["output"].splitlines()[-1]),
        }


def train_on_prepared(settings: Settings, overrides: list[str]) -> dict[str, Any]:
    """Load prepared text as the train command does, and train for some seconds."""
    began = time.perf_counter()
    configure(runtime_config(settings))
    config = to_config(composed(overrides))
    corpus = load_corpus(config.data)
    fingerprint(corpus)
    tokenizer = Tokenizer.train(corpus.vocabulary_text(), config.data.vocabulary, cache_dir(config.data.cache_dir))
    data = EpochBatches(config.data, config.training, corpus.train, tokenizer)
    first_batch: list[float] = []

    def timed_data(epoch: int, start: int) -> tuple[int, Iterator[Batch]]:
        count, batches = data(epoch, start)
        first_batch.append(time.perf_counter() - began)
        return count, batches

    stopwatch = Stopwatch(settings)
    budget = config.training.batch_tokens
    training = TrainingConfig(max_steps=NEVER, validate_every_steps=NEVER, save_every_steps=NEVER, batch_tokens=budget)
    dtype = resolve_precision(PrecisionName(settings.precision), CPU)
    trainer = make_trainer(settings, training, dtype, tokenizer, stopwatch.watch(timed_data), SilentLog(stopwatch))
    with contextlib.suppress(TimeUp):
        trainer.fit()
    return {"first_batch_sec": first_batch[0], "own_peak_mb": peak_rss_mb(), "updates": len(stopwatch.ends)}


def watched(command: list[str]) -> dict[str, Any]:
    """Run a command; return its output, its peak memory and that of it and its child processes together, in MB."""
    peaks = {"parent_mb": 0.0, "all_mb": 0.0}
    with tempfile.TemporaryFile() as output, subprocess.Popen(command, stdout=output) as process:
        while process.poll() is None:
            resident = [resident_mb(pid) for pid in (process.pid, *children(process.pid))]
            peaks = {"parent_mb": max(peaks["parent_mb"], resident[0]), "all_mb": max(peaks["all_mb"], sum(resident))}
            time.sleep(SAMPLE_SEC)
        if process.returncode:
            sys.exit(f"{' '.join(command)} ended with status {process.returncode}")
        output.seek(0)
        return {"output": output.read().decode(), **peaks}


def children(pid: int) -> list[int]:
    """Return the child processes of a process (Linux)."""
    found = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(child) for child in file.read_text().split()]
    return found


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process; 0 if it has ended (Linux)."""
    with contextlib.suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 1e6
    return 0.0
