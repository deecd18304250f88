"""What a trainer is given: the data of an epoch, what to call at a validation, and where to write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from seq2seq.data.batches.batch import Batch
from seq2seq.training.records import Validation
from seq2seq.training.run_log import TrainingLog


@runtime_checkable  # for the type checks of the tests
class EpochData(Protocol):
    """The training data as a function of the epoch."""

    def __call__(self, epoch: int, start: int) -> tuple[int, Iterator[Batch]]:
        """Return the number of batches of `epoch` and an iterator over them from number `start`."""


ValidationCallback = Callable[[int, Validation], None]
"""Called with step and result after each validation; an exception it raises ends the run."""


def ignore_validation(step: int, validation: Validation) -> None:
    """Do nothing."""


@dataclass
class Callbacks:
    """What the trainer calls on rank 0."""

    validate: Callable[[], Validation]
    save_model: Callable[[Path], None]
    """Writes the network with its current weights as a model file."""
    on_validation: ValidationCallback = ignore_validation


@dataclass(frozen=True)
class RunOutput:
    """Where a run writes, and the tokenizer that its checkpoints belong to."""

    folder: Path
    log: TrainingLog
    tokenizer_fingerprint: str
