"""The texts that `analyse` compares: a test set, translations in files, and translations made by models."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from seq2seq.cli.aligned_files import read_aligned
from seq2seq.cli.evaluation.model_tests import model_tests
from seq2seq.cli.evaluation.systems import NamedSystem
from seq2seq.cli.evaluation.texts import Evaluated, ScoredText, check_references
from seq2seq.cli.line_reader import lines_of
from seq2seq.cli.process_options import load_translator, model_list
from seq2seq.cli.progress import progress
from seq2seq.cli.search_options import search_overrides
from seq2seq.errors import ConfigError, DataError, Seq2SeqError

if TYPE_CHECKING:
    from seq2seq.inference.translator import Translator

log = logging.getLogger(__name__)

BLOCK = 1000
"""Lines of the training text between two moves of the progress bar."""


@dataclass
class AnalysedTexts:
    """What is analysed.

    Attributes:
        sources: of the test set.
        references: of the sources; of several, the first.
        tokenize: sacreBLEU's tokenizer; None: by the script of the references.
        systems: translations by system.
        entropy: of the attention of each model, by sentence.
        dependence: of the outputs of each model on their sources.
        variants: test sets with careless sources, by name, and their translations by system.
        training_words: occurrences of each word in the target side of the training text; None: not known.
    """

    sources: Sequence[str]
    references: Sequence[str]
    tokenize: str | None = None
    systems: dict[str, Sequence[str]] = field(default_factory=dict)
    entropy: dict[str, Sequence[float]] = field(default_factory=dict)
    dependence: dict[str, Sequence[float]] = field(default_factory=dict)
    variants: dict[str, tuple[Evaluated, dict[str, Sequence[str]]]] = field(default_factory=dict)
    training_words: Mapping[str, int] | None = None


def read_given(args: argparse.Namespace, systems: Sequence[NamedSystem]) -> tuple[ScoredText, dict[str, list[str]]]:
    """Return the text of `--src` and `--ref`, and the translations of `--hyp` by system.

    Raises:
        DataError: a file cannot be read or is empty, the files differ in their number of lines, or a sentence has no
            reference.
    """
    files = [args.src, *args.ref, *(system.runs[0] for system in systems)]
    sources, *lines = read_aligned(files)
    if not sources:
        raise DataError(f"{args.src} is empty: there are no sentences to analyse")
    references, outputs = lines[: len(args.ref)], lines[len(args.ref) :]
    check_references(args.ref, references, {args.src: sources})
    if len(references) > 1:
        log.warning("an analysis compares with one reference: %s, the first", args.ref[0])
    return ScoredText(references, sources), {system.name: text for system, text in zip(systems, outputs, strict=True)}


def translated(args: argparse.Namespace, systems: Sequence[NamedSystem], given: ScoredText | None) -> AnalysedTexts:
    """Translate a test set, and its variants, with every model.

    Raises:
        ConfigError, DataError, DownloadError, ModelFileError: a model, a test set or an option cannot be used.
    """
    models = [name for system in systems for name in model_list(system.runs[0])]
    first = load_translator(args, model_list(systems[0].runs[0]))  # before the corpus, which may be large
    overrides = search_overrides(args, first.decode)
    if args.tgt_lang is not None or given is not None:
        first.tags.ids(args.tgt_lang)
    tests = model_tests(args, given, models)
    name, clean = _chosen(args, tests)
    texts = AnalysedTexts(clean.text.sources or [], clean.text.references[0], clean.tokenize)
    variants = {own: test for own, test in tests.items() if own.startswith(f"{name}.") and own != name}
    texts.variants = {own.removeprefix(f"{name}."): (test, {}) for own, test in variants.items()}
    total = len(texts.sources) * (1 + len(variants)) * len(systems)
    with progress([], args.output or "-", 0, total) as advance:
        for system, translator in _loaded(args, systems, first):
            own = overrides if translator is first else search_overrides(args, translator.decode)
            _translate(system.name, translator, texts, clean.language, own, advance)
    return texts


def _loaded(
    args: argparse.Namespace, systems: Sequence[NamedSystem], first: Translator
) -> Iterator[tuple[NamedSystem, Translator]]:
    """Yield each system with its translator, one after the other: several models may not fit in memory."""
    yield systems[0], first
    for system in systems[1:]:
        yield system, load_translator(args, model_list(system.runs[0]))


def _translate(
    system: str,
    translator: Translator,
    texts: AnalysedTexts,
    language: str | None,
    overrides: Mapping[str, Any],
    advance: Callable[[int], None],
) -> None:
    from seq2seq.evaluation.analysis.evidence import examine

    examined = examine(translator, texts.sources, language, advance, **overrides)
    texts.systems[system] = examined.outputs
    texts.dependence[system] = examined.dependence
    if examined.entropy is not None:
        texts.entropy[system] = examined.entropy
    for test, outputs in texts.variants.values():
        outputs[system] = translator.translate(test.text.sources or [], tgt_lang=test.language, **overrides)
        advance(len(outputs[system]))


def _chosen(args: argparse.Namespace, tests: Mapping[str, Evaluated]) -> tuple[str, Evaluated]:
    """Return the test set to analyse.

    Raises:
        ConfigError: there is none of the name of `--test`.
    """
    from seq2seq.data.text.robustness import clean_name

    clean = [name for name in tests if clean_name(name) not in tests]
    name = args.test or clean[0]
    if name not in clean:
        raise ConfigError(f"--test {name}: the test sets are {', '.join(clean)}")
    if len(clean) > 1 and args.test is None:
        log.warning("analysing the test set %s; --test chooses another of %s", name, ", ".join(clean))
    if not tests[name].text.sources:
        raise DataError(f"the test set {name} is empty: there are no sentences to analyse")
    return name, tests[name]


def file_words(file: str, output: str) -> Mapping[str, int]:
    """Count the words of the file of `--train`.

    Raises:
        DataError: the file cannot be read, or has no words.
    """
    from seq2seq.evaluation.analysis.words import word_counts

    counts = word_counts(_watched(file, output))
    if not counts:
        raise DataError(f"--train {file} has no words: give the target side of the training text")
    return counts


def corpus_words(args: argparse.Namespace, model: str) -> Mapping[str, int] | None:
    """Count the words of the target side of a model's corpus; None, with a warning, if it cannot be read."""
    from seq2seq.evaluation.analysis.words import word_counts

    try:
        return word_counts(_corpus_target(args, model))
    except Seq2SeqError as error:
        log.warning("word frequencies are left out: %s; or give --train FILE", error)
        return None


def _watched(file: str, output: str) -> Iterator[str]:
    with progress([file], output, 0) as advance:
        for number, line in enumerate(lines_of(file, strict=True), start=1):
            yield line
            if number % BLOCK == 0:
                advance(BLOCK)


def _corpus_target(args: argparse.Namespace, model: str) -> Sequence[str]:
    from seq2seq.cli.model_corpus import corpus_config
    from seq2seq.data.corpora.load import load_corpus

    given = {"root": args.data_root, "cache_dir": args.cache_dir}
    data = corpus_config(model, "--train FILE")
    data = dataclasses.replace(data, **{name: value for name, value in given.items() if value is not None})
    return load_corpus(data).vocabulary_text().tgt
