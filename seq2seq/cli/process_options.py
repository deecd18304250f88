"""The argument parser and the options that the commands share: models, device, precision, threads.

Imports no torch, so that `--help` is quick.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from seq2seq.config.decode import InferencePrecisionName
from seq2seq.errors import ConfigError

if TYPE_CHECKING:
    from seq2seq.inference.translator import Translator

log = logging.getLogger(__name__)

PRECISIONS = tuple(InferencePrecisionName.__members__)


class CommandParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, as all user errors are."""

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError, which the command prints as its one line."""
        raise ConfigError(f"{message} (see {self.prog} --help)")


def positive(text: str) -> int:
    """Parse an integer of at least 1; an argparse type."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def argument_text(argument: str) -> str:
    """Return a text of the command line as UTF-8, whatever the locale; bytes that are not UTF-8 become U+FFFD."""
    return argument.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def add_ensemble_weights(parser: argparse._ActionsContainer) -> None:
    """Add `--weights`, the weight of each model of an ensemble."""
    parser.add_argument(
        "--weights",
        type=lambda text: [float(weight) for weight in text.split(",")],
        metavar="W,W",
        help="weight of each model of an ensemble, for example 0.7,0.3 (default: equal weights)",
    )


def add_shortlist(parser: argparse._ActionsContainer) -> None:
    """Add `--shortlist`, a file that `seq2seq.shortlist` wrote."""
    parser.add_argument(
        "--shortlist",
        metavar="FILE",
        help="restrict the output vocabulary to the candidates of FILE, made by seq2seq.shortlist: faster decoding",
    )


def add_process_options(parser: argparse.ArgumentParser, int8: bool = True) -> argparse._ArgumentGroup:
    """Add `--device`, `--precision` and `--threads`; an option that is not given is None.

    Args:
        parser: of the command.
        int8: offer int8, which needs a decoder loop (forced decoding has none).
    """
    group = parser.add_argument_group("process")
    group.add_argument("--device", metavar="NAME", help="auto (default), cpu, cuda, cuda:N or mps")
    group.add_argument(
        "--precision",
        choices=PRECISIONS if int8 else PRECISIONS[:-1],
        help="type of the matrix products (default: auto: bf16 if the hardware has it, else fp32)",
    )
    group.add_argument("--threads", type=positive, metavar="N", help="CPU threads (default: torch's default)")
    return group


def model_list(name: str) -> list[str]:
    """Split a comma-separated list of models; a comma in the name of an existing file does not separate.

    Raises:
        ConfigError: an empty name.
    """
    models = [name] if os.path.exists(name) else name.split(",")
    if len(models) > 1 and not all(models):
        raise ConfigError(f"{name}: an empty model name; write MODEL,MODEL")
    return models


def load_translator(args: argparse.Namespace, models: Sequence[str]) -> Translator:
    """Configure the process and load the models, by the options above."""
    from seq2seq import runtime
    from seq2seq.config.runtime import RuntimeConfig
    from seq2seq.inference.translator import Translator

    runtime.configure(RuntimeConfig(threads=args.threads))
    translator = Translator.load(
        *models,
        device=args.device or "auto",
        precision=args.precision or "auto",
        weights=args.weights,
        shortlist=getattr(args, "shortlist", None),
    )
    if problem := runtime.kernels_problem(translator.device):
        log.warning("%s; translation is slower", problem)
    return translator
