"""Command: translate the source of the training text with a teacher. `python -m seq2seq.distill TEACHER[,TEACHER ...]`.

Sequence-level knowledge distillation and interpolation (Kim and Rush 2016).
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from seq2seq.cli.data.named_corpus import named_data
from seq2seq.cli.data.overrides import is_override
from seq2seq.cli.data.pair_inputs import add_pair_inputs, input_files, pairs
from seq2seq.cli.exit_status import run
from seq2seq.cli.line_reader import check_inputs
from seq2seq.cli.made_with import model_digests, text_digests
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
    pair_filter,
)
from seq2seq.config.decode import MAX_HYPOTHESES
from seq2seq.data.files.chunks import chunks
from seq2seq.errors import ConfigError

if TYPE_CHECKING:
    from seq2seq.config.data import DataConfig
    from seq2seq.data.corpus import ParallelText
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
    add_pair_inputs(
        made,
        default="the training text of the first TEACHER",
        tgt_lang="it is also the language that a TEACHER with several translates into; of a training text with "
        "several, its corpora with this target language are read (default: that of the main corpus)",
    )
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
    from seq2seq.data.text.bleu_tokenizer import bleu_tokenizer
    from seq2seq.inference.synthetic_pairs import PairMaker, best_by_reference
    from seq2seq.storage.model_file import read_config
    from seq2seq.storage.provenance import text_fingerprint

    logging.basicConfig(format="warning: %(message)s")
    models = model_list(args.model)
    search_overrides(args)
    files = [name for name in args.inputs if not is_override(name)]
    check_inputs(files)
    data = named_data(args) if args.inputs else corpus_config(models[0], "files or overrides of the training text")
    check_outputs(args, [*input_files(args, data), *models, *filter(None, [args.shortlist])])
    given = pairs(args, tgt_lang_alone=True) if data is None else None
    translator = load_translator(args, models)
    options = n_best_options(args, translator.decode, args.best_reference or 1)
    translator.check_options(**options)
    options["tgt_lang"] = args.tgt_lang or (data and data.tgt)
    translator.tags.ids(options["tgt_lang"])
    choose: Callable[[Sequence[Translation], str], Translation] | None = None
    if args.best_reference:
        choose = best_by_reference(bleu_tokenizer(read_config(Path(models[0])).data))
    rule = pair_filter(args, translator)
    texts = [] if data is None else _training_texts(args, data)
    settings = {
        "models": model_digests([*models, *filter(None, [args.shortlist])]),
        "weights": args.weights,
        "text": [*map(text_fingerprint, texts)] if texts else text_digests(files),
        "columns": [args.src_column, args.tgt_column, args.src_lang],
        "options": options,
        "best_reference": args.best_reference,
        "filter": vars(rule),
        "precision": args.precision,
    }
    make_pairs(
        args,
        PairMaker(translator, options, rule, choose=choose),
        chunks(given or chain.from_iterable(texts), WINDOW),
        settings,
        lambda pair: (pair.given, pair.generated),
        files=files[:1] if len(files) == 2 else (),
        total=sum(map(len, texts)) if texts else None,
    )


def _training_texts(args: argparse.Namespace, data: DataConfig) -> list[ParallelText]:
    """Return what a training run reads of the corpora that have the target language of the command line.

    Raises:
        ConfigError: no corpus has it, or an option has no effect.
        DataError, DownloadError: as `load_corpus`.
    """
    from seq2seq.config.data import MAIN
    from seq2seq.data.corpora.load import load_corpus

    for option in ("src_column", "tgt_column", "src_lang"):
        if getattr(args, option) is not None:
            raise ConfigError(f"--{option.replace('_', '-')} needs files: with overrides, give it as an override, too")
    corpus, languages = load_corpus(data), {name: own.tgt for name, own in data.corpora().items()}
    wanted = args.tgt_lang or data.tgt
    parts = {MAIN: corpus, **corpus.mix}
    texts = [part.train for name, part in parts.items() if languages[name] == wanted]
    if not texts:
        known = ", ".join(dict.fromkeys(languages[name] for name in parts))
        raise ConfigError(f"--tgt-lang {wanted} is not a target language of the training text, which has {known}")
    return texts


if __name__ == "__main__":
    sys.exit(main())
