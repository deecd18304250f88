"""The options of `translate --engine ray`, and which of the other options it accepts. Imports no Ray and no torch."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from seq2seq.cli.process_options import path_type, whole_number
from seq2seq.errors import ConfigError

BLOCK_KIB = 1024
COLUMN = "src"
MAX_ACTORS = 100_000


def add_bulk_options(parser: argparse.ArgumentParser) -> None:
    """Add `--engine` and the options that belong to it."""
    group = parser.add_argument_group("many large files, by several processes (needs the extra ray)")
    group.add_argument(
        "--engine",
        choices=("ray",),
        help="ray: translate the files of --input block by block, on this machine or on the Ray cluster that it "
        "belongs to; --output is a folder with one file for each block, and the same command continues after a stop",
    )
    group.add_argument(
        "--input",
        action="append",
        type=path_type,
        metavar="GLOB",
        help="files named .parquet, .jsonl (as --format jsonl), or other text, such as 'in/*.parquet' (repeatable)",
    )
    group.add_argument(
        "--actors",
        type=whole_number(1, MAX_ACTORS),
        metavar="N",
        help="processes that hold the model, each with --threads threads (default: as many as there are CPUs for)",
    )
    group.add_argument(
        "--column", metavar="NAME", help=f"column of Parquet files that is translated (default: {COLUMN})"
    )
    group.add_argument(
        "--block-kib",
        type=whole_number(1, 2**30),
        metavar="N",
        help=f"size of a block of plain text [KiB; default: {BLOCK_KIB}]; a compressed file is one block, and so is a "
        "row group of a Parquet file",
    )


def check_bulk(args: argparse.Namespace, files: Sequence[str]) -> None:
    """Check that no option is given that the engine, or its absence, would ignore.

    Raises:
        ConfigError: names the option.
    """
    if args.engine is None:
        for name in ("input", "actors", "column", "block_kib"):
            if getattr(args, name) is not None:
                raise ConfigError(f"--{name.replace('_', '-')} needs --engine ray")
        return
    for given, name in (
        (files, "FILE"),
        (args.text, "--text"),
        (args.prefix, "--prefix"),
        (args.interactive, "--interactive"),
        (args.buffer_lines, "--buffer-lines"),
        (args.format != "text", "--format"),
        (args.resume, "--resume"),
    ):
        if given:
            raise ConfigError(f"{name} has no effect with --engine ray")
    if args.device and ":" in args.device:
        raise ConfigError(
            f"--device {args.device} has no effect with --engine ray, which chooses the GPU of each process: give "
            f"--device {args.device.partition(':')[0]}"
        )
    if not args.input:
        raise ConfigError("--engine ray needs --input GLOB")
    if args.output == "-" or (os.path.exists(args.output) and not os.path.isdir(args.output)):
        raise ConfigError(f"--engine ray writes one file for each block: {args.output} is not a folder; give --output")
