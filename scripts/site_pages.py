"""The generated pages of the documentation, a hook of mkdocs.yml: configuration, commands and Python API."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import seq2seq
from seq2seq.config.field import NAME, Effect, effects, is_group, value_range, walk
from seq2seq.config.help import default_text, default_values, groups
from seq2seq.config.schema import Config

ROOT = Path(__file__).resolve().parent.parent


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the generated pages; mkdocs calls this with the files of docs/."""
    pages = {"configuration.md": configuration, "commands.md": commands, "api.md": api}
    for name, page in pages.items():
        files.append(File.generated(config, f"reference/{name}", content=page()))


def configuration() -> str:
    """Write a table of keys for each group of settings."""
    lines = [
        "# Configuration",
        "",
        "Every key with its default, unit, range and meaning. Set a key on the command line, `model.hidden_size=512`,",
        "or in a file of your own folder, `--config-dir DIR`. A group sets many keys at once:",
        "",
        *(f"- `{group}=` {', '.join(f'`{choice}`' for choice in choices)}" for group, choices in groups().items()),
    ]
    defaults, changes, fields = default_values(), effects(Config), list(walk(Config, entries=True))
    nested = [
        (key if is_group(field) else f"{key}.{NAME}", field)
        for key, field in fields
        if is_group(field) or field.metadata["entries"]
    ]
    for group, field in [("", None), *nested]:
        members = [(k, f) for k, f in fields if k.rpartition(".")[0] == group and not is_group(f)]
        if field is not None:
            lines += ["", f"{'#' * (2 + group.count('.'))} {group}", "", _cell(field.metadata["doc"])]
        if members:
            lines += ["", "| key | default | range | meaning |", "|---|---|---|---|"]
        for key, member in members:
            default = default_text(defaults, key, member)
            limits = "; ".join(fact for fact in (member.metadata["unit"], value_range(member)) if fact)
            doc = member.metadata["doc"] + (" (cannot change on resume)" if changes.get(key) is Effect.fixed else "")
            lines.append(f"| `{key}` | `{default}` | {_cell(limits)} | {_cell(doc)} |")
    return "\n".join([*lines, ""])


def _cell(text: str) -> str:
    """Escape what Markdown would read as markup."""
    return re.sub(r"([|*_<>\[\]])", r"\\\1", text)


def commands() -> str:
    """Write the --help of every command; of those that list every key, only what comes before the keys."""
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    modules = re.findall(r'^seq2seq-\w+ = "([\w.]+):', pyproject, re.MULTILINE)
    with ThreadPoolExecutor(2) as pool:
        pages = list(pool.map(_help, modules))
    lines = ["# Commands", "", "Each is installed as `seq2seq-NAME`, too."]
    for module, text in zip(modules, pages, strict=True):
        text, keys, _ = text.partition("\nGroups\n")
        lines += ["", f"## python -m {module}", "", "```text", text.rstrip(), "```"]
        if keys:
            lines += ["", "All groups and keys are in the [configuration reference](configuration.md)."]
    return "\n".join([*lines, ""])


def _help(module: str) -> str:
    return subprocess.check_output([sys.executable, "-m", module, "--help"], text=True, cwd=ROOT)


def api() -> str:
    """Name what the package exports, for mkdocstrings to describe."""
    lines = ["# Python API", "", "`from seq2seq import Translator`"]
    for name in seq2seq.__all__:
        if not name.startswith("__"):
            module = getattr(seq2seq, name).__module__
            importlib.import_module(module)
            lines += ["", f"::: {module}.{name}"]
    return "\n".join([*lines, ""])
