"""What came of a run, as its metrics.jsonl says."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seq2seq.storage.metrics_file import EventKind, MetricsFile, read_events
from seq2seq.storage.run_folder import METRICS_NAME


@dataclass
class Result:
    """The best validation and the tests of a run, and how long it took."""

    validation: dict[str, Any] = field(default_factory=dict)
    """Event of the validation whose model is kept as the best; empty: none yet."""
    tests: dict[str, float | None] = field(default_factory=dict)
    """BLEU by test set."""
    updates: int = 0
    minutes: float = 0.0
    ended: bool = False
    """Whether the run has been tested on every set, and nothing came after that."""


def mark_end(folder: Path) -> None:
    """Note that a run is over. The event of a test does not say that: another set may follow it."""
    with MetricsFile(folder) as file:
        file.write(EventKind.end)


def read_result(folder: Path) -> Result:
    """Return what came of the run in `folder` so far.

    Steps that begin again from a smaller number are a new attempt in the same folder: what was before is forgotten.
    """
    result, last = Result(), {EventKind.step.value: 0, EventKind.validation.value: 0}
    for event in read_events(folder / METRICS_NAME):
        kind = event["event"]
        if kind in last:
            step = int(event["step"])
            if step <= last[kind]:
                result, last = Result(), dict.fromkeys(last, 0)
            last[kind] = step
            result.updates, result.minutes = step, float(event["elapsed_sec"]) / 60
            result.tests, result.ended = {}, False
        if kind == EventKind.validation and event["best"]:
            result.validation = event
        elif kind == EventKind.test:
            result.tests[event["set"]] = event["bleu"]
        elif kind == EventKind.end:
            result.ended = True
    return result
