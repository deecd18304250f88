"""The training loop: `fit` says when things happen, `train_step` says how an update is made."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from seq2seq.batch import Batch
from seq2seq.config import TrainingConfig
from seq2seq.errors import Seq2SeqError
from seq2seq.model.network import Seq2Seq
from seq2seq.runtime import autocast
from seq2seq.training.checkpoint import LAST_NAME, Progress, load_checkpoint, save_checkpoint
from seq2seq.training.diagnostics import diagnose
from seq2seq.training.loggers import RunLog
from seq2seq.training.loss import output_loss
from seq2seq.training.optimizer import learning_rate, make_optimizer
from seq2seq.training.r_drop import r_drop_loss

SAVE_EVERY_SEC = 45.0
BEFORE_VALIDATION_SEC = 5.0
MAX_SKIPPED_IN_A_ROW = 20
log = logging.getLogger(__name__)


@runtime_checkable  # so that the tests' type checker can look at it
class EpochData(Protocol):
    """The training data as a function of the epoch."""

    def __call__(self, epoch: int, start: int) -> tuple[int, Iterator[Batch]]:
        """Return the number of batches of `epoch` and an iterator over them from number `start`."""


@dataclass(frozen=True)
class Validation:
    """One validation: mean negative log-likelihood per target token in nats, BLEU and chrF."""

    loss: float
    perplexity: float
    bleu: float
    chrf: float


class Stopped(KeyboardInterrupt):
    """The run was asked to stop (Ctrl-C, SIGTERM) and has saved; carries the signal's number.

    Not an Exception: what goes on after a failure (the next point of a sweep) must not go on after a Ctrl-C.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by signal {signal_number}; last.pt is saved")
        self.signal_number = signal_number


class Trainer:
    """Makes updates until a limit is reached, validating, saving and logging as it goes.

    It is given everything it does not own: the data as a function of the epoch, a validation function, and what to do
    with a network that validated best.
    """

    def __init__(
        self,
        network: Seq2Seq,
        config: TrainingConfig,
        dtype: torch.dtype,
        data: EpochData,
        validate: Callable[[], Validation],
        keep_best: Callable[[], None],
        run_log: RunLog,
        folder: Path,
        pieces: str,
    ) -> None:
        self.network, self.config, self.dtype = network, config, dtype
        self.device = next(network.parameters()).device
        self.data, self.validate, self.keep_best, self.run_log = data, validate, keep_best, run_log
        self.folder, self.pieces = folder, pieces
        self.optimizer = make_optimizer(network.parameters(), config)
        self.progress = Progress()
        self.stop_signal: int | None = None
        self._skipped_in_a_row = 0

    def resume(self) -> None:
        """Go on from the folder's last.pt."""
        self.progress = load_checkpoint(self.folder / LAST_NAME, self.network, self.optimizer, self.pieces)
        self.run_log.rewind(self.progress.step, self.progress.validated_step)
        log.info("resumed at step %d, epoch %d", self.progress.step, self.progress.epoch + 1)

    def fit(self) -> None:
        """Train until a limit is reached; the last thing done is a validation, so a best model always exists.

        Raises:
            Stopped: `stop_signal` was set; the state is saved.
            Seq2SeqError: the loss has not been finite for many updates in a row.
        """
        self._started = time.monotonic() - self.progress.elapsed_sec
        self._saved = time.monotonic()
        self._open_epoch()
        if self._validation_due():  # killed between a save and the validation behind it
            self._validate()
        while not self._finished():
            self.train_step(self._next_batch())
            self._tick()
            # A validation may take long: what came before it is saved first.
            self._save_if_due(BEFORE_VALIDATION_SEC if self._validation_due() else SAVE_EVERY_SEC)
            if self._validation_due():
                self._validate()
            self._stop_if_asked()
        if self.progress.validated_step != self.progress.step:
            self._save_if_due(BEFORE_VALIDATION_SEC)
            self._validate()
        self._save()
        self._stop_if_asked()

    def train_step(self, batch: Batch) -> None:
        """Make one update from `batch`, computed in micro-batches; the gradient is that of the whole batch."""
        started, tokens = time.monotonic(), batch.tgt_tokens
        self.network.train()
        nll = torch.zeros((), device=self.device)
        for part in batch.split(self.config.micro_batches) if self.config.micro_batches > 1 else [batch]:
            nll += self._backward(part.to(self.device), tokens)
        if self.config.diagnostics and (self.progress.step + 1) % self.config.log_every_steps == 0:
            self.run_log.diagnose(diagnose(self.network, batch))  # while the gradient is whole
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.max_grad_norm or float("inf"))
        self.progress.step += 1
        self.progress.position += 1
        rate = learning_rate(self.config, self.progress.step, self._share_done(), self.progress.plateau_scale)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if torch.isfinite(norm + nll):  # a CPU–GPU sync
            self.optimizer.step()
            self._skipped_in_a_row = 0
        else:
            self._skip()
        self.optimizer.zero_grad(set_to_none=True)
        self.run_log.step(nll, norm, tokens, batch.padded_tokens, rate, time.monotonic() - started)

    def _backward(self, batch: Batch, update_tokens: int) -> Tensor:
        """Add the gradient of one micro-batch, divided by the tokens of the whole update; return its summed nll."""
        smoothing, alpha = self.config.label_smoothing, self.config.r_drop
        with autocast(self.device, self.dtype):
            readouts, targets, _ = self.network.read_out(batch.twice() if alpha else batch)
            if alpha:
                loss, nll = r_drop_loss(self.network.output, readouts, targets, smoothing, alpha)
            else:
                loss, nll = output_loss(self.network.output, readouts, targets, smoothing)
        torch.autograd.backward(loss / update_tokens)
        return nll

    def _skip(self) -> None:
        self.progress.skipped += 1
        self._skipped_in_a_row += 1
        log.warning("step %d: loss or gradient is not finite; update skipped", self.progress.step)
        if self._skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise Seq2SeqError(
                f"training diverged: {MAX_SKIPPED_IN_A_ROW} updates in a row were not finite; "
                "lower training.learning_rate or training.max_grad_norm, or set training.precision=fp32"
            )

    def _open_epoch(self) -> None:
        self._epoch_batches, self._batches = self.data(self.progress.epoch, self.progress.position)

    def _next_batch(self) -> Batch:
        if self.progress.position >= self._epoch_batches:  # beyond it after a resume with larger batches
            self.progress.epoch, self.progress.position = self.progress.epoch + 1, 0
            self._open_epoch()
        return next(self._batches)

    def _share_done(self) -> float:
        """Share of the run that is over, by the limit that is nearest."""
        config, progress = self.config, self.progress
        epochs = progress.epoch + progress.position / self._epoch_batches
        pairs = (
            (progress.step, config.max_steps),
            (epochs, config.max_epochs),
            (progress.elapsed_sec / 60, config.max_minutes),
        )
        return max((done / limit if limit else 1.0) for done, limit in pairs if limit is not None)

    def _finished(self) -> bool:
        patience = self.config.early_stopping
        if patience is not None and self.progress.stale_validations >= patience:
            log.info("stopping early: no better BLEU in %d validations", patience)
            return True
        return self._share_done() >= 1

    def _validation_due(self) -> bool:
        every, progress = self.config.validate_every_steps, self.progress
        due = progress.step % every == 0 if every else progress.position == self._epoch_batches
        return due and progress.step > 0 and progress.validated_step != progress.step

    def _save_if_due(self, after_sec: float) -> None:
        every = self.config.save_every_steps
        if self.progress.step % every == 0 if every else time.monotonic() - self._saved > after_sec:
            self._save()

    def _stop_if_asked(self) -> None:
        if self.stop_signal is not None:
            self._save()
            raise Stopped(self.stop_signal)

    def _tick(self) -> None:
        self.progress.elapsed_sec = time.monotonic() - self._started
        epochs = self.progress.epoch + self.progress.position / self._epoch_batches
        self.run_log.progress(self.progress.step, epochs, self._share_done(), self.progress.elapsed_sec)

    def _validate(self) -> None:
        self.run_log.flush(self.progress.step)
        result, progress, config = self.validate(), self.progress, self.config
        progress.validated_step = progress.step
        score = (result.bleu, -result.loss)
        better = progress.best is None or score > tuple(progress.best)
        if better:
            progress.best, progress.stale_validations, progress.plateau_stale = score, 0, 0
            self.keep_best()
        else:
            progress.stale_validations += 1
            progress.plateau_stale += 1
        if progress.plateau_stale >= config.plateau_patience:
            progress.plateau_scale, progress.plateau_stale = progress.plateau_scale * config.plateau_factor, 0
        progress.elapsed_sec = time.monotonic() - self._started
        self.run_log.validation(progress.step, progress.elapsed_sec, result, better)

    def _save(self) -> None:
        save_checkpoint(self.folder / LAST_NAME, self.network, self.optimizer, self.progress, self.pieces)
        self._saved = time.monotonic()
