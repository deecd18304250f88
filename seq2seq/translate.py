"""Translate text: `python -m seq2seq.translate MODEL [FILE ...]`, one line out per line in, in order."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from seq2seq.cli.exit_status import run
from seq2seq.cli.line_format import Request, json_answer, parse_json, text_answer
from seq2seq.cli.line_reader import check_inputs, in_step, prompted, windows
from seq2seq.cli.line_writer import Written, output, written
from seq2seq.cli.options import add_search_options, add_shortlist, add_weights, model_list, search_overrides
from seq2seq.cli.progress import progress
from seq2seq.config.decode import SearchName
from seq2seq.errors import ConfigError, DataError

# torch takes a second: what needs it is imported where it is used, so --help and a mistyped flag answer at once.
if TYPE_CHECKING:
    from seq2seq.inference.translator import Translation, Translator

BUFFER_LINES = 2000


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    args = parser().parse_intermixed_args(argv)  # parse_args would not find FILE in: MODEL --n-best 3 FILE
    return run(lambda: translate(args))


def parser() -> argparse.ArgumentParser:
    """Return the command line; defaults that come from the model file are None here."""
    parser = argparse.ArgumentParser(
        prog="seq2seq-translate",
        usage="%(prog)s [options] MODEL [MODEL ...] [FILE ...]",
        description="Translate text with a trained model, one line out per line in, in order. Several models (or one "
        "list of them, separated by commas) are asked together.",
        epilog="Translations go to stdout, everything else to stderr. Exit status 2: a mistake in what was given.",
    )
    parser.add_argument(
        "names",
        metavar="MODEL, FILE",
        nargs="+",
        help="MODEL: .safetensors file, or a run folder that holds best.safetensors. FILE: UTF-8 text; none or -: "
        "standard input",
    )
    add_weights(parser)
    add_shortlist(parser)
    parser.add_argument("--text", action="append", metavar="TEXT", help="translate this text instead (repeatable)")
    parser.add_argument("--output", default="-", metavar="FILE", help="write here; -: standard output")
    _add_shape(parser.add_argument_group("what is read and written"))
    _add_demands(parser.add_argument_group("what the output must hold"))
    add_search_options(parser)
    process = parser.add_argument_group("process")
    process.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    process.add_argument(
        "--precision", default="auto", choices=("auto", "fp32", "bf16", "int8"), help="of matrix products"
    )
    process.add_argument("--threads", type=_positive, metavar="N", help="CPU threads; default: torch's choice")
    process.add_argument(
        "--buffer-lines",
        type=_positive,
        metavar="N",
        help=f"read ahead up to N lines to batch them by length; a pause in the input ends the wait ({BUFFER_LINES})",
    )
    process.add_argument("--interactive", action="store_true", help="answer each line at once; Ctrl-D ends")
    process.add_argument(
        "--resume", action="store_true", help="go on with an --output FILE that the same command began and did not end"
    )
    process.add_argument("--strict", action="store_true", help="stop at bytes that are not UTF-8 (default: U+FFFD)")
    return parser


def _add_shape(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--format",
        choices=("text", "jsonl"),
        default="text",
        help='jsonl: each line in is an object with "src" and, if wanted, "prefix", "terms" (a list) and "id"; each '
        'line out one with "text", "score", "log_prob", "pieces", "token_log_probs" (of the pieces and of the end) and '
        'the same "id", or with "error"',
    )
    group.add_argument(
        "--n-best",
        type=_positive,
        default=1,
        metavar="N",
        help="up to N outputs per line, best first, as: number of the input line, TAB, score, TAB, text (jsonl: one "
        'line with all of them in "n_best")',
    )
    group.add_argument("--scores", action="store_true", help="write each line as: score, TAB, text")
    group.add_argument(
        "--alignments",
        action="store_true",
        help="write before the text: which words were looked at, as 0-0 1-2 (from 0, source-target), TAB (jsonl: "
        '"alignment", and "attention" of each target word to the source words)',
    )


def _add_demands(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--prefix", metavar="FILE", help="how each output must begin, line by line with the input")
    group.add_argument(
        "--glossary", metavar="FILE", help="source term, TAB, target term: where one stands, the other must follow"
    )


def translate(args: argparse.Namespace) -> None:
    """Translate what the command line names."""
    from seq2seq.inference.glossary import Glossary

    logging.basicConfig(format="warning: %(message)s")
    models, files = split_names(args.names)
    check(args, files)
    inputs = [*files, *filter(None, (args.prefix, args.glossary))]
    check_inputs(inputs)  # before the model is loaded: a wrong name fails at once
    glossary = Glossary.read(args.glossary) if args.glossary else None
    translator = _load(args, models)
    options = _options(args, translator) | {"glossary": glossary}
    translator.translate_n_best([], **options)  # what contradicts itself is refused before the output is emptied
    answers = functools.partial(_answers, translator, options)
    grouped = args.n_best > 1 and args.format == "text"
    before = written(args.output, grouped) if args.resume else Written()
    number = before.lines
    with (
        output(args.output, [*inputs, *models, *map(_file_in, models)], before if args.resume else None) as write,
        progress(files, args.output, before.lines) as advance,
    ):
        for window in before.rest(_windows(args, files), args.output):
            requests = [_request(args, number + i, *pair) for i, pair in enumerate(window, start=1)]
            write("".join(_formatted(args, translator, one, found) for one, found in answers(requests)))
            number += len(window)
            advance(len(window))


def _file_in(folder: str) -> str:
    return os.path.join(folder, "best.safetensors")


def split_names(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return which of the names are models: the first, and those after it that no text file has."""
    models, files = model_list(names[0]), list(names[1:])
    while files and (files[0].endswith(".safetensors") or os.path.isdir(files[0])):
        models.append(files.pop(0))
    return models, files


def check(args: argparse.Namespace, files: Sequence[str]) -> None:
    """Refuse options that contradict each other or would be ignored.

    Raises:
        ConfigError: names them.
        DataError: two texts, or two of standard input.
    """
    if args.text and files:
        raise DataError("give FILE or --text, not both")
    if args.prefix == "-" and not args.text and "-" in (files or ["-"]):
        raise DataError("standard input cannot be both the text and its --prefix")
    jsonl = args.format == "jsonl"
    for wrong, message in (
        (args.interactive and {*files} - {"-"}, "--interactive reads standard input, not FILE"),
        (args.interactive and args.text, "--interactive reads standard input, not --text"),
        (args.interactive and args.buffer_lines, "--buffer-lines has no meaning with --interactive"),
        (args.interactive and args.resume, "--resume has no meaning with --interactive"),
        (args.resume and args.output == "-", "--resume needs --output FILE"),
        (jsonl and args.scores, "--scores has no meaning with --format jsonl, where every line has them"),
        (jsonl and args.prefix, "--prefix has no meaning with --format jsonl, where every line can have its own"),
    ):
        if wrong:
            raise ConfigError(message)
    search_overrides(args)


def _load(args: argparse.Namespace, models: Sequence[str]) -> Translator:
    from seq2seq import runtime
    from seq2seq.config.schema import RuntimeConfig
    from seq2seq.inference.translator import Translator

    runtime.configure(RuntimeConfig(threads=args.threads))
    translator = Translator.load(
        *models, device=args.device, precision=args.precision, weights=args.weights, shortlist=args.shortlist
    )
    problem = runtime.kernels_problem(translator.device)
    if problem:
        logging.warning("translation is slower than it could be, without compiled kernels or threads: %s", problem)
    return translator


def _options(args: argparse.Namespace, translator: Translator) -> dict[str, Any]:
    """Return what every line is translated with."""
    options = search_overrides(args, translator.decode)
    if options.get("search", translator.decode.search) is SearchName.beam:
        options.setdefault("beam_size", max(translator.decode.beam_size, args.n_best))
    return options | {"n_best": args.n_best, "alignments": args.alignments}


def _windows(args: argparse.Namespace, files: Sequence[str]) -> Iterator[list[tuple[str, str]]]:
    """Yield the lines of the input, and how the output of each must begin."""
    size = 1 if args.interactive else args.buffer_lines or BUFFER_LINES
    lines = iter([args.text]) if args.text else windows(files or ["-"], size, args.strict)
    if args.interactive and os.isatty(0):
        lines = prompted(lines)
    if args.prefix:
        return in_step(lines, args.prefix, args.strict)
    return ([(line, "") for line in window] for window in lines)


def _request(args: argparse.Namespace, number: int, line: str, prefix: str) -> Request:
    if args.format == "jsonl" and not args.text:
        return parse_json(number, line)
    return Request(number, line, prefix)


def _answers(
    translator: Translator, options: dict[str, Any], requests: Sequence[Request]
) -> list[tuple[Request, list[Translation]]]:
    """Translate what has no error; a line that asks for what this search cannot do gets one."""
    asked = [one for one in requests if one.error is None]
    terms = [one.terms for one in asked]
    try:
        found = translator.translate_n_best(
            [one.src for one in asked],
            prefixes=[one.prefix for one in asked],
            terms=terms if any(terms) else None,
            **options,
        )
    except ConfigError as error:
        if not any(terms):
            raise
        refused = [dataclasses.replace(one, terms=[], error=str(error)) if one.terms else one for one in requests]
        return _answers(translator, options, refused)
    rows = iter(found)
    return [(one, next(rows) if one.error is None else []) for one in requests]


def _formatted(
    args: argparse.Namespace, translator: Translator, request: Request, outputs: Sequence[Translation]
) -> str:
    if request.error is not None:
        sys.stderr.write(f"warning: line {request.number}: {request.error}\n")
    if args.format == "jsonl":
        return json_answer(request, outputs, translator.tokenizer, args.n_best > 1, args.alignments)
    return text_answer(request, outputs, args.n_best > 1, args.scores, args.alignments)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


if __name__ == "__main__":
    sys.exit(main())
