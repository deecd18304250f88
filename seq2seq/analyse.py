"""Command: where translations fail. `python -m seq2seq.analyse MODEL`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seq2seq.cli.aligned_files import check_standard_input
from seq2seq.cli.evaluation.systems import NamedSystem, add_models, files_of, model_systems, output_systems
from seq2seq.cli.exit_status import run
from seq2seq.cli.model_corpus import corpus_files
from seq2seq.cli.output_file import check_output
from seq2seq.cli.process_options import (
    CommandParser,
    add_process_options,
    add_tgt_lang,
    model_list,
    path_type,
    whole_number,
)
from seq2seq.cli.robustness_option import robustness_names
from seq2seq.cli.search_options import FIELDS, add_search_options, flag_of, search_overrides
from seq2seq.config.bleu import BLEU_TOKENIZERS
from seq2seq.errors import ConfigError
from seq2seq.filesystem.atomic_files import check_writable

# Other modules are imported where they are used, so that --help is quick and files are read without torch.
if TYPE_CHECKING:
    from seq2seq.cli.evaluation.analysed_texts import AnalysedTexts

DESCRIPTION = """\
Show where translations fail: scores by sentence length and word frequency, faults such as untranslated or repeated
words with their lines, n-grams that one system gets right and another does not, the worst and most different sentences.

  %(prog)s MODEL [MODEL ...]                          translate and analyse the test set of the model's corpus
  %(prog)s MODEL --src F --ref F                      translate and analyse your own test set
  %(prog)s --src F --ref F --hyp F [--hyp NAME=F]     analyse existing translations, by any program
"""
EXAMPLES = 5
WITH_MODEL = (*FIELDS, "tgt_lang", "device", "precision", "threads", "robustness")
WITH_CORPUS = ("test", "data_root", "cache_dir")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return run(lambda: analyse(parser().parse_args(argv)))


def parser() -> argparse.ArgumentParser:
    """Return the argument parser; an option that is not given is None."""
    made = CommandParser(
        prog="seq2seq-analyse", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_models(made)
    add_tgt_lang(made)
    text = made.add_argument_group("text (UTF-8, one sentence a line, plain or compressed)")
    text.add_argument("--src", type=path_type, metavar="FILE", help="source text; -: standard input")
    text.add_argument(
        "--ref",
        action="append",
        type=path_type,
        metavar="FILE",
        help="reference translations, line-aligned with --src; of several, the first is used",
    )
    text.add_argument(
        "--hyp",
        action="append",
        type=path_type,
        metavar="[NAME=]FILE",
        help="translations of --src; repeatable: every system is compared with the first, a model if there is one",
    )
    text.add_argument(
        "--train",
        type=path_type,
        metavar="FILE",
        help="target side of the training text, whose words are counted (default: that of the model's corpus, if "
        "its test set is analysed)",
    )
    text.add_argument("--test", metavar="NAME", help="test set of the model's corpus (default: the first)")
    text.add_argument("--data-root", type=path_type, metavar="DIR", help="read the model's corpus from this folder")
    text.add_argument("--cache-dir", type=path_type, metavar="DIR", help="keep downloads in this folder")
    text.add_argument(
        "--robustness",
        type=robustness_names,
        metavar="NAME,NAME",
        help="also translate variants of the test set: upper, title (in capitals, scored ignoring case), nopunct "
        "(without final punctuation), typos (in the source), or all of them: all",
    )
    add_search_options(made)
    add_process_options(made)
    output = made.add_argument_group("output")
    output.add_argument(
        "--examples",
        type=whole_number(0, 1000),
        metavar="N",
        help=f"sentences in each list, and n-grams of each length [0 ≤ N ≤ 1000] (default: {EXAMPLES})",
    )
    output.add_argument(
        "--tokenize",
        choices=BLEU_TOKENIZERS,
        help="sacreBLEU's tokenizer of BLEU (default: that of the model, else by the script of the references)",
    )
    output.add_argument("--json", action="store_true", help="print one line of JSON, with all lines of every fault")
    output.add_argument(
        "--output", type=path_type, metavar="FILE", help="write the analysis to FILE (default: standard output)"
    )
    made.set_defaults(weights=None, test_set=None, langpair=None)
    return made


def analyse(args: argparse.Namespace) -> None:
    """Analyse the translations of the command line, and print what was found.

    Raises:
        ConfigError: options that contradict each other.
        DataError: a text cannot be read, or is not parallel to the others.
        ModelFileError: a model cannot be loaded.
        StorageError: the output cannot be written.
    """
    logging.basicConfig(format="warning: %(message)s")
    check(args)
    models, files = model_systems(args.model, ()), output_systems(args.hyp or ())
    check_names(models, files)
    check_standard_input(inputs(args, models, files))
    check_output(args.output or "-", inputs(args, models, files))
    if args.output not in (None, "-"):
        check_writable(Path(args.output))
    texts = collect(args, models, files)
    from seq2seq.cli.evaluation.analysis_text import write_analysis
    from seq2seq.evaluation.analysis import Variant
    from seq2seq.evaluation.analysis import analyse as analysed

    analysis = analysed(
        texts.sources,
        texts.references,
        texts.systems,
        training_words=texts.training_words,
        attention_entropy=texts.entropy,
        source_dependence=texts.dependence,
        variants=[
            Variant(name, test.text.references[0], outputs, test.ignore_case)
            for name, (test, outputs) in texts.variants.items()
        ],
        examples=EXAMPLES if args.examples is None else args.examples,
        tokenize=texts.tokenize,
    )
    write_analysis(analysis, args.json, args.output)


def collect(args: argparse.Namespace, models: Sequence[NamedSystem], files: Sequence[NamedSystem]) -> AnalysedTexts:
    """Read the text and the translations, and translate with the models; raises as `analyse`."""
    from seq2seq.cli.evaluation.analysed_texts import AnalysedTexts, corpus_words, file_words, read_given, translated

    given, outputs = read_given(args, files) if args.src is not None else (None, {})
    if models:
        from seq2seq.storage.model_file import find_model

        for name in model_files(models):
            find_model(Path(name))
    # Everything that is given is read before the translation, which takes longest.
    words = None if args.train is None else file_words(args.train, args.output or "-")
    if models:
        texts = translated(args, models, given)
    else:
        assert given is not None  # by `check`
        if args.tokenize:
            from seq2seq.data.text.bleu_tokenizer import check_tokenizer

            check_tokenizer(args.tokenize, "--tokenize")
        texts = AnalysedTexts(given.sources or [], given.references[0], args.tokenize)
    if words is None and given is None:
        words = corpus_words(args, model_files(models)[0])
    texts.training_words = words
    texts.systems |= outputs
    return texts


def check(args: argparse.Namespace) -> None:
    """Check that no option contradicts another or would be ignored.

    Raises:
        ConfigError: names the options.
    """
    hyp, src, ref = (value is not None for value in (args.hyp, args.src, args.ref))  # an empty name counts as given
    if not args.model and not hyp:
        raise ConfigError(
            "nothing to analyse: give MODEL, MODEL --src FILE --ref FILE, or --src FILE --ref FILE --hyp FILE"
        )
    if hyp and not (src and ref):
        raise ConfigError("--hyp needs --src FILE and --ref FILE: the text that was translated and its references")
    if src != ref:
        raise ConfigError("--src and --ref need each other: the text to translate and its reference translations")
    ignored = (() if args.model else WITH_MODEL, WITH_CORPUS if src else ())
    for names, other in zip(ignored, ("without MODEL", "with --src"), strict=True):
        for name in names:
            if getattr(args, name) is not None:
                raise ConfigError(f"{flag_of(name)} has no effect {other}")
    if args.model:
        search_overrides(args)


def check_names(models: Sequence[NamedSystem], files: Sequence[NamedSystem]) -> None:
    """Check that each system has one output, and a name of its own.

    Raises:
        ConfigError: names the system.
    """
    names = [system.name for system in models]
    for system in files:
        if len(system.runs) > 1:
            raise ConfigError(f"--hyp {system.name}={','.join(system.runs)}: an analysis needs one file per system")
        if system.name in names:
            raise ConfigError(f"--hyp: a model is named {system.name}, too: give the file a name, as NAME=FILE")


def inputs(args: argparse.Namespace, models: Sequence[NamedSystem], files: Sequence[NamedSystem]) -> list[str]:
    """Return the files that the command reads: those of the command line, else also those of the model's corpus."""
    named = [*model_files(models), *files_of(files), *filter(None, (args.src, *(args.ref or ()), args.train))]
    return named if args.src is not None else [*named, *corpus_files(named[0])]


def model_files(models: Sequence[NamedSystem]) -> list[str]:
    """Return every model by itself, also those of ensembles."""
    return [name for run in files_of(models) for name in model_list(run)]


if __name__ == "__main__":
    sys.exit(main())
