"""Which models of a run are kept: the best by the monitored score, and the last."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

from seq2seq.config.training import MonitorName, TrainingConfig

FOLDER_NAME = "models"
Kept = tuple[int, float, float]
"""Step of a model, its monitored score and what decides between equal ones; both are better the higher they are."""


def score_of(monitor: MonitorName, loss: float, bleu: float, chrf: float) -> tuple[float, float]:
    """Return what validations are compared by, the higher the better: the monitored figure, then another one.

    A figure that is not a number is worse than any.
    """
    by, then = {
        MonitorName.bleu: (bleu, -loss),
        MonitorName.chrf: (chrf, -loss),
        MonitorName.loss: (-loss, bleu),
    }[monitor]
    return by if math.isfinite(by) else -math.inf, then if math.isfinite(then) else -math.inf


def keeps_step_models(config: TrainingConfig) -> bool:
    """Whether a run keeps models besides the best one."""
    return config.keep_best > 1 or config.keep_last > 0


def update_kept(kept: Sequence[Kept], new: Kept, config: TrainingConfig) -> list[Kept]:
    """Return what is kept of `kept` and `new`, in the order of the steps; of equal scores the earlier one is better."""
    known = sorted({one[0]: one for one in [*kept, new]}.values())
    best = sorted(known, key=lambda one: (*one[1:], -one[0]), reverse=True)[: config.keep_best]
    last = known[-config.keep_last :] if config.keep_last else []
    return [one for one in known if one in best or one in last]


def model_path(run: Path, step: int) -> Path:
    """Return where the model of a step is kept in a run folder; names sort by step."""
    return run / FOLDER_NAME / f"step_{step:07d}.safetensors"


def kept_models(run: Path) -> list[Path]:
    """Return the models that a run folder keeps, by step."""
    found = ((re.fullmatch(r"step_(\d+)\.safetensors", path.name), path) for path in (run / FOLDER_NAME).glob("*"))
    return [path for _, path in sorted((int(name[1]), path) for name, path in found if name)]


def remove_unkept_models(run: Path, kept: Sequence[Kept]) -> None:
    """Delete the models of a run folder that are not kept."""
    names = {model_path(run, one[0]).name for one in kept}
    for path in kept_models(run):
        if path.name not in names:
            path.unlink(missing_ok=True)
