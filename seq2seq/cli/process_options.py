"""The argument parser and the options that the commands share: models, device, precision, threads.

Imports no torch, so that `--help` is quick.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from seq2seq.config.decode import InferencePrecisionName
from seq2seq.config.paths import user_path
from seq2seq.config.runtime import RuntimeConfig
from seq2seq.errors import ConfigError

if TYPE_CHECKING:
    from seq2seq.inference.translator import Translator

log = logging.getLogger(__name__)

_THREADS = next(field for field in dataclasses.fields(RuntimeConfig) if field.name == "threads")
PRECISIONS = tuple(InferencePrecisionName.__members__)


class CommandParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, as all user errors are.

    An option that is given twice is an error, where argparse would drop the first value; `action="append"` repeats.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self._given: set[argparse.Action] = set()
        super().__init__(*args, **options)
        for name, action in ((None, _StoreOnce), ("store", _StoreOnce), ("store_true", _StoreTrueOnce)):
            self.register("action", name, action)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, counting the options anew."""
        self._given.clear()
        return super().parse_known_args(args, namespace)

    def check_first(self, action: argparse.Action) -> None:
        """Raise ConfigError if the option of `action` was given before."""
        if action in self._given:
            self.error(f"{'/'.join(action.option_strings)} is given twice: give it once")
        self._given.add(action)

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError, which the command prints as its one line."""
        raise ConfigError(f"{message} (see {self.prog} --help)")


class _Once(argparse.Action):
    """Refuses the second occurrence of an option; positional arguments have no option string."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option_string: str | None = None
    ) -> None:
        if option_string is not None and isinstance(parser, CommandParser):
            parser.check_first(self)
        super().__call__(parser, namespace, values, option_string)


class _StoreOnce(_Once, argparse._StoreAction):
    pass


class _StoreTrueOnce(_Once, argparse._StoreTrueAction):
    pass


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """Return an argparse type: an integer from `low` to `high`, between which the process survives."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
            raise argparse.ArgumentTypeError(f"{text[:80]!r} is not a whole number from {low} to {high}")
        if int(text) < low:
            raise argparse.ArgumentTypeError(f"{text} is not at least {low}")
        if int(text) > high:
            raise argparse.ArgumentTypeError(f"{text} is more than {high}")
        return int(text)

    return parse


def path_type(text: str) -> str:
    """Parse a path, `~` being the home folder; an argparse type."""
    try:
        return user_path(text, "the path")
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def field_type(field: dataclasses.Field[Any]) -> Callable[[str], int]:
    """Return the argparse type of a whole number with the range of a config field."""
    return whole_number(field.metadata["at_least"], field.metadata["at_most"])


def _threads(text: str) -> int | str:
    return text if text == "auto" else field_type(_THREADS)(text)


def argument_text(argument: str) -> str:
    """Return a text of the command line as UTF-8, whatever the locale; bytes that are not UTF-8 become U+FFFD."""
    return argument.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def add_ensemble_weights(parser: argparse._ActionsContainer) -> None:
    """Add `--weights`, the weight of each model of an ensemble."""
    parser.add_argument(
        "--weights",
        type=_weights,
        metavar="W,W",
        help="weight of each model of an ensemble, for example 0.7,0.3 (default: equal weights)",
    )


def _weights(text: str) -> list[float]:
    try:
        return [float(weight) for weight in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is not a list of numbers such as 0.7,0.3") from None


def add_shortlist(parser: argparse._ActionsContainer) -> None:
    """Add `--shortlist`, a file that `seq2seq.shortlist` wrote."""
    parser.add_argument(
        "--shortlist",
        type=path_type,
        metavar="FILE",
        help="restrict the output vocabulary to the candidates of FILE, made by seq2seq.shortlist: faster decoding",
    )


def add_references(parser: argparse.ArgumentParser, of_what: str = "") -> None:
    """Add `--src` and `--ref`, both required: a source text and its reference translations."""
    for option, text in (("--src", "source text"), ("--ref", "reference translations, line-aligned with --src")):
        parser.add_argument(
            option,
            type=path_type,
            required=True,
            metavar="FILE",
            help=f"{text}{of_what}, one sentence a line, plain or compressed; -: standard input",
        )


def add_rerank(parser: argparse.ArgumentParser, weights: bool = True) -> None:
    """Add `--rerank`, `--rerank-weights` and `--rerank-as`.

    Args:
        parser: of the command.
        weights: list `--rerank-weights` in the help; False: of a command that finds them and refuses the option.
    """
    help_of_weights = (
        "weight of each --rerank MODEL, as seq2seq.tune_decoding finds them; the first model's is 1 (default: 1)"
    )
    group = parser.add_argument_group("reranking of the hypotheses of the beam by other models")
    group.add_argument(
        "--rerank",
        action="append",
        type=model_list,
        metavar="MODEL",
        help="add the log p that MODEL gives each hypothesis, over the length penalty, to its score; a model of the "
        "opposite direction gives log p of the source (noisy channel); the vocabulary may differ; --beam-size is the "
        "number of hypotheses; repeatable; several, comma-separated, form an ensemble",
    )
    group.add_argument(
        "--rerank-weights",
        type=_weights,
        metavar="W,W",
        help=help_of_weights if weights else argparse.SUPPRESS,
    )
    group.add_argument(
        "--rerank-as",
        type=lambda text: text.split(","),
        metavar="ROLE,ROLE",
        help="what each --rerank MODEL scores: forward, the target given the source; reverse, the source given the "
        "target; auto, as its languages say (default)",
    )


def add_tgt_lang(parser: argparse._ActionsContainer) -> None:
    """Add `--tgt-lang`, the target language of a model that has several."""
    parser.add_argument(
        "--tgt-lang", metavar="CODE", help="target language, for a model that was trained with several (data.mix)"
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
        help="type of the matrix products; fp16 needs a CUDA GPU (default: auto: bf16 if there is hardware, else fp32)",
    )
    group.add_argument(
        "--threads",
        type=_threads,
        metavar="N",
        help="CPU threads (default: auto: as many as other processes leave cores for, followed while running)",
    )
    return group


def model_list(name: str) -> list[str]:
    """Split a comma-separated list of models; a comma in the name of an existing file does not separate.

    Raises:
        ConfigError: an empty name.
    """
    models = [name] if os.path.exists(name) else name.split(",")
    if len(models) > 1 and not all(models):
        raise ConfigError(f"{name}: an empty model name; write MODEL,MODEL")
    return [user_path(model, "MODEL", empty="name a model file or a run folder") for model in models]


def load_translator(args: argparse.Namespace, models: Sequence[str]) -> Translator:
    """Configure the process and load the models, by the options above."""
    from seq2seq import runtime
    from seq2seq.inference.translator import Translator

    runtime.configure(RuntimeConfig(threads=args.threads or "auto"))
    translator = Translator.load(
        *models,
        device="auto" if args.device is None else args.device,
        precision=args.precision or "auto",
        weights=getattr(args, "weights", None),
        shortlist=getattr(args, "shortlist", None),
        rerank=getattr(args, "rerank", None) or (),
        rerank_weights=getattr(args, "rerank_weights", None),
        rerank_as=getattr(args, "rerank_as", None),
        batch_tokens=getattr(args, "batch_tokens", None),
    )
    if problem := runtime.kernels_problem(translator.device):
        log.warning("%s; translation is slower", problem)
    return translator
