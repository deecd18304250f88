"""Subcommand: what is in a parallel text, and what is wrong with it. `python -m seq2seq.data inspect FILE FILE`."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.cli.data.named_corpus import NamedCorpus, languages, named_data
from seq2seq.cli.data.pair_inputs import add_pair_inputs, input_files, pairs
from seq2seq.cli.data.watched import watched
from seq2seq.cli.output_file import check_output
from seq2seq.cli.process_options import CommandParser, path_type, whole_number
from seq2seq.data.text.visible import visible
from seq2seq.errors import ConfigError
from seq2seq.filesystem.atomic_files import check_writable, write_atomically

if TYPE_CHECKING:
    from seq2seq.data.filters.base import Filter
    from seq2seq.data.subwords.tokenizer import Tokenizer

log = logging.getLogger(__name__)

SAMPLE = 2000
MAX_SAMPLE = 10**9
DESCRIPTION = """\
Report lengths, length ratios, scripts, duplicates, damaged characters, sentences that leak from held-out sets, and
whatever the filters of `clean` would find, with the line numbers of examples. Nothing is changed.
"""
CHECKS = (
    "empty",
    "unencodable",
    "control_characters",
    "zero_width",
    "mojibake",
    "identical:words=1",
    "script",
    "max_length",
    "length_ratio",
    "max_word_length",
    "num_mismatch",
    "url_mismatch",
    "terminal_punctuation",
    "repeated_ngram",
)
"""Filters whose findings are reported; duplicates are counted besides, languages if they are asked for."""


def add_parser(subparsers: argparse._SubParsersAction[CommandParser]) -> CommandParser:
    """Add the parser of the subcommand and return it."""
    parser = subparsers.add_parser("inspect", help="report what is in a parallel text", description=DESCRIPTION)
    add_pair_inputs(parser)
    parser.add_argument(
        "--lang-id",
        metavar="N",
        nargs="?",
        const=SAMPLE,
        default=0,
        type=_sample,
        help=f"identify the languages of a random sample of N pairs (default {SAMPLE:,}; all: every pair, slow)",
    )
    parser.add_argument(
        "--against",
        metavar="FILE",
        nargs="+",
        type=path_type,
        default=[],
        help="held-out text, one sentence a line or tab-separated: count its sentences that occur in the text; a "
        "corpus given by overrides is compared with its own validation and test sets",
    )
    parser.add_argument(
        "--model", metavar="FILE", type=path_type, help="find characters that this model, or .model file, cannot write"
    )
    parser.add_argument(
        "--examples", metavar="N", type=whole_number(0, 1000), default=3, help="examples of each finding (default: 3)"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--html", metavar="FILE", type=path_type, help="write a page with plots that needs no network")
    return parser


def _sample(text: str) -> int | None:
    return None if text == "all" else whole_number(1, MAX_SAMPLE)(text)


def main(args: argparse.Namespace) -> int | None:
    """Do the work; raises as `exit_status.run` expects."""
    from seq2seq.data.filters.registry import make_filter
    from seq2seq.data.filters.vocabulary import Unwritable
    from seq2seq.data.text.inspection import Inspection, LeakCheck, report

    notes: list[str] = []
    data = named_data(args)
    corpus = None if data is None else NamedCorpus(data)
    if args.html:
        check_output(args.html, [*input_files(args, data), *args.against, *filter(None, [args.model])], option="--html")
        check_writable(Path(args.html))
    src, tgt = languages(args, data)
    filters = _filters((src, tgt), notes)
    lang_id = make_filter("lang_id", (src, tgt)) if args.lang_id != 0 and src and tgt else None
    if args.lang_id != 0 and lang_id is None:
        notes.append("lang_id: give --src-lang and --tgt-lang to find sentences of another language")
    unwritable = Unwritable(_tokenizer(args.model)) if args.model else None
    if unwritable is not None:
        filters["vocabulary"] = unwritable
    inspection = Inspection(filters, args.examples, args.lang_id, lang_id)
    held_out: dict[str, Iterable[str]] = {name: _sentences(name) for name in args.against}
    if corpus is not None:
        held_out |= {f"data: {name}": [*text.src, *text.tgt] for name, text in corpus.held_out_sets().items()}
    leaks = LeakCheck(held_out, args.examples)
    for number, pair in enumerate(watched(pairs(args, corpus), args), start=1):
        inspection.add(pair)
        leaks.add(number, pair)
    inspection.finish()
    result = report(inspection, leaks.leaks, unwritable, notes)
    if args.html:
        _write_html(Path(args.html), result)
    if args.json:
        sys.stdout.write(json.dumps(result, ensure_ascii=True) + "\n")
    else:
        _print(result)
    return None


def _filters(languages: tuple[str, str], notes: list[str]) -> dict[str, Filter]:
    """Return the checks; one whose package or language is missing is left out with a note."""
    from seq2seq.data.filters.registry import make_filter, name_of

    filters = {}
    for spec in CHECKS:
        name = name_of(spec)
        try:
            filters[name] = make_filter(spec, languages)
        except ConfigError as error:
            notes.append(f"{name}: not checked: {error}")
    return filters


def _tokenizer(name: str) -> Tokenizer:
    from seq2seq.data.subwords.tokenizer import Tokenizer

    if name.endswith(".model"):
        try:
            return Tokenizer(Path(name).read_bytes(), names=(name, ""))
        except OSError as error:
            raise ConfigError(f"{name}: {error.strerror}") from None
    import torch

    from seq2seq.storage.model_file import load_model

    return load_model(Path(name), torch.device("cpu")).tokenizer


def _sentences(name: str) -> Iterable[str]:
    from seq2seq.data.files.text_file import text_lines

    for line in text_lines(name, name):
        yield from line.split("\t")[:2]


def _write_html(path: Path, result: Mapping[str, Any]) -> None:
    from seq2seq.cli.data.inspect_page import page

    write_atomically(path, lambda file: file.write_bytes(page(result).encode("utf-8", "backslashreplace")))


def _print(result: Mapping[str, Any]) -> None:
    from seq2seq.evaluation.report import print_table

    write, total = sys.stdout.write, result["pairs"]
    head = ["side", "words", "characters", "mean words", "median", "95 %", "longest", "scripts"]
    keys = ("words", "characters", "mean_words", "median_words", "words_of_95_percent", "max_words")
    rows = [
        [name, *(f"{side[key]:,}" for key in keys), ", ".join(f"{s} {v:.2%}" for s, v in side["scripts"].items())]
        for name, side in result["sides"].items()
    ]
    write(f"{total:,} pairs\n")
    print_table(head, rows)
    write("\n")
    found = [finding for finding in result["findings"] if finding["pairs"]]
    identified = result["languages"]["pairs"]
    rows = [
        [f"{f['name']}: {f['meaning']}", f"{f['pairs']:,}", f"{f['pairs'] / max(1, _of(f, total, identified)):.2%}"]
        for f in found
    ]
    print_table(["finding", "pairs", "share"], rows or [["nothing", "0", ""]])
    for finding in found:
        _print_examples(f"{finding['name']}: {finding['meaning']}", finding["examples"])
    for leak in result["leaks"]:
        title = f"{leak['leaked']:,} of {leak['sentences']:,} sentences of {leak['held_out']} occur in the text"
        _print_examples(f"{title}: {leak['in_source']:,} as source, {leak['in_target']:,} as target", leak["examples"])
    if result["most_repeated"]:
        write("\nmost repeated pairs\n")
        for pair in result["most_repeated"]:
            write(f"  {pair['times']:,} times: {visible(pair['source'])} | {visible(pair['target'])}\n")
    for name, side in result["sides"].items():
        for line in side["longest"]:
            write(f"\nlongest {name}, line {line['line']:,}, {line['words']:,} words: {visible(line['text'])}")
    write("\n")
    if identified:
        write(f"\nlanguages of {identified:,} pairs{'' if identified == total else ', a random sample'}\n")
        for name in result["sides"]:
            shares = (f"{code} {count / identified:.1%}" for code, count in result["languages"][name].items())
            write(f"  {name}: {', '.join(shares)}\n")
    if result["missing_characters"]:
        characters = (f"{visible(c)} {n:,}" for c, n in result["missing_characters"].items())
        write(f"\ncharacters that the vocabulary lacks, with their sentences: {', '.join(characters)}\n")
    for note in result["notes"]:
        write(f"\nnote: {note}\n")


def _of(finding: Mapping[str, Any], total: int, identified: int) -> int:
    """Return the number of pairs that were looked at."""
    return identified if finding["name"] == "lang_id" else total


def _print_examples(title: str, examples: list[dict[str, Any]]) -> None:
    sys.stdout.write(f"\n{visible(title)}\n")
    for example in examples:
        sys.stdout.write(f"  line {example['line']:,}: {visible(example['source'])} | {visible(example['target'])}\n")
