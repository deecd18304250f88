"""COMET (Rei et al. 2020), a learned metric, by a checkpoint on disk; its package is not one of our dependencies."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from seq2seq.evaluation.metrics import Score

BATCH_SIZE = 16


def is_installed() -> bool:
    """Return True if COMET's package can be imported."""
    return importlib.util.find_spec("comet") is not None


class Comet:
    """Scores translations with sources and references, on the CPU."""

    def __init__(self, checkpoint: str) -> None:
        """Load the model of a checkpoint."""
        from comet import load_from_checkpoint

        logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
        self._name, self._model = Path(checkpoint).stem, load_from_checkpoint(checkpoint)

    def __call__(self, sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str]) -> Score:
        """Return the score of the whole text, in points: 100 times that of COMET."""
        lines = zip(sources, hypotheses, references, strict=True)
        data = [{"src": src, "mt": hypothesis, "ref": reference} for src, hypothesis, reference in lines]
        predicted = self._model.predict(data, batch_size=BATCH_SIZE, gpus=0, progress_bar=False)
        return Score(100 * float(predicted.system_score), f"model:{self._name}|version:{version('unbabel-comet')}")
