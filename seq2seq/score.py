"""Score given translations: `python -m seq2seq.score MODEL --src FILE --tgt FILE`, one line out per pair, in order."""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from seq2seq.cli.exit_status import run
from seq2seq.cli.options import add_weights, model_list
from seq2seq.errors import ConfigError

if TYPE_CHECKING:
    from seq2seq.inference.forced_scoring import PairScore

WINDOW = 2000  # pairs scored, and sorted by length, at a time

DESCRIPTION = """\
Say how likely a model finds given translations (forced decoding).

Each line of output is log p(target | source), a TAB, and the mean log p of a piece; a last line on stderr tells the
perplexity, exp(-mean log p of all pieces, EOS included). Logarithms are natural.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    args = parser().parse_args(argv)
    return run(lambda: score(args))


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(
        prog="seq2seq-score", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("model", metavar="MODEL", help="model file or run folder; several, comma-separated: an ensemble")
    made.add_argument("--src", required=True, metavar="FILE", help="source text, one sentence a line (plain or .gz)")
    made.add_argument("--tgt", required=True, metavar="FILE", help="its translation, line by line")
    made.add_argument(
        "--format",
        choices=("text", "jsonl"),
        default="text",
        help="jsonl: one object a line with log_prob, mean_log_prob, pieces and token_log_probs",
    )
    made.add_argument("--batch-tokens", type=int, metavar="N", help="ceiling of pairs × longest side in a batch")
    add_weights(made)
    made.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    made.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"), help="of matrix products")
    made.add_argument("--threads", type=int, metavar="N", help="CPU threads; default: torch's choice")
    return made


def score(args: argparse.Namespace) -> None:
    """Score what the command line names.

    Raises:
        DataError: a file is missing, not UTF-8, or the two have different numbers of lines.
        ConfigError: an option out of range.
    """
    from seq2seq.data.corpus import read_pair

    logging.basicConfig(format="warning: %(message)s")
    text = read_pair(args.src, args.tgt)

    from seq2seq import runtime
    from seq2seq.config.schema import RuntimeConfig
    from seq2seq.inference.forced_scoring import perplexity
    from seq2seq.inference.translator import Translator

    if args.threads is not None and args.threads < 1:
        raise ConfigError(f"--threads {args.threads} is not at least 1")
    runtime.configure(RuntimeConfig(threads=args.threads))
    translator = Translator.load(
        *model_list(args.model), device=args.device, precision=args.precision, weights=args.weights
    )
    scores: list[PairScore] = []
    for start in range(0, len(text), WINDOW):
        window = slice(start, start + WINDOW)
        found = translator.score(text.src[window], text.tgt[window], batch_tokens=args.batch_tokens)
        sys.stdout.writelines(f"{line_of(one, args.format)}\n" for one in found)
        scores += found
    pieces = sum(len(one.token_log_probs) for one in scores)
    sys.stderr.write(f"perplexity {perplexity(scores):.4f} over {pieces:,} pieces of {len(scores):,} pairs\n")


def line_of(one: PairScore, shape: str) -> str:
    """Return the output line of one pair; a pair that was not scored gives nan (JSON: null)."""
    mean = one.log_prob / len(one.token_log_probs) if one.token_log_probs else math.nan
    if shape == "text":
        return f"{one.log_prob:.4f}\t{mean:.4f}"
    known = bool(one.token_log_probs)
    return json.dumps(
        {
            "log_prob": one.log_prob if known else None,
            "mean_log_prob": mean if known else None,
            "pieces": one.pieces,
            "token_log_probs": one.token_log_probs,
        }
    )


if __name__ == "__main__":
    sys.exit(main())
