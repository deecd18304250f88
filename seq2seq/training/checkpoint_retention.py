"""Models kept besides best.safetensors: those of the best and of the last validations, in the folder models/."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from seq2seq.config.training import TrainingConfig
from seq2seq.storage.run_folder import MODELS_NAME
from seq2seq.training.progress import Kept


def keeps_step_models(config: TrainingConfig) -> bool:
    """Return True if the run keeps models besides the best one."""
    return config.keep_best > 1 or config.keep_last > 0


def update_kept(kept: Sequence[Kept], new: Kept, config: TrainingConfig) -> list[Kept]:
    """Return which of `kept` and `new` stay, by step; of equal scores the earlier one is better."""
    models = sorted({model[0]: model for model in [*kept, new]}.values())
    best = sorted(models, key=lambda model: (*model[1:], -model[0]), reverse=True)[: config.keep_best]
    last = models[-config.keep_last :] if config.keep_last else []
    return [model for model in models if model in best or model in last]


def model_path(run: Path, step: int) -> Path:
    """Return the path of a step's model in a run folder; file names sort by step."""
    return run / MODELS_NAME / f"step_{step:07d}.safetensors"


def kept_models(run: Path) -> list[Path]:
    """Return the models in a run folder's models/, by step."""
    matches = ((re.fullmatch(r"step_(\d+)\.safetensors", path.name), path) for path in (run / MODELS_NAME).glob("*"))
    return [path for _, path in sorted((int(match[1]), path) for match, path in matches if match)]


def remove_unkept_models(run: Path, kept: Sequence[Kept]) -> None:
    """Delete the models in a run folder's models/ that are not in `kept`; files with other names stay."""
    names = {model_path(run, model[0]).name for model in kept}
    for path in kept_models(run):
        if path.name not in names:
            path.unlink(missing_ok=True)
