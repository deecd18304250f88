"""Command: word alignments of given pairs, and their error rate. `python -m seq2seq.align MODEL --src F --tgt F`."""

from __future__ import annotations

import argparse
import logging
import re
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from seq2seq.cli.exit_status import run
from seq2seq.cli.output_file import check_output
from seq2seq.cli.process_options import (
    CommandParser,
    add_ensemble_weights,
    add_process_options,
    add_tgt_lang,
    load_translator,
    model_list,
    path_type,
)
from seq2seq.errors import ConfigError

if TYPE_CHECKING:
    from seq2seq.evaluation.alignment_error import AlignmentScores, Link

WINDOW = 500  # pairs that are sorted by length and aligned together

DESCRIPTION = """\
Align the words of given sentence pairs, or measure the error of alignments against a gold file.

  %(prog)s MODEL --src F --tgt F               write the links of each pair, 0-0 1-2 (source-target, from 0)
  %(prog)s MODEL --src F --tgt F --gold G      print the alignment error rate of the model
  %(prog)s --links L --src F --tgt F --gold G  print that of the links in a file, by any program

Each target word is linked to the source word that the model attends to most while it is forced to generate the given
target, or to none. Words are separated by white space, as in gold files.
"""
IGNORED_WITH_LINKS = ("weights", "tgt_lang", "device", "precision", "threads", "output")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return run(lambda: align(parser().parse_args(argv)))


def parser() -> argparse.ArgumentParser:
    """Return the argument parser."""
    made = CommandParser(
        prog="seq2seq-align", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="model file or run folder; several, comma-separated, form an ensemble",
    )
    for side, name in (("src", "source"), ("tgt", "target")):
        made.add_argument(
            f"--{side}", type=path_type, required=True, metavar="FILE", help=f"{name} text, one sentence a line"
        )
    made.add_argument(
        "--links",
        type=path_type,
        metavar="FILE",
        help="measure these links, 0-0 1-2, or NAACL lines; no model is needed",
    )
    made.add_argument(
        "--gold",
        type=path_type,
        metavar="FILE",
        help="gold links: a line 0-0 1p2 per pair (- sure, p or ? possible), or NAACL lines, pair source target S|P",
    )
    made.add_argument(
        "--one-based",
        action="store_true",
        help="words in --gold are counted from 1 (default: from 0; NAACL: from 1)",
    )
    made.add_argument(
        "--links-one-based",
        action="store_true",
        help="words in --links are counted from 1 (default: from 0, as align writes them; NAACL: from 1)",
    )
    made.add_argument(
        "--output",
        type=path_type,
        metavar="FILE",
        help="write the links to FILE (default: to standard output, unless --gold is given)",
    )
    made.add_argument("--json", action="store_true", help="print the scores as one line of JSON; needs --gold")
    add_tgt_lang(made)
    add_ensemble_weights(made)
    add_process_options(made, int8=False)
    return made


def align(args: argparse.Namespace) -> None:
    """Align the pairs of the command line, or read their links; write and score them.

    Raises:
        ConfigError: options that contradict each other, or a model without attention.
        DataError: a file is missing, the files are not parallel, or a link is not possible.
    """
    from seq2seq.cli.aligned_files import check_standard_input, read_aligned, shown
    from seq2seq.cli.text_outputs import STDOUT, write_texts
    from seq2seq.evaluation.alignment_error import alignment_scores, parse_alignment, parse_links

    logging.basicConfig(format="warning: %(message)s")
    check(args)
    models = model_list(args.model) if args.model else []
    output = args.output or (None if args.gold else STDOUT)
    inputs = [args.src, args.tgt, *filter(None, (args.gold, args.links)), *models]
    check_standard_input(inputs)
    check_output(output or STDOUT, inputs)
    sources, targets = read_aligned([args.src, args.tgt])
    sizes = [(len(src.split()), len(tgt.split())) for src, tgt in zip(sources, targets, strict=True)]

    def read(name: str) -> tuple[list[str], list[tuple[int, int]], str]:
        return read_aligned([name])[0], sizes, shown(name)

    # Gold links are checked before the model is loaded, so that a wrong file fails at once.
    gold = parse_alignment(*read(args.gold), one_based=args.one_based) if args.gold else None
    if args.links:
        links = parse_links(*read(args.links), one_based=args.links_one_based)
    else:
        pairs = aligned_windows(args, models, sources, targets)
        links = write_texts([output] if output else [], lambda files: written(pairs, files))
    if gold is not None:
        sys.stdout.write(report(alignment_scores(links, gold), args.json))


def check(args: argparse.Namespace) -> None:
    """Check that no option contradicts another or would be ignored.

    Raises:
        ConfigError: names the options.
    """
    if bool(args.model) == bool(args.links):
        raise ConfigError("give either MODEL, which aligns the pairs, or --links FILE, which has their links")
    for option in ("links", "json", "one_based"):
        if getattr(args, option) and not args.gold:
            raise ConfigError(f"--{option.replace('_', '-')} needs --gold FILE, to which links are compared")
    if args.links_one_based and not args.links:
        raise ConfigError("--links-one-based needs --links FILE, whose words it is about")
    ignored = [name for name in IGNORED_WITH_LINKS if args.links and getattr(args, name) is not None]
    if ignored:
        raise ConfigError(f"--{ignored[0].replace('_', '-')} has no effect with --links, which needs no model")


def aligned_windows(
    args: argparse.Namespace, models: Sequence[str], sources: Sequence[str], targets: Sequence[str]
) -> Iterator[list[list[Link]]]:
    """Load the model and yield the links of the pairs, window by window."""
    from seq2seq.cli.progress import progress
    from seq2seq.inference.forced_alignment import align_pairs, check_attention

    translator = load_translator(args, models)
    check_attention(translator)  # also without any pairs
    translator.tags.ids(args.tgt_lang)
    with progress([], args.output or "-", 0, total=len(sources)) as advance:
        for start in range(0, len(sources), WINDOW):
            texts = sources[start : start + WINDOW], targets[start : start + WINDOW]
            pairs = align_pairs(translator, *texts, spans=spaced_spans, tgt_lang=args.tgt_lang)
            yield [pair.links if pair else [] for pair in pairs]
            advance(len(pairs))


def written(windows: Iterator[list[list[Link]]], files: Sequence[object]) -> list[list[Link]]:
    """Write each pair's links as a line to the files, and return all of them."""
    from seq2seq.inference.alignment import pharaoh

    links = []
    for window in windows:
        for file in files:
            file.writelines(f"{pharaoh(pair)}\n" for pair in window)  # type: ignore[attr-defined]
        links += window
    return links


def spaced_spans(text: str) -> list[tuple[int, int]]:
    """Return begin and end of each word between white space."""
    return [match.span() for match in re.finditer(r"\S+", text)]


def report(scores: AlignmentScores, as_json: bool) -> str:
    """Return the scores as one line of text, in percent, or of JSON."""
    if as_json:
        from seq2seq.storage.metrics_file import to_json

        return to_json(scores.to_dict()) + "\n"
    return (
        f"AER {100 * scores.aer:.2f} %  precision {100 * scores.precision:.2f} %  recall {100 * scores.recall:.2f} %  "
        f"({scores.links:,} links; gold: {scores.sure:,} sure, {scores.possible:,} possible; {scores.pairs:,} pairs)\n"
    )


if __name__ == "__main__":
    sys.exit(main())
