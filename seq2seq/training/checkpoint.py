"""The resume state: everything a run needs to go on as if it had never stopped."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from seq2seq.errors import ModelFileError
from seq2seq.storage import first_line, write_atomically

LAST_NAME = "last.pt"
FORMAT_VERSION = 1


@dataclass
class Progress:
    """Where a run stands."""

    step: int = 0
    """Updates made."""
    epoch: int = 0
    """Passes over the data completed."""
    position: int = 0
    """Batches of the current epoch already used; the order is a function of (seed, epoch), so this is enough."""
    elapsed_sec: float = 0.0
    """Training time over all parts of the run."""
    best: tuple[float, float] | None = None
    """(BLEU, -loss) of the best validation."""
    stale_validations: int = 0
    """Validations since the best one."""
    plateau_stale: int = 0
    """Validations without a better score since the plateau schedule last cut the rate."""
    plateau_scale: float = 1.0
    """Product of the plateau schedule's reductions."""
    skipped: int = 0
    """Updates skipped because loss or gradient was not finite."""
    validated_step: int = -1
    """Step of the last validation, so that the one at the end is not done twice."""


def save_checkpoint(
    path: Path, network: torch.nn.Module, optimizer: torch.optim.Optimizer, progress: Progress, pieces: str
) -> None:
    """Write last.pt; `pieces` is the fingerprint of the tokenizer whose ids the weights know.

    Raises:
        StorageError: the disk refuses; the older checkpoint is kept.
    """
    state: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "progress": dataclasses.asdict(progress),
        "pieces": pieces,
        "random": torch.get_rng_state(),
        "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    write_atomically(path, lambda temporary: torch.save(state, temporary))


def load_checkpoint(path: Path, network: torch.nn.Module, optimizer: torch.optim.Optimizer, pieces: str) -> Progress:
    """Restore network, optimizer and random state in place from last.pt and return where the run stood.

    The optimizer's settings (betas, weight decay) stay those it was made with: they may change on resume.

    Raises:
        ModelFileError: missing, damaged, of another format version, or made with another model or tokenizer.
    """
    if not path.is_file():
        raise ModelFileError(f"no checkpoint at {path}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        version = state["format_version"]
    except Exception as error:
        raise ModelFileError(f"{path} is not a readable checkpoint: {first_line(error)}") from error
    if version != FORMAT_VERSION:
        raise ModelFileError(f"{path} has format version {version}; this program reads {FORMAT_VERSION}")
    if state.get("pieces") != pieces:
        raise ModelFileError(
            f"{path} was made with another tokenizer: the training text, or the model of training.init_from, changed. "
            "Give the same one, or start a new run"
        )
    settings = [{k: v for k, v in group.items() if k not in ("params", "lr")} for group in optimizer.param_groups]
    try:
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        for group, own in zip(optimizer.param_groups, settings, strict=True):
            group.update(own)
        torch.set_rng_state(state["random"])
        if state["random_cuda"] and len(state["random_cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["random_cuda"])
        return Progress(**state["progress"])
    except (AttributeError, KeyError, TypeError, RuntimeError, ValueError) as error:
        raise ModelFileError(f"{path} does not fit this run: {first_line(error)}") from error
