"""Start the measurements of the benchmark, each in a process of its own; does not import torch.

Only the measuring processes import torch and seq2seq: the peak memory of a process may include that of its parent.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark_results import Measured

SETTINGS = "data cache grammar_pairs vocab hidden threads precision kernels allocator seconds warmup samples"
SETTINGS += " sentences singles model device"
MODULES = {  # measurement -> module
    "set_up": "benchmark_work",
    "write_tokens": "benchmark_work",
    "write_repeated": "benchmark_work",
    "train_ours": "benchmark_training",
    "train_textbook": "benchmark_training",
    "overhead": "benchmark_training",
    "train_under_load": "benchmark_load",
    "translate_ours": "benchmark_translation",
    "translate_ours_in_batches": "benchmark_translation",
    "translate_textbook": "benchmark_translation",
    "prepare_pairs": "benchmark_preparation",
    "train_and_score_ours": "benchmark_quality",
    "score_outputs": "benchmark_quality",
    "prepare_generated": "benchmark_large",
    "train_on_prepared": "benchmark_large",
    "train_on_device": "benchmark_device",
    "translate_on_device": "benchmark_device",
}
USER_ERROR = 2


class Run:
    """Starts the measuring processes of one benchmark; `work` describes their common workload and machine."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.work: dict[str, Any]
        self.settings = {name: getattr(args, name) for name in SETTINGS.split()}
        if args.device != "cpu" or args.command == "gpu":  # random ids: no corpus
            self.settings["vocab"] = args.device_vocab
            self.work = {"corpus": "random ids", "vocab": args.device_vocab}
            return
        workload = self.measure("set_up")
        self.settings |= {name: workload[name] for name in ("data", "vocab")}
        self.work = {"cpu": cpu_name(), **workload, "hidden": args.hidden}

    def measure(self, name: str, **arguments: Any) -> Measured:
        """Run one measurement in a new process and return its result."""
        call = [json.dumps(part) for part in (name, self.settings, arguments)]
        command = [sys.executable, str(Path(__file__).resolve().with_name("benchmark.py")), "measure", *call]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode == USER_ERROR:
            sys.exit(USER_ERROR)  # the process has named the error
        if done.returncode:
            sys.exit(f"measurement {name} failed with exit status {done.returncode}")
        measured: Measured = json.loads(done.stdout.splitlines()[-1])
        return measured

    def in_turn(self, *measurements: tuple[str, dict[str, Any]]) -> list[list[Measured]]:
        """Run all measurements alternately, round by round, and return the results of each round."""
        rounds = []
        for number in range(1, self.args.pairs + 1):
            print(f"round {number} of {self.args.pairs}:", *(name for name, _ in measurements), file=sys.stderr)
            rounds.append([self.measure(name, **arguments) for name, arguments in measurements])
        for name in ("dtype", "threads", "torch", "isa"):
            self.work |= {name: rounds[0][0][name]} if name in rounds[0][0] else {}
        return rounds


def measuring_process(call: Sequence[str]) -> int:
    """Print the result of one measurement, or a user's error in one line; return the exit status."""
    from seq2seq.cli.exit_status import run

    return run(lambda: print(json.dumps(measure(*map(json.loads, call)))))


def measure(name: str, settings: dict[str, Any], arguments: dict[str, Any]) -> Measured:
    """Run one measurement in this process."""
    from benchmark_work import Settings

    measurement = getattr(importlib.import_module(MODULES[name]), name)
    measured: Measured = measurement(Settings(**settings), **arguments)
    return measured


def cpu_name() -> str:
    """Return the name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
