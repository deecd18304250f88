"""The text of `train --help`: every group and key with meaning, unit, range and default."""

from __future__ import annotations

import dataclasses
import enum
import textwrap
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from seq2seq.config.field import NAME, Effect, effects, is_group, value_range, walk
from seq2seq.config.loading import compose_config, config_dir
from seq2seq.config.schema import Config

TRAIN_INTRO = """\
usage: python -m seq2seq.train [GROUP=CHOICE | KEY=VALUE]...

Trains a translator. Every setting is a key; a group's choice sets many at once.
  --cfg job        print the composed settings and stop
  -m, --multirun   run every combination of comma-separated values
  --config-dir DIR add a folder with groups of your own
"""


def help_text(intro: str = TRAIN_INTRO) -> str:
    """Return `intro`, the groups and every key with meaning, default, unit and range."""
    lines = [intro, "Groups"]
    for group, choices in groups().items():
        lines.append(f"  {group}={'|'.join(choices)}")
        if len(choices) > 1:
            for choice, meaning in choices.items():
                text = f"{choice}: {meaning}"
                lines += textwrap.wrap(text, 100, initial_indent="      ", subsequent_indent="        ")
    defaults, changes = default_values(), effects(Config, entries=True)
    for key, field in walk(Config, entries=True):
        if is_group(field):
            lines.append(f"\n{key}: {field.metadata['doc']}" if "." not in key else f"  {key}: {field.metadata['doc']}")
            continue
        fixed = "cannot change on resume" if changes.get(key) is Effect.fixed else ""
        facts = [f"default {default_text(defaults, key, field)}", field.metadata["unit"], fixed, value_range(field)]
        doc = f"{field.metadata['doc']} [{'; '.join(fact for fact in facts if fact)}]"
        lines.append(f"  {key}")
        lines += textwrap.wrap(doc, 100, initial_indent="      ", subsequent_indent="      ")
    return "\n".join([*lines, ""])


def groups() -> dict[str, dict[str, str]]:
    """Return the choices of every config group, each with the first comment line of its file."""
    folders = sorted(p for p in Path(config_dir()).iterdir() if p.is_dir())
    return {p.name: {f.stem: _meaning(f) for f in sorted(p.glob("*.yaml"))} for p in folders}


def _meaning(file: Path) -> str:
    """Return the first comment line of a YAML file that is not an instruction to Hydra."""
    lines = file.read_text(encoding="utf-8").splitlines()
    comments = (line.removeprefix("#").strip() for line in lines if line.startswith("#"))
    return next((comment for comment in comments if not comment.startswith("@package")), "")


def default_values() -> DictConfig:
    """Return the config of a run without overrides, as plain values."""
    plain = OmegaConf.to_container(compose_config(), enum_to_str=True)
    assert isinstance(plain, dict)
    return OmegaConf.create(plain)


def default_text(defaults: DictConfig, key: str, field: dataclasses.Field[Any]) -> str:
    """Return the default of a key as in YAML; a key under NAME has that of its field."""
    if f".{NAME}." not in key:
        return value_text(OmegaConf.select(defaults, key))
    made = field.default_factory
    return value_text(field.default if made is dataclasses.MISSING else OmegaConf.create(made()))


def value_text(value: object) -> str:
    """Write a value as in YAML."""
    if isinstance(value, ListConfig):
        return ", ".join(map(str, value)) or "none"
    return value.name if isinstance(value, enum.Enum) else "null" if value is None else str(value).lower()
