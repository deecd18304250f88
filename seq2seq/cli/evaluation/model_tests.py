"""The test sets on which models are scored: given files, test sets by name, or those of the first model's corpus."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seq2seq.cli.aligned_files import read_aligned
from seq2seq.cli.evaluation.texts import (
    TOKENIZE,
    Evaluated,
    ScoredText,
    check_references,
    model_tokenizer,
    named_test_sets,
)
from seq2seq.errors import ConfigError, DataError

if TYPE_CHECKING:
    from seq2seq.data.corpus import ParallelText


def read_given(args: argparse.Namespace) -> ScoredText | None:
    """Return the text of `--src` and `--ref`, if they are given.

    Raises:
        DataError: a file cannot be read, the files differ in their number of lines, or a reference is empty.
    """
    if args.src is None:
        return None
    sources, *references = read_aligned([args.src, *args.ref])
    check_references(args.ref, references, {args.src: sources})
    return ScoredText(references, sources)


def model_tests(args: argparse.Namespace, given: ScoredText | None, models: Sequence[str]) -> dict[str, Evaluated]:
    """Return the test sets with their variants; the config of the first model names corpus and languages.

    Raises:
        ConfigError, DataError, DownloadError: a test set or a tokenizer cannot be used.
    """
    from seq2seq.data.text.bleu_tokenizer import warn_if_meaningless
    from seq2seq.data.text.robustness import ignores_case, with_variants
    from seq2seq.storage.model_file import read_config

    data = read_config(Path(models[0])).data
    if given is not None:
        clean = {"test": given}
    elif args.test_set is not None:
        pair = args.langpair or f"{data.src}-{args.tgt_lang or data.tgt}"
        clean = named_test_sets(args.test_set, pair, "--src FILE --ref FILE")
    else:
        clean = corpus_tests(args, models)
    is_own = given is None and args.test_set is None
    sets = {name: [text.sources or [], *text.references] for name, text in clean.items()}
    tests = {}
    for name, (sources, *references) in with_variants(sets, args.robustness or ()).items():
        language = data.of_test(name).tgt if is_own else args.tgt_lang or data.tgt
        tokenize = model_tokenizer(dataclasses.replace(data, tgt=language), args.tokenize)
        warn_if_meaningless(tokenize, references[0], TOKENIZE)
        tests[name] = Evaluated(ScoredText(references, sources), tokenize, ignores_case(name), language)
    return tests


def corpus_tests(args: argparse.Namespace, models: Sequence[str]) -> dict[str, ScoredText]:
    """Return the test sets of the corpus that the first model was trained on.

    Raises:
        ConfigError: `--data-root` for a corpus that is not read from a folder, or text files outside the folder.
        DataError: a test set is drawn from training text that changed.
    """
    from seq2seq.cli.model_corpus import corpus_config
    from seq2seq.config.data import DataName
    from seq2seq.data.corpora.load import load_tests

    data = corpus_config(models[0], "--src FILE --ref FILE")
    if args.data_root is not None and data.name in (DataName.files, DataName.grammar):
        raise ConfigError(f"--data-root has no effect for a model trained on data={data.name.name}")
    given = {"root": args.data_root, "cache_dir": args.cache_dir}
    data = dataclasses.replace(data, **{name: value for name, value in given.items() if value is not None})
    tests = load_tests(data)
    for name in models:
        check_held_out(name, tests)
    tests = {name: text for name, text in tests.items() if args.tgt_lang in (None, data.of_test(name).tgt)}
    if not tests:
        raise ConfigError(f"--tgt-lang {args.tgt_lang}: the corpora of the model have no test set of this language")
    return {name: ScoredText([list(text.tgt)], list(text.src)) for name, text in tests.items()}


def check_held_out(model: str, tests: Mapping[str, ParallelText]) -> None:
    """Check that the test sets drawn from the training text are those that the model did not see in training.

    Raises:
        DataError: another set is drawn, which may contain training pairs of the model.
    """
    from seq2seq.storage.model_file import read_training_text
    from seq2seq.storage.provenance import text_fingerprint

    held_out = read_training_text(Path(model)).held_out
    for name, text in tests.items():
        if held_out.get(name, "") not in ("", text_fingerprint(text)):
            raise DataError(
                f"{model}: the {name} set drawn from the training text now is not the one that the model held out, so "
                "it may contain training pairs: restore the text as it was, or give --src FILE --ref FILE"
            )
