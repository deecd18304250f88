"""Command: draw attention, word alignments and reliability. `python -m seq2seq.draw SUBCOMMAND`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from seq2seq.cli.draw import alignment, attention, explanation, reliability
from seq2seq.cli.exit_status import run
from seq2seq.cli.process_options import CommandParser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""

    def body() -> int | None:
        args = parser().parse_args(argv)
        logging.basicConfig(format="warning: %(message)s")
        status: int | None = args.main(args)
        return status

    return run(body)


def parser() -> CommandParser:
    """Return the argument parser of all subcommands."""
    made = CommandParser(
        prog="seq2seq-draw",
        description="Draw what a model attends to, word alignments, and how reliable probabilities are. Learning "
        "curves: python -m seq2seq.curves.",
        epilog="Names of images go to stdout, everything else to stderr. Exit status 2: a user error, explained "
        "on stderr. The same input gives the same file.",
    )
    subparsers = made.add_subparsers(metavar="SUBCOMMAND", required=True, parser_class=CommandParser)
    for subcommand in (attention, alignment, explanation, reliability):
        subcommand.add_parser(subparsers).set_defaults(main=subcommand.main)
    return made


if __name__ == "__main__":
    sys.exit(main())
