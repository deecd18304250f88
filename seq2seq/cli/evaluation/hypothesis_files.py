"""Translations in files, by any program, and their references (`evaluate --hyp`)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from seq2seq.cli.aligned_files import read_aligned
from seq2seq.cli.evaluation.systems import NamedSystem, files_of
from seq2seq.cli.evaluation.texts import (
    TOKENIZE,
    Evaluated,
    Run,
    ScoredText,
    check_references,
    file_tokenizer,
    joined,
    named_test_sets,
)
from seq2seq.errors import DataError


def read_outputs(args: argparse.Namespace, systems: Sequence[NamedSystem]) -> dict[str, Evaluated]:
    """Return the outputs of the systems on the references of `--ref` or `--test-set`.

    Raises:
        ConfigError: a tokenizer or a test set cannot be used.
        DataError: a file cannot be read, or the files differ in their number of lines.
        DownloadError: a test set could not be downloaded.
    """
    from seq2seq.data.text.bleu_tokenizer import warn_if_meaningless

    tokenize = file_tokenizer(args.tokenize, args.langpair)
    files, name = files_of(systems), args.test_set or "test"
    outputs, text = _with_references(args, files) if args.test_set is None else _with_test_set(args, files)
    warn_if_meaningless(tokenize, text.references[0], TOKENIZE)
    of_file = dict(zip(files, outputs, strict=True))
    runs = {system.name: [Run(of_file[file]) for file in system.runs] for system in systems}
    return {name: Evaluated(text, tokenize, systems=runs)}


def _with_references(args: argparse.Namespace, files: Sequence[str]) -> tuple[list[list[str]], ScoredText]:
    given = [*files, *args.ref, *filter(None, [args.src])]
    lines = read_aligned(given)
    outputs, references = lines[: len(files)], lines[len(files) : len(files) + len(args.ref)]
    text = ScoredText(references, None if args.src is None else lines[-1])
    check_references(args.ref, references, dict(zip(files, outputs, strict=True)))
    return outputs, text


def _with_test_set(args: argparse.Namespace, files: Sequence[str]) -> tuple[list[list[str]], ScoredText]:
    text = joined(named_test_sets(args.test_set, args.langpair, "--ref FILE"))
    outputs = read_aligned(files)
    given, expected = len(outputs[0]), len(text.references[0])
    if given != expected:
        raise DataError(
            f"{files[0]} has {given:,} lines but {args.test_set} {args.langpair} has {expected:,}: translate "
            f"every line of sacrebleu -t {args.test_set} -l {args.langpair} --echo src"
        )
    return outputs, text
