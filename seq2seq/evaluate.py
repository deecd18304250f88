"""Command: score a model on its test sets or on other text, or score existing translations."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seq2seq.atomic_files import write_atomically
from seq2seq.cli.aligned_files import read_aligned
from seq2seq.cli.exit_status import run
from seq2seq.cli.output_file import check_output
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
from seq2seq.cli.search_options import FIELDS, add_search_options, flag_of, search_overrides
from seq2seq.config.bleu import BLEU_TOKENIZERS
from seq2seq.config.data import RobustnessName
from seq2seq.errors import ConfigError, DataError

# Other modules are imported where they are used, so that --help is quick and scoring files does not load torch.
if TYPE_CHECKING:
    from seq2seq.evaluation.metrics import Scores

DESCRIPTION = """\
Score translations with sacreBLEU: BLEU, chrF, TER, and BLEU of lower-cased text.

  %(prog)s MODEL                     translate and score the test sets of the model's corpus
  %(prog)s MODEL --src F --ref F     translate and score your own test set
  %(prog)s --hyp F --ref F           score existing translations, by any program (-: standard input)
"""
WITH_MODEL = (*FIELDS, "weights", "shortlist", "tgt_lang", "device", "precision", "threads", "output", "robustness")
OPTION = "--tokenize"
WITH_CORPUS = ("data_root", "cache_dir")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return run(lambda: evaluate(parser().parse_args(argv)))


def parser() -> argparse.ArgumentParser:
    """Return the argument parser; an option that is not given is None, and the model's own setting applies."""
    made = CommandParser(
        prog="seq2seq-evaluate", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="model file or run folder; several, comma-separated, form an ensemble",
    )
    add_ensemble_weights(made)
    add_shortlist(made)
    add_tgt_lang(made)
    text = made.add_argument_group("text (UTF-8, one sentence a line, plain or compressed)")
    text.add_argument("--src", type=path_type, metavar="FILE", help="translate this file; -: standard input")
    text.add_argument(
        "--hyp", type=path_type, metavar="FILE", help="score this file; no model is needed; -: standard input"
    )
    text.add_argument(
        "--ref",
        action="append",
        type=path_type,
        metavar="FILE",
        help="reference translations, line-aligned with --src or --hyp; repeatable: several references per sentence",
    )
    text.add_argument(
        "--data-root",
        type=path_type,
        metavar="DIR",
        help="read the model's corpus from this folder instead of downloading it",
    )
    text.add_argument("--cache-dir", type=path_type, metavar="DIR", help="keep downloads in this folder")
    text.add_argument(
        "--robustness",
        type=robustness_names,
        metavar="NAME,NAME",
        help="also translate and score variants of every test set: upper, title (in capitals, scored ignoring case), "
        "nopunct (without final punctuation), typos (in the source), or all of them: all",
    )
    add_search_options(made)
    add_process_options(made)
    output = made.add_argument_group("output")
    output.add_argument(
        "--tokenize",
        choices=BLEU_TOKENIZERS,
        help="sacreBLEU's tokenizer (default: that of the model's data.bleu_tokenizer or target language; with --hyp "
        "13a)",
    )
    output.add_argument("--json", action="store_true", help="print one line of JSON instead of a table")
    output.add_argument("--output", metavar="DIR", type=path_type, help="write the translations to DIR/TEST-SET.hyp")
    return made


def robustness_names(text: str) -> list[RobustnessName]:
    """Read the value of --robustness."""
    known = RobustnessName.__members__
    names = list(known) if text == "all" else text.split(",")
    if unknown := [name for name in names if name not in known]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is unknown: use {', '.join(known)} or all")
    return [known[name] for name in dict.fromkeys(names)]


def evaluate(args: argparse.Namespace) -> None:
    """Run the evaluation of the command line and print the scores.

    Raises:
        ConfigError: options that contradict each other.
    """
    logging.basicConfig(format="warning: %(message)s")
    check(args)
    check_output("-", inputs(args))
    results = score_model(args) if args.hyp is None else {"test": score_file(args.hyp, args.ref, args.tokenize)}
    if args.json:
        from seq2seq.storage.metrics_file import to_json

        print(to_json({name: scores.to_dict() for name, scores in results.items()}))
    else:
        from seq2seq.evaluation.report import print_scores

        print_scores(results)


def check(args: argparse.Namespace) -> None:
    """Check that no option contradicts another or would be ignored.

    Raises:
        ConfigError: names the options.
    """
    hyp, src, ref = (value is not None for value in (args.hyp, args.src, args.ref))  # an empty name counts as given
    if hyp and (args.model or src):
        raise ConfigError("--hyp scores existing translations: give it with --ref only, without MODEL and --src")
    if hyp and not ref:
        raise ConfigError("--hyp needs --ref FILE, the reference translations")
    if not hyp and not args.model:
        raise ConfigError("nothing to evaluate: give MODEL, MODEL --src FILE --ref FILE, or --hyp FILE --ref FILE")
    if not hyp and src != ref:
        raise ConfigError("--src and --ref need each other: the text to translate and its reference translations")
    ignored = (*WITH_MODEL, *WITH_CORPUS) if hyp else WITH_CORPUS if src else ()
    for name in ignored:
        if getattr(args, name) is not None:
            raise ConfigError(f"{flag_of(name)} has no effect with {'--hyp' if hyp else '--src'}")
    search_overrides(args)


def score_file(hyp: str, refs: Sequence[str], tokenize: str | None) -> Scores:
    """Score one file against the references."""
    from seq2seq.data.bleu_tokenizer import DEFAULT, check_tokenizer, warn_if_meaningless
    from seq2seq.evaluation.metrics import score

    tokenize = tokenize or DEFAULT
    check_tokenizer(tokenize, OPTION)
    hypotheses, *references = read_aligned([hyp, *refs])
    warn_if_meaningless(tokenize, references[0], OPTION)
    return score(hypotheses, *references, tokenize=tokenize)


def score_model(args: argparse.Namespace) -> dict[str, Scores]:
    """Translate and score every test set; log each on stderr."""
    from seq2seq.cli.model_corpus import corpus_tests
    from seq2seq.data.bleu_tokenizer import bleu_tokenizer, warn_if_meaningless
    from seq2seq.data.robustness import ignores_case, with_variants
    from seq2seq.evaluation.metrics import score
    from seq2seq.storage.model_file import read_config

    if args.output:
        make_folder(Path(args.output))
    given = None if args.src is None else read_aligned([args.src, *args.ref])  # before the model is loaded
    models = model_list(args.model)
    data = read_config(Path(models[0])).data
    option = OPTION if args.tokenize else "data.bleu_tokenizer"
    bleu_tokenizer(data, args.tokenize, option)  # before the model is loaded
    translator = load_translator(args, models)
    overrides = search_overrides(args, translator.decode)
    if args.tgt_lang is not None or given is not None:
        translator.tags.ids(args.tgt_lang)
    clean = {"test": given} if given is not None else corpus_tests(args, models)
    tests = with_variants(clean, args.robustness or ())
    if args.output:
        check_outputs(args, tests)
    results = {}
    for name, (sources, *references) in tests.items():
        language = data.of_test(name).tgt if given is None else args.tgt_lang or data.tgt
        tokenize = bleu_tokenizer(dataclasses.replace(data, tgt=language), args.tokenize, option)
        warn_if_meaningless(tokenize, references[0], OPTION)
        start = time.perf_counter()
        hypotheses = translator.translate(sources, tgt_lang=language, **overrides)
        seconds = time.perf_counter() - start
        print(f"{name}: {len(sources):,} sentences translated in {seconds:.1f} s", file=sys.stderr)
        if args.output:
            write_lines(Path(args.output) / f"{name}.hyp", hypotheses)
        results[name] = score(hypotheses, *references, tokenize=tokenize, ignore_case=ignores_case(name))
    return results


def make_folder(folder: Path) -> None:
    """Create the output folder before the work, so that an error costs no time.

    Raises:
        DataError: the folder cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"--output {folder}: {error.strerror}") from None


def check_outputs(args: argparse.Namespace, tests: Iterable[str]) -> None:
    """Check that no file of --output is read by this command; raises as `check_output`."""
    for name in tests:
        check_output(str(Path(args.output, f"{name}.hyp")), inputs(args))


def inputs(args: argparse.Namespace) -> list[str]:
    """Return the files that the command line names as inputs."""
    models = model_list(args.model) if args.model else []
    return [*models, *filter(None, (args.src, args.hyp, *(args.ref or ()), args.shortlist))]


def write_lines(path: Path, lines: list[str]) -> None:
    """Write the lines to a file.

    Raises:
        StorageError: writing fails; an old file is unchanged.
    """
    text = "".join(f"{line}\n" for line in lines).encode()
    write_atomically(path, lambda temporary: temporary.write_bytes(text))


if __name__ == "__main__":
    sys.exit(main())
