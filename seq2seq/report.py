"""Command: one page about a run, which opens without a network. `python -m seq2seq.report RUN`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from seq2seq.cli import exit_status
from seq2seq.cli.model_corpus import corpus_files
from seq2seq.cli.output_file import check_output
from seq2seq.cli.process_options import (
    CommandParser,
    add_process_options,
    add_tgt_lang,
    path_type,
    whole_number,
)
from seq2seq.cli.reported_runs import collect, facts_of, load, model_names
from seq2seq.cli.search_options import FIELDS, add_search_options, flag_of, search_overrides
from seq2seq.data.text.visible import visible
from seq2seq.errors import ConfigError
from seq2seq.filesystem.atomic_files import check_writable
from seq2seq.reporting import SENTENCES
from seq2seq.storage.run_folder import METRICS_NAME, REPORT_NAME, run_of

DESCRIPTION = """\
Write one page about a run: what was trained on what, learning curves, scores, comparison with other runs, sentences
whose words show their attention, worst cases, and how to reproduce it. It is one file and opens without a network.

  %(prog)s RUN                       translate and show the test sets of the model's corpus
  %(prog)s RUN --against OTHER       compare two runs on these test sets
  %(prog)s RUN --src F --ref F       translate and show your own test set
  %(prog)s RUN --card                print the model card
"""
MAX_SENTENCES, MAX_EXPLAINED = 2000, 100
TRANSLATING = (
    *FIELDS,
    "against",
    "src",
    "ref",
    "train",
    "data_root",
    "cache_dir",
    "tgt_lang",
    "sentences",
    "explain",
    "output",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return exit_status.run(lambda: report(parser().parse_args(argv)))


def parser() -> argparse.ArgumentParser:
    """Return the command line; an option that is not given is None."""
    made = CommandParser(
        prog="seq2seq-report", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("run", type=path_type, metavar="RUN", help="run folder or model file")
    made.add_argument(
        "--against",
        action="append",
        type=path_type,
        metavar="RUN",
        help="another run of the same languages: its curves, scores and translations are shown beside; repeatable",
    )
    made.add_argument(
        "--card", action="store_true", help="print the model card, as Markdown, instead of writing a page"
    )
    add_text_options(made)
    add_search_options(made)
    add_process_options(made)
    output = made.add_argument_group("output")
    output.add_argument(
        "--sentences",
        type=whole_number(0, MAX_SENTENCES),
        metavar="N",
        help=f"sentences on the page, half of them those with the lowest chrF (default: {SENTENCES})",
    )
    output.add_argument(
        "--explain",
        type=whole_number(0, MAX_EXPLAINED),
        metavar="N",
        help="explain N sentences: occlusion, saliency, gates of every layer (default: 0)",
    )
    output.add_argument(
        "--output",
        type=path_type,
        metavar="FILE",
        help=f"page to write (default: {REPORT_NAME} in the run folder, or here for a model file outside one)",
    )
    output.add_argument("--json", action="store_true", help="print what the page shows as one line of JSON instead")
    return made


def add_text_options(made: argparse.ArgumentParser) -> None:
    """Add the options that name the text to translate."""
    text = made.add_argument_group("text (UTF-8, one sentence a line, plain or compressed)")
    text.add_argument("--src", type=path_type, metavar="FILE", help="translate this file; -: standard input")
    text.add_argument(
        "--ref", action="append", type=path_type, metavar="FILE", help="reference translations, line-aligned with --src"
    )
    text.add_argument(
        "--train",
        type=path_type,
        metavar="FILE",
        help="target side of the training text, whose words are counted (default: that of the model's corpus, if its "
        "test set is shown)",
    )
    text.add_argument(
        "--data-root", type=path_type, metavar="DIR", help="read the corpus of the model from this folder"
    )
    text.add_argument("--cache-dir", type=path_type, metavar="DIR", help="keep downloads in this folder")
    add_tgt_lang(text)
    made.set_defaults(test_set=None, langpair=None, tokenize=None, robustness=None)  # of `model_tests`


def report(args: argparse.Namespace) -> None:
    """Write the page, and print its name; or print the model card.

    Raises:
        ConfigError: options that contradict each other, or runs that cannot be compared.
        DataError: text that cannot be read.
        ModelFileError: no model in a run folder, or a damaged one.
        StorageError: the page cannot be written.
    """
    logging.basicConfig(format="warning: %(message)s")
    check(args)
    if args.card:
        print_card(args)
        return
    output = None if args.json else checked_output(args)
    result = collect(args)
    if output is None:
        from seq2seq.storage.metrics_file import to_json

        sys.stdout.write(to_json(result) + "\n")
        return
    from seq2seq.reporting.report_page import write_page

    write_page(output, result)
    sys.stdout.write(f"{output}\n")


def check(args: argparse.Namespace) -> None:
    """Check that no option contradicts another or would be ignored.

    Raises:
        ConfigError: names the options.
    """
    if args.card:
        for name in (*TRANSLATING, "json"):
            if getattr(args, name):
                raise ConfigError(f"{flag_of(name)} has no effect with --card")
    if args.json and args.output is not None:
        raise ConfigError("--json prints on standard output: give either it or --output FILE")
    if (args.src is None) != (args.ref is None):
        raise ConfigError("--src and --ref need each other: the text to translate and its reference translations")
    if args.src is not None:
        for name in ("data_root", "cache_dir"):
            if getattr(args, name) is not None:
                raise ConfigError(f"{flag_of(name)} has no effect with --src")
    if args.ref is not None and len(args.ref) > 1:
        raise ConfigError("--ref is given twice: the page shows one reference per sentence")
    search_overrides(args)


def checked_output(args: argparse.Namespace) -> Path:
    """Return the file to write, after checks that cost no time.

    Raises:
        ConfigError, DataError: as `check_output`.
        StorageError: as `check_writable`.
    """
    from seq2seq.storage.model_file import find_model

    folder = run_of(find_model(Path(args.run)))
    name = args.output or str(Path(REPORT_NAME) if folder is None else folder / REPORT_NAME)
    runs = [args.run, *(args.against or ())]
    check_output(
        name,
        [
            *runs,
            *(str(Path(run, METRICS_NAME)) for run in runs),
            *filter(None, (args.src, args.train, *(args.ref or ()))),
            *corpus_files(args.run),
        ],
    )
    check_writable(Path(name))
    return Path(name)


def print_card(args: argparse.Namespace) -> None:
    """Print the model card that the model file holds; of an older file, the one that a run would write now."""
    from seq2seq.reporting.model_card import model_card
    from seq2seq.storage.model_file import read_card

    card = read_card(Path(args.run)) or model_card(facts_of(args.run, *load(args, args.run), *model_names([args.run])))
    # The card of a file from elsewhere may have any text: the terminal obeys none of it.
    sys.stdout.write("\n".join(visible(line, len(line)) for line in card.split("\n")))


if __name__ == "__main__":
    sys.exit(main())
