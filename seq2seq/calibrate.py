"""Command: calibrate confidence, or check it. `python -m seq2seq.calibrate MODEL --src FILE --ref FILE`."""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from seq2seq.cli.exit_status import run
from seq2seq.cli.output_file import check_output
from seq2seq.cli.process_options import (
    CommandParser,
    add_ensemble_weights,
    add_process_options,
    add_references,
    add_tgt_lang,
    load_translator,
    model_list,
    path_type,
)
from seq2seq.errors import ConfigError

if TYPE_CHECKING:
    from seq2seq.evaluation.calibration import Assessment
    from seq2seq.evaluation.reliability import Reliability

WINDOW = 500  # pairs that are translated together
DESCRIPTION = """\
Calibrate the confidence of a model: the probability that an output sentence is good, and that a word is right.
The source text is translated and compared with the references; then the model file is rewritten, with the calibration
in its metadata and otherwise unchanged. Training does the same with validation text (training.calibrate_sentences).

Use text like that which will be translated, at least 500 sentences, and none that the model was trained on.

  %(prog)s MODEL --src F --ref F            calibrate MODEL
  %(prog)s MODEL --src F --ref F --check    compare probabilities with outcomes on other text; writes nothing
"""
_Row = TypeVar("_Row")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return run(lambda: calibrate(parser().parse_args(argv)))


def parser() -> argparse.ArgumentParser:
    """Return the argument parser."""
    made = CommandParser(
        prog="seq2seq-calibrate", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "model",
        metavar="MODEL",
        help="model file or run folder; with --check several, comma-separated, form an ensemble",
    )
    add_references(made)
    made.add_argument(
        "--output", type=path_type, metavar="FILE", help="write the calibrated model to FILE (default: rewrite MODEL)"
    )
    made.add_argument(
        "--check",
        action="store_true",
        help="print how well the probabilities of MODEL agree with this text, and the chrF of the tenth of the "
        "sentences with the lowest confidence; the model is not changed",
    )
    made.add_argument("--json", action="store_true", help="print the result as one line of JSON")
    add_tgt_lang(made)
    add_ensemble_weights(made)
    add_process_options(made)
    return made


def calibrate(args: argparse.Namespace) -> None:
    """Calibrate or check the model of the command line.

    Raises:
        ConfigError: options that contradict each other; or the model is not calibrated, with --check.
        DataError: a file is missing or not UTF-8, or the files differ in their number of lines.
        StorageError: the model cannot be written; it is unchanged.
    """
    logging.basicConfig(format="warning: %(message)s")
    models = model_list(args.model)
    if args.check:
        if args.output is not None:
            raise ConfigError("--output has no effect with --check, which writes no model")
        check_output("-", [args.src, args.ref, *models])
        check(args, models)
        return
    if len(models) > 1:
        raise ConfigError("several models: calibrate each of them; an ensemble uses the calibration of its first model")
    if args.weights is not None:
        raise ConfigError("--weights needs --check and several models")
    for output in ("-", *filter(None, [args.output])):
        check_output(output, [args.src, args.ref, *models])
    rewrite(args, models[0])


def rewrite(args: argparse.Namespace, model: str) -> None:
    """Write the model with a calibration, and print how good it is."""
    from seq2seq.cli.aligned_files import read_aligned
    from seq2seq.storage.model_file import find_model

    file = find_model(Path(model))
    output = file if args.output is None else Path(args.output)
    with writable(output, in_place=args.output is None):
        texts = read_aligned([args.src, args.ref])

        from seq2seq.evaluation.calibration import FEW_PAIRS, fit, observe
        from seq2seq.storage.metrics_file import to_json
        from seq2seq.storage.model_file import write_calibration

        translator = load_translator(args, [str(file)])
        translator.tags.ids(args.tgt_lang)
        observations = in_windows(texts, lambda src, ref: observe(translator, src, ref, args.tgt_lang))
        calibration = fit(observations)
        if calibration.pairs < FEW_PAIRS:
            logging.warning("only %d sentences: the probabilities are rough; give at least 500", calibration.pairs)
        write_calibration(file, calibration, output)
    errors = {"sentence_error": calibration.sentence_error, "word_error": calibration.word_error}
    if args.json:
        sys.stdout.write(to_json({"model": str(output), "sentences": calibration.pairs, **errors}) + "\n")
        return
    sys.stdout.write(f"{output}: confidence calibrated with {calibration.pairs:,} sentences\n")
    for name, error in errors.items():
        level = name.partition("_")[0]
        shown = "unknown (too few sentences)" if error is None else f"{error:.3f}"
        sys.stdout.write(f"expected calibration error of {level}s, by cross-validation: {shown}\n")


@contextlib.contextmanager
def writable(output: Path, *, in_place: bool) -> Iterator[None]:
    """Check before the work that the model can be rewritten, and keep a training run out of its folder meanwhile.

    A run would replace the model by a better one, which the rewriting would undo.

    Raises:
        ConfigError: the folder of the model is used by a run.
        StorageError: the model is protected against writing.
    """
    from seq2seq.filesystem.atomic_files import replaceable, storage_errors
    from seq2seq.storage.run_folder import run_of
    from seq2seq.storage.run_lock import folder_held

    with storage_errors(output):
        if in_place:
            replaceable(output)
    folder = run_of(output) if in_place else None
    with contextlib.nullcontext() if folder is None else folder_held(folder, "MODEL"):
        yield


def check(args: argparse.Namespace, models: Sequence[str]) -> None:
    """Print how well the confidence agrees with the references."""
    from seq2seq.cli.aligned_files import read_aligned

    texts = read_aligned([args.src, args.ref])

    from seq2seq.evaluation.calibration import assess, rate
    from seq2seq.storage.metrics_file import to_json

    translator = load_translator(args, models)
    translator.check_options(confidence=True)
    translator.tags.ids(args.tgt_lang)
    rated = in_windows(texts, lambda src, ref: rate(translator, src, ref, args.tgt_lang))
    assert translator.calibration is not None
    found = assess(rated, translator.calibration.good_chrf)
    if args.json:
        sys.stdout.write(to_json(found.to_dict()) + "\n")
    else:
        print_assessment(found)


def in_windows(texts: Sequence[list[str]], work: Callable[[list[str], list[str]], list[_Row]]) -> list[_Row]:
    """Return what `work` returns for all pairs of sources and references, a window at a time, with a progress bar."""
    from seq2seq.cli.progress import progress

    sources, references = texts
    rows: list[_Row] = []
    with progress([], "-", 0, len(sources)) as advance:
        for start in range(0, len(sources), WINDOW):
            window = sources[start : start + WINDOW]
            rows += work(window, references[start : start + WINDOW])
            advance(len(window))
    return rows


def print_assessment(found: Assessment) -> None:
    """Print two tables of bins, and the figures."""
    print_bins("sentences", found.sentences, f"good: chrF >= {found.good_chrf:g}")
    print_bins("words", found.words, "right")
    sys.stdout.write(
        f"mean chrF of the tenth of the sentences with the lowest confidence: {found.worst_tenth_chrf:.2f}; "
        f"of all: {found.mean_chrf:.2f}\n"
    )


def print_bins(name: str, found: Reliability, outcome: str) -> None:
    """Print the bins of one level, and its expected calibration error."""
    from seq2seq.evaluation.report import print_table

    rows = [
        [f"{part.low:.1f}-{part.high:.1f}", f"{part.count:,}"]
        + [f"{value:.3f}" for value in (part.mean_probability, part.share_right)]
        for part in found.bins
    ]
    print_table([name, "number", "mean probability", outcome], rows)
    sys.stdout.write(f"expected calibration error of {name}: {found.expected_calibration_error:.4f}\n\n")


if __name__ == "__main__":
    sys.exit(main())
