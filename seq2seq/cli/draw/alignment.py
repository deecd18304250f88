"""`draw alignment`: word links of a file, with those of a gold alignment around them."""

from __future__ import annotations

import argparse
import sys

from seq2seq.cli.draw.outputs import add_lines, add_picture_output, choose_lines, picture_paths
from seq2seq.cli.process_options import CommandParser, path_type
from seq2seq.errors import ConfigError

DESCRIPTION = """\
Draw word links: source words are columns, target words rows. Words are separated by white space.

Dots are links. With --gold, squares are the sure links of the gold alignment, dotted squares its possible ones, and
crosses links that it does not have.
"""


def add_parser(subparsers: argparse._SubParsersAction[CommandParser]) -> CommandParser:
    """Add the parser of the subcommand and return it."""
    made = subparsers.add_parser(
        "alignment",
        help="word links, and a gold alignment",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for option, text in (
        ("--src", "source text, one sentence a line"),
        ("--tgt", "target text, line-aligned with --src"),
        ("--links", "links of each pair, 0-0 1-2, as align and other aligners write them"),
    ):
        made.add_argument(option, type=path_type, required=True, metavar="FILE", help=text)
    made.add_argument("--gold", type=path_type, metavar="FILE", help="gold alignment, in a format that align reads")
    made.add_argument("--one-based", action="store_true", help="words in --gold are counted from 1 (default: from 0)")
    made.add_argument(
        "--links-one-based", action="store_true", help="words in --links are counted from 1 (default: from 0)"
    )
    add_lines(made)
    add_picture_output(made)
    return made


def main(args: argparse.Namespace) -> None:
    """Read the files and draw the alignments of the chosen lines.

    Raises:
        ConfigError: matplotlib is not installed, the output is not possible, or an option would be ignored.
        DataError: a file is missing, the files are not parallel, or a link is out of range.
        StorageError: an image cannot be written.
    """
    from seq2seq.cli.aligned_files import read_aligned
    from seq2seq.evaluation.alignment_error import parse_alignment, parse_links
    from seq2seq.pictures.attention import alignment_figure
    from seq2seq.pictures.figure import save

    if args.one_based and not args.gold:
        raise ConfigError("--one-based needs --gold FILE, whose words it is about")
    sources, targets = ([line.split() for line in lines] for lines in read_aligned([args.src, args.tgt]))
    numbers = choose_lines(args.lines, len(sources), args.src)
    paths = picture_paths(args, numbers, filter(None, [args.src, args.tgt, args.links, args.gold]))
    sizes = [(len(src), len(tgt)) for src, tgt in zip(sources, targets, strict=True)]
    (links_lines,) = read_aligned([args.links])
    links = parse_links(links_lines, sizes, args.links, one_based=args.links_one_based)
    gold = None
    if args.gold:
        (gold_lines,) = read_aligned([args.gold])
        gold = parse_alignment(gold_lines, sizes, args.gold, one_based=args.one_based)
    for number, path in zip(numbers, paths, strict=True):
        i = number - 1
        marks = (gold[i].sure, gold[i].possible) if gold else (None, None)
        save(alignment_figure(sources[i], targets[i], links[i], *marks), path)
        sys.stdout.write(f"{path}\n")
