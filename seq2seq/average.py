"""Average the weights of several models: `python -m seq2seq.average MODEL... --output FILE`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from seq2seq.cli.exit_status import run
from seq2seq.cli.output_file import check_output
from seq2seq.cli.process_options import CommandParser, path_type, whole_number
from seq2seq.config.field import MAX_COUNT
from seq2seq.errors import ModelFileError

DESCRIPTION = """\
Write a model whose weights are the mean of the given models' weights (Junczys-Dowmunt et al. 2016; Vaswani et al. 2017,
section 6.1): it approximates their ensemble at the cost of one model. The models must have the same network and
vocabulary and come from one run: runs with different initial weights have no useful mean. The tokenizer and the config
are those of the first model. The mean is not calibrated: for its confidence run seq2seq.calibrate.

A run folder stands for the models in its models/ (kept with training.keep_best=K or training.keep_last=N).
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return run(lambda: average(parser().parse_args(argv)))


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = CommandParser(
        prog="seq2seq-average", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "models", nargs="+", type=path_type, metavar="MODEL", help="model file, or run folder: every model it keeps"
    )
    parser.add_argument(
        "--output", type=path_type, required=True, metavar="FILE", help="write the averaged model to FILE"
    )
    parser.add_argument(
        "--last",
        type=whole_number(1, MAX_COUNT),
        metavar="N",
        help="use the last N models, by step, of each run folder",
    )
    parser.add_argument("--force", action="store_true", help="overwrite FILE if it exists")
    return parser


def average(args: argparse.Namespace) -> None:
    """Average the models that the command line names and write the result.

    Raises:
        ConfigError: an option is out of range, or the output is a folder or an existing file.
        ModelFileError: a file is missing or damaged, there are fewer than two models, or they are incompatible.
        StorageError: the output cannot be written.
    """
    output = Path(args.output)
    check_output(args.output, args.models, force=args.force)
    files = [file for name in args.models for file in model_files(Path(name), args.last)]
    if len(files) < 2:
        raise ModelFileError(f"{files[0]} is the only model: averaging needs at least two")

    from seq2seq.storage.model_file import save_model
    from seq2seq.storage.weight_averaging import average_models

    save_model(output, average_models(files))
    sys.stderr.write(f"mean of {len(files)} models:\n" + "".join(f"  {file}\n" for file in files))
    sys.stdout.write(f"{output}\n")


def model_files(path: Path, last: int | None = None) -> list[Path]:
    """Return `path` if it is a file, else the (last) models that the run folder keeps, by step.

    Raises:
        ModelFileError: the folder keeps no models.
    """
    if not os.path.isdir(path):
        return [path]

    from seq2seq.storage.run_folder import MODELS_NAME
    from seq2seq.training.checkpoint_retention import kept_models

    models = kept_models(path)
    if not models:
        raise ModelFileError(
            f"no models in {path / MODELS_NAME}: train with training.keep_best=K (at least 2) or training.keep_last=N, "
            "or name model files"
        )
    return models[-(last or len(models)) :]


if __name__ == "__main__":
    sys.exit(main())
