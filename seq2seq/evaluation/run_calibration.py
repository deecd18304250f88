"""Calibrate the confidence of the best model at the end of a training run."""

from __future__ import annotations

import logging
import math
import shlex
from pathlib import Path

from seq2seq.config.data import MAIN
from seq2seq.config.schema import Config
from seq2seq.data.corpus import Corpus
from seq2seq.errors import first_line
from seq2seq.evaluation.calibration import FEW_PAIRS, Observation, fit, observe
from seq2seq.inference.translator import Translator
from seq2seq.storage.model_file import write_calibration
from seq2seq.storage.run_folder import BEST_NAME

log = logging.getLogger(__name__)


def calibrate_best_model(folder: Path, corpus: Corpus, config: Config) -> None:
    """Calibrate the confidence of the best model with validation text and store it in the model file.

    The model is complete without it: a failure is a warning.
    """
    try:
        translator = Translator.load(folder, device=config.training.device, precision=config.training.precision)
        texts = {MAIN: corpus.valid} | {name: other.valid for name, other in corpus.mix.items() if len(other.valid)}
        share = -(-config.training.calibrate_sentences // len(texts))
        observations: list[Observation] = []
        for name, text in texts.items():
            some, tgt_lang = text.first(share), config.data.corpora()[name].tgt
            observations += observe(translator, some.src, some.tgt, tgt_lang)
        calibration = fit(observations)
        write_calibration(folder / BEST_NAME, calibration, folder / BEST_NAME)
    except Exception as error:
        log.warning(
            "confidence is not calibrated (%s): run python -m seq2seq.calibrate %s --src FILE --ref FILE",
            *(first_line(error), shlex.quote(str(folder))),
        )
        return
    if calibration.pairs < FEW_PAIRS:
        log.info("confidence calibrated with only %d validation sentences: it is rough", calibration.pairs)
    else:
        errors = [math.nan if e is None else e for e in (calibration.sentence_error, calibration.word_error)]
        log.info(
            "confidence calibrated with %s validation sentences: expected calibration error %.3f of sentences, "
            "%.3f of words (cross-validation)",
            *(f"{calibration.pairs:,}", *errors),
        )
