"""The text of `train --help`: every group and key with meaning, unit, range and default."""

from __future__ import annotations

import enum
import textwrap
from pathlib import Path

from omegaconf import ListConfig, OmegaConf

from seq2seq.config.field import is_group, value_range, walk
from seq2seq.config.loading import config_dir
from seq2seq.config.schema import Config

_INTRO = """\
usage: python -m seq2seq.train [GROUP=CHOICE | KEY=VALUE]...

Trains a translator. Every setting is a key; a group's choice sets many at once.
  --cfg job        print the composed settings and stop
  -m, --multirun   run every combination of comma-separated values
  --config-dir DIR add a folder with groups of your own
"""


def help_text(intro: str = _INTRO) -> str:
    """Return the help page behind `intro`; its defaults are those of the default run."""
    lines = [intro, "Groups"]
    for group, choices in _groups().items():
        lines.append(f"  {group}={'|'.join(choices)}")
    defaults = OmegaConf.create(_default_values())
    for key, field in walk(Config):
        default = OmegaConf.select(defaults, key)
        if is_group(field):
            lines.append(f"\n{key}: {field.metadata['doc']}" if "." not in key else f"  {key}: {field.metadata['doc']}")
            continue
        facts = [f"default {_text(default)}", field.metadata["unit"], value_range(field)]
        doc = f"{field.metadata['doc']} [{'; '.join(fact for fact in facts if fact)}]"
        lines.append(f"  {key}")
        lines += textwrap.wrap(doc, 100, initial_indent="      ", subsequent_indent="      ")
    return "\n".join([*lines, ""])


def _groups() -> dict[str, list[str]]:
    folders = sorted(p for p in Path(config_dir()).iterdir() if p.is_dir())
    return {p.name: sorted(f.stem for f in p.glob("*.yaml")) for p in folders}


def _default_values() -> dict[str, object]:
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(config_dir=config_dir(), version_base="1.3"):
        return OmegaConf.to_container(compose("train"), enum_to_str=True)  # type: ignore[return-value]


def _text(value: object) -> str:
    if isinstance(value, ListConfig):
        return ", ".join(map(str, value)) or "none"
    return value.name if isinstance(value, enum.Enum) else "null" if value is None else str(value).lower()
