"""The results of a run, read from its metrics.jsonl."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seq2seq.config.training import MonitorName
from seq2seq.storage.metrics_file import Event, EventKind, MetricsFile, visit_events
from seq2seq.storage.run_folder import METRICS_NAME

SCORES = (*MonitorName.__members__, "perplexity")


@dataclass
class RunResult:
    """Best validation, test scores and length of a run."""

    validation: dict[str, Any] = field(default_factory=dict)
    """Event of the validation whose model is the best; empty before the first validation."""
    tests: dict[str, float | None] = field(default_factory=dict)
    """Test set -> BLEU."""
    updates: int = 0
    minutes: float = 0.0
    ended: bool = False
    """True if every test set has been scored and no training followed."""


def mark_end(folder: Path) -> None:
    """Log the end of a run; a test event does not mark it, since another test set may follow."""
    with MetricsFile(folder) as file:
        file.write(EventKind.end)


def read_result(folder: Path) -> RunResult:
    """Return the results of the run in `folder` so far.

    A step that does not increase starts a new attempt in the same folder; earlier events are dropped.

    Raises:
        DataError: an event is damaged.
    """
    result, last_step = RunResult(), {EventKind.step.value: 0, EventKind.validation.value: 0}

    def visit(event: Event) -> None:
        nonlocal result, last_step
        kind = event["event"]
        if kind in last_step:
            step = int(event["step"])
            if step <= last_step[kind]:
                result, last_step = RunResult(), dict.fromkeys(last_step, 0)
            last_step[kind] = step
            result.updates, result.minutes = step, float(event["elapsed_sec"]) / 60
            result.tests, result.ended = {}, False
        if kind == EventKind.validation and event["best"]:
            result.validation = event | {name: _number(event[name]) for name in SCORES if name in event}
        elif kind == EventKind.test:
            result.tests[str(event["set"])] = _number(event["bleu"])
        elif kind == EventKind.end:
            result.ended = True

    visit_events(folder / METRICS_NAME, visit)
    return result


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
