"""The points of a sweep: which values each has, and the folder that is named by them.

A number would say nothing about a point, and would be that of another one once a value is added to the command.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from seq2seq.config.field import Choice
from seq2seq.config.training import MonitorName

LONGEST_VALUE, LONGEST_NAME = 40, 160  # file systems take 255 bytes, encrypting ones fewer


class Status(Choice):
    """How far a point has come."""

    finished = "finished"
    unfinished = "unfinished"
    failed = "failed"
    """By a mistake of the user, told in one line."""
    broken = "broken"
    """By a bug; the traceback is in its folder."""


@dataclass
class Point:
    """One combination of the swept values, and the run that has them."""

    folder: Path
    values: dict[str, str]
    status: Status = Status.unfinished
    monitor: MonitorName | None = None


@dataclass
class Sweep:
    """The points of one command so far; `arguments` are those of its command line."""

    arguments: Sequence[str]
    folder: Path | None = None
    points: dict[Path, Point] = field(default_factory=dict)
    """By folder."""

    def add(self, hydra: Any, folder: Path) -> Point:
        """Return the point that runs in `folder`, where `hydra` is what Hydra knows of the job."""
        self.folder = Path(hydra.sweep.dir)
        return self.points.setdefault(folder, Point(folder, self._values(hydra)))

    def name(self, _root_: DictConfig) -> str:
        """Return the name of a point's folder; Hydra's configuration calls this as a resolver, within the job's."""
        values = self._values(_root_.hydra)
        return point_name(values) if values else str(_root_.hydra.job.num)

    def _values(self, hydra: Any) -> dict[str, str]:
        params: Mapping[str, Any] = OmegaConf.select(hydra, "sweeper.params") or {}
        keys = swept_keys([*(f"{key}={value}" for key, value in params.items()), *self.arguments])
        values = {}
        for override in OverridesParser.create().parse_overrides(list(hydra.overrides.task)):
            if override.key_or_group in keys:
                value = override.value()
                plain = str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)
                values[override.key_or_group] = plain
        return {key: values[key] for key in keys if key in values}


def swept_keys(arguments: Iterable[str]) -> list[str]:
    """Return the keys and groups that have several values on a command line, in its order."""
    parser, keys = OverridesParser.create(), dict[str, None]()
    for argument in arguments:
        try:
            override = parser.parse_override(argument)
        except HydraException:  # an option; what is no override at all Hydra refuses itself
            continue
        if override.is_sweep_override():
            keys[override.key_or_group] = None
    return list(keys)


def short_keys(keys: Iterable[str]) -> dict[str, str]:
    """Return the last part of each key, or all of it where two of them end alike."""
    last = {key: key.rpartition(".")[2] for key in keys}
    count = Counter(last.values())
    return {key: name if count[name] == 1 else key for key, name in last.items()}


def point_name(values: Mapping[str, str]) -> str:
    """Return a folder's name that is made of the values, such as `hidden_size-256+seed-1`.

    It has no sign that a shell, a file system or Hydra would take for something else (Hydra refuses `=` in the value
    of `training.init_from`, and reads a comma as a sweep). What is changed or cut for that gets a digest of the value.
    """
    short = short_keys(values)
    name = "+".join(f"{_safe(short[key])}-{_safe(value)}" for key, value in values.items())
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}@{_digest(name)}"


def _safe(text: str) -> str:
    if fraction := re.fullmatch(r"(\d+)/(\d+)", text):
        return f"{fraction[1]}of{fraction[2]}"
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "_", text)
    if safe == text and len(text) <= LONGEST_VALUE:
        return text
    return f"{safe[-LONGEST_VALUE:]}@{_digest(text)}"  # the end of a path says more than its beginning


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
