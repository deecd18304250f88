"""last.pt: the state a run resumes from, as if it had never stopped."""

from __future__ import annotations

import logging
import os
import shutil
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.amp import GradScaler

from seq2seq.errors import ModelFileError, StorageError, first_line
from seq2seq.filesystem.atomic_files import write_atomically
from seq2seq.storage.run_folder import LAST_NAME, PREVIOUS_NAME
from seq2seq.training.ema import MovingAverage
from seq2seq.training.progress import Progress

FORMAT_VERSION = 2  # version 1 also held the state of torch's random number generator
log = logging.getLogger(__name__)


class DamagedCheckpointError(ModelFileError):
    """A checkpoint that cannot be read, or has changed since it was written."""


@dataclass(frozen=True)
class TrainingState:
    """All state of a run that training changes.

    No generator state: random numbers are a function of (seed, step).
    """

    network: torch.nn.Module
    optimizer: torch.optim.Optimizer
    average: MovingAverage | None
    progress: Progress
    scaler: GradScaler = field(default_factory=lambda: GradScaler(enabled=False))
    """Of the loss of fp16; its state is empty with another precision."""

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values for last.pt."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.average if self.average else None,
            "progress": self.progress.state_dict(),
            "loss_scale": self.scaler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore network, optimizer, average and progress in place.

        The optimizer keeps its own hyper-parameters (betas, weight decay): the config may change them on resume.
        """
        own = [{k: v for k, v in group.items() if k not in ("params", "lr")} for group in self.optimizer.param_groups]
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        for group, hyper_parameters in zip(self.optimizer.param_groups, own, strict=True):
            group.update(hyper_parameters)
        if self.average is not None:
            self.average.load(state["average"])
        self.progress.load_state_dict(state["progress"])
        if state.get("loss_scale"):  # older files lack it
            self.scaler.load_state_dict(state["loss_scale"])


def save_checkpoint(path: Path, state: TrainingState, tokenizer_fingerprint: str) -> None:
    """Write last.pt with the fingerprint of the tokenizer whose ids the weights know.

    The checkpoint it replaces stays as previous.pt, so that damage to the new file later does not end the run.

    Raises:
        StorageError: the file cannot be written; the older checkpoint is unchanged.
    """
    if not path.parent.is_dir():  # deleted: a new folder with this file alone could not be resumed
        raise StorageError(f"cannot write {path}: the run folder no longer exists")
    content = {"format_version": FORMAT_VERSION, **state.state_dict(), "pieces": tokenizer_fingerprint}

    def write(temporary: Path) -> None:
        torch.save(content, temporary)
        if path.is_file():  # only after a complete save: a failure leaves both files unchanged
            write_atomically(path.with_name(PREVIOUS_NAME), lambda copy: _link(path, copy))

    write_atomically(path, write)


def read_checkpoint(folder: Path, tokenizer_fingerprint: str) -> dict[str, Any]:
    """Return the content of a run folder's last.pt; if it is damaged, of previous.pt.

    Raises:
        ModelFileError: missing, damaged, of another format version, or made with another tokenizer.
    """
    path, previous = folder / LAST_NAME, folder / PREVIOUS_NAME
    try:
        return _read(path, tokenizer_fingerprint)
    except DamagedCheckpointError as error:
        if not previous.is_file():
            raise
        log.warning("%s; resuming from %s", error, PREVIOUS_NAME)
        try:
            content = _read(previous, tokenizer_fingerprint)
        except DamagedCheckpointError as second:
            raise DamagedCheckpointError(
                f"{error}, and neither is {PREVIOUS_NAME}: start a new run; training.init_from={folder} starts it from "
                "the best model"
            ) from second
        os.replace(previous, path)  # otherwise the next save would replace the intact file with the damaged one
        return content


def restore(path: Path, content: dict[str, Any], state: TrainingState) -> None:
    """Load into `state` what `read_checkpoint` returned.

    Raises:
        ModelFileError: the checkpoint is of another model or lacks a part; the message names `path`.
    """
    try:
        state.load_state_dict(content)
    except (AttributeError, KeyError, TypeError, RuntimeError, ValueError) as error:
        raise ModelFileError(f"{path} does not fit this run: {first_line(error)}") from error


def _read(path: Path, tokenizer_fingerprint: str) -> dict[str, Any]:
    if not path.is_file():
        raise ModelFileError(f"no checkpoint at {path}")
    try:
        _verify(path)
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        version = int(content["format_version"])
        made_with = content.get("pieces")
    except Exception as error:
        raise DamagedCheckpointError(f"{path} is not a readable checkpoint: {first_line(error)}") from error
    if version != FORMAT_VERSION:
        raise ModelFileError(f"{path} has format version {version}; this program reads {FORMAT_VERSION}")
    if made_with != tokenizer_fingerprint:
        raise ModelFileError(
            f"{path} was made with another tokenizer: the training text or the model of training.init_from changed; "
            "restore it, or start a new run"
        )
    return content


def _verify(path: Path) -> None:
    """Compare every part of the file with its CRC-32, which torch.save writes and torch.load ignores.

    Raises:
        Exception: a part differs, or the file is not a zip archive.
    """
    with zipfile.ZipFile(path) as archive:
        if damaged := archive.testzip():
            raise ValueError(f"the content of {damaged} has changed since it was saved")


def _link(path: Path, copy: Path) -> None:
    """Make `copy` a hard link to `path`, or a copy if the file system has no hard links."""
    copy.unlink()
    try:
        os.link(path, copy)
    except OSError:
        shutil.copyfile(path, copy)
