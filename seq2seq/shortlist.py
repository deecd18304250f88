"""Command: make a vocabulary shortlist. `python -m seq2seq.shortlist MODEL --src FILE --tgt FILE`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from seq2seq.cli.exit_status import run
from seq2seq.cli.output_file import check_output
from seq2seq.cli.process_options import CommandParser, path_type, whole_number
from seq2seq.storage.run_folder import SHORTLIST_NAME

MAX_CANDIDATES = 1_000_000
DESCRIPTION = """\
Learn from sentence pairs, ideally the training text, which target tokens are likely translations of each source token.
`translate --shortlist FILE` then computes probabilities for these candidates instead of the whole vocabulary. This
saves more time with a larger vocabulary; an output can only contain candidates of its sentence.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return run(lambda: make(parser().parse_args(argv)))


def parser() -> argparse.ArgumentParser:
    """Return the argument parser."""
    made = CommandParser(
        prog="seq2seq-shortlist", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("model", type=path_type, metavar="MODEL", help="model file or run folder")
    made.add_argument(
        "--src",
        type=path_type,
        required=True,
        metavar="FILE",
        help="source text, a sentence a line (plain or compressed); for a model of several target languages: pairs of "
        "all of them",
    )
    made.add_argument(
        "--tgt",
        type=path_type,
        required=True,
        metavar="FILE",
        help="target text, line-aligned with --src (plain or compressed)",
    )
    made.add_argument(
        "--output", type=path_type, metavar="FILE", help=f"output file (default: {SHORTLIST_NAME} beside the model)"
    )
    made.add_argument(
        "--best",
        type=whole_number(1, MAX_CANDIDATES),
        default=20,
        metavar="N",
        help="candidates per source token (default: 20)",
    )
    made.add_argument(
        "--frequent",
        type=whole_number(1, MAX_CANDIDATES),
        default=200,
        metavar="N",
        help="most frequent target tokens, always candidates (200)",
    )
    return made


def make(args: argparse.Namespace) -> None:
    """Make the shortlist of the command line.

    Raises:
        DataError: a file is missing, not UTF-8, or the files have different numbers of lines.
    """
    from seq2seq.data.files.reading import read_pair

    model = Path(args.model)
    output = Path(args.output or (model if model.is_dir() else model.parent) / SHORTLIST_NAME)
    check_output(str(output), [args.model, args.src, args.tgt])
    text = read_pair(args.src, args.tgt)

    import torch

    from seq2seq.inference.vocabulary_shortlist import Shortlist
    from seq2seq.storage.model_file import load_model

    tokenizer = load_model(model, torch.device("cpu")).tokenizer
    src, tgt, best = tokenizer.encode_src(text.src), tokenizer.encode_tgt(text.tgt), min(args.best, tokenizer.tgt_size)
    made = Shortlist.make(src, tgt, tokenizer.src_size, best, args.frequent)
    made.save(output, tokenizer.fingerprint)
    sys.stderr.write(f"{output}: {best} target tokens for each of {tokenizer.src_size:,}, from {len(text):,} pairs\n")


if __name__ == "__main__":
    sys.exit(main())
