"""Command: look at, clean and prepare corpora. `python -m seq2seq.data SUBCOMMAND`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Protocol

from seq2seq.cli.data import clean, inspect, prepare, search
from seq2seq.cli.exit_status import run
from seq2seq.cli.process_options import CommandParser


class Subcommand(Protocol):
    """A module of one subcommand."""

    def add_parser(self, subparsers: argparse._SubParsersAction[CommandParser]) -> CommandParser:
        """Add the parser of the subcommand and return it."""

    def main(self, args: argparse.Namespace) -> int | None:
        """Do the work and return the exit status; raises as `exit_status.run` expects."""


SUBCOMMANDS: tuple[Subcommand, ...] = (search, inspect, clean, prepare)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""

    def body() -> int | None:
        args = parser().parse_args(argv)
        status: int | None = args.main(args)
        return status

    return run(body)


def parser() -> CommandParser:
    """Return the argument parser of all subcommands."""
    made = CommandParser(
        prog="seq2seq-data",
        description="Look at, clean and prepare corpora.",
        epilog="Results go to stdout, everything else to stderr. Exit status 2: a user error, explained on stderr.",
    )
    subparsers = made.add_subparsers(metavar="SUBCOMMAND", required=True, parser_class=CommandParser)
    for subcommand in SUBCOMMANDS:
        subcommand.add_parser(subparsers).set_defaults(main=subcommand.main)
    return made


if __name__ == "__main__":
    sys.exit(main())
