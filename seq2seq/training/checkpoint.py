"""The resume state: everything a run needs to go on as if it had never stopped."""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from seq2seq.atomic_files import first_line, write_atomically
from seq2seq.errors import ModelFileError
from seq2seq.storage.run_folder import LAST_NAME, PREVIOUS_NAME
from seq2seq.training.ema import MovingAverage

FORMAT_VERSION = 2  # 1 held the state of torch's random numbers
log = logging.getLogger(__name__)


class Damaged(ModelFileError):
    """A checkpoint that cannot be read."""


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
    """Score of the best validation, the higher the better (`retention.score_of`)."""
    stale_validations: int = 0
    """Validations since the best one."""
    plateau_stale: int = 0
    """Validations without a better score since the plateau schedule last cut the rate."""
    plateau_scale: float = 1.0
    """Product of the plateau schedule's reductions."""
    skipped: int = 0
    """Updates skipped because loss or gradient was not finite."""
    skipped_in_a_row: int = 0
    """Of these, the ones since the last update that was made."""
    losses: int = 0
    """Updates that the two figures below are taken over."""
    loss_mean: float = 0.0
    """Moving average of the loss per token."""
    loss_variance: float = 0.0
    """Its moving variance."""
    kept: list[tuple[int, float, float]] = field(default_factory=list)
    """Models kept besides the best one: step, score and what decides between equal scores."""
    window: dict[str, Any] = field(default_factory=dict)
    """Sums over the updates that have no line in the log yet."""
    splits: int = 1
    """Into how many times as many micro-batches as configured batches are cut, for want of memory."""
    validated_step: int = -1
    """Step of the last validation, so that the one at the end is not done twice."""


def save_checkpoint(
    path: Path,
    network: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    average: MovingAverage | None,
    progress: Progress,
    pieces: str,
) -> None:
    """Write last.pt; `pieces` is the fingerprint of the tokenizer whose ids the weights know.

    Random numbers are not in it: those of an update are a function of (seed, step). The checkpoint before this one
    keeps its content under another name: a file that is cut short later does not end the run.

    Raises:
        StorageError: the disk refuses; the older checkpoint is kept.
    """
    state: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "average": average.average if average else None,
        "progress": dataclasses.asdict(progress),
        "pieces": pieces,
    }

    def write(temporary: Path) -> None:
        torch.save(state, temporary)
        if path.is_file():  # only now: whatever fails before leaves both as they were
            write_atomically(path.with_name(PREVIOUS_NAME), lambda copy: _link(path, copy))

    write_atomically(path, write)


def read_checkpoint(folder: Path, pieces: str) -> dict[str, Any]:
    """Return the content of a run folder's last.pt; where that is damaged, of the one before it.

    Raises:
        ModelFileError: missing, damaged, of another format version, or made with another tokenizer.
    """
    path, previous = folder / LAST_NAME, folder / PREVIOUS_NAME
    try:
        return _read(path, pieces)
    except Damaged as error:
        if not previous.is_file():
            raise
        log.warning("%s; going on from %s", error, PREVIOUS_NAME)
        state = _read(previous, pieces)
        os.replace(previous, path)  # or the next save would put the damaged one in its place
        return state


def restore(
    path: Path,
    state: dict[str, Any],
    network: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    average: MovingAverage | None,
) -> Progress:
    """Write what `read_checkpoint` returned of `path` into network, optimizer and average; return where the run stood.

    The optimizer's settings (betas, weight decay) stay those it was made with: they may change on resume.

    Raises:
        ModelFileError: the state is that of another model.
    """
    settings = [{k: v for k, v in group.items() if k not in ("params", "lr")} for group in optimizer.param_groups]
    try:
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        for group, own in zip(optimizer.param_groups, settings, strict=True):
            group.update(own)
        if average is not None:
            average.load(state["average"])
        return Progress(**state["progress"])
    except (AttributeError, KeyError, TypeError, RuntimeError, ValueError) as error:
        raise ModelFileError(f"{path} does not fit this run: {first_line(error)}") from error


def _read(path: Path, pieces: str) -> dict[str, Any]:
    if not path.is_file():
        raise ModelFileError(f"no checkpoint at {path}")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        version = state["format_version"]
    except Exception as error:
        raise Damaged(f"{path} is not a readable checkpoint: {first_line(error)}") from error
    if version != FORMAT_VERSION:
        raise ModelFileError(f"{path} has format version {version}; this program reads {FORMAT_VERSION}")
    if state.get("pieces") != pieces:
        raise ModelFileError(
            f"{path} was made with another tokenizer: the training text, or the model of training.init_from, changed. "
            "Give the same one, or start a new run"
        )
    return state


def _link(path: Path, copy: Path) -> None:
    """Make `copy` another name of the file at `path`; a copy where the file system has no such names."""
    copy.unlink()
    try:
        os.link(path, copy)
    except OSError:
        shutil.copyfile(path, copy)
