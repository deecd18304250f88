"""Subcommand: drop and repair pairs by named filters. `python -m seq2seq.data clean FILE FILE --output FILE`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from seq2seq.cli.data.named_corpus import NamedCorpus, languages, named_data
from seq2seq.cli.data.pair_inputs import add_pair_inputs, input_files, pairs
from seq2seq.cli.data.watched import watched
from seq2seq.cli.output_file import check_outputs
from seq2seq.cli.process_options import CommandParser, path_type, whole_number
from seq2seq.cli.text_outputs import COMPRESSES, STDOUT, write_texts
from seq2seq.data.text.visible import visible
from seq2seq.errors import ConfigError

if TYPE_CHECKING:
    from seq2seq.data.filters.pipeline import Pipeline

REJECTS = "--rejects"
DESCRIPTION = """\
Drop the pairs that a filter objects to, keep the order of the remaining pairs, and say how many pairs each filter
removed. The filters are those of a preset, changed by --filter and --without; --list describes them.
"""


def add_parser(subparsers: argparse._SubParsersAction[CommandParser]) -> CommandParser:
    """Add the parser of the subcommand and return it."""
    parser = subparsers.add_parser("clean", help="filter a parallel text", description=DESCRIPTION)
    add_pair_inputs(parser)
    parser.add_argument(
        "--preset",
        metavar="NAME",
        help="light, strict, harmless, or a file with one filter per line (default: light; none if --filter is given)",
    )
    parser.add_argument(
        "--filter",
        metavar="NAME[:KEY=VALUE,…]",
        action="append",
        default=[],
        help="add a filter, in place of the preset's of this name; can be given several times",
    )
    parser.add_argument("--without", metavar="NAME", action="append", default=[], help="leave out a filter")
    parser.add_argument("--list", action=_List, nargs=0, help="list the filters and presets, and end")
    parser.add_argument("--output", metavar="FILE", type=path_type, help="tab-separated pairs (default: stdout)")
    parser.add_argument("--output-src", metavar="FILE", type=path_type, help="source sentences, with --output-tgt")
    parser.add_argument("--output-tgt", metavar="FILE", type=path_type, help="target sentences, with --output-src")
    parser.add_argument(
        REJECTS, metavar="FILE", type=path_type, help="dropped pairs: filter, line number, source, target"
    )
    parser.add_argument(
        "--examples", metavar="N", type=whole_number(0, 1000), default=3, help="examples of each filter (default: 3)"
    )
    parser.add_argument("--json", action="store_true", help="print the counts and examples as JSON on stdout")
    return parser


class _List(argparse.Action):
    """Prints the filters and presets and ends, as --help does."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from seq2seq.data.filters.presets import PRESETS
        from seq2seq.data.filters.registry import FILTERS, described

        lines = [described(name) for name in FILTERS]
        lines += [f"\n# {name}\n" + "\n".join(specs) for name, specs in PRESETS.items()]
        sys.stdout.write("\n".join(lines) + "\n")
        parser.exit()


def main(args: argparse.Namespace) -> int | None:
    """Do the work; raises as `exit_status.run` expects."""
    from seq2seq.data.filters.presets import combined, pipeline, preset

    named = _outputs(args)
    data = named_data(args)
    check_outputs(named, [*input_files(args, data), *filter(None, [args.preset])], COMPRESSES)
    outputs = [name for option, name in named.items() if option != REJECTS]
    base = [] if args.filter and not args.preset else preset(args.preset or "light")
    specs = combined(base, args.filter, args.without)
    filters = pipeline(specs, languages(args, data), required=args.filter, examples=args.examples)
    text = watched(pairs(args, None if data is None else NamedCorpus(data)), args)
    rewritten = write_texts([*named.values()], lambda files: _filter(text, filters, files, len(outputs)))
    if args.json:
        sys.stdout.write(json.dumps(report(filters) | {"rewritten": rewritten}) + "\n")
    else:
        _print(filters, rewritten, stderr=STDOUT in outputs)
    return None


def _outputs(args: argparse.Namespace) -> dict[str, str]:
    """Return the names of one or two output files, and that of the rejects, by their options.

    Raises:
        ConfigError: options that contradict each other.
    """
    if bool(args.output_src) != bool(args.output_tgt):
        raise ConfigError("--output-src, --output-tgt: give both, or --output")
    if args.output and args.output_src:
        raise ConfigError("--output, --output-src: give one file of pairs, or one for each side")
    two = {"--output-src": args.output_src, "--output-tgt": args.output_tgt}
    named = two if args.output_src else {"--output": args.output or STDOUT}
    if args.json and STDOUT in named.values():
        raise ConfigError("--json prints on stdout: give --output FILE for the pairs")
    return named | ({REJECTS: args.rejects} if args.rejects else {})


def _filter(text: Iterator[tuple[str, str]], filters: Pipeline, files: Sequence[Any], outputs: int) -> int:
    """Write what is kept to the first `outputs` files and the rest to the next one, if there is one.

    Returns:
        The number of sentences that the files cannot have as they are (`_one_line`).
    """
    kept, rejects = files[:outputs], files[outputs] if len(files) > outputs else None
    rewritten = 0
    for pair in text:
        result, reason = filters.judge(pair)
        if reason is not None:
            if rejects is not None:
                src, tgt = map(_one_field, result)
                rejects.write(f"{reason}\t{filters.total}\t{src}\t{tgt}\n")
            continue
        fields = tuple(map(_one_field if outputs == 1 else _one_line, result))
        rewritten += sum(field != line for field, line in zip(fields, result, strict=True))
        if outputs == 1:
            kept[0].write("\t".join(fields) + "\n")
        else:
            for file, field in zip(kept, fields, strict=True):
                file.write(field + "\n")
    return rewritten


def _one_line(line: str) -> str:
    """Return a sentence as a line of UTF-8: a line break becomes a space, an unpaired surrogate ?."""
    if line.isprintable():
        return line
    # A reader takes a CR at the end of a line for a part of the line end.
    return line.replace("\n", " ").removesuffix("\r").encode("utf-8", "replace").decode()


def _one_field(line: str) -> str:
    return _one_line(line).replace("\t", " ")


def report(filters: Pipeline) -> dict[str, Any]:
    """Return the counts and examples as plain values; `input` is `kept` and the sum of all `removed`."""
    return {
        "input": filters.total,
        "kept": filters.kept,
        "filters": [
            {
                "filter": name,
                "finding": filters.finding(name),
                "removed": tally.removed,
                "changed": tally.changed,
                "examples": [{"line": e.line, "source": e.src, "target": e.tgt} for e in tally.examples],
            }
            for name, tally in filters.tallies.items()
        ],
    }


def _print(filters: Pipeline, rewritten: int, *, stderr: bool) -> None:
    from seq2seq.evaluation.report import print_table

    write = (sys.stderr if stderr else sys.stdout).write
    total = max(1, filters.total)
    rows = [
        [f"{name}: {filters.finding(name)}", f"{tally.removed:,}", f"{tally.removed / total:.2%}", f"{tally.changed:,}"]
        for name, tally in filters.tallies.items()
    ]
    rows.append(["kept", f"{filters.kept:,}", f"{filters.kept / total:.2%}", ""])
    rows.append(["input", f"{filters.total:,}", "", ""])
    print_table(["filter", "removed", "share", "repaired"], rows, stderr=stderr)
    for name, tally in filters.tallies.items():
        if tally.examples:
            write(f"\n{name}: {filters.finding(name)}\n")
        for example in tally.examples:
            write(f"  line {example.line:,}: {visible(example.src)} | {visible(example.tgt)}\n")
    if rewritten:
        write(f"\n{rewritten:,} sentences had a tab or line break, now a space, or an unpaired surrogate, now ?\n")
