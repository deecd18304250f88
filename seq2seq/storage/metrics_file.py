"""metrics.jsonl: the events of a run, one JSON object per line. All writers and readers use this module."""

from __future__ import annotations

import enum
import functools
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from seq2seq.errors import DataError, first_line
from seq2seq.filesystem.atomic_files import storage_errors, write_atomically
from seq2seq.storage.run_folder import METRICS_NAME

log = logging.getLogger(__name__)
Event = dict[str, Any]


class EventKind(str, enum.Enum):
    """Value of an event's `event` key."""

    step = "step"
    """Training figures over the updates since the previous line."""
    diagnostics = "diagnostics"
    """Gradient norms, gates and attention at one update."""
    spike = "spike"
    """An update whose loss is far above the moving average."""
    skip = "skip"
    """An update that was skipped because its loss or gradient was not finite."""
    validation = "validation"
    test = "test"
    """Scores of the best model on one test set."""
    end = "end"
    """The run is complete; written by sweeps."""


FIELDS: dict[str, dict[str, tuple[type, ...]]] = {
    EventKind.step.value: {"step": (int,), "elapsed_sec": (int, float)},
    EventKind.diagnostics.value: {"step": (int,)},
    EventKind.spike.value: {"step": (int,)},
    EventKind.skip.value: {"step": (int,)},
    EventKind.validation.value: {"step": (int,), "elapsed_sec": (int, float), "best": (bool,)},
    EventKind.test.value: {"set": (str,), "bleu": (int, float, type(None))},
}
"""The fields on which readers rely, and their types. An event that lacks one is damaged."""


class MetricsFile:
    """Appends events to the metrics.jsonl of a run folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / METRICS_NAME
        self._open()

    def __enter__(self) -> MetricsFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file.

        Raises:
            StorageError: the disk is full.
        """
        with storage_errors(self._path):
            self._file.close()

    def _open(self) -> None:
        self._file = open(self._path, "a", encoding="utf-8")  # noqa: SIM115 (closed in __exit__)

    def write(self, kind: EventKind, **fields: Any) -> None:
        """Append one event; a float that is not finite becomes null, as JSON has no NaN.

        Raises:
            StorageError: the disk is full.
        """
        event = to_json({"event": kind.value, "time": round(time.time(), 1), **fields})
        with storage_errors(self._path):
            print(event, file=self._file, flush=True)

    def sync(self) -> None:
        """Flush to the disk; a checkpoint that is saved next relies on these lines.

        Raises:
            StorageError: the disk is full or failed.
        """
        with storage_errors(self._path):
            os.fsync(self._file.fileno())

    def rewind(self, keep: Callable[[Event], bool]) -> bool:
        """Drop every event for which `keep` is false and every damaged line; return False if the file is empty."""
        lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        if not lines:
            return False
        self._file.close()
        events = [(line, parse_event(line)) for line in lines]
        _warn_of_damage(self._path, sum(event is None for _, event in events))
        kept = "".join(line for line, event in events if event and keep(event))
        write_atomically(self._path, lambda temporary: temporary.write_text(kept, encoding="utf-8"))
        self._open()
        return True


def read_events(path: Path) -> Iterator[Event]:
    """Yield the complete events of a file in order, also while the run goes on; nothing if there is no file."""
    if path.is_file():
        damaged = 0
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
            event = parse_event(line)
            if event is not None:
                yield event
            elif line.endswith("\n"):  # else the run may be writing it
                damaged += 1
        _warn_of_damage(path, damaged)


def visit_events(path: Path, visit: Callable[[Event], None]) -> None:
    """Call `visit` with each event of `read_events`.

    Raises:
        DataError: an event lacks a field or has one of another type.
    """
    for event in read_events(path):
        try:
            visit(event)
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            text = json.dumps(event)
            raise DataError(
                f"{path}: damaged event {text[:80]}{'…' * (len(text) > 80)}: {first_line(error)}"
            ) from error


def parse_event(line: str) -> Event | None:
    """Return the event of a line that ends in a newline; None if the line is cut, as after a kill, or damaged."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not line.endswith("\n") or not isinstance(event, dict) or not isinstance(event.get("event"), str):
        return None
    fields = FIELDS.get(event["event"], {})
    valid = all(name in event and isinstance(event[name], types) for name, types in fields.items())
    return event if valid else None


def to_json(value: Any) -> str:
    """Return `value` as one line of JSON; a float that is not finite becomes null, as JSON has no NaN."""
    return json.dumps(map_floats(value, lambda number: number if math.isfinite(number) else None), allow_nan=False)


@functools.cache  # one warning: a search reads the same file after every trial
def _warn_of_damage(path: Path, lines: int) -> None:
    if lines:
        log.warning("%s: %d damaged lines are ignored", path, lines)


def map_floats(value: Any, function: Callable[[float], Any]) -> Any:
    """Return `value` with `function` applied to every float in it, through nested dictionaries and lists."""
    if isinstance(value, dict):
        return {key: map_floats(item, function) for key, item in value.items()}
    if isinstance(value, list):
        return [map_floats(item, function) for item in value]
    return function(value) if isinstance(value, float) else value
