"""Make a vocabulary shortlist for a model: `python -m seq2seq.shortlist MODEL --src FILE --tgt FILE`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from seq2seq.cli.exit_status import run
from seq2seq.errors import ConfigError

NAME = "shortlist.safetensors"
DESCRIPTION = """\
Count in sentence pairs, best those the model was trained on, which target pieces translate which source piece, so that
`translate --shortlist FILE` computes the probabilities of few pieces instead of the whole vocabulary's. That is faster
the larger the vocabulary is; an output can only hold what the shortlist of its batch holds.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    args = parser().parse_args(argv)
    return run(lambda: make(args))


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(
        prog="seq2seq-shortlist", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("model", metavar="MODEL", help="model file or run folder")
    made.add_argument("--src", required=True, metavar="FILE", help="source text, one sentence a line (plain or .gz)")
    made.add_argument("--tgt", required=True, metavar="FILE", help="its translation, line by line")
    made.add_argument("--output", metavar="FILE", help=f"write here ({NAME} beside the model)")
    made.add_argument("--best", type=int, default=20, metavar="N", help="target pieces for each source piece (20)")
    made.add_argument("--frequent", type=int, default=200, metavar="N", help="target pieces for all sentences (200)")
    return made


def make(args: argparse.Namespace) -> None:
    """Make what the command line asks for.

    Raises:
        DataError: a file is missing, not UTF-8, or the two have different numbers of lines.
        ConfigError: an option out of range.
    """
    from seq2seq.data.reading import read_pair

    for name in ("best", "frequent"):
        if getattr(args, name) < 1:
            raise ConfigError(f"--{name} {getattr(args, name)} is not at least 1")
    text = read_pair(args.src, args.tgt)

    import torch

    from seq2seq.inference.vocabulary_shortlist import Shortlist
    from seq2seq.storage.model_file import find_model, load_model

    path = find_model(Path(args.model))
    tokenizer = load_model(path, torch.device("cpu")).tokenizer
    src, tgt, best = tokenizer.encode_src(text.src), tokenizer.encode_tgt(text.tgt), min(args.best, tokenizer.tgt_size)
    made = Shortlist.make(src, tgt, tokenizer.src_size, best, args.frequent)
    output = Path(args.output or path.with_name(NAME))
    made.save(output, tokenizer.fingerprint)
    sys.stderr.write(f"{output}: {best} target pieces for each of {tokenizer.src_size:,}, from {len(text):,} pairs\n")


if __name__ == "__main__":
    sys.exit(main())
