"""The training loop: `fit` says when things happen, `train_step` says how an update is made."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch.nn.utils import clip_grad_norm_

from seq2seq.config.training import ScheduleName, TrainingConfig
from seq2seq.data.batch import Batch
from seq2seq.model.network import Seq2Seq
from seq2seq.storage.model_file import BEST_NAME
from seq2seq.training.anomalies import is_spike, skip
from seq2seq.training.checkpoint import LAST_NAME, PREVIOUS_NAME, Progress, read_checkpoint, restore, save_checkpoint
from seq2seq.training.checkpoint_retention import (
    keeps_step_models,
    model_path,
    remove_unkept_models,
    score_of,
    update_kept,
)
from seq2seq.training.diagnostics import diagnose
from seq2seq.training.distributed import ProcessGroup, RankLost
from seq2seq.training.ema import MovingAverage
from seq2seq.training.gradient_accumulation import GradientAccumulator
from seq2seq.training.optimizer import learning_rate, make_optimizer
from seq2seq.training.records import AttentionMap, Sample
from seq2seq.training.run_log import RunLog, Window
from seq2seq.training.scheduled_sampling import teacher_forcing_ratio

SAVE_EVERY_SEC = 45.0
log = logging.getLogger(__name__)


@runtime_checkable  # so that the tests' type checker can look at it
class EpochData(Protocol):
    """The training data as a function of the epoch."""

    def __call__(self, epoch: int, start: int) -> tuple[int, Iterator[Batch]]:
        """Return the number of batches of `epoch` and an iterator over them from number `start`."""


@dataclass(frozen=True)
class Validation:
    """One validation: mean negative log-likelihood per target token in nats, BLEU, chrF; and what to look at."""

    loss: float
    perplexity: float
    bleu: float
    chrf: float
    samples: list[Sample] = field(default_factory=list)
    attention: AttentionMap | None = None


NOTHING = Validation(math.nan, math.nan, math.nan, math.nan)  # of a rank that does not validate


ValidationCallback = Callable[[int, Validation], None]
"""What sees each validation with its step; an exception that it raises ends the run."""


def ignore_validation(step: int, validation: Validation) -> None:
    """Let the run go on."""


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
    with a network that is to be kept. Of several ranks, the first one validates, saves and logs, and its clock counts.
    """

    def __init__(
        self,
        network: Seq2Seq,
        config: TrainingConfig,
        dtype: torch.dtype,
        data: EpochData,
        validate: Callable[[], Validation],
        keep: Callable[[Path], None],
        watch: ValidationCallback,
        run_log: RunLog,
        folder: Path,
        pieces: str,
        ranks: ProcessGroup | None = None,
    ) -> None:
        self.network, self.config = network, config
        self.data, self.validate, self.keep, self.watch = data, validate, keep, watch
        self.run_log, self.folder, self.pieces = run_log, folder, pieces
        self.ranks = ranks or ProcessGroup()
        self.accumulator = GradientAccumulator(network, config, dtype, self.ranks)
        self.optimizer = make_optimizer(network.parameters(), config)
        self.average = None if config.ema is None else MovingAverage(network, config.ema)
        self.progress = Progress()
        self.stop_signal: int | None = None
        self._agreed_signal = 0

    def resume(self) -> None:
        """Go on from the folder's last.pt.

        Raises:
            ModelFileError: it is missing or damaged, and so is the one before it, or it is that of another run.
        """
        state = self.ranks.broadcast(read_checkpoint(self.folder, self.pieces) if self.ranks.is_main else {})
        self.progress = restore(self.folder / LAST_NAME, state, self.network, self.optimizer, self.average)
        self.accumulator.splits = self.progress.splits
        self.run_log.rewind(self.progress.step, self.progress.validated_step, Window(**self.progress.window))
        if self.ranks.is_main and keeps_step_models(self.config):
            remove_unkept_models(self.folder, self.progress.kept)
        log.info("resumed at step %d, epoch %d", self.progress.step, self.progress.epoch + 1)

    def fit(self) -> None:
        """Train until a limit is reached; the last thing done is a validation, so a best model always exists.

        Raises:
            Stopped: `stop_signal` was set; the state is saved.
            Seq2SeqError: the loss has not been finite for many updates in a row, or another rank has ended; what was
                reached until then is saved in the second case.
        """
        self._started = time.monotonic() - self.progress.elapsed_sec
        self._saved = time.monotonic()
        self._open_epoch()
        self._show_progress()  # where a line is due before the next update, it says where that is
        try:
            self._train()
        except RankLost as error:
            if self.ranks.is_main and self.progress.step:
                log.error("%s", error)
                self._save()
            raise

    def _train(self) -> None:
        if self._validation_due():  # killed between a save and the validation behind it
            self._validate()
        while not self._finished():
            self.train_step(self._next_batch())
            self._show_progress()
            if self._validation_due():
                self._save()  # a validation may take long
                self._validate()
            else:
                self._save_if_due()
            self._stop_if_asked()
        if self.progress.validated_step != self.progress.step:
            self._save()
            self._validate()
        self._save()
        if self.ranks.is_main:
            (self.folder / PREVIOUS_NAME).unlink(missing_ok=True)  # there is no next save that could count on it
        self._stop_if_asked()

    def train_step(self, batch: Batch) -> None:
        """Make one update from `batch`; a gradient that is not finite reaches neither weights nor optimizer."""
        started, tokens, progress = time.monotonic(), batch.tgt_tokens, self.progress
        self.network.train()
        ratio = teacher_forcing_ratio(self.config.scheduled_sampling, self._share_done())
        share = self.accumulator.accumulate(batch, progress.step + 1, ratio)
        if self.config.diagnostics and self.ranks.is_main and (progress.step + 1) % self.config.log_every_steps == 0:
            self.run_log.diagnose(diagnose(self.network, batch))  # while the gradient is whole
        norm = float(clip_grad_norm_(self.network.parameters(), self.config.max_grad_norm or float("inf")))
        nll = self._agree(share)  # the last thing that can fail for want of another rank
        progress.step += 1
        progress.position += 1
        rate = learning_rate(self.config, progress.step, self._share_done(), progress.plateau_scale)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if math.isfinite(nll) and math.isfinite(norm):
            progress.skipped_in_a_row = 0
            self.optimizer.step()
            if self.average is not None:
                self.average.update(progress.step)
            if is_spike(progress, nll / tokens):
                self.run_log.event("spike", step=progress.step, loss=nll / tokens, grad_norm=norm)
            self.run_log.step(nll, norm, tokens, batch.padded_tokens, rate, time.monotonic() - started)
        else:
            self.run_log.event("skip", step=progress.step, loss=nll / tokens, grad_norm=norm)
            skip(progress, self.config.max_skipped)
        self.optimizer.zero_grad(set_to_none=True)

    def _agree(self, nll: float) -> float:
        """Return the sum of the ranks' nll; agree on the time that has passed and on whether to stop."""
        elapsed = time.monotonic() - self._started
        rows = self.ranks.all_gather([nll, elapsed, float(self.stop_signal or 0)])
        self.progress.elapsed_sec = rows[0][1]
        self._agreed_signal = int(max(row[2] for row in rows))
        return sum(row[0] for row in rows)

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
        epochs = self._epochs()
        pairs = (
            (progress.step, config.max_steps),
            (epochs, config.max_epochs),
            (progress.elapsed_sec / 60, config.max_minutes),
        )
        return max((done / limit if limit else 1.0) for done, limit in pairs if limit is not None)

    def _epochs(self) -> float:
        """Passes over the data; a resume with larger batches may stand beyond the end of a shorter epoch."""
        return self.progress.epoch + min(1.0, self.progress.position / self._epoch_batches)

    def _finished(self) -> bool:
        patience = self.config.early_stopping
        if patience is not None and self.progress.stale_validations >= patience:
            log.info("stopping early: no better %s in %d validations", self.config.monitor, patience)
            return True
        return self._share_done() >= 1

    def _validation_due(self) -> bool:
        every, progress = self.config.validate_every_steps, self.progress
        due = progress.step % every == 0 if every else progress.position >= self._epoch_batches
        return due and progress.step > 0 and progress.validated_step != progress.step

    def _save_if_due(self) -> None:
        every = self.config.save_every_steps
        if self.progress.step % every == 0 if every else time.monotonic() - self._saved > SAVE_EVERY_SEC:
            self._save()

    def _stop_if_asked(self) -> None:
        if self._agreed_signal:
            self._save()
            raise Stopped(self._agreed_signal)

    def _show_progress(self) -> None:
        self.run_log.progress(self.progress.step, self._epochs(), self._share_done(), self.progress.elapsed_sec)

    def _validate(self) -> None:
        """Validate the network, or the average of its weights, and keep what is to be kept."""
        self.run_log.flush(self.progress.step)
        progress, config = self.progress, self.config
        with self.average.in_place() if self.average is not None else contextlib.nullcontext():
            result = self.validate() if self.ranks.is_main else NOTHING
            result, progress.elapsed_sec = self.ranks.broadcast((result, time.monotonic() - self._started))
            progress.validated_step = progress.step
            score = score_of(config.monitor, result.loss, result.bleu, result.chrf)
            better = progress.best is None or score > tuple(progress.best)
            if self.ranks.is_main:
                self._keep(score, better)
        if better:
            progress.best, progress.stale_validations, progress.plateau_stale = score, 0, 0
        else:
            progress.stale_validations += 1
            progress.plateau_stale += config.schedule is ScheduleName.plateau
        if progress.plateau_stale >= config.plateau_patience:
            progress.plateau_scale, progress.plateau_stale = progress.plateau_scale * config.plateau_factor, 0
        self.run_log.validation(progress.step, progress.elapsed_sec, result, better)
        if keeps_step_models(config) and self.ranks.is_main:
            self._save()  # which names the models that are kept, before the others go
            remove_unkept_models(self.folder, progress.kept)
        if self.ranks.is_main:
            self.watch(progress.step, result)
        self._agree(0.0)  # a signal may have come meanwhile

    def _keep(self, score: tuple[float, float], better: bool) -> None:
        if better:
            self.keep(self.folder / BEST_NAME)
        step = self.progress.step
        if keeps_step_models(self.config):
            self.progress.kept = update_kept(self.progress.kept, (step, *score), self.config)
            if step in {one[0] for one in self.progress.kept}:
                self.keep(model_path(self.folder, step))

    def _save(self) -> None:
        if self.ranks.is_main:
            self.progress.window, self.progress.splits = asdict(self.run_log.window), self.accumulator.splits
            self.run_log.sync()
            last = self.folder / LAST_NAME
            save_checkpoint(last, self.network, self.optimizer, self.average, self.progress, self.pieces)
        self._saved = time.monotonic()
