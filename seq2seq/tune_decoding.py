"""Command: tune the length penalty and the weights of rerankers on a validation set.

`python -m seq2seq.tune_decoding MODEL --rerank OTHER --src FILE --ref FILE`
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from seq2seq.cli.exit_status import run
from seq2seq.cli.output_file import check_output
from seq2seq.cli.process_options import (
    CommandParser,
    add_ensemble_weights,
    add_process_options,
    add_references,
    add_rerank,
    add_tgt_lang,
    load_translator,
    model_list,
)
from seq2seq.config.decode import MAX_HYPOTHESES
from seq2seq.errors import ConfigError, DataError

if TYPE_CHECKING:
    from seq2seq.evaluation.decoding_tuning import Tuned
    from seq2seq.inference.translator import Translator

DESCRIPTION = """\
Find the length penalty, and the weights of --rerank models, that give the best translations of a validation set.
Each beam size translates the text once; its hypotheses are then reordered, without further translation. The last line
has the options for translate and evaluate.

Give validation text of at least 500 sentences, never the test set: a test set on which settings were chosen says
nothing about other text. Lines that are translated in parts, because they are longer than the training text, are left
out; the settings are those of whole lines, not of translate --split-sentences.

  %(prog)s MODEL --src valid.en --ref valid.fr                      length penalty alone
  %(prog)s MODEL --rerank OTHER --src valid.en --ref valid.fr       and the weight of OTHER
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return run(lambda: tune_decoding(parser().parse_args(argv)))


def parser() -> argparse.ArgumentParser:
    """Return the argument parser."""
    made = CommandParser(
        prog="seq2seq-tune-decoding", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "model", metavar="MODEL", help="model file or run folder; several, comma-separated, form an ensemble"
    )
    add_references(made, " of the validation set")
    made.add_argument(
        "--beam-sizes",
        type=_beam_sizes,
        metavar="N,N",
        help="beam sizes to try, each of which translates the text once (default: the model's)",
    )
    made.add_argument(
        "--metric", choices=("bleu", "chrf"), default="bleu", help="what is maximised (default: %(default)s)"
    )
    made.add_argument("--json", action="store_true", help="print the result as one line of JSON")
    add_rerank(made, weights=False)
    add_tgt_lang(made)
    add_ensemble_weights(made)
    add_process_options(made)
    return made


def _beam_sizes(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and 1 <= int(part[:9]) <= MAX_HYPOTHESES for part in parts):
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is not a list of numbers from 1 to {MAX_HYPOTHESES}, as 5,10")
    return [int(part) for part in parts]


def tune_decoding(args: argparse.Namespace) -> None:
    """Tune the decoding of the model of the command line.

    Raises:
        ConfigError: an option, or a model that cannot be used.
        DataError: a file is missing, empty or not UTF-8, or the files differ in their number of lines.
    """
    from seq2seq.cli.aligned_files import read_aligned

    logging.basicConfig(format="warning: %(message)s")
    if args.rerank_weights is not None:
        raise ConfigError("--rerank-weights has no effect: seq2seq.tune_decoding finds them")
    models = model_list(args.model)
    check_output("-", [args.src, args.ref, *models, *(name for names in args.rerank or () for name in names)])
    sources, references = read_aligned([args.src, args.ref])
    if not sources:
        raise DataError(f"{args.src} is empty: give validation text of at least 500 sentences")

    from seq2seq.cli.progress import progress
    from seq2seq.evaluation.decoding_tuning import tune
    from seq2seq.storage.metrics_file import to_json

    translator = load_translator(args, models)
    translator.tag(args.tgt_lang)
    sizes = args.beam_sizes or [translator.decode.beam_size]
    with progress([], "-", 0, len(sources) * len(sizes)) as advance:
        tuned = tune(translator, sources, references, sizes, args.metric, args.tgt_lang, advance)
    options = option_text(translator, tuned[0], args)
    if args.json:
        results = [one.to_dict() for one in tuned]
        sys.stdout.write(to_json({"options": options, "sentences": tuned[0].sentences, "results": results}) + "\n")
        return
    print_tuned(tuned, args.metric)
    sys.stdout.write(f"\noptions of the best: {options}\n")


def option_text(translator: Translator, best: Tuned, args: argparse.Namespace) -> str:
    """Return the options with which translate and evaluate decode so, beside the model."""
    import shlex

    options = ["--beam-size", str(best.beam_size)]
    if best.length_penalty is not None:
        options += ["--length-penalty", number(best.length_penalty)]
    if args.weights is not None:
        options += ["--weights", ",".join(map(number, args.weights))]
    for name in ("tgt_lang", "precision"):
        if getattr(args, name) is not None:
            options += [f"--{name.replace('_', '-')}", getattr(args, name)]
    for names in args.rerank or ():
        options += ["--rerank", ",".join(names)]
    if translator.rerankers:
        options += ["--rerank-weights", ",".join(map(number, best.weights))]
    if args.rerank_as is not None:
        options += ["--rerank-as", ",".join(args.rerank_as)]
    return shlex.join(options)


def number(value: float) -> str:
    """Return the shortest text of exactly this number."""
    return str(int(value)) if value.is_integer() and abs(value) < 1e9 else repr(value)


def print_tuned(tuned: Sequence[Tuned], metric: str) -> None:
    """Print a table with a row for each beam size, the best first."""
    from seq2seq.evaluation.report import print_table

    rows = [
        [
            str(one.beam_size),
            f"{one.default_score:.2f}",
            f"{one.score:.2f}",
            f"{one.p_value:.3f}",
            "-" if one.length_penalty is None else number(one.length_penalty),
            ",".join(map(number, one.weights)) or "-",
        ]
        for one in tuned
    ]
    print_table(["beam", f"{metric} before", "tuned", "p", "length penalty", "rerank weights"], rows)
    sys.stdout.write("before: the model alone, with its own length penalty; p: paired bootstrap, on the tuned text\n")


if __name__ == "__main__":
    sys.exit(main())
