"""Command: one page about a run, which opens without a network. `python -m seq2seq.report RUN`."""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.atomic_files import check_writable
from seq2seq.cli import exit_status
from seq2seq.cli.output_file import check_output
from seq2seq.cli.process_options import (
    CommandParser,
    add_process_options,
    add_tgt_lang,
    load_translator,
    path_type,
    whole_number,
)
from seq2seq.cli.search_options import FIELDS, add_search_options, flag_of, search_overrides
from seq2seq.errors import ConfigError, DataError, Seq2SeqError
from seq2seq.storage.run_folder import METRICS_NAME, REPORT_NAME, run_of

# Other modules are imported where they are used, so that --help is quick.
if TYPE_CHECKING:
    from seq2seq.cli.evaluation.texts import Evaluated
    from seq2seq.config.schema import Config
    from seq2seq.inference.translation import Translation
    from seq2seq.inference.translator import Translator
    from seq2seq.reporting.run_facts import RunFacts
    from seq2seq.reporting.sentences import Tested, TestText

DESCRIPTION = """\
Write one page about a run: what was trained on what, learning curves, scores, comparison with other runs, sentences
whose words show their attention, worst cases, and how to reproduce it. It is one file and opens without a network.

  %(prog)s RUN                       translate and show the test sets of the model's corpus
  %(prog)s RUN --against OTHER       compare two runs on these test sets
  %(prog)s RUN --src F --ref F       translate and show your own test set
  %(prog)s RUN --card                print the model card
"""
SENTENCES = 50
MAX_SENTENCES, MAX_EXPLAINED = 2000, 100
WINDOW = 500
"""Lines translated between two steps of the progress bar."""
TRANSLATING = (
    *FIELDS,
    "against",
    "src",
    "ref",
    "train",
    "data_root",
    "cache_dir",
    "tgt_lang",
    "sentences",
    "explain",
    "output",
)
log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return exit_status.run(lambda: report(parser().parse_args(argv)))


def parser() -> argparse.ArgumentParser:
    """Return the command line; an option that is not given is None."""
    made = CommandParser(
        prog="seq2seq-report", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("run", type=path_type, metavar="RUN", help="run folder or model file")
    made.add_argument(
        "--against",
        action="append",
        type=path_type,
        metavar="RUN",
        help="another run of the same languages: its curves, scores and translations are shown beside; repeatable",
    )
    made.add_argument(
        "--card", action="store_true", help="print the model card, as Markdown, instead of writing a page"
    )
    add_text_options(made)
    add_search_options(made)
    add_process_options(made)
    output = made.add_argument_group("output")
    output.add_argument(
        "--sentences",
        type=whole_number(0, MAX_SENTENCES),
        metavar="N",
        help=f"sentences on the page, half of them those with the lowest chrF (default: {SENTENCES})",
    )
    output.add_argument(
        "--explain",
        type=whole_number(0, MAX_EXPLAINED),
        metavar="N",
        help="explain N sentences: occlusion, saliency, gates of every layer (default: 0)",
    )
    output.add_argument(
        "--output",
        type=path_type,
        metavar="FILE",
        help=f"page to write (default: {REPORT_NAME} in the run folder, or here for a model file outside one)",
    )
    output.add_argument("--json", action="store_true", help="print what the page shows as one line of JSON instead")
    return made


def add_text_options(made: argparse.ArgumentParser) -> None:
    """Add the options that name the text to translate."""
    text = made.add_argument_group("text (UTF-8, one sentence a line, plain or compressed)")
    text.add_argument("--src", type=path_type, metavar="FILE", help="translate this file; -: standard input")
    text.add_argument(
        "--ref", action="append", type=path_type, metavar="FILE", help="reference translations, line-aligned with --src"
    )
    text.add_argument(
        "--train",
        type=path_type,
        metavar="FILE",
        help="target side of the training text, whose words are counted (default: that of the model's corpus, if its "
        "test set is shown)",
    )
    text.add_argument(
        "--data-root", type=path_type, metavar="DIR", help="read the corpus of the model from this folder"
    )
    text.add_argument("--cache-dir", type=path_type, metavar="DIR", help="keep downloads in this folder")
    add_tgt_lang(text)
    made.set_defaults(test_set=None, langpair=None, tokenize=None, robustness=None)  # of `model_tests`


def report(args: argparse.Namespace) -> None:
    """Write the page, and print its name; or print the model card.

    Raises:
        ConfigError: options that contradict each other, or runs that cannot be compared.
        DataError: text that cannot be read.
        ModelFileError: no model in a run folder, or a damaged one.
        StorageError: the page cannot be written.
    """
    logging.basicConfig(format="warning: %(message)s")
    check(args)
    if args.card:
        print_card(args)
        return
    output = None if args.json else checked_output(args)
    result = collect(args)
    if output is None:
        from seq2seq.storage.metrics_file import to_json

        sys.stdout.write(to_json(result) + "\n")
        return
    from seq2seq.reporting.report_page import write_page

    write_page(output, result)
    sys.stdout.write(f"{output}\n")


def check(args: argparse.Namespace) -> None:
    """Check that no option contradicts another or would be ignored.

    Raises:
        ConfigError: names the options.
    """
    if args.card:
        for name in (*TRANSLATING, "json"):
            if getattr(args, name):
                raise ConfigError(f"{flag_of(name)} has no effect with --card")
    if args.json and args.output is not None:
        raise ConfigError("--json prints on standard output: give either it or --output FILE")
    if (args.src is None) != (args.ref is None):
        raise ConfigError("--src and --ref need each other: the text to translate and its reference translations")
    if args.src is not None:
        for name in ("data_root", "cache_dir"):
            if getattr(args, name) is not None:
                raise ConfigError(f"{flag_of(name)} has no effect with --src")
    if args.ref is not None and len(args.ref) > 1:
        raise ConfigError("--ref is given twice: the page shows one reference per sentence")
    search_overrides(args)


def checked_output(args: argparse.Namespace) -> Path:
    """Return the file to write, after checks that cost no time.

    Raises:
        ConfigError, DataError: as `check_output`.
        StorageError: as `check_writable`.
    """
    from seq2seq.storage.model_file import find_model

    folder = run_of(find_model(Path(args.run)))
    name = args.output or str(Path(REPORT_NAME) if folder is None else folder / REPORT_NAME)
    runs = [args.run, *(args.against or ())]
    check_output(
        name,
        [
            *runs,
            *(str(Path(run, METRICS_NAME)) for run in runs),
            *filter(None, (args.src, args.train, *(args.ref or ()))),
        ],
    )
    check_writable(Path(name))
    return Path(name)


def print_card(args: argparse.Namespace) -> None:
    """Print the model card that the model file holds; of an older file, the one that a run would write now."""
    from seq2seq.reporting.model_card import model_card
    from seq2seq.storage.model_file import read_card

    card = read_card(Path(args.run)) or model_card(facts_of(args.run, *load(args, args.run), *model_names([args.run])))
    sys.stdout.write(card)


def collect(args: argparse.Namespace) -> dict[str, Any]:
    """Translate, score and return what the page shows."""
    from seq2seq.cli.evaluation.analysed_texts import training_words
    from seq2seq.reporting.gather import gather

    paths = [args.run, *(args.against or ())]
    names = model_names(paths)
    text, notes = text_of(args, paths)
    systems = {name: load(args, path) for name, path in zip(names, paths, strict=True)}
    check_languages(dict(zip(paths, [config for config, _ in systems.values()], strict=True)))
    runs = [facts_of(path, *systems[name], name) for path, name in zip(paths, names, strict=True)]
    tests = translated(args, text, systems)
    _, translator = systems[names[0]]
    sentences = SENTENCES if args.sentences is None else args.sentences
    explanations = explained(translator, tests, args.explain or 0, notes)
    words = training_words(args, [args.run]) if tests else None
    return gather(
        runs, translator, tests, sentences=sentences, training_words=words, explanations=explanations, notes=notes
    )


def model_names(paths: Sequence[str]) -> list[str]:
    """Return a name for each run: that of its folder, and of its file if that is not the best model.

    Raises:
        ConfigError: a model is given twice.
        ModelFileError: there is no model at a path.
    """
    from seq2seq.storage.model_file import BEST_NAME, find_model

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
    from seq2seq.data.language_codes import base_code

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
            text = TestText(name, sources, references, test.language, test.tokenize)
            outputs = {
                system: list(translations(args, translator, text, advance))
                for system, (_, translator) in systems.items()
            }
            found.append(compared(text, outputs))
    return found


def explained(translator: Translator, tests: Sequence[Tested], count: int, notes: list[str]) -> list[dict[str, Any]]:
    """Explain sentences of the first test set, half of them those with the lowest chrF; note those that cannot be."""
    from seq2seq.inference.explanation import explain
    from seq2seq.reporting.sentences import choose

    found: list[dict[str, Any]] = []
    if not count:
        return found
    first = tests[0]
    for line in itertools.chain(*choose(next(iter(first.sentence_scores().values())), count)):
        try:
            explanation = explain(translator, first.text.sources[line], tgt_lang=first.text.tgt_lang)
            found.append({"line": line + 1, **explanation.to_dict()})
        except DataError as error:
            notes.append(f"Line {line + 1} was not explained: {error}")
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


if __name__ == "__main__":
    sys.exit(main())
