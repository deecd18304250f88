"""The sentence pairs that a subcommand reads: files of the command line, or the corpus that overrides name."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from seq2seq.cli.process_options import CommandParser
from seq2seq.errors import ConfigError


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
    from seq2seq.data.reading import read_parallel

    overrides = [text for text in args.inputs if "=" in text]
    files = [text for text in args.inputs if "=" not in text]
    if overrides and files:
        raise ConfigError(f"{files[0]}, {overrides[0]}: give either files or overrides")
    if overrides:
        return _corpus(overrides)
    if len(files) > 2:
        raise ConfigError(f"{len(files)} files: give two line-aligned files, or one file of columns")
    names = FilesConfig(src=files[0], tgt=files[1]) if len(files) == 2 else FilesConfig(tsv=files[0])
    return iter(read_parallel(names, "FILE"))


def _corpus(overrides: list[str]) -> Iterator[tuple[str, str]]:
    from seq2seq.cli.hydra_errors import composed
    from seq2seq.config.loading import to_config
    from seq2seq.data.corpora.load import load_corpus

    return iter(load_corpus(to_config(composed(overrides)).data).train)
