"""Options of `evaluate` that contradict each other or would be ignored."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from seq2seq.cli.evaluation.systems import NamedSystem, files_of, resampled
from seq2seq.cli.evaluation.texts import check_pair
from seq2seq.cli.search_options import FIELDS, flag_of, search_overrides
from seq2seq.errors import ConfigError

WITH_MODEL = (
    *(name for name in FIELDS if name != "seed"),  # also that of the significance tests
    *("weights", "shortlist", "tgt_lang", "device", "precision", "threads", "output", "robustness"),
    *("rerank", "rerank_weights", "rerank_as"),
)
WITH_CORPUS = ("data_root", "cache_dir")


def check_options(args: argparse.Namespace) -> None:
    """Check that no option contradicts another or would be ignored.

    Raises:
        ConfigError: names the options.
    """
    hyp, src, ref = (value is not None for value in (args.hyp, args.src, args.ref))  # an empty name counts as given
    models, test_set = bool(args.model or args.runs), args.test_set is not None
    if hyp and (models or (src and args.comet is None)):
        raise ConfigError("--hyp scores existing translations: give it with --ref only, without MODEL and --src")
    if hyp and not ref and not test_set:
        raise ConfigError("--hyp needs --ref FILE, the reference translations")
    if not hyp and not models:
        raise ConfigError("nothing to evaluate: give MODEL, MODEL --src FILE --ref FILE, or --hyp FILE --ref FILE")
    if not hyp and src != ref:
        raise ConfigError("--src and --ref need each other: the text to translate and its reference translations")
    if test_set and (src or ref):
        raise ConfigError("--test-set has sources and references: leave out --src and --ref")
    if hyp and args.comet is not None and not (src or test_set):
        raise ConfigError("--comet compares with the sources, too: give --src FILE")
    of_model, other = (*WITH_MODEL, *WITH_CORPUS), "--hyp" if hyp else "--src" if src else "--test-set"
    ignored = of_model if hyp else WITH_CORPUS if src or test_set else ()
    for name in ignored:
        if getattr(args, name) is not None:
            raise ConfigError(f"{flag_of(name)} has no effect with {other}")
    if args.langpair is not None and not hyp and not test_set:
        raise ConfigError("--langpair has no effect without --test-set: a model knows its languages")
    check_pair(args.langpair)
    if not hyp:
        search_overrides(args)


def compares(args: argparse.Namespace, systems: Sequence[NamedSystem]) -> bool:
    """Return whether the result is a comparison; else it is the scores of one system."""
    return len(files_of(systems)) > 1 or args.confidence_intervals or args.groups is not None


def check_effects(args: argparse.Namespace, systems: Sequence[NamedSystem]) -> None:
    """Check the options that need several systems, or one.

    Raises:
        ConfigError: names the option.
    """
    if args.bootstrap is not None and not args.compares:
        raise ConfigError("--bootstrap has no effect on the scores of one system: add --confidence-intervals")
    if args.seed is not None and args.hyp and not args.compares:
        raise ConfigError("--seed has no effect with --hyp of one system: add --confidence-intervals")
    if args.randomization is not None and len(systems) < 2:
        raise ConfigError("--randomization has no effect without a second system to compare with")
    _check_resampling(args, systems)
    if args.compares and args.seed is not None and args.seed < 1:
        raise ConfigError(f"--seed {args.seed}: the seed of the significance tests is at least 1")
    if args.weights is not None and len(files_of(systems)) > 1:
        raise ConfigError("--weights has no effect on several systems: give one ensemble")
    if args.compares:
        check_seed_variable()


def _check_resampling(args: argparse.Namespace, systems: Sequence[NamedSystem]) -> None:
    single = resampled(systems)
    given = {
        "--confidence-intervals": args.confidence_intervals,
        "--bootstrap": args.bootstrap is not None,
        "--seed": args.seed is not None and args.hyp is not None,  # of models: also that of sampling
    }
    for option in [option for option, is_given in given.items() if is_given and not single]:
        raise ConfigError(f"{option} has no effect on several runs, which a t-test compares: give a system of one run")
    if args.randomization is not None and (len(single) < 2 or systems[0] not in single):
        raise ConfigError(
            "--randomization has no effect unless the first system and another one have one run each: several runs are "
            "compared by a t-test"
        )


def check_seed_variable() -> None:
    """Check the environment variable from which sacreBLEU takes the seed of its tests.

    Raises:
        ConfigError: it is no seed.
    """
    value = os.environ.get("SACREBLEU_SEED", "1")
    if value.lower() != "none" and not (value.isascii() and value.isdigit() and int(value)):
        raise ConfigError(f"SACREBLEU_SEED={value} is not a whole number of at least 1: unset it, or give --seed")
