"""Measurements of the benchmark, each in its own process: training beside busy processes that come and go."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import sys
import time
from typing import Any

from benchmark_figures import CPU, SEED, environment, runtime_config
from benchmark_training import NEVER, SilentLog, Stopwatch, TimeUp, make_trainer, training_data
from benchmark_work import Settings

from seq2seq.config.training import PrecisionName, TrainingConfig
from seq2seq.runtime import configure, resolve_precision, seed_everything

BUSY = "import sys, time\nend = time.monotonic() + float(sys.argv[1])\nwhile time.monotonic() < end:\n    pass"


class Phases(Stopwatch):
    """Starts the busy processes of each phase, and counts the target tokens of the updates that end in it."""

    def __init__(self, settings: Settings, busy: list[int], phase_sec: float) -> None:
        super().__init__(settings)
        self._schedule, self._phase_sec = list(busy), phase_sec
        self._began = 0.0
        self.phases: list[dict[str, float]] = []
        self._processes: list[subprocess.Popen[bytes]] = []

    def tick(self) -> None:
        """Count an update; begin the next phase if this one is over. Raise TimeUp after the last phase."""
        now = time.perf_counter()
        self.ends.append(now)
        if len(self.ends) <= self.warmup:
            return
        if self.phases:
            phase = self.phases[-1]
            phase["tokens"] += self.batches[len(self.ends) - 1].tgt_tokens
            phase["sec"] = now - self._began
            if phase["sec"] < self._phase_sec:
                return
        self.stop_busy()
        if not self._schedule:
            raise TimeUp
        busy = self._schedule.pop(0)
        command = [sys.executable, "-c", BUSY, str(self._phase_sec * 3)]  # it ends even if nothing stops it
        self._processes = [subprocess.Popen(command) for _ in range(busy)]
        self.phases.append({"busy": busy, "tokens": 0, "sec": 0.0})
        self._began = time.perf_counter()

    def stop_busy(self) -> None:
        """End the busy processes."""
        for process in self._processes:
            process.kill()
            process.wait()


def train_under_load(
    settings: Settings, batch_tokens: int, threads: int | str, busy: list[int], phase_sec: float
) -> dict[str, Any]:
    """Train with this setting of `runtime.threads`, beside `busy` processes in each phase; return the phases."""
    configure(dataclasses.replace(runtime_config(settings), threads=threads))
    dtype = resolve_precision(PrecisionName(settings.precision), CPU)
    tokenizer, data = training_data(settings, batch_tokens)
    seed_everything(SEED)
    config = TrainingConfig(
        max_steps=NEVER, validate_every_steps=NEVER, save_every_steps=NEVER, batch_tokens=batch_tokens
    )
    phases = Phases(settings, busy, phase_sec)
    trainer = make_trainer(settings, config, dtype, tokenizer, phases.watch(data), SilentLog(phases))
    try:
        with contextlib.suppress(TimeUp):
            trainer.fit()
    finally:
        phases.stop_busy()
    return {"phases": phases.phases, **environment(dtype)}
