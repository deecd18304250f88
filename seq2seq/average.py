"""Make one model of several: `python -m seq2seq.average MODEL... --output FILE`, the mean of their weights."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seq2seq.cli.exit_status import run
from seq2seq.errors import ConfigError, ModelFileError
from seq2seq.storage.run_folder import MODELS_NAME

if TYPE_CHECKING:
    from torch import Tensor

    from seq2seq.config.model import ModelConfig
    from seq2seq.storage.model_file import Model

DESCRIPTION = """\
Average the weights of several models of one run (Junczys-Dowmunt et al. 2016; Vaswani et al. 2017, section 6.1): like
an ensemble of them, at the price of one. All must have the same network and vocabulary; the mean of runs that began
with different weights is of no use, even so. The new file has the tokenizer and the config of the first.

A run folder stands for the models that it keeps in models/ (training.keep_best=K, training.keep_last=N).
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    args = parser().parse_args(argv)
    return run(lambda: average(args))


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(
        prog="seq2seq-average", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("models", nargs="+", metavar="MODEL", help="model file, or run folder: all models it keeps")
    made.add_argument("--output", required=True, metavar="FILE", help="write the new model here")
    made.add_argument("--last", type=int, metavar="N", help="of a run folder only the last N models, by step")
    made.add_argument("--force", action="store_true", help="replace an output that exists")
    return made


def average(args: argparse.Namespace) -> None:
    """Average what the command line names.

    Raises:
        ConfigError: an option out of range, or an output that must not be written.
        ModelFileError: a file is missing or damaged, or the models are too few or do not fit each other.
        StorageError: the output cannot be written.
    """
    if args.last is not None and args.last < 1:
        raise ConfigError(f"--last {args.last} is not at least 1")
    output = Path(args.output)
    if os.path.isdir(output):
        raise ConfigError(f"--output {output} is a folder: name a file")
    if os.path.lexists(output) and not args.force:
        raise ConfigError(f"--output {output} exists: name another file, or replace it with --force")
    files = [file for name in args.models for file in expand(Path(name), args.last)]
    if len(files) < 2:
        raise ModelFileError(f"{files[0]} is the only model: a mean needs at least two")

    from seq2seq.storage.model_file import save_model

    save_model(output, mean(files))
    sys.stderr.write(f"mean of {len(files)} models:\n" + "".join(f"  {file}\n" for file in files))
    sys.stdout.write(f"{output}\n")


def expand(path: Path, last: int | None = None) -> list[Path]:
    """Return the models that `path` stands for: itself, or the (last) models that a run folder keeps, by step.

    Raises:
        ModelFileError: the folder keeps none.
    """
    if not os.path.isdir(path):
        return [path]

    from seq2seq.training.checkpoint_retention import kept_models

    found = kept_models(path)
    if not found:
        raise ModelFileError(
            f"no models in {path / MODELS_NAME}: train with training.keep_best=K (at least 2) or training.keep_last=N, "
            "or name model files"
        )
    return found[-(last or len(found)) :]


def mean(files: Sequence[Path]) -> Model:
    """Return the mean of the models in `files`, with the tokenizer and the config of the first.

    Besides the sum no more than one model is in memory.

    Raises:
        ModelFileError: a file is missing or damaged, has weights that are not finite, or does not fit another.
    """
    import torch

    total = WeightSum()
    for file in reversed(files[1:]):
        total.add(file)
    model = total.add(files[0])  # read last: its network, still in memory, takes the mean
    with torch.no_grad():
        for name, weight in model.network.named_parameters():  # of tied matrices only one
            weight.copy_(total.weights[name] / len(files))
    return model


class WeightSum:
    """The sum of the weights of models that fit each other, in float64."""

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}
        self._known: tuple[Path, dict[str, object], str] | None = None

    def add(self, file: Path) -> Model:
        """Read a model, add its weights and return it.

        Raises:
            ModelFileError: the file is missing or damaged, has weights that are not finite, or does not fit the others.
        """
        import torch

        from seq2seq.storage.model_file import load_model

        model = load_model(file, torch.device("cpu"))
        self._check_fit(file, model)
        for name, weight in model.network.named_parameters():
            # The mean of finite weights is finite, in their type, too; here the file at fault can be named.
            if not weight.isfinite().all():
                raise ModelFileError(f"{file} cannot be averaged: {name} has values that are not finite")
            if name in self.weights:
                self.weights[name] += weight.detach()
            else:
                self.weights[name] = weight.detach().double()
        return model

    def _check_fit(self, file: Path, model: Model) -> None:
        """Raise ModelFileError for another network or vocabulary; where both are the same, so are the shapes."""
        parts, pieces = _parts(model.config.model), model.tokenizer.fingerprint
        if self._known is None:
            self._known = file, parts, pieces
        other, other_parts, other_pieces = self._known
        for key, value in parts.items():
            if value != other_parts[key]:
                raise ModelFileError(
                    f"{file} and {other} have different networks and so no mean: "
                    f"model.{key} is {_text(value)} and {_text(other_parts[key])}"
                )
        if pieces != other_pieces:
            raise ModelFileError(f"{file} and {other} have different vocabularies and so no mean")


def _parts(model: ModelConfig) -> dict[str, object]:
    """Return the settings that say what the weights mean: neither dropout nor the first weights."""
    parts = {field.name: getattr(model, field.name) for field in dataclasses.fields(model)}
    del parts["dropout"], parts["initialisation"]
    return parts | {"encoder_hidden_size": model.encoder_size}  # null is half of hidden_size


def _text(value: object) -> str:
    return str(value).lower()  # as in YAML: true


if __name__ == "__main__":
    sys.exit(main())
