"""Run commands on a tiny network, in processes that can be killed, and compare run folders."""

from __future__ import annotations

import glob
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from forking import Child, Result

# Not imported from seq2seq: the import hook of jaxtyping must be installed first.
BEST_NAME, LAST_NAME = "best.safetensors", "last.pt"
STEPS = 24
FILES = {BEST_NAME, LAST_NAME, "config.yaml", "metrics.jsonl", "provenance.json", "tensorboard", "train.log"}
FILES |= {"report.html", "model-card.md"}
TINY = (
    "data=grammar", "data.train_pairs=300", "data.valid_pairs=10", "data.test_pairs=10",
    "data.tokenizer.vocab_size=400",
    "model.hidden_size=16", "model.emb_size=16", "model.attention_size=16", "model.decoder_layers=2",
    "training.max_minutes=null", f"training.max_steps={STEPS}", "training.learning_rate=0.01",
    "training.warmup_steps=4", "training.precision=fp32", "training.device=cpu",
    "training.validate_every_steps=9", "training.log_every_steps=1",
    "runtime.allocator=default", "decode.max_length_ratio=0.2",  # an untrained network never ends an output itself
)  # fmt: skip


class Process:
    """A command in its own process: `python -m seq2seq.train` of a tiny network by default.

    The process is a fork of one that has imported torch, which takes most of the time of such a run. With a `launcher`,
    or if it is `fresh`, it is a new interpreter. `prepare` is called in a fork before the command.

    `metrics`: glob pattern, below `folder`, of the metrics.jsonl files that the command writes.
    """

    def __init__(
        self,
        cache: Path,
        folder: Path,
        *arguments: str,
        module: str = "seq2seq.train",
        metrics: str = "run/metrics.jsonl",
        launcher: Sequence[str] = (),
        fresh: bool = False,
        prepare: Callable[[], object] | None = None,
    ) -> None:
        self.metrics = folder / metrics
        self.initial_lines = self.lines()
        self.child: Child | subprocess.Popen[str]
        arguments = (*TINY, f"data.cache_dir={cache}", *arguments)
        if launcher or fresh:
            self.child = subprocess.Popen(
                [sys.executable, *launcher, "-m", module, *arguments],
                cwd=folder,
                env=environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        else:
            self.child = Child(module, folder, *arguments, prepare=prepare)

    def lines(self) -> int:
        """Return the number of events in the metrics files."""
        return sum(Path(path).read_text(encoding="utf-8").count("\n") for path in glob.glob(str(self.metrics)))

    def wait_for(self, events: int, *, may_end: bool = False) -> None:
        """Return when the process has logged `events` more events, or has ended if it `may_end` before."""
        while self.lines() < self.initial_lines + events:
            if self.child.poll() is not None:
                assert may_end, self.child.communicate()
                return
            time.sleep(0.002)

    def wait(self) -> Result:
        """Return the result when the process has ended."""
        try:
            out, err = self.child.communicate()
        finally:
            self.child.kill()  # if the test timed out
        return Result(self.child.returncode, out, err)


def environment() -> dict[str, str]:
    """Return the environment of a subprocess that imports seq2seq from where this process did."""
    package = str(Path(importlib.import_module("seq2seq").__file__ or "").parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))}


def model_of(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the tensors and the config of the best model."""
    with safe_open(folder / BEST_NAME, framework="pt") as content:
        config = json.loads(content.metadata()["config"])
        del config["training"]["resume"], config["training"]["save_every_steps"]  # differ between the compared runs
        return {key: content.get_tensor(key) for key in content.keys()}, config  # noqa: SIM118


def state_of(folder: Path) -> dict[str, Any]:
    """Return the checkpoint without its elapsed time."""
    state: dict[str, Any] = torch.load(folder / LAST_NAME, weights_only=True)
    state["progress"]["elapsed_sec"] = 0
    for group in state["optimizer"]["param_groups"]:
        del group["lr"]  # set again before each update
    return state


def same(a: Any, b: Any) -> bool:
    """Return whether two values are equal bit for bit, in dictionaries and lists as well."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def figures(folder: Path) -> list[dict[str, Any]]:
    """Return the events of metrics.jsonl without times; of events logged twice (before and after a kill) the last."""
    events = {}
    for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        timeless = {key: value for key, value in event.items() if key not in ("time", "elapsed_sec", "tokens_per_sec")}
        events[event["event"], event.get("step")] = timeless
    return sorted(events.values(), key=lambda event: (event["event"], event.get("step", 0)))


def assert_same_run(folder: Path, expected: Path) -> None:
    """Check that two run folders have equal checkpoints, models, events and file names."""
    assert same(state_of(folder), state_of(expected))
    assert same(model_of(folder), model_of(expected))
    assert figures(folder) == figures(expected)
    names, expected_names = (
        {str(path.relative_to(run)) for path in run.rglob("*") if "events.out" not in path.name}
        for run in (folder, expected)
    )
    assert names == expected_names
    for name in names:
        if name.startswith("models/"):
            assert same(load_file(folder / name), load_file(expected / name))
