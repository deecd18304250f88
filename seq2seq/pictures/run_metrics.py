"""What learning curves show: the values that a run logged in its metrics.jsonl."""

from __future__ import annotations

import bisect
import dataclasses
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seq2seq.config.field import MAX_COUNT
from seq2seq.errors import DataError
from seq2seq.storage.metrics_file import read_events
from seq2seq.storage.run_folder import METRICS_NAME


@dataclass(frozen=True)
class Metric:
    """A panel: one field of one kind of event, or the value of one corpus of a mix in such a field."""

    event: str
    field: str
    title: str
    logarithmic: bool = False  # if the values differ by more than a factor of 5
    corpus: str | None = None

    def values(self, event: Mapping[str, Any]) -> list[Any]:
        """Return the value in an event, or nothing if the event lacks it."""
        found: Any = event
        for key in (self.field, self.corpus):
            if key is None:
                continue
            if not isinstance(found, dict) or key not in found:
                return []
            found = found[key]
        return [found]


METRICS = {
    "loss": Metric("step", "loss", "training loss, nats per token"),
    "perplexity": Metric("validation", "perplexity", "validation perplexity", logarithmic=True),
    "bleu": Metric("validation", "bleu", "validation BLEU"),
    "chrf": Metric("validation", "chrf", "validation chrF"),
    "learning_rate": Metric("step", "learning_rate", "learning rate"),
    "grad_norm": Metric("step", "grad_norm", "gradient norm before clipping", logarithmic=True),
}
CORPUS_METRICS = (
    Metric("step", "corpus_loss", "training loss of each corpus, nats per token"),
    Metric("step", "token_shares", "share of each corpus in the target tokens"),
)
"""Fields that have a value for each corpus of a mix."""
AXES = {"steps": "updates", "epochs": "epochs", "minutes": "minutes of training"}


@dataclass
class Curves:
    """The events of a run by kind, in the order of their steps."""

    name: str
    events: dict[str, list[dict[str, Any]]]

    def points(self, metric: Metric, axis: str) -> tuple[list[float], list[float]]:
        """Return x and y values, y being NaN where it is not finite; two empty lists if no y is finite."""
        found = [(event, value) for event in self.events[metric.event] for value in metric.values(event)]
        events, values = [event for event, _ in found], [_number(value) for _, value in found]
        points = [(x, y) for x, y in zip(self._positions(events, axis), values, strict=True) if math.isfinite(x)]
        if all(math.isnan(y) for _, y in points):
            return [], []
        return [x for x, _ in points], [y for _, y in points]

    def of_corpora(self, metric: Metric) -> dict[str, Metric]:
        """Return a metric of `CORPUS_METRICS` for each corpus that any event has a value of, by its name."""
        fields = (event.get(metric.field) for event in self.events[metric.event])
        names = dict.fromkeys(name for field in fields if isinstance(field, dict) for name in field)
        return {name: dataclasses.replace(metric, corpus=name) for name in names}

    def _positions(self, events: Sequence[dict[str, Any]], axis: str) -> list[float]:
        if axis == "steps":
            return [float(event["step"]) for event in events]
        if axis == "minutes":
            return [_number(event.get("elapsed_sec")) / 60 for event in events]
        epochs = {event["step"]: _number(event.get("epoch")) for event in self.events["step"]}
        epochs = {0: 0.0} | {step: epoch for step, epoch in epochs.items() if not math.isnan(epoch)}
        points = list(epochs.items())
        return [interpolate(event["step"], points) for event in events]  # validation events have no epoch


def read_run(folder: Path, name: str) -> Curves:
    """Return the events of a run so far.

    A step number that does not increase starts a new attempt in the same folder: earlier events are dropped.

    Raises:
        DataError: the folder is not a run folder or cannot be read.
    """
    path = folder / METRICS_NAME
    run = Curves(name, {"step": [], "validation": []})
    try:
        if not path.is_file():
            raise DataError(f"{folder} is not a run folder: {path} does not exist")
        for event in read_events(path):
            events, step = run.events.get(event["event"]), event.get("step")
            if events is None or not isinstance(step, int) or not 0 <= step <= MAX_COUNT:
                continue
            if events and step <= events[-1]["step"]:
                for kind in run.events.values():
                    kind.clear()
            events.append(event)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    return run


def interpolate(x: int, points: Sequence[tuple[int, float]]) -> float:
    """Return y at x by linear interpolation between points with ascending x.

    After the last point, extrapolate along the line through the first and the last point. NaN for fewer than 2 points.
    """
    if len(points) < 2:
        return math.nan
    after = max(1, bisect.bisect_left(points, (x, -math.inf)))
    (left, low), (right, high) = (points[after - 1], points[after]) if after < len(points) else (points[0], points[-1])
    return low + (high - low) * (x - left) / (right - left)


def _number(value: object) -> float:
    """Return `value` if it is a finite number, else NaN."""
    known = isinstance(value, int | float) and abs(value) <= sys.float_info.max
    return float(value) if known else math.nan  # type: ignore[arg-type]


def run_names(folders: Sequence[str]) -> list[str]:
    """Return the names of the folders, or the paths as given if two names are equal."""
    names = [Path(folder).resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else list(folders)
