"""Command: make sentence pairs from target text with a reverse model.

`python -m seq2seq.backtranslate MODEL [FILE ...]`. Sennrich et al. 2016; sampling: Edunov et al. 2018; the tag:
Caswell et al. 2019.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from seq2seq.cli.exit_status import run
from seq2seq.cli.line_reader import check_inputs, windows
from seq2seq.cli.process_options import (
    CommandParser,
    add_ensemble_weights,
    add_process_options,
    add_shortlist,
    add_tgt_lang,
    load_translator,
    model_list,
    path_type,
)
from seq2seq.cli.search_options import add_search_options, search_overrides
from seq2seq.cli.synthesis import (
    WINDOW,
    add_filter_options,
    add_output_options,
    check_outputs,
    make_pairs,
    model_digests,
    pair_filter,
    text_digests,
)
from seq2seq.config.decode import SearchName
from seq2seq.config.paths import user_path
from seq2seq.errors import ConfigError, named_errors

if TYPE_CHECKING:
    import torch

    from seq2seq.inference.forced_scoring import PairScore
    from seq2seq.inference.synthetic_pairs import Score, SyntheticPair

DEFAULT_TAG = "<BT>"
METHODS: dict[str, dict[str, Any]] = {
    "beam": {"search": SearchName.beam.name},
    "sample": {"search": SearchName.sample.name},
    "top-k": {"search": SearchName.sample.name, "top_k": 10},
}
DESCRIPTION = """\
Translate text of the target language with a model that was trained in the reverse direction, and write sentence pairs:
the translation as source, the text as target. They are training text for a model of the direction wanted.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return run(lambda: backtranslate(parser().parse_intermixed_args(argv)))


def parser() -> argparse.ArgumentParser:
    """Return the argument parser."""
    made = CommandParser(
        prog="seq2seq-backtranslate", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "model",
        metavar="MODEL",
        help="model file or run folder that translates the text's language into the source language; several, "
        "comma-separated, form an ensemble",
    )
    made.add_argument("files", metavar="FILE", nargs="*", help="target text, one sentence a line (default: -, stdin)")
    add_ensemble_weights(made)
    add_shortlist(made)
    add_tgt_lang(made)
    made.add_argument(
        "--method",
        choices=tuple(METHODS),
        help="beam: the most probable source; sample: draw it from the model, for large corpora; top-k: draw from the "
        "10 likeliest tokens (--top-k N: from N). Default: the search options",
    )
    tag = made.add_mutually_exclusive_group()
    tag.add_argument(
        "--tag",
        type=_tag,
        default=DEFAULT_TAG,
        metavar="TAG",
        help=f"write TAG and a space before each synthetic source (default: {DEFAULT_TAG})",
    )
    tag.add_argument("--no-tag", action="store_const", dest="tag", const="", help="write the synthetic source alone")
    add_output_options(made)
    filters = add_filter_options(made)
    filters.add_argument(
        "--forward-model",
        type=path_type,
        metavar="MODEL",
        help="score pairs with this model, from source to target, too: the score is then "
        "-|H(s|t) - H(t|s)| - (H(s|t) + H(t|s))/2, dual conditional cross-entropy per token (default score: log p per "
        "token of the synthetic source)",
    )
    filters.add_argument(
        "--forward-tgt-lang",
        metavar="CODE",
        help="language of the text, for a --forward-model with several",
    )
    add_search_options(made)
    process = add_process_options(made)
    process.add_argument("--strict", action="store_true", help="stop at bytes that are not UTF-8 and at NUL bytes")
    return made


def backtranslate(args: argparse.Namespace) -> None:
    """Make the pairs of the command line."""
    from seq2seq.inference.synthetic_pairs import PairMaker

    logging.basicConfig(format="warning: %(message)s")
    models, files = model_list(args.model), [user_path(file, "FILE") for file in args.files] or ["-"]
    _apply_method(args)
    if args.forward_tgt_lang and not args.forward_model:
        raise ConfigError("--forward-tgt-lang needs --forward-model")
    search_overrides(args)
    forward = [args.forward_model] if args.forward_model else []
    check_inputs(files)
    check_outputs(args, [*files, *models, *forward, *filter(None, [args.shortlist])])
    translator = load_translator(args, models)
    opposite = _forward_score(args, translator.device) if forward else None
    options = search_overrides(args, translator.decode)
    translator.check_options(**options)
    translator.tags.ids(args.tgt_lang)
    options["tgt_lang"] = args.tgt_lang
    rule = pair_filter(args, translator)
    settings = {
        "models": model_digests([*models, *forward, *filter(None, [args.shortlist])]),
        "text": text_digests(files),
        "weights": args.weights,
        "forward_tgt_lang": args.forward_tgt_lang,
        "options": options,
        "filter": vars(rule),
        "precision": args.precision,
    }
    make_pairs(
        args,
        PairMaker(translator, options, rule, opposite),
        ([(line, "") for line in window] for window in windows(files, WINDOW, args.strict)),
        settings,
        lambda pair: _place(pair, args.tag),
        files=files,
    )


def _apply_method(args: argparse.Namespace) -> None:
    """Set the search options that --method stands for.

    Raises:
        ConfigError: --search is given, too.
    """
    if args.method is None:
        return
    if args.search is not None:
        raise ConfigError(f"--method {args.method} and --search {args.search}: give one of them")
    for name, value in METHODS[args.method].items():
        if getattr(args, name) is None:
            setattr(args, name, value)


def _forward_score(args: argparse.Namespace, device: torch.device) -> Score:
    """Return the scoring function of the forward model.

    Raises:
        ConfigError: the model does not have the language of the text, or has several and none is given.
    """
    from seq2seq.inference.translator import Translator

    precision = "auto" if args.precision in (None, "int8") else args.precision  # forced decoding has no int8
    model = Translator.load(args.forward_model, device=str(device), precision=precision, batch_tokens=args.batch_tokens)
    model.tags.ids(args.forward_tgt_lang, "--forward-tgt-lang")

    def score(sources: Sequence[str], targets: Sequence[str]) -> list[PairScore]:
        with named_errors(args.forward_model):
            return model.score(sources, targets, tgt_lang=args.forward_tgt_lang)

    return score


def _place(pair: SyntheticPair, tag: str) -> tuple[str, str]:
    source = f"{tag} {pair.generated}" if tag and pair.generated else pair.generated
    return source, pair.given


def _tag(text: str) -> str:
    if not re.fullmatch(r"\S+", text):
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is not one word: write a tag such as {DEFAULT_TAG}")
    return text


if __name__ == "__main__":
    sys.exit(main())
