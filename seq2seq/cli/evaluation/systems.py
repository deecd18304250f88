"""The systems of a command line: a name and the file, or the model, of each run."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from seq2seq.cli.process_options import path_type
from seq2seq.config.paths import user_path
from seq2seq.errors import ConfigError


@dataclass(frozen=True)
class NamedSystem:
    """A system to score.

    Attributes:
        name: of the system.
        runs: of one configuration: output files, or models (comma-separated: an ensemble).
    """

    name: str
    runs: list[str]


def add_models(parser: argparse.ArgumentParser) -> None:
    """Add the models to score and compare; see `model_systems`."""
    parser.add_argument(
        "model",
        nargs="*",
        type=path_type,
        metavar="[NAME=]MODEL",
        help="model file or run folder; several, comma-separated, form an ensemble; several, separated by spaces, are "
        "compared with the first one",
    )


def output_systems(values: Sequence[str]) -> list[NamedSystem]:
    """Return the systems of `--hyp [NAME=]FILE[,FILE]`; only behind a name do commas separate runs."""
    return _checked([_with_runs(value, "--hyp") for value in values], "--hyp")


def model_systems(models: Sequence[str], runs: Sequence[str]) -> list[NamedSystem]:
    """Return the systems of `[NAME=]MODEL`, where commas make an ensemble, and of `--runs NAME=MODEL,MODEL`."""
    single = [NamedSystem(name or value, [value]) for name, value in map(_named, models)]
    return _checked([*single, *(_with_runs(value, "--runs", needs_name=True) for value in runs)], "MODEL")


def files_of(systems: Iterable[NamedSystem]) -> list[str]:
    """Return the runs of all systems."""
    return [run for system in systems for run in system.runs]


def resampled(systems: Iterable[NamedSystem]) -> list[NamedSystem]:
    """Return the systems of one run, whose sentences the tests resample; several runs are a sample themselves."""
    return [system for system in systems if len(system.runs) == 1]


def check_distinct(names: Sequence[str], option: str) -> None:
    """Check that no file is named twice, by whatever path.

    Raises:
        ConfigError: one is.
    """
    seen: dict[str, str] = {}
    for name in names:
        path = name if name == "-" else os.path.realpath(name)
        if path in seen and name != "-":  # `read_aligned` refuses standard input twice
            same = name if seen[path] == name else f"{seen[path]} and {name}, the same file,"
            verb = "is given twice" if seen[path] == name else "are both given"
            raise ConfigError(f"{option}: {same} {verb}: give each file once")
        seen[path] = name


def shared(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """Return the files of `first` that are also in `second`."""
    paths = set(map(os.path.realpath, second))
    return [name for name in first if name != "-" and os.path.realpath(name) in paths]


def _with_runs(value: str, option: str, needs_name: bool = False) -> NamedSystem:
    name, text = _named(value)
    if name is None:
        if needs_name:
            raise ConfigError(f"{option} {value}: name the system: {option} NAME=RUN,RUN")
        return NamedSystem("standard input" if text == "-" else text, [text])
    runs = [text] if os.path.exists(text) else text.split(",")
    if not all(runs):
        raise ConfigError(f"{option} {value}: a name is empty; write NAME=FILE,FILE")
    return NamedSystem(name, [user_path(run, option) for run in runs])


def _named(value: str) -> tuple[str | None, str]:
    """Split NAME=FILE; a file may have = in its path, as the folders of a sweep do.

    Raises:
        ConfigError: the name or the file is missing.
    """
    name, equals, rest = value.partition("=")
    if not equals or os.path.exists(value) or os.sep in name:
        return None, value
    if not name.strip() or not rest:
        raise ConfigError(f"{value}: write NAME=FILE, a name and what it stands for")
    return name.strip(), os.path.expanduser(rest)


def _checked(systems: list[NamedSystem], option: str) -> list[NamedSystem]:
    names = [system.name for system in systems]
    check_distinct(files_of(systems), option)
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{option}: two systems are named {name}: give each a name of its own, as NAME=FILE")
    return systems
