"""Command: what moved each word of a translation. `python -m seq2seq.explain MODEL --text TEXT`."""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seq2seq.cli.exit_status import run
from seq2seq.cli.explanation_text import as_text
from seq2seq.cli.line_reader import check_inputs, lines_of
from seq2seq.cli.output_file import check_output
from seq2seq.cli.process_options import (
    CommandParser,
    add_ensemble_weights,
    add_process_options,
    add_tgt_lang,
    argument_text,
    load_translator,
    model_list,
    path_type,
    whole_number,
)
from seq2seq.cli.progress import progress
from seq2seq.errors import ConfigError, DataError
from seq2seq.filesystem.atomic_files import check_writable, write_atomically
from seq2seq.storage.metrics_file import to_json

if TYPE_CHECKING:
    from seq2seq.inference.explanation import Explanation
    from seq2seq.inference.translator import Translator

JSON, PAGE = ".json", ".html"
MAX_STEPS = 1000
MAX_SHOWN = 100
"""Sentences on a page, which has about 40 kB of each."""
DESCRIPTION = """\
Explain a translation: for each target word, the source words that moved it, and what the gates of each layer did.

Occlusion removes a source word and measures how log p of a target word changes; saliency is |gradient x embedding|;
attention is what the decoder read. They answer different questions and need not agree (docs/guides/explain.md).
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return run(lambda: explain(parser().parse_args(argv)))


def parser() -> argparse.ArgumentParser:
    """Return the argument parser."""
    made = CommandParser(
        prog="seq2seq-explain", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "model",
        metavar="MODEL",
        help="model file or run folder; several, comma-separated, translate as an ensemble, whose first is explained",
    )
    made.add_argument("--text", metavar="TEXT", help="explain the translation of this sentence")
    made.add_argument("--tgt", metavar="TEXT", help="explain this translation of --text (default: the model's own)")
    made.add_argument(
        "--input", type=path_type, metavar="FILE", help="explain the translation of each line; -: standard input"
    )
    made.add_argument("--json", action="store_true", help="print all figures, one JSON object per sentence")
    made.add_argument(
        "--output",
        type=path_type,
        metavar="FILE",
        help="also write FILE: .json has what --json prints, .html is a page with heat maps of at most 100 sentences",
    )
    made.add_argument(
        "--integrated-gradients",
        type=whole_number(1, MAX_STEPS),
        default=0,
        metavar="N",
        help="add integrated gradients, an integral of N points; its error is printed below the table (default: none)",
    )
    add_tgt_lang(made)
    add_ensemble_weights(made)
    add_process_options(made)
    return made


def explain(args: argparse.Namespace) -> None:
    """Explain the sentences of the command line.

    Raises:
        ConfigError: an option contradicts another or the model.
        DataError: the sentence of --text cannot be explained, or the input cannot be read.
    """
    logging.basicConfig(format="warning: %(message)s")
    models = model_list(args.model)
    check(args, models)
    translator = load_translator(args, models)
    translator.tags.ids(args.tgt_lang)  # an unknown language is an error without any sentence, too
    records = _records(args, translator)
    if args.output is None:
        for _ in _printed(records, sys.stdout.write, json=args.json):
            pass
        return
    with tempfile.TemporaryFile("w+", encoding="utf-8", newline="") as printed:  # a closed pipe does not end the file
        _save(Path(args.output), _printed(records, printed.write, json=args.json))
        printed.seek(0)
        shutil.copyfileobj(printed, sys.stdout)


def check(args: argparse.Namespace, models: Sequence[str]) -> None:
    """Check that no option contradicts another, and that the files can be read and written.

    Raises:
        ConfigError: names the options.
        DataError: an input cannot be read or is also the output.
        StorageError: the output cannot be written.
    """
    if (args.text is None) == (args.input is None):
        raise ConfigError("give either --text TEXT or --input FILE (-: standard input)")
    if args.tgt is not None and args.text is None:
        raise ConfigError("--tgt is the translation of --text: give both, or leave out --tgt")
    inputs = [args.input] if args.input else []
    check_inputs(inputs)
    if args.output is None:
        return
    ending = Path(args.output).suffix.lower()
    if ending not in (JSON, PAGE):
        raise ConfigError(f"--output {args.output}: end the name in {JSON} or {PAGE}")
    check_output(args.output, [*models, *inputs])
    check_writable(Path(args.output))


@dataclass(frozen=True)
class Record:
    """A sentence, explained or not.

    Attributes:
        line: its number in the input; None: it is that of --text.
        explanation: None if there is none.
        error: why there is none; empty if there is one.
    """

    line: int | None
    explanation: Explanation | None
    error: str = ""

    def to_json(self) -> str:
        """Return one line."""
        fields = {"error": self.error} if self.explanation is None else self.explanation.to_dict()
        return to_json(fields if self.line is None else {"line": self.line, **fields}) + "\n"


def _records(args: argparse.Namespace, translator: Translator) -> Iterator[Record]:
    """Yield the sentences in order; a line that cannot be explained gives a warning, a --text an error."""
    from seq2seq.inference.explanation import explain

    options = {"tgt_lang": args.tgt_lang, "integrated_steps": args.integrated_gradients}
    if args.text is not None:
        target = None if args.tgt is None else argument_text(args.tgt)
        yield Record(None, explain(translator, argument_text(args.text), target, **options))
        return
    with progress([args.input], "-", 0) as advance:
        for number, line in enumerate(lines_of(args.input), start=1):
            try:
                yield Record(number, explain(translator, line, **options))
            except DataError as error:
                sys.stderr.write(f"warning: line {number}: {error}\n")
                yield Record(number, None, str(error))
            advance(1)


def _printed(records: Iterable[Record], write: Callable[[str], object], *, json: bool) -> Iterator[Record]:
    """Yield the records, each after `write` got it as JSON or text."""
    for number, record in enumerate(records):
        if json:
            write(record.to_json())
        elif record.explanation is not None:
            write("\n" * (number > 0) + as_text(record.explanation, record.line))
        yield record


def _save(output: Path, records: Iterable[Record]) -> None:
    """Write the output file, one record after the other."""

    def write(path: Path) -> None:
        with path.open("w", encoding="utf-8") as file:
            is_page = output.suffix.lower() == PAGE
            file.writelines([_page(records)] if is_page else (record.to_json() for record in records))

    write_atomically(output, write)


def _page(records: Iterable[Record]) -> str:
    """Return the first sentences as a page that needs no network."""
    from seq2seq.reporting import markup
    from seq2seq.reporting.explanation_part import explanation

    shown: list[str] = []
    total = 0
    for record in records:
        if record.explanation is not None:
            total += 1
            if total <= MAX_SHOWN:
                shown += explanation({"line": record.line or 1, **record.explanation.to_dict()})
    title = "What moved each word of a translation"
    body = [markup.heading(title, 1)]
    if total > MAX_SHOWN:
        body.append(markup.note(f"The first {MAX_SHOWN} of {total:,} sentences; --output FILE{JSON} has all."))
    style, script = markup.own_file("report.css"), markup.own_file("report.js")
    return markup.page(title, [*body, *shown], style, script)


if __name__ == "__main__":
    sys.exit(main())
