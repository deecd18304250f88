"""Where a run stands: what last.pt holds besides weights and optimizer state."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from seq2seq.config.training import ScheduleName, TrainingConfig
from seq2seq.data.batches.batching import ORDER_VERSION
from seq2seq.training.records import Window

log = logging.getLogger(__name__)

MAX_SPLITS = 2**20
"""Upper bound of `Progress.splits`, which doubles."""
Kept = tuple[int, float, float]
"""A model in the folder models/: its step, monitored score and tie-breaker (`Validation.score`)."""


@dataclass
class Progress:
    """Counters and scores of a run. Saved in last.pt, which fixes the names of the fields."""

    step: int = 0
    """Updates, skipped ones included."""
    epoch: int = 0
    """Completed passes over the data."""
    position: int = 0
    """Batches of the current epoch already used; their order is a function of (seed, epoch)."""
    order_version: int = ORDER_VERSION
    """Version of that order; last.pt of an older program lacks it: 1."""
    elapsed_sec: float = 0.0
    """Training time over all parts of the run."""
    best: tuple[float, float] | None = None
    """Highest `Validation.score` so far."""
    stale_validations: int = 0
    """Validations since the best one."""
    plateau_stale: int = 0
    """Validations since the best one, or since the plateau schedule last reduced the learning rate if that is later."""
    plateau_scale: float = 1.0
    """Product of the plateau schedule's reductions."""
    skipped: int = 0
    """Updates skipped because loss or gradient was not finite."""
    skipped_in_a_row: int = 0
    """Skipped updates since the last one that was applied, without those by which the loss scale found its level."""
    losses: int = 0
    """Updates in the moving average of the loss."""
    loss_mean: float = 0.0
    """Moving average of the loss per token."""
    loss_variance: float = 0.0
    """Moving variance of the loss per token."""
    kept: list[Kept] = field(default_factory=list)
    """Models in the folder models/, by step."""
    window: Window = field(default_factory=Window)
    """Updates that are not logged yet."""
    splits: int = 1
    """Factor on `training.micro_batches`, doubled each time memory runs out. Dropout masks depend on it."""
    validated_step: int = -1
    """Step of the last validation, so that the final one is not repeated."""

    def state_dict(self) -> dict[str, Any]:
        """Return plain values for last.pt."""
        return dataclasses.asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned, in place: other objects of the run hold this one.

        Raises:
            TypeError: a field is unknown or has a value of another type.
            ValueError: a number is out of range.
        """
        window: dict[str, Any] = dict(**state.get("window", {}))
        unknown = dict.fromkeys(window.get("corpus_tokens", {}), math.nan)  # older files count tokens only
        loaded = Progress(**{"order_version": 1, **state, "window": Window(**{"corpus_nll": unknown, **window})})
        _check_numbers(loaded)
        _check_numbers(loaded.window)
        for values in (*loaded.kept, *filter(None, [loaded.best])):
            if not all(isinstance(value, int | float) for value in values):
                raise TypeError(f"{values!r} are not numbers")
        loaded.kept = [(step, score, tie) for step, score, tie in loaded.kept]
        vars(self).update(vars(loaded))

    def keep_order(self, is_order_of: Callable[[int, int], bool]) -> None:
        """Begin the epoch anew if its batches are in another order than when the checkpoint was written.

        `is_order_of` returns True if an epoch, the second argument, has the order of a version, the first one.
        """
        if self.position and not is_order_of(self.order_version, self.epoch):
            log.warning(
                "the checkpoint is of another version, which had another order of batches: epoch %d begins anew",
                self.epoch + 1,
            )
            self.position = 0
        self.order_version = ORDER_VERSION

    def record_validation(self, score: tuple[float, float], config: TrainingConfig) -> bool:
        """Count a validation at the current step; return True if its score is the best so far.

        The plateau schedule reduces the learning rate after `plateau_patience` validations without a better score.
        """
        self.validated_step = self.step
        better = self.best is None or score > tuple(self.best)
        if better:
            self.best, self.stale_validations, self.plateau_stale = score, 0, 0
        else:
            self.stale_validations += 1
            self.plateau_stale += config.schedule is ScheduleName.plateau
        if self.plateau_stale >= config.plateau_patience:
            self.plateau_scale, self.plateau_stale = self.plateau_scale * config.plateau_factor, 0
        return better


def _check_numbers(counters: Progress | Window) -> None:
    """Check the type and range of each number, since a damaged or a stranger's checkpoint may hold anything."""
    kinds: dict[Any, tuple[type, ...]] = {"int": (int,), "float": (int, float)}
    for name, kind in ((counter.name, kinds.get(counter.type)) for counter in dataclasses.fields(counters)):
        value = getattr(counters, name)
        if kind and (isinstance(value, bool) or not isinstance(value, kind)):
            raise TypeError(f"{name}={value!r} is not a number")
        if kind == (int,) and not -1 <= value <= 2**62:
            raise ValueError(f"{name}={value} is out of range")
    if isinstance(counters, Window):
        for name, count in counters.corpus_tokens.items():
            if type(name) is not str or type(count) is not int or not 0 <= count <= 2**62:
                raise ValueError(f"corpus_tokens[{name!r}]={count!r} is not a number of tokens")
        if counters.corpus_nll.keys() != counters.corpus_tokens.keys():
            raise ValueError("corpus_nll and corpus_tokens have different corpora")
        if not all(type(nll) is float for nll in counters.corpus_nll.values()):
            raise TypeError(f"corpus_nll={counters.corpus_nll!r} are not numbers")
    if isinstance(counters, Progress) and not 1 <= counters.splits <= MAX_SPLITS:
        raise ValueError(f"splits={counters.splits} is out of range")
