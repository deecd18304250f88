"""metrics.jsonl, one event of a run a line: reading it, also while the run goes on or after a kill."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of a file in their order; none where there is no file, and no line that was cut short."""
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
            event = parse_event(line)
            if event is not None:
                yield event


def parse_event(line: str) -> dict[str, Any] | None:
    """Return the event of one line with its end; None if it is no whole one."""
    try:
        event = json.loads(line)
    except json.JSONDecodeError:
        return None
    return event if line.endswith("\n") and isinstance(event, dict) and "event" in event else None
