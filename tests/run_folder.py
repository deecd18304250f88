"""Runs of `python -m seq2seq.train` as the tests need them: tiny, in a process that can be killed, comparable."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from forking import Child

# Not imported from seq2seq: jaxtyping's import hook must come first.
BEST_NAME, LAST_NAME = "best.safetensors", "last.pt"
STEPS = 24
FILES = {BEST_NAME, LAST_NAME, "config.yaml", "metrics.jsonl", "provenance.json", "tensorboard", "train.log"}
TINY = (
    "data=grammar", "data.train_pairs=300", "data.valid_pairs=10", "data.test_pairs=10",
    "data.tokenizer.vocab_size=400",
    "model.hidden_size=16", "model.emb_size=16", "model.attention_size=16", "model.decoder_layers=2",
    "training.max_minutes=null", f"training.max_steps={STEPS}", "training.learning_rate=0.01",
    "training.warmup_steps=4", "training.precision=fp32", "training.device=cpu",
    "training.validate_every_steps=9", "training.log_every_steps=1",
    "runtime.allocator=default", "decode.max_length_ratio=0.2",  # nothing is learned: translations end at the limit
)  # fmt: skip


class Process:
    """The command in a process of its own; with a launcher or `fresh`, one whose interpreter starts for it."""

    def __init__(
        self, cache: Path, folder: Path, *arguments: str, launcher: Sequence[str] = (), fresh: bool = False
    ) -> None:
        self.metrics = folder / "run" / "metrics.jsonl"
        self.before = len(self.lines())
        arguments = (*TINY, f"data.cache_dir={cache}", *arguments)
        if launcher or fresh:
            self.child: Child | subprocess.Popen[str] = started("seq2seq.train", folder, *arguments, launcher=launcher)
        else:
            self.child = Child("seq2seq.train", folder, *arguments)

    def lines(self) -> list[str]:
        return self.metrics.read_text(encoding="utf-8").splitlines() if self.metrics.exists() else []

    def wait_for(self, updates: int) -> None:
        """Return once the run has logged this many more updates."""
        while len(self.lines()) < self.before + updates:
            assert self.child.poll() is None, self.child.communicate()
            time.sleep(0.002)

    def wait(self) -> tuple[int, str, str]:
        try:
            out, err = self.child.communicate()
        finally:
            self.child.kill()  # of a test whose time is up
        return self.child.returncode, out, err


def started(module: str, folder: Path, *arguments: str, launcher: Sequence[str] = ()) -> subprocess.Popen[str]:
    """Start `python -m MODULE ARGUMENTS` in a folder."""
    package = str(Path(importlib.import_module("seq2seq").__file__ or "").parents[1])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, *launcher, "-m", module, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def model_of(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    with safe_open(folder / BEST_NAME, framework="pt") as content:
        config = json.loads(content.metadata()["config"])
        del config["training"]["resume"], config["training"]["save_every_steps"]  # what the tests set differently
        return {key: content.get_tensor(key) for key in content.keys()}, config  # noqa: SIM118


def state_of(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(folder / LAST_NAME, weights_only=True)
    state["progress"]["elapsed_sec"] = 0
    for group in state["optimizer"]["param_groups"]:
        del group["lr"]  # set before every update
    return state


def same(one: Any, other: Any) -> bool:
    """Bit for bit, through dictionaries and lists."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def figures(folder: Path) -> list[dict[str, Any]]:
    """Every event but for its times; a test that was made twice as it was made last."""
    found = {}
    for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        kept = {key: value for key, value in event.items() if key not in ("time", "elapsed_sec", "tokens_per_sec")}
        found[event["event"], event.get("step")] = kept
    return sorted(found.values(), key=lambda event: (event["event"], event.get("step", 0)))


def assert_same_run(folder: Path, other: Path) -> None:
    assert same(state_of(folder), state_of(other))
    assert same(model_of(folder), model_of(other))
    assert figures(folder) == figures(other)
    names, others = ({str(path.relative_to(run)) for path in run.rglob("*")} for run in (folder, other))
    assert {name for name in names if "events.out" not in name} == {name for name in others if "events.out" not in name}
    for name in names:
        if name.startswith("models/"):
            assert same(load_file(folder / name), load_file(other / name))
