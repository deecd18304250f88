"""COMET (Rei et al. 2020), a learned metric, by a checkpoint on disk; its package is not one of our dependencies."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from seq2seq.errors import ConfigError, DataError
from seq2seq.evaluation.metrics import Score

BATCH_SIZE = 16


class Comet:
    """Scores translations with sources and references."""

    def __init__(self, checkpoint: str) -> None:
        """Load the model.

        Raises:
            ConfigError: the package unbabel-comet is not installed.
            DataError: there is no file at `checkpoint`.
        """
        if not Path(checkpoint).is_file():
            raise DataError(f"--comet {checkpoint}: no such file: give the checkpoint (.ckpt) of a COMET model on disk")
        try:
            from comet import load_from_checkpoint
        except ImportError:
            raise ConfigError(
                "--comet needs the package unbabel-comet, which requires numpy < 2 and protobuf < 5: install it with "
                "pip install seq2seq-lstm unbabel-comet in an environment of its own"
            ) from None
        logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
        self._name, self._model = Path(checkpoint).stem, load_from_checkpoint(checkpoint)

    def __call__(self, sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str]) -> Score:
        """Return the score of the whole text, in points: 100 times that of COMET."""
        lines = zip(sources, hypotheses, references, strict=True)
        data = [{"src": src, "mt": hypothesis, "ref": reference} for src, hypothesis, reference in lines]
        predicted = self._model.predict(data, batch_size=BATCH_SIZE, gpus=0, progress_bar=False)
        return Score(100 * float(predicted.system_score), f"model:{self._name}|version:{version('unbabel-comet')}")
