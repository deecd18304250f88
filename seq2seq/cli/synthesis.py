"""What the commands that write synthetic sentence pairs share: their options, the resumable work file, the outputs."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import math
import os
import sys
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from seq2seq.cli import output_file
from seq2seq.cli.line_writer import Written, output, part_name, written
from seq2seq.cli.process_options import path_type, whole_number
from seq2seq.cli.progress import progress
from seq2seq.cli.text_outputs import COMPRESSES, write_texts
from seq2seq.errors import ConfigError
from seq2seq.filesystem.atomic_files import is_stream

if TYPE_CHECKING:
    from seq2seq.inference.synthetic_pairs import PairFilter, PairMaker, SyntheticPair
    from seq2seq.inference.translator import Translator

WINDOW = 2000  # lines that are sorted by length and translated together
MAX_PIECES = 1000
DEFAULT_RATIO = 3.0
WORK_SUFFIX = ".candidates"


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the outputs."""
    group = parser.add_argument_group("output (files appear when all lines are translated)")
    group.add_argument(
        "--output", type=path_type, metavar="FILE", help="write the pairs as lines of source, TAB, target"
    )
    group.add_argument(
        "--output-src", type=path_type, metavar="FILE", help="with --output-tgt: write two line-aligned files instead"
    )
    group.add_argument("--output-tgt", type=path_type, metavar="FILE", help="see --output-src")
    group.add_argument(
        "--rejects",
        type=path_type,
        metavar="FILE",
        help="write the lines without a pair: reason, line number, score, source and target, separated by TABs",
    )
    group.add_argument("--resume", action="store_true", help="continue the same command after it was interrupted")
    group.add_argument("--json", action="store_true", help="print the summary as one line of JSON on stdout")


def add_filter_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add the options that decide which pairs are kept; return their group."""
    group = parser.add_argument_group("filters")
    group.add_argument(
        "--max-pieces",
        type=whole_number(1, MAX_PIECES),
        metavar="N",
        help="drop a pair with more than N tokens on a side (default: tokens of the longest sentence that MODEL was "
        "trained on)",
    )
    group.add_argument(
        "--max-ratio",
        type=_number(1.0, 1000.0),
        default=DEFAULT_RATIO,
        metavar="R",
        help=f"drop a pair if one side has more than R times the tokens of the other (default: {DEFAULT_RATIO:g})",
    )
    group.add_argument(
        "--drop-copies", action="store_true", help="drop a pair whose translation is the text that was translated"
    )
    group.add_argument(
        "--min-log-prob",
        type=_number(-1000.0, 0.0),
        metavar="X",
        help="drop a pair whose score is below X (default: none)",
    )
    group.add_argument(
        "--keep-best",
        type=_number(0.0, 1.0),
        metavar="F",
        help="of the pairs that pass every other filter, keep this share, those with the highest scores (default: 1)",
    )
    return group


def _number(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text[:80]!r} is not a number from {low:g} to {high:g}")
        return value

    return parse


def pair_filter(args: argparse.Namespace, translator: Translator) -> PairFilter:
    """Return the rule of the command line."""
    from seq2seq.inference.synthetic_pairs import PairFilter

    return PairFilter(
        args.max_pieces or translator.max_part_tokens, args.max_ratio, args.drop_copies, args.min_log_prob
    )


def check_outputs(args: argparse.Namespace, inputs: Sequence[str]) -> None:
    """Check the output options before any work.

    Raises:
        ConfigError: not one of --output, or --output-src with --output-tgt; an output that is no file, has no folder,
            or is named twice.
        DataError: an output is an input.
    """
    if bool(args.output_src) != bool(args.output_tgt) or bool(args.output) == bool(args.output_src):
        raise ConfigError("give --output FILE, or --output-src FILE with --output-tgt FILE")
    work = work_file(args)
    options = {"--output": args.output, "--output-src": args.output_src, "--output-tgt": args.output_tgt}
    named = {option: name for option, name in (options | {"--rejects": args.rejects}).items() if name}
    for name in named.values():
        if name == "-" or is_stream(name):
            raise ConfigError(f"{name} is not a file: the pairs are filtered after the last line, so name a file")
        if not os.path.isdir(os.path.dirname(os.path.realpath(name))):
            raise ConfigError(f"cannot write {name}: its folder does not exist")
        if os.path.realpath(name) == os.path.realpath(work):
            raise ConfigError(f"{name} is the work file of this command: name another output")
    output_file.check_outputs(named, inputs, COMPRESSES)
    for name in (work, part_name(work)):
        output_file.check_not_input(name, inputs)


def work_file(args: argparse.Namespace) -> str:
    """Return the file of what is translated so far; it is removed at the end."""
    return os.path.realpath(_pair_files(args)[0]) + WORK_SUFFIX


def make_pairs(
    args: argparse.Namespace,
    maker: PairMaker,
    windows: Iterable[list[tuple[str, str]]],
    settings: dict[str, Any],
    place: Callable[[SyntheticPair], tuple[str, str]],
    *,
    files: Sequence[str] = (),
    total: int | None = None,
) -> None:
    """Translate, filter, write the outputs and print the summary.

    Args:
        args: the command line.
        maker: makes a pair of a line and its reference.
        windows: the lines, each with its reference (or "").
        settings: all that changes the result; --resume refuses work that was done with others.
        place: returns source and target of a pair, as they are written.
        files: the input files, for the progress bar.
        total: number of lines, if there are no files.

    Raises:
        ConfigError: --resume with other settings.
        DataError: the input or an output fails.
    """
    work = work_file(args)
    header = json.dumps({"settings": settings}, default=str, sort_keys=True) + "\n"
    before = _done(work, header) if args.resume else Written()
    finished = dataclasses.replace(before, lines=max(0, before.lines - 1), begun=max(0, before.begun - 1))
    with (
        output(work, before if args.resume else None) as write,
        progress(files, work, finished.lines, total) as advance,
    ):
        write("" if before.lines else header)
        for window in finished.rest(windows, work):
            pairs = maker.make([line for line, _ in window], [reference for _, reference in window])
            write("".join(map(_record, pairs)))
            advance(len(window))
    summary = _write_outputs(args, work, place)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(work)
    _print(args, summary)


def _pair_files(args: argparse.Namespace) -> list[str]:
    return [args.output] if args.output else [args.output_src, args.output_tgt]


def _done(work: str, header: str) -> Written:
    """Return the complete part of the work file after a check of its settings."""
    before = written(work, grouped=False)
    name = part_name(work) if os.path.exists(part_name(work)) else work
    if before.lines:
        with open(name, encoding="utf-8", errors="replace") as content:
            if content.readline() != header:
                raise ConfigError(
                    f"{name} was made with another model or other options, or of another text: give them again, or "
                    "leave out --resume"
                )
    return before


def _record(pair: SyntheticPair) -> str:
    score = pair.score if pair.score is not None and math.isfinite(pair.score) else None
    dropped = None if pair.dropped is None else pair.dropped.name
    return json.dumps({"given": pair.given, "generated": pair.generated, "score": score, "dropped": dropped}) + "\n"


def _records(work: str) -> Iterator[SyntheticPair]:
    from seq2seq.inference.synthetic_pairs import Reason, SyntheticPair

    with open(work, encoding="ascii") as content:
        for line in islice(content, 1, None):
            fields = json.loads(line)
            yield SyntheticPair(**fields | {"dropped": fields["dropped"] and Reason[fields["dropped"]]})


def _write_outputs(
    args: argparse.Namespace, work: str, place: Callable[[SyntheticPair], tuple[str, str]]
) -> dict[str, Any]:
    """Write pairs and rejects from the work file, and return the summary."""
    from seq2seq.inference.synthetic_pairs import Reason, best_share

    passed = array("d", (math.nan if pair.score is None else pair.score for pair in _records(work) if not pair.dropped))
    kept = iter(best_share(passed, 1.0 if args.keep_best is None else args.keep_best).tolist())
    dropped: Counter[str] = Counter({reason.name: 0 for reason in Reason})
    total = 0.0

    def write(files: Sequence[Any]) -> None:
        nonlocal total
        for number, pair in enumerate(_records(work), start=1):
            reason = pair.dropped or (None if next(kept) else Reason.not_best)
            if reason is None:
                row = (_columns(*place(pair)),) if args.output else place(pair)
                for file, text in zip(files, row, strict=False):
                    file.write(f"{text}\n")
                total += pair.score or 0.0
                continue
            dropped[reason.name] += 1
            if args.rejects:
                score = "" if pair.score is None else f"{pair.score:.4f}"
                files[-1].write(_columns(reason.name, str(number), score, *place(pair)) + "\n")

    write_texts([*_pair_files(args), *filter(None, [args.rejects])], write)
    pairs = len(passed) - dropped[Reason.not_best.name]
    mean = total / pairs if pairs else None
    return {"lines": pairs + dropped.total(), "pairs": pairs, "dropped": dict(dropped), "mean_score": mean}


def _columns(*texts: str) -> str:
    """Join columns by tabs; a tab inside a text becomes a space."""
    return "\t".join(text.replace("\t", " ") for text in texts)


def _print(args: argparse.Namespace, summary: dict[str, Any]) -> None:
    if args.json:
        sys.stdout.write(json.dumps(summary) + "\n")
        return
    reasons = ", ".join(f"{name} {count:,}" for name, count in summary["dropped"].items() if count)
    mean = "" if summary["mean_score"] is None else f", mean score {summary['mean_score']:.3f}"
    names = " and ".join(_pair_files(args))
    sys.stderr.write(
        f"{names}: {summary['pairs']:,} pairs from {summary['lines']:,} lines{mean}"
        + (f"; dropped: {reasons}\n" if reasons else "\n")
    )
