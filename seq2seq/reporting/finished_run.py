"""What a training run writes at its end: the model card and the report, from translations that the test has made."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from seq2seq.config.schema import Config
from seq2seq.errors import first_line
from seq2seq.evaluation.analysis.words import word_counts
from seq2seq.filesystem.atomic_files import write_atomically
from seq2seq.inference.translation import Translation
from seq2seq.inference.translator import Translator
from seq2seq.reporting.gather import gather
from seq2seq.reporting.model_card import model_card
from seq2seq.reporting.report_page import write_page
from seq2seq.reporting.run_facts import RunFacts, read_facts
from seq2seq.reporting.sentences import TestText, compared
from seq2seq.storage.model_file import write_card
from seq2seq.storage.run_folder import BEST_NAME, CARD_NAME, REPORT_NAME

MAX_COUNTED = 200_000
"""Lines of training text whose words are counted at the end of a run, in about three seconds."""
log = logging.getLogger(__name__)


def document_run(
    folder: Path,
    translator: Translator,
    config: Config,
    tests: Sequence[tuple[TestText, Sequence[Translation]]],
    training_lines: Sequence[str],
) -> Path | None:
    """Write the model card, beside and into the best model, and the report; return the path of the report.

    The run is finished: whatever goes wrong here is logged as a warning, and None is returned.

    Args:
        folder: of the run.
        translator: of its best model.
        config: of the run.
        tests: its test sets and their translations by this run; their scores are among the events of the run.
        training_lines: the target side of the training text, whose words are counted unless it is large.
    """
    name = folder.resolve().name
    try:
        run = read_facts(name, folder, config, translator.network, translator.tokenizer)
        save_card(folder, run)
        if not config.training.report:
            return None
        counted = word_counts(training_lines) if len(training_lines) <= MAX_COUNTED else None
        tested = [compared(text, {name: outputs}) for text, outputs in tests]
        write_page(folder / REPORT_NAME, gather([run], translator, tested, training_words=counted))
    except Exception as error:  # hours of training must not end with the traceback of a page
        log.warning(
            "the run is complete, but its %s or %s is not complete (%s: %s); try python -m seq2seq.report %s",
            *(CARD_NAME, REPORT_NAME, type(error).__name__, first_line(error), folder),
        )
        return None
    return folder / REPORT_NAME


def save_card(folder: Path, run: RunFacts) -> None:
    """Write the model card beside the best model and into it.

    Raises:
        ModelFileError: the model cannot be read.
        StorageError: a file cannot be written.
    """
    card = model_card(run)
    content = card.encode("utf-8", "backslashreplace")
    write_atomically(folder / CARD_NAME, lambda path: path.write_bytes(content))
    write_card(folder / BEST_NAME, content.decode())
