"""The points of a sweep: their values and their folders, which are named after the values.

Folders are not numbered: a point's number changes when a value is added to the command.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from seq2seq.config.field import Choice
from seq2seq.config.training import MonitorName
from seq2seq.experiments.formatting import short_keys

MAX_VALUE_LENGTH, MAX_NAME_LENGTH = 40, 160  # file systems allow 255 bytes, encrypting ones fewer


class Status(Choice):
    """The state of a point's run."""

    finished = "finished"
    unfinished = "unfinished"
    failed = "failed"
    """A user error; one line in failed.txt."""
    broken = "broken"
    """A bug; the traceback is in failed.txt."""


@dataclass
class Point:
    """One combination of the swept values and its run."""

    folder: Path
    values: dict[str, str]
    status: Status = Status.unfinished
    monitor: MonitorName | None = None


@dataclass
class Sweep:
    """The points that a command has reached; `arguments` is its command line."""

    arguments: Sequence[str]
    folder: Path | None = None
    points: dict[Path, Point] = field(default_factory=dict)
    """Folder -> point."""

    def add(self, hydra: Any, folder: Path) -> Point:
        """Return the point in `folder`; add it, with the values in Hydra's config of the job, if it is new."""
        self.folder = Path(hydra.sweep.dir)
        return self.points.setdefault(folder, Point(folder, self._values(hydra)))

    def name(self, _root_: DictConfig) -> str:
        """Return the name of a point's folder: the OmegaConf resolver `point_name`, called with the job's config."""
        values = self._values(_root_.hydra)
        return point_name(values) if values else str(_root_.hydra.job.num)

    def _values(self, hydra: Any) -> dict[str, str]:
        params: Mapping[str, Any] = OmegaConf.select(hydra, "sweeper.params") or {}
        keys = swept_keys([*(f"{key}={value}" for key, value in params.items()), *self.arguments])
        values = {}
        for override in OverridesParser.create().parse_overrides(task_overrides(hydra)):
            if override.key_or_group in keys:
                value = override.value()
                values[override.key_or_group] = (
                    "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
                )
        return {key: values[key] for key in keys if key in values}


def task_overrides(hydra: Any) -> list[str]:
    """Return the overrides in Hydra's config as they were typed: an interpolation in one is resolved in its key."""
    texts: Any = OmegaConf.to_container(hydra.overrides.task, resolve=False)
    return list(texts)


def swept_keys(arguments: Iterable[str]) -> list[str]:
    """Return the keys and groups that have several values on a command line, in its order."""
    parser, keys = OverridesParser.create(), dict[str, None]()
    for argument in arguments:
        try:
            override = parser.parse_override(argument)
        except HydraException:  # an option, or a malformed override, which Hydra rejects itself
            continue
        if override.is_sweep_override():
            keys[override.key_or_group] = None
    return list(keys)


def point_name(values: Mapping[str, str]) -> str:
    """Return the folder name for the values of a point, such as `hidden_size-256+seed-1`.

    The name has no character that is special to a shell, a file system or Hydra (which rejects `=` in the value of
    `training.init_from` and reads a comma as a sweep). A value that is changed or cut for this ends in its digest.
    """
    short = short_keys(values)
    name = "+".join(f"{_safe(short[key])}-{_safe(value)}" for key, value in values.items())
    return name if len(name) <= MAX_NAME_LENGTH else f"{name[:MAX_NAME_LENGTH]}@{_digest(name)}"


def _safe(text: str) -> str:
    if fraction := re.fullmatch(r"(\d+)/(\d+)", text):
        return f"{fraction[1]}of{fraction[2]}"
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "_", text)
    if safe == text and len(text) <= MAX_VALUE_LENGTH:
        return text
    return f"{safe[-MAX_VALUE_LENGTH:]}@{_digest(text)}"  # the end of a path is more specific than its beginning


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
