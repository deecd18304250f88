"""The names of the files in a run folder, in one place and importable without torch."""

from __future__ import annotations

from pathlib import Path

BEST_NAME = "best.safetensors"
"""The model of the best validation: weights, config and tokenizer; all that translation needs."""
LAST_NAME = "last.pt"
"""The resume state: weights, optimizer state and the position in the data."""
PREVIOUS_NAME = "previous.pt"
"""The save before `LAST_NAME`, used if that one is damaged."""
MODELS_NAME = "models"
"""Folder of the further models that `training.keep_best` and `training.keep_last` keep."""
CONFIG_NAME = "config.yaml"
PROVENANCE_NAME = "provenance.json"
"""Versions, machine, commit and a hash of the texts, for each part of a resumed run."""
METRICS_NAME = "metrics.jsonl"
"""One JSON object a line for each logged step, validation and test (`metrics_file`)."""
LOG_NAME = "train.log"
REPORT_NAME = "report.html"
"""The page of the run (`python -m seq2seq.report`)."""
CARD_NAME = "model-card.md"
"""What the model is, was trained on and scores; the model file has a copy."""
TENSORBOARD_NAME = "tensorboard"
FAILED_NAME = "failed.txt"
"""The error of a sweep point that failed."""
LOCK_NAME = "lock"
"""Names the process that uses the folder, which holds a lock on this file; removed when it ends."""
SHORTLIST_NAME = "shortlist.safetensors"
"""Default output of `python -m seq2seq.shortlist`."""


def run_of(model: Path) -> Path | None:
    """Return the run folder that holds the model file, itself or in its models/; None if it is alone."""
    folders = [model.parent] + ([model.parent.parent] if model.parent.name == MODELS_NAME else [])
    return next((folder for folder in folders if (folder / CONFIG_NAME).is_file()), None)
