"""Command: translate text, one output line per input line. `python -m seq2seq.translate MODEL [FILE ...]`."""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from seq2seq.bulk.options import add_bulk_options, check_bulk
from seq2seq.cli.exit_status import run
from seq2seq.cli.line_reader import check_inputs, prompted, windows, zip_with_file
from seq2seq.cli.line_translation import LineTranslator
from seq2seq.cli.line_writer import Written, output, part_name, written
from seq2seq.cli.made_with import text_digests, translation_settings
from seq2seq.cli.output_file import check_not_input, check_output
from seq2seq.cli.process_options import (
    CommandParser,
    add_ensemble_weights,
    add_process_options,
    add_rerank,
    add_shortlist,
    add_tgt_lang,
    argument_text,
    model_list,
    path_type,
    whole_number,
)
from seq2seq.cli.progress import progress
from seq2seq.cli.search_options import add_search_options, search_overrides
from seq2seq.config.decode import MAX_HYPOTHESES
from seq2seq.config.paths import user_path
from seq2seq.errors import ConfigError, DataError
from seq2seq.filesystem.atomic_files import is_stream

NO_EFFECT = (
    *("names", "text", "output", "prefix", "device", "threads", "buffer_lines", "interactive", "resume", "strict"),
    *("engine", "input", "actors", "column", "block_kib"),
)
"""Options that change no output line, or that `_settings` holds by their content."""
BUFFER_LINES, MAX_BUFFER_LINES = 2000, 1_000_000


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    # parse_args would reject MODEL --n-best 3 FILE
    return run(lambda: translate(parser().parse_intermixed_args(argv)))


def parser() -> argparse.ArgumentParser:
    """Return the argument parser; an option that defaults to the model's setting is None if not given."""
    parser = CommandParser(
        prog="seq2seq-translate",
        usage="%(prog)s [options] MODEL [MODEL ...] [FILE ...]",
        description="Translate text with a trained model, one output line per input line, in order. Several "
        "models (also "
        "as a comma-separated list) form an ensemble.",
        epilog="Translations go to stdout, everything else to stderr. Exit status 2: a user error, "
        "explained on stderr.",
    )
    parser.add_argument(
        "names",
        metavar="MODEL, FILE",
        nargs="+",
        help="MODEL: .safetensors file, or run folder with best.safetensors. FILE: UTF-8 text, plain or compressed; "
        "without FILE, or with -, standard input",
    )
    add_ensemble_weights(parser)
    add_shortlist(parser)
    add_tgt_lang(parser)
    parser.add_argument("--text", action="append", metavar="TEXT", help="translate TEXT instead of files (repeatable)")
    parser.add_argument(
        "--output",
        default="-",
        type=path_type,
        metavar="FILE",
        help="output file, FILE.part until it is complete; -: standard output (default)",
    )
    _add_format_options(parser.add_argument_group("input and output format"))
    _add_constraint_options(parser.add_argument_group("constraints on the output"))
    add_search_options(parser)
    add_rerank(parser)
    process = add_process_options(parser)
    process.add_argument(
        "--buffer-lines",
        type=whole_number(1, MAX_BUFFER_LINES),
        metavar="N",
        help=f"read up to N lines ahead to batch them by length; a pause in the input, or a second, ends the wait "
        f"(default: {BUFFER_LINES})",
    )
    add_bulk_options(parser)
    process.add_argument("--interactive", action="store_true", help="translate each line at once; Ctrl-D ends")
    process.add_argument(
        "--resume", action="store_true", help="continue an --output FILE that the same command left incomplete"
    )
    process.add_argument(
        "--strict",
        action="store_true",
        help="stop at bytes that are not UTF-8 (default: read them as U+FFFD) and at NUL bytes",
    )
    return parser


def _add_format_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--format",
        choices=("text", "jsonl"),
        default="text",
        help='jsonl: each input line is an object with "src" and optionally "prefix", "terms" (a list), "tgt_lang" and '
        '"id"; each output line is an object with "text", "score", "log_prob", "pieces", "token_log_probs" (EOS '
        'included) and the same "id", or with "error"',
    )
    group.add_argument(
        "--n-best",
        type=whole_number(1, MAX_HYPOTHESES),
        default=1,
        metavar="N",
        help="write up to N outputs per line, best first, each as: input line number, TAB, score, TAB, "
        "text (jsonl: all "
        'in the list "n_best" of one object)',
    )
    group.add_argument("--scores", action="store_true", help="write the score and a TAB before each text")
    group.add_argument(
        "--alignments",
        action="store_true",
        help="write the word alignment and a TAB before each text, as 0-0 1-2 (source-target, from 0; jsonl: "
        '"alignment", and "attention" from each target word to the source words)',
    )
    group.add_argument(
        "--confidence",
        action="store_true",
        help="write the probability that the translation is good and a TAB before each text (jsonl: "
        '"confidence", and "word_confidence" of each of "words"); the model must be calibrated (seq2seq.calibrate)',
    )
    group.add_argument(
        "--split-sentences",
        action="store_true",
        help="translate each sentence of a line on its own, found by the rules of the model's source language; join "
        "the translations with the white space of the line (needs the extra data)",
    )


def _add_constraint_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--prefix",
        type=path_type,
        metavar="FILE",
        help="start each output with the line of FILE that has the number of its input line",
    )
    group.add_argument(
        "--glossary",
        type=path_type,
        metavar="FILE",
        help="tab-separated source and target terms; if a source term occurs in the input, its target "
        "term is forced into "
        "the output",
    )


def translate(args: argparse.Namespace) -> None:
    """Translate the input of the command line."""
    logging.basicConfig(format="warning: %(message)s")
    models, files = split_names(args.names)
    check(args, files)
    if args.engine is not None:
        from seq2seq.bulk.run import translate_files

        translate_files(args, models)
        return
    inputs = [*([] if args.text else files or ["-"]), *filter(None, (args.prefix, args.glossary))]
    before = written(args.output, args.n_best > 1 and args.format == "text") if args.resume else Written()
    check_inputs(inputs)  # before the model is loaded, so that a wrong name fails at once
    inputs += [*models, *itertools.chain(*args.rerank or ()), *filter(None, [args.shortlist])]
    check_output(args.output, inputs)
    check_not_input(part_name(args.output), inputs)
    translator = LineTranslator(args, models)
    format = "text" if args.text else args.format
    translator.check_language(format)  # before the input is read
    number = before.lines
    settings = None if args.output == "-" or is_stream(args.output) else _settings(args, models)
    with (
        output(args.output, before if args.resume else None, settings) as write,
        progress(files, args.output, before.lines) as advance,
    ):
        for window in before.rest(_windows(args, files), args.output):
            requests = [translator.request(number + i, *pair, format) for i, pair in enumerate(window, start=1)]
            write("".join(translator.formatted(requests, args.format)))
            number += len(window)
            advance(len(window))


def split_names(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the positional arguments into models (the first; then folders and .safetensors files) and text files."""
    models, files = model_list(names[0]), list(names[1:])
    while files and (files[0].endswith(".safetensors") or os.path.isdir(files[0])):
        models.append(files.pop(0))
    return models, [user_path(file, "FILE") for file in files]


def check(args: argparse.Namespace, files: Sequence[str]) -> None:
    """Check that no option contradicts another or would be ignored.

    Raises:
        ConfigError: names the options.
        DataError: two inputs, or standard input used twice.
    """
    if args.text and files:
        raise DataError("give either FILE or --text, not both")
    if args.prefix == "-" and not args.text and "-" in (files or ["-"]):
        raise DataError("standard input cannot be both the input and its --prefix: name a file for one of them")
    jsonl = args.format == "jsonl"
    for invalid, message in (
        (args.interactive and {*files} - {"-"}, "--interactive reads standard input, not FILE"),
        (args.interactive and args.text, "--interactive reads standard input, not --text"),
        (args.interactive and args.buffer_lines, "--buffer-lines has no effect with --interactive"),
        (args.interactive and args.resume, "--resume has no effect with --interactive"),
        (args.resume and args.output == "-", "--resume needs --output FILE"),
        (jsonl and args.scores, "--scores has no effect with --format jsonl, where every line has a score"),
        (
            args.split_sentences and args.prefix,
            "--prefix has no effect with --split-sentences: a prefix is the beginning of a whole line",
        ),
        (jsonl and args.prefix, '--prefix has no effect with --format jsonl: give each line its own "prefix"'),
    ):
        if invalid:
            raise ConfigError(message)
    check_bulk(args, files)
    search_overrides(args)


def _settings(args: argparse.Namespace, models: Sequence[str]) -> dict[str, Any]:
    """Return what the output lines depend on, except the input: a line that ended the command may be mended."""
    settings = translation_settings(args, models, NO_EFFECT)
    options: dict[str, Any] = settings.pop("options")  # an error names each
    return {**settings, **options, "prefix": args.prefix and text_digests([args.prefix])[0]}


def _windows(args: argparse.Namespace, files: Sequence[str]) -> Iterator[list[tuple[str, str]]]:
    """Yield the input lines, each with the prefix of its output."""
    size = 1 if args.interactive else args.buffer_lines or BUFFER_LINES
    lines = iter([[*map(argument_text, args.text)]]) if args.text else windows(files or ["-"], size, args.strict)
    if args.interactive and os.isatty(0):
        lines = prompted(lines)
    if args.prefix:
        return zip_with_file(lines, args.prefix, args.strict)
    return ([(line, "") for line in window] for window in lines)


if __name__ == "__main__":
    sys.exit(main())
