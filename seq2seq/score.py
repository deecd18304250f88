"""Command: forced decoding, the log-probability of given translations.

`python -m seq2seq.score MODEL --src FILE --tgt FILE` writes one line per sentence pair.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
from collections.abc import Sequence
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
from seq2seq.storage.metrics_file import to_json

if TYPE_CHECKING:
    from seq2seq.inference.forced_scoring import PairScore

WINDOW = 2000  # pairs that are sorted by length and scored together

DESCRIPTION = """\
Score given translations with a model (forced decoding).

Each output line is log p(target | source), a TAB, and the mean log p per token. The last line on stderr is the
perplexity, exp(-mean log p of all tokens, EOS included). Logarithms are natural.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return run(lambda: score(parser().parse_args(argv)))


def parser() -> argparse.ArgumentParser:
    """Return the argument parser."""
    made = CommandParser(
        prog="seq2seq-score", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "model", metavar="MODEL", help="model file or run folder; several, comma-separated, form an ensemble"
    )
    made.add_argument(
        "--src",
        type=path_type,
        required=True,
        metavar="FILE",
        help="source text, one sentence a line; -: standard input",
    )
    made.add_argument(
        "--tgt",
        type=path_type,
        required=True,
        metavar="FILE",
        help="target text, line-aligned with --src (plain or compressed); -: standard input",
    )
    made.add_argument(
        "--format",
        choices=("text", "jsonl"),
        default="text",
        help="jsonl: write one object per line with log_prob, mean_log_prob, pieces and token_log_probs",
    )
    made.add_argument("--batch-tokens", type=int, metavar="N", help="maximum of pairs × longest side in a batch")
    add_tgt_lang(made)
    add_ensemble_weights(made)
    add_process_options(made, int8=False)
    return made


def score(args: argparse.Namespace) -> None:
    """Score the pairs of the command line.

    Raises:
        DataError: a file is missing, not UTF-8, or the files have different numbers of lines.
        ConfigError: an option is out of range.
    """
    from seq2seq.cli.aligned_files import read_aligned

    logging.basicConfig(format="warning: %(message)s")
    check_output("-", [args.src, args.tgt, *model_list(args.model)])
    sources, targets = read_aligned([args.src, args.tgt])

    from seq2seq.inference.forced_scoring import perplexity

    translator = load_translator(args, model_list(args.model))
    translator.tags.ids(args.tgt_lang)  # an unknown language is an error without any pairs, too
    scores: list[PairScore] = []
    for start in range(0, len(sources), WINDOW):
        window = slice(start, start + WINDOW)
        options = {"batch_tokens": args.batch_tokens, "tgt_lang": args.tgt_lang}
        window_scores = translator.score(sources[window], targets[window], **options)
        sys.stdout.writelines(f"{output_line(pair, args.format)}\n" for pair in window_scores)
        scores += window_scores
    pieces = sum(len(pair.token_log_probs) for pair in scores)
    sys.stderr.write(f"perplexity {perplexity(scores):.4f} over {pieces:,} pieces of {len(scores):,} pairs\n")


def output_line(pair: PairScore, format: str) -> str:
    """Return the output line of one pair; one that was not scored gives nan. JSON has null for non-finite numbers."""
    mean = pair.log_prob / len(pair.token_log_probs) if pair.token_log_probs else math.nan
    if format == "text":
        return f"{pair.log_prob:.4f}\t{mean:.4f}"
    return to_json(
        {
            "log_prob": pair.log_prob,
            "mean_log_prob": mean,
            "pieces": pair.pieces,
            "token_log_probs": pair.token_log_probs,
        }
    )


if __name__ == "__main__":
    sys.exit(main())
