"""Command: translate the source of the training text with a teacher. `python -m seq2seq.distill TEACHER[,TEACHER ...]`.

Sequence-level knowledge distillation and interpolation (Kim and Rush 2016).
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from seq2seq.cli.data.pair_inputs import add_pair_inputs, data_config, is_override, pairs
from seq2seq.cli.exit_status import run
from seq2seq.cli.line_reader import check_inputs
from seq2seq.cli.model_corpus import corpus_config
from seq2seq.cli.process_options import (
    CommandParser,
    add_ensemble_weights,
    add_process_options,
    add_shortlist,
    load_translator,
    model_list,
    whole_number,
)
from seq2seq.cli.search_options import add_search_options, n_best_options, search_overrides
from seq2seq.cli.synthesis import (
    WINDOW,
    add_filter_options,
    add_output_options,
    check_outputs,
    make_pairs,
    model_digests,
    pair_filter,
)
from seq2seq.config.decode import MAX_HYPOTHESES

if TYPE_CHECKING:
    from seq2seq.inference.translation import Translation

DESCRIPTION = """\
Translate the source of the training text with a teacher, a model or an ensemble, and write sentence pairs: the source
and the teacher's translation. A student that is trained on them learns from text that is more regular than human
translations.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return run(lambda: distill(parser().parse_intermixed_args(argv)))


def parser() -> argparse.ArgumentParser:
    """Return the argument parser."""
    made = CommandParser(
        prog="seq2seq-distill", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "model", metavar="TEACHER", help="model file or run folder; several, comma-separated, form an ensemble"
    )
    add_pair_inputs(made, default="the training text of the first TEACHER")
    add_ensemble_weights(made)
    add_shortlist(made)
    made.add_argument(
        "--best-reference",
        type=whole_number(1, MAX_HYPOTHESES),
        metavar="N",
        help="of the teacher's N best translations take the one with the highest sentence BLEU against the reference "
        "(sequence-level interpolation; default: the best translation)",
    )
    add_output_options(made)
    add_filter_options(made)
    add_search_options(made)
    add_process_options(made)
    return made


def distill(args: argparse.Namespace) -> None:
    """Make the pairs of the command line."""
    from seq2seq.data.bleu_tokenizer import bleu_tokenizer
    from seq2seq.data.corpus import ParallelText
    from seq2seq.inference.synthetic_pairs import PairMaker, best_by_reference
    from seq2seq.storage.model_file import read_config

    logging.basicConfig(format="warning: %(message)s")
    models = model_list(args.model)
    search_overrides(args)
    files = [name for name in args.inputs if not is_override(name)]
    check_inputs(files)
    check_outputs(args, [*files, *models, *filter(None, [args.shortlist])])
    text, language = _training_text(args, models[0])
    translator = load_translator(args, models)
    options = n_best_options(args, translator.decode, args.best_reference or 1)
    translator.check_options(**options)
    translator.tags.ids(language)
    options["tgt_lang"] = language
    choose: Callable[[Sequence[Translation], str], Translation] | None = None
    if args.best_reference:
        choose = best_by_reference(bleu_tokenizer(read_config(Path(models[0])).data))
    rule = pair_filter(args, translator)
    settings = {
        "models": model_digests([*models, *filter(None, [args.shortlist])]),
        "weights": args.weights,
        "inputs": args.inputs,
        "options": options,
        "best_reference": args.best_reference,
        "filter": vars(rule),
        "precision": args.precision,
    }
    make_pairs(
        args,
        PairMaker(translator, options, rule, choose=choose),
        _windows(text),
        settings,
        lambda pair: (pair.given, pair.generated),
        files=files[:1] if len(files) == 2 else (),
        total=len(text) if isinstance(text, ParallelText) else None,
    )


def _training_text(args: argparse.Namespace, teacher: str) -> tuple[Iterable[tuple[str, str]], str | None]:
    """Return the pairs of the command line, or those that the teacher was trained on, and their target language.

    The pairs of the command line are read bit by bit.
    """
    if overrides := [text for text in args.inputs if is_override(text)]:
        return pairs(args), data_config(overrides).tgt
    if args.inputs:
        return pairs(args), args.tgt_lang
    from seq2seq.data.corpora.load import load_corpus

    data = corpus_config(teacher, "files or overrides of the training text")
    return load_corpus(data).train, args.tgt_lang or data.tgt


def _windows(text: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    rows = iter(text)
    while window := list(islice(rows, WINDOW)):
        yield window


if __name__ == "__main__":
    sys.exit(main())
