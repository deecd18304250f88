"""The sentence pairs that a subcommand reads: files of the command line, or the corpus that overrides name."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from seq2seq.cli.process_options import CommandParser
from seq2seq.cli.progress import progress
from seq2seq.errors import ConfigError

if TYPE_CHECKING:
    from seq2seq.config.data import DataConfig
    from seq2seq.data.corpus import Corpus

_ADVANCED = 1000  # pairs between two updates of the progress bar


def add_pair_inputs(parser: CommandParser) -> None:
    """Add the positional arguments."""
    parser.add_argument(
        "inputs",
        metavar="FILE, KEY=VALUE",
        nargs="+",
        help="two line-aligned files, or one file of columns; or overrides of the data config, for example "
        "data=tatoeba data.src=en data.tgt=es: its training text",
    )


def pairs(args: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Yield the sentence pairs of the inputs, as they are in the files.

    Raises:
        ConfigError: files and overrides are mixed, more than two files, or an invalid override.
        DataError: a file is missing or damaged.
    """
    from seq2seq.config.data import FilesConfig
    from seq2seq.data.reading import read_pairs

    overrides = [text for text in args.inputs if "=" in text]
    files = [text for text in args.inputs if "=" not in text]
    if overrides and files:
        raise ConfigError(f"{files[0]}, {overrides[0]}: give either files or overrides")
    if overrides:
        return iter(_corpus(overrides)[1].train)
    if len(files) > 2:
        raise ConfigError(f"{len(files)} files: give two line-aligned files, or one file of columns")
    names = FilesConfig(src=files[0], tgt=files[1]) if len(files) == 2 else FilesConfig(tsv=files[0])
    return read_pairs(names, "FILE")


def named_corpus(args: argparse.Namespace) -> tuple[DataConfig, Corpus] | None:
    """Return the corpus that overrides name, with its config; None if the inputs are files."""
    overrides = [text for text in args.inputs if "=" in text]
    return _corpus(overrides) if len(overrides) == len(args.inputs) else None


def watched(pairs: Iterable[tuple[str, str]], args: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Yield the pairs of files with a progress bar on stderr, if a person watches."""
    shown = 0
    with progress([text for text in args.inputs if "=" not in text][:1], "", 0) as advance:
        for number, pair in enumerate(pairs, start=1):
            yield pair
            if number % _ADVANCED == 0:
                advance(number - shown)
                shown = number


def _corpus(overrides: list[str]) -> tuple[DataConfig, Corpus]:
    from seq2seq.cli.hydra_errors import composed
    from seq2seq.config.loading import to_config
    from seq2seq.data.corpora.load import load_corpus

    config = to_config(composed(overrides)).data
    return config, load_corpus(config)
