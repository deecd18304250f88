"""What `report` collects: runs, their test sets and translations, explanations."""

from __future__ import annotations

import argparse
import itertools
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.cli.process_options import load_translator
from seq2seq.cli.search_options import search_overrides
from seq2seq.errors import ConfigError, DataError, Seq2SeqError
from seq2seq.reporting import SENTENCES
from seq2seq.storage.run_folder import BEST_NAME, run_of

# Other modules are imported where they are used, so that --help is quick.
if TYPE_CHECKING:
    from seq2seq.cli.evaluation.texts import Evaluated
    from seq2seq.config.schema import Config
    from seq2seq.inference.translation import Translation
    from seq2seq.inference.translator import Translator
    from seq2seq.reporting.run_facts import RunFacts
    from seq2seq.reporting.sentences import Tested, TestText

WINDOW = 500
"""Lines translated between two steps of the progress bar."""
log = logging.getLogger(__name__)


def collect(args: argparse.Namespace) -> dict[str, Any]:
    """Translate, score and return what the page shows."""
    from seq2seq.cli.evaluation.analysed_texts import corpus_words, file_words
    from seq2seq.reporting.gather import gather
    from seq2seq.storage.model_file import read_config

    paths = [args.run, *(args.against or ())]
    names = model_names(paths)
    check_languages({path: read_config(Path(path)) for path in paths})
    text, notes = text_of(args, paths)
    words = file_words(args.train, args.output or "-") if text and args.train is not None else None
    systems = {name: load(args, path) for name, path in zip(names, paths, strict=True)}
    runs = [facts_of(path, *systems[name], name) for path, name in zip(paths, names, strict=True)]
    tests = translated(args, text, systems)
    _, translator = systems[names[0]]
    sentences = SENTENCES if args.sentences is None else args.sentences
    search = search_overrides(args, translator.decode)
    explanations = explained(translator, tests, args.explain or 0, notes, search)
    if tests and words is None and args.src is None:
        words = corpus_words(args, args.run)
    return gather(
        runs, translator, tests, sentences=sentences, training_words=words, explanations=explanations, notes=notes
    )


def model_names(paths: Sequence[str]) -> list[str]:
    """Return a name for each run: that of its folder, and of its file if that is not the best model.

    Raises:
        ConfigError: a model is given twice.
        ModelFileError: there is no model at a path.
    """
    from seq2seq.storage.model_file import find_model

    files = [find_model(Path(path)) for path in paths]
    for place, file in enumerate(files):
        if any(os.path.samefile(file, other) for other in files[:place]):
            raise ConfigError(f"--against {paths[place]}: the same model is given twice")
    names = []
    for file in files:
        folder = run_of(file)
        own = [] if file.name == BEST_NAME and folder else [file.name]
        names.append("/".join([*([folder.resolve().name] if folder else []), *own]))
    return names if len(set(names)) == len(names) else list(paths)


def text_of(args: argparse.Namespace, models: Sequence[str]) -> tuple[dict[str, Evaluated], list[str]]:
    """Return the test sets to translate, and a note if there are none.

    Raises:
        Seq2SeqError: the text cannot be read, and the page would not be what was asked for without it.
    """
    from seq2seq.cli.evaluation.model_tests import model_tests, read_given

    asked = args.src or args.against or args.explain or args.data_root or args.tgt_lang
    try:
        return model_tests(args, read_given(args), models), []
    except Seq2SeqError as error:
        if asked:
            raise
        log.warning("no test set, so the page has no translations: %s", error)
        return {}, [f"Nothing was translated: {error}"]


def load(args: argparse.Namespace, path: str) -> tuple[Config, Translator]:
    """Load one model, and its settings."""
    from seq2seq.storage.model_file import read_config

    return read_config(Path(path)), load_translator(args, [path])


def facts_of(path: str, config: Config, translator: Translator, name: str) -> RunFacts:
    """Return what is known of a run."""
    from seq2seq.reporting.run_facts import read_facts

    return read_facts(name, Path(path), config, translator.network, translator.tokenizer)


def check_languages(configs: Mapping[str, Config]) -> None:
    """Check that all models translate between the same languages.

    Raises:
        ConfigError: names the first that does not.
    """
    from seq2seq.data.index.language_codes import base_code

    (first, config), *others = configs.items()
    pair = languages(config)
    for path, other in others:
        if [list(map(base_code, side)) for side in languages(other)] != [list(map(base_code, side)) for side in pair]:
            theirs, ours = (" → ".join(",".join(side) for side in each) for each in (languages(other), pair))
            raise ConfigError(
                f"--against {path} translates {theirs}, but {first} translates {ours}: compare runs of the same "
                "languages"
            )


def languages(config: Config) -> tuple[list[str], list[str]]:
    """Return the source language and the target languages of a model."""
    return [config.data.src], sorted(config.data.tags())


def translated(
    args: argparse.Namespace, tests: Mapping[str, Evaluated], systems: Mapping[str, tuple[Config, Translator]]
) -> list[Tested]:
    """Translate every test set by every system and compare the systems."""
    from seq2seq.cli.progress import progress
    from seq2seq.reporting.sentences import TestText, compared

    found = []
    total = len(systems) * sum(len(test.text.sources or ()) for test in tests.values())
    with progress([], args.output or "", 0, total) as advance:
        for name, test in tests.items():
            sources, (references,) = test.text.sources or [], test.text.references
            text = TestText(name, sources, references, test.language or "", test.tokenize)
            outputs = {
                system: list(translations(args, translator, text, advance))
                for system, (_, translator) in systems.items()
            }
            found.append(compared(text, outputs))
    return found


def translations(
    args: argparse.Namespace, translator: Translator, text: TestText, advance: Callable[[int], None]
) -> Iterator[Translation]:
    """Yield the translation of each line."""
    overrides = search_overrides(args, translator.decode)
    for start in range(0, len(text.sources), WINDOW):
        lines = text.sources[start : start + WINDOW]
        yield from (best for best, *_ in translator.translate_n_best(lines, tgt_lang=text.tgt_lang, **overrides))
        advance(len(lines))


def explained(
    translator: Translator, tests: Sequence[Tested], count: int, notes: list[str], search: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Explain sentences of the first test set, half of them those with the lowest chrF; note those that cannot be."""
    from seq2seq.inference.explanation import explain
    from seq2seq.reporting.sentences import choose

    found: list[dict[str, Any]] = []
    if not count:
        return found
    first = tests[0]
    for line in itertools.chain(*choose(next(iter(first.chrf.values())), count)):
        try:
            explanation = explain(translator, first.text.sources[line], tgt_lang=first.text.tgt_lang, **search)
            found.append({"line": line + 1, **explanation.to_dict()})
        except DataError as error:
            notes.append(f"Line {line + 1} was not explained: {error}")
    return found
