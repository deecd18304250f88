"""The sentence pairs that a subcommand reads: files of the command line, or the corpus that overrides name."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from seq2seq.cli.data.named_corpus import NamedCorpus
from seq2seq.cli.data.overrides import data_config, is_override
from seq2seq.cli.process_options import CommandParser
from seq2seq.errors import ConfigError

if TYPE_CHECKING:
    from seq2seq.config.data import DataConfig


def add_pair_inputs(parser: CommandParser, default: str | None = None, tgt_lang: str = "") -> None:
    """Add the positional arguments, and the options that choose columns.

    Args:
        parser: of the command.
        default: what is read without inputs, for the help; None: at least one input is needed.
        tgt_lang: what else --tgt-lang means, for the help.
    """
    parser.add_argument(
        "inputs",
        metavar="FILE, KEY=VALUE",
        nargs="+" if default is None else "*",
        help="two line-aligned files, or one file of columns (CSV, TSV, JSON Lines, TMX or Parquet; -: standard "
        "input), plain or compressed (gz, xz, bz2, zst); or overrides of the data config, for example data=tatoeba "
        f"data.src=en data.tgt=es: its training text{'' if default is None else f' (default: {default})'}",
    )
    columns = parser.add_argument_group("columns of one file")
    for side, place in (("src", "first"), ("tgt", "second")):
        name = "source" if side == "src" else "target"
        columns.add_argument(
            f"--{side}-column",
            metavar="NAME",
            help=f"{name} column: its name, its place (from 1), or a dotted path in JSON and Parquet (default: the "
            f"column named by --{side}-lang, or {side}, or {name}; in CSV and TSV else the {place})",
        )
        also = f"; {tgt_lang}" if tgt_lang and side == "tgt" else ""
        columns.add_argument(
            f"--{side}-lang",
            metavar="CODE",
            help=f"{name} language: needed for TMX and by checks of script and language, and a usual name of columns"
            + also,
        )


def pairs(
    args: argparse.Namespace, corpus: NamedCorpus | None = None, *, tgt_lang_alone: bool = False
) -> Iterator[tuple[str, str]]:
    """Return an iterator over the sentence pairs of the inputs, as they are in the files, which it reads bit by bit.

    Args:
        args: the command line.
        corpus: that of the overrides, if it is known already.
        tgt_lang_alone: --tgt-lang has a meaning of its own; without --src-lang it says nothing about the files.

    Raises:
        ConfigError: files and overrides are mixed, too many files, options without their partner, or an invalid
            override.
        DataError: a file is missing or damaged; maybe only when the iterator comes to it.
    """
    from seq2seq.config.text_files import FilesConfig
    from seq2seq.data.files.reading import read_pairs, with_text
    from seq2seq.data.formats.columns import Columns
    from seq2seq.data.formats.table import table_pairs

    overrides = [text for text in args.inputs if is_override(text)]
    files = [text for text in args.inputs if not is_override(text)]
    if overrides and files:
        raise ConfigError(f"{files[0]}, {overrides[0]}: give either files or overrides")
    if (args.src_lang is None) != (args.tgt_lang is None) and not (tgt_lang_alone and args.tgt_lang):
        raise ConfigError("give both of --src-lang and --tgt-lang, or neither")
    languages = None if args.src_lang is None else (args.src_lang, args.tgt_lang)
    columns = Columns(args.src_column, args.tgt_column, languages)
    if overrides:
        if columns.given or languages:
            raise ConfigError(f"{overrides[0]}: with overrides, give columns and languages as overrides, too")
        return (corpus or NamedCorpus(data_config(overrides))).pairs()
    if len(files) > 2:
        raise ConfigError(f"{len(files)} files: give two line-aligned files, or one file of columns")
    if files == ["-"]:
        return with_text(table_pairs(0, "standard input", columns), "FILE", ["standard input"])
    if "-" in files:
        raise ConfigError("standard input (-) is read as one file of columns: give no second file")
    names = FilesConfig(src=files[0], tgt=files[1]) if len(files) == 2 else FilesConfig(table=files[0])
    names.src_column, names.tgt_column = columns.src, columns.tgt
    return read_pairs(names, "FILE", languages, columns.options)


def input_files(args: argparse.Namespace, data: DataConfig | None) -> list[str]:
    """Return every file that the inputs name; `data` is the config that overrides describe."""
    from seq2seq.cli.output_file import data_files

    return [*args.inputs] if data is None else data_files(data)
