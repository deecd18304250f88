"""Command: score a model on its test sets or on other text, or score existing translations."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import logging
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from seq2seq.cli.aligned_files import check_standard_input
from seq2seq.cli.evaluation.checks import check_effects, check_options, compares
from seq2seq.cli.evaluation.hypothesis_files import read_outputs
from seq2seq.cli.evaluation.systems import (
    NamedSystem,
    add_models,
    check_distinct,
    files_of,
    model_systems,
    output_systems,
    shared,
)
from seq2seq.cli.evaluation.texts import MOSES, Evaluated, add_comet, check_comet, check_groups, read_groups
from seq2seq.cli.evaluation.translations import translate_all
from seq2seq.cli.exit_status import run
from seq2seq.cli.model_corpus import corpus_files
from seq2seq.cli.output_file import check_output
from seq2seq.cli.process_options import (
    CommandParser,
    add_ensemble_weights,
    add_process_options,
    add_rerank,
    add_shortlist,
    add_tgt_lang,
    model_list,
    path_type,
    whole_number,
)
from seq2seq.cli.robustness_option import robustness_names
from seq2seq.cli.search_options import add_search_options
from seq2seq.config.bleu import BLEU_TOKENIZERS

# Other modules are imported where they are used, so that --help is quick and scoring files does not load torch.
if TYPE_CHECKING:
    from seq2seq.evaluation.comparison import Comparison
    from seq2seq.evaluation.metrics import Scores

log = logging.getLogger(__name__)

DESCRIPTION = """\
Score translations with sacreBLEU: BLEU, chrF, TER, and BLEU of lower-cased text.

  %(prog)s MODEL                     translate and score the test sets of the model's corpus
  %(prog)s MODEL --src F --ref F     translate and score your own test set
  %(prog)s --hyp F --ref F           score existing translations, by any program (-: standard input)
  %(prog)s MODEL MODEL               compare systems with the first one: is the difference significant?
  %(prog)s --hyp F --hyp F --ref F
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return run(lambda: evaluate(parser().parse_args(argv)))


def parser() -> argparse.ArgumentParser:
    """Return the argument parser; an option that is not given is None, and the model's own setting applies."""
    made = CommandParser(
        prog="seq2seq-evaluate", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_models(made)
    made.add_argument(
        "--runs",
        action="append",
        type=path_type,
        metavar="NAME=RUN,RUN",
        help="models of one configuration that differ in their seed: one system, with mean and standard deviation over "
        "the runs; repeatable",
    )
    add_ensemble_weights(made)
    add_shortlist(made)
    add_tgt_lang(made)
    _add_text_options(made)
    add_search_options(made)
    add_rerank(made)
    add_process_options(made)
    _add_significance_options(made)
    _add_output_options(made)
    return made


def _add_text_options(parser: argparse.ArgumentParser) -> None:
    """Add what is scored, and where it is read from."""
    group = parser.add_argument_group("text (UTF-8, one sentence a line, plain or compressed)")
    group.add_argument("--src", type=path_type, metavar="FILE", help="translate this file; -: standard input")
    group.add_argument(
        "--hyp",
        action="append",
        type=path_type,
        metavar="[NAME=]FILE",
        help="score this file; no model is needed; -: standard input; repeatable: every system is compared with the "
        "first; NAME=FILE,FILE: runs of one system",
    )
    group.add_argument(
        "--ref",
        action="append",
        type=path_type,
        metavar="FILE",
        help="reference translations, line-aligned with --src or --hyp; repeatable: several references per sentence",
    )
    group.add_argument(
        "--test-set",
        metavar="NAME,NAME",
        help="score a test set of sacreBLEU, such as wmt14, which is downloaded; with --hyp several are joined",
    )
    group.add_argument(
        "--langpair",
        metavar="SRC-TGT",
        help="languages of --test-set, and of --hyp, whose BLEU tokenizer follows the target language (default: those "
        "of the model)",
    )
    group.add_argument(
        "--groups",
        type=path_type,
        metavar="FILE",
        help="also score every group of sentences; FILE has the group of each sentence, for example its domain, a line",
    )
    group.add_argument(
        "--data-root",
        type=path_type,
        metavar="DIR",
        help="read the model's corpus from this folder instead of downloading it",
    )
    group.add_argument("--cache-dir", type=path_type, metavar="DIR", help="keep downloads in this folder")
    group.add_argument(
        "--robustness",
        type=robustness_names,
        metavar="NAME,NAME",
        help="also translate and score variants of every test set: upper, title (in capitals, scored ignoring case), "
        "nopunct (without final punctuation), typos (in the source), or all of them: all",
    )


def _add_significance_options(parser: argparse.ArgumentParser) -> None:
    """Add what decides how significant differences are."""
    group = parser.add_argument_group("significance (of differences from the first system)")
    group.add_argument(
        "--confidence-intervals",
        action="store_true",
        help="print 95 %% confidence intervals of one system; of several systems they are always printed",
    )
    group.add_argument(
        "--bootstrap",
        type=whole_number(100, 100_000),
        metavar="N",
        help="bootstrap resamples of intervals and paired tests, which --seed seeds, too [100 ≤ N ≤ 100000] (default: "
        "1000)",
    )
    group.add_argument(
        "--randomization",
        type=whole_number(100, 1_000_000),
        metavar="N",
        help="trials of paired approximate randomisation [100 ≤ N ≤ 1000000] (default: 10000)",
    )


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add which scores are computed, and how they are written."""
    group = parser.add_argument_group("output")
    group.add_argument(
        "--tokenize",
        choices=(*BLEU_TOKENIZERS, MOSES),
        help="tokenizer of BLEU: sacreBLEU's, or moses, with which older papers report lower-cased BLEU (default: that "
        "of the model's data.bleu_tokenizer or target language; with --hyp that of --langpair, else 13a)",
    )
    group.add_argument(
        "--comet",
        type=path_type,
        metavar="FILE",
        help="also compute COMET with this checkpoint; needs the package unbabel-comet and the sources",
    )
    group.add_argument("--json", action="store_true", help="print one line of JSON instead of a table")
    group.add_argument(
        "--output",
        metavar="DIR",
        type=path_type,
        help="write the translations to DIR/TEST-SET.hyp, those of several systems to DIR/NAME.TEST-SET.hyp",
    )


def evaluate(args: argparse.Namespace) -> None:
    """Run the evaluation of the command line and print the scores.

    Raises:
        ConfigError: options that contradict each other.
    """
    logging.basicConfig(format="warning: %(message)s")
    check_options(args)
    systems = output_systems(args.hyp) if args.hyp else model_systems(args.model, args.runs or ())
    check_distinct(args.ref or (), "--ref")
    args.compares = compares(args, systems)
    check_effects(args, systems)
    check_standard_input(inputs(args, systems))
    check_output("-", inputs(args, systems))
    groups = None if args.groups is None else read_groups(args.groups)
    if args.comet is not None:
        check_comet(args.comet)
    evaluated = read_outputs(args, systems) if args.hyp else translate_all(args, systems, inputs(args, systems), groups)
    if args.hyp and any(lines for test in evaluated.values() for lines in test.text.references):
        for name in shared(args.ref or (), files_of(systems)):
            log.warning("%s is both hypothesis and reference: its scores are perfect by definition", name)
    if groups is not None:
        check_groups(args.groups, groups, evaluated)
    if args.comet is not None:
        add_comet(args.comet, evaluated)
    if args.compares:
        from seq2seq.evaluation.comparison_report import print_comparisons

        comparisons = {name: comparison(args, test, groups) for name, test in evaluated.items()}
        (print_json if args.json else print_comparisons)(comparisons)
    else:
        from seq2seq.evaluation.report import print_scores

        results = {name: scores(test) for name, test in evaluated.items()}
        (print_json if args.json else print_scores)(results)


def print_json(results: Mapping[str, Scores | Comparison]) -> None:
    """Print the results of all test sets as one line."""
    from seq2seq.storage.metrics_file import to_json

    print(to_json({name: result.to_dict() for name, result in results.items()}))


def scores(test: Evaluated) -> Scores:
    """Score the only run on a test set.

    Raises:
        DataError: there is nothing to score.
    """
    from seq2seq.evaluation.metrics import score

    ((run,),) = test.systems.values()
    found = score(run.lines, *test.text.references, tokenize=test.tokenize, ignore_case=test.ignore_case)
    return dataclasses.replace(found, **run.known)


def comparison(args: argparse.Namespace, test: Evaluated, groups: Sequence[str] | None) -> Comparison:
    """Compare the systems on a test set.

    Raises:
        DataError: there is nothing to score.
    """
    from seq2seq.evaluation.significance import BOOTSTRAP, RANDOMIZATION, compare

    return compare(
        test.text.references,
        {system: [run.lines for run in runs] for system, runs in test.systems.items()},
        tokenize=test.tokenize,
        ignore_case=test.ignore_case,
        bootstrap=args.bootstrap or BOOTSTRAP,
        randomization=args.randomization or RANDOMIZATION,
        seed=args.seed,
        groups=groups,
        known={system: [run.known for run in runs] for system, runs in test.systems.items()},
    )


def inputs(args: argparse.Namespace, systems: Sequence[NamedSystem]) -> list[str]:
    """Return the files that the command reads: those of the command line, else also those of the model's corpus."""
    files = [name for run in files_of(systems) for name in ([run] if args.hyp else model_list(run))]
    corpus = [] if args.hyp or args.src or args.test_set else corpus_files(files[0])
    others = itertools.chain(*args.rerank or ())
    given = (args.src, *(args.ref or ()), args.shortlist, args.groups, args.comet)
    return [*files, *others, *filter(None, given), *corpus]


if __name__ == "__main__":
    sys.exit(main())
