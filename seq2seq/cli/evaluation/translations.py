"""Translations made by models for an evaluation, and the perplexity of the references."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.cli.evaluation.model_tests import model_tests, read_given
from seq2seq.cli.evaluation.systems import NamedSystem, files_of, resampled
from seq2seq.cli.evaluation.texts import Evaluated, Run, check_groups, model_tokenizer
from seq2seq.cli.output_file import check_output
from seq2seq.cli.process_options import load_translator, model_list
from seq2seq.cli.search_options import search_overrides
from seq2seq.data.text.visible import visible
from seq2seq.errors import DataError
from seq2seq.filesystem.atomic_files import write_atomically

if TYPE_CHECKING:
    from seq2seq.inference.translator import Translator


def translate_all(
    args: argparse.Namespace,
    systems: Sequence[NamedSystem],
    inputs: Iterable[str],
    groups: Sequence[str] | None = None,
) -> dict[str, Evaluated]:
    """Translate every test set with every run of every system; log each on stderr.

    Args:
        args: of the command line.
        systems: the models.
        inputs: files that no output may overwrite.
        groups: of the sentences, whose number is checked before the translation.

    Raises:
        ConfigError, DataError, DownloadError, ModelFileError: a model, a test set or an option cannot be used.
    """
    from seq2seq.storage.model_file import read_config

    if args.output:
        make_folder(Path(args.output))
    given = read_given(args)  # before a model is loaded
    models = [name for run in files_of(systems) for name in model_list(run)]
    model_tokenizer(read_config(Path(models[0])).data, args.tokenize)
    tests: dict[str, Evaluated] = {}
    for system in systems:
        for number, run in enumerate(system.runs, start=1):
            translator = load_translator(args, model_list(run))
            overrides = _overrides(args, systems, translator)
            if args.tgt_lang is not None or given is not None:
                translator.tag(args.tgt_lang)
            label = _label(systems, system, number)
            if not tests:
                tests = model_tests(args, given, models)
                _check_outputs(args, systems, tests, inputs)
                if groups is not None:
                    check_groups(args.groups, groups, tests)
            for name, test in tests.items():
                output = _translated(translator, test, overrides, f"{label}: {name}" if label else name)
                if args.output:
                    write_lines(output_path(args.output, label, name), output.lines)
                test.systems.setdefault(system.name, []).append(output)
    return tests


def _overrides(args: argparse.Namespace, systems: Sequence[NamedSystem], translator: Translator) -> dict[str, Any]:
    """Return the search settings; `--seed` is also that of the significance tests, whatever the search."""
    from seq2seq.config.decode import SearchName

    tested = args.compares and resampled(systems)
    if tested and (args.search or translator.decode.search.name) == SearchName.beam.name:
        args = argparse.Namespace(**{**vars(args), "seed": None})
    return search_overrides(args, translator.decode)


def _translated(translator: Translator, test: Evaluated, overrides: Mapping[str, Any], shown: str) -> Run:
    from seq2seq.inference.forced_scoring import perplexity

    sources, language = test.text.sources or [], test.language
    start = time.perf_counter()
    lines = translator.translate(sources, tgt_lang=language, **overrides)
    seconds = time.perf_counter() - start
    sys.stderr.write(f"{visible(shown, None)}: {len(sources):,} sentences translated in {seconds:.1f} s\n")
    scores = [translator.score(sources, references, tgt_lang=language) for references in test.text.references]
    return Run(lines, {"perplexity": perplexity(pair for pairs in scores for pair in pairs)})


def _label(systems: Sequence[NamedSystem], system: NamedSystem, number: int) -> str:
    """Return what distinguishes a run from those of the other systems; empty if there is only one."""
    if len(files_of(systems)) == 1:
        return ""
    return system.name if len(system.runs) == 1 else f"{system.name}.{number}"


def output_path(folder: str, label: str, test: str) -> Path:
    """Return the file of the translations of one run."""
    safe = re.sub(r"[^\w.+=-]+", "_", label).strip("_.")
    return Path(folder, f"{safe}.{test}.hyp" if safe else f"{test}.hyp")


def _check_outputs(
    args: argparse.Namespace, systems: Sequence[NamedSystem], tests: Iterable[str], inputs: Iterable[str]
) -> None:
    """Check that no file of `--output` is read by this command, and that no two runs write the same one.

    Raises:
        ConfigError, DataError: as `check_output`.
    """
    if not args.output:
        return
    inputs, seen = list(inputs), set()
    labels = [_label(systems, system, i) for system in systems for i in range(1, len(system.runs) + 1)]
    for path in [output_path(args.output, label, test) for label in labels for test in tests]:
        if path in seen:
            raise DataError(f"{path} would be written twice: give the systems names that differ: NAME=MODEL")
        seen.add(path)
        check_output(str(path), inputs)


def make_folder(folder: Path) -> None:
    """Create the output folder before the work, so that an error costs no time.

    Raises:
        DataError: the folder cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"--output {folder}: {error.strerror}") from None


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """Write the lines to a file.

    Raises:
        StorageError: writing fails; an old file is unchanged.
    """
    text = "".join(f"{line}\n" for line in lines).encode()
    write_atomically(path, lambda temporary: temporary.write_bytes(text))
