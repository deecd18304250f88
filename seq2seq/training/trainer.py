"""The training loop: `fit` decides when to validate, save and stop; `train_step` makes one update."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from seq2seq.config.training import TrainingConfig
from seq2seq.data.batches.batch import Batch
from seq2seq.data.batches.batching import Cost
from seq2seq.kernels import bindings
from seq2seq.model.network import Seq2Seq
from seq2seq.storage.metrics_file import EventKind
from seq2seq.storage.run_folder import BEST_NAME, LAST_NAME, PREVIOUS_NAME
from seq2seq.training.anomalies import record_loss, record_skip
from seq2seq.training.callbacks import Callbacks, EpochData, RunOutput
from seq2seq.training.checkpoint import (
    TrainingState,
    read_checkpoint,
    restore,
    save_checkpoint,
)
from seq2seq.training.checkpoint_retention import keeps_step_models, model_path, remove_unkept_models, update_kept
from seq2seq.training.diagnostics import diagnose
from seq2seq.training.distributed import ProcessGroup, RankLost
from seq2seq.training.ema import MovingAverage
from seq2seq.training.gradient_accumulation import GradientAccumulator, enough_memory
from seq2seq.training.memory import guard_memory, part_bytes
from seq2seq.training.optimizer import learning_rate, make_optimizer
from seq2seq.training.progress import Progress
from seq2seq.training.records import NO_SUMS, Update, Validation, Window
from seq2seq.training.scheduled_sampling import teacher_forcing_ratio

SAVE_EVERY_SEC = 45.0
SAVE_SHARE = 0.05  # of the time, at most: the checkpoint of a large model takes seconds, in which nothing is trained
MAX_UNREAD = 100  # updates on a GPU, so that a run that diverges soon ends
NOT_VALIDATED = Validation(math.nan, math.nan, math.nan, math.nan)  # placeholder on ranks other than 0
log = logging.getLogger(__name__)


class Stopped(KeyboardInterrupt):
    """The run was stopped by a signal (Ctrl-C, SIGTERM, SIGHUP) and is saved.

    Not an Exception, as KeyboardInterrupt is none: a sweep goes on after a point that fails, but not after Ctrl-C.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by signal {signal_number}; last.pt is saved")
        self.signal_number = signal_number


class Trainer:
    """Trains a network until a limit is reached; validates, saves and logs on the way.

    With several ranks, rank 0 validates, saves and logs, and its clock is used for `max_minutes`.
    """

    def __init__(
        self,
        network: Seq2Seq,
        config: TrainingConfig,
        dtype: torch.dtype,
        data: EpochData,
        callbacks: Callbacks,
        output: RunOutput,
        group: ProcessGroup | None = None,
    ) -> None:
        self.network, self.config, self.data = network, config, data
        self.callbacks, self.output, self.group = callbacks, output, group or ProcessGroup()
        self.progress = Progress()
        self.accumulator = GradientAccumulator(
            network, config, dtype, self.group, self.progress, callbacks.find_candidates
        )
        self.optimizer = make_optimizer(network.parameters(), config)
        with enough_memory("the average of the weights (training.ema)"):
            self.average = None if config.ema is None else MovingAverage(network, config.ema)
        self.reads_later = self.accumulator.device.type == "cuda" and self.group.size == 1
        """Whether loss and gradient norm stay on the device until they are logged, so that no update waits for it."""
        self._unread: list[tuple[Update, Tensor]] = []
        self.stop_signal: int | None = None
        """Number of a signal after which the run saves and stops; set from outside."""
        self._agreed_signal = 0
        scaler = self.accumulator.scaler
        self._state = TrainingState(network, self.optimizer, self.average, self.progress, scaler)

    def begin(self, *, resume: bool) -> int:
        """Begin a new run or resume from the folder's last.pt; return the step at which the run stands.

        Raises:
            ModelFileError: last.pt is missing, of another run, or damaged as well as previous.pt.
        """
        if resume:
            folder, fingerprint = self.output.folder, self.output.tokenizer_fingerprint
            content = self.group.broadcast(read_checkpoint(folder, fingerprint) if self.group.is_main else {})
            restore(folder / LAST_NAME, content, self._state)
            if self.group.is_main and keeps_step_models(self.config):
                remove_unkept_models(folder, self.progress.kept)
            log.info("resumed at step %d, epoch %d", self.progress.step, self.progress.epoch + 1)
        self.output.log.rewind(self.progress)
        return self.progress.step

    def guard_memory(self, worst: Callable[[int, Cost], Batch]) -> None:
        """Check before the first update that there is enough memory (`guard_memory`).

        `worst` returns the batch of an epoch with the highest cost.
        """
        cost = functools.partial(part_bytes, self.accumulator, self.network, self.config.minimum_risk)
        batch = worst(self.progress.epoch, cost)
        copies = 0 if self.optimizer.state else 2  # Adam's moments, which the first update allocates
        guard_memory(self.accumulator, self.network, batch, self.config, self.group, copies)

    def fit(self) -> None:
        """Train until a limit is reached; the run always ends with a validation, so that a best model exists.

        Raises:
            Stopped: `stop_signal` was set; the state is saved.
            Seq2SeqError: `max_skipped` updates in a row were not finite (`record_skip`); or another rank has ended, in
                which case the state is saved.
        """
        self._started = time.monotonic() - self.progress.elapsed_sec
        self._saved, self._save_sec = time.monotonic(), 0.0
        self._open_epoch()
        self._log_progress()  # a checkpoint may hold a full window that was not logged yet
        try:
            self._train()
        except RankLost as error:
            if self.group.is_main and self.progress.step:
                log.error("%s", error)
                self._save()
            raise

    def _train(self) -> None:
        if self._validation_due():  # killed between a save and the validation that follows it
            self._validate()
        while not self._finished():
            began = time.monotonic()  # the wait for the batch is part of the update's time
            self.train_step(self._next_batch(), began)
            self._log_progress()
            if self._validation_due():
                self._save()  # first: a validation may take long
                self._validate()
            elif self._save_due():
                self._save()
            self._stop_if_signalled()
        if self.progress.validated_step != self.progress.step:
            self._save()
            self._validate()
        self._save()
        if self.group.is_main:
            (self.output.folder / PREVIOUS_NAME).unlink(missing_ok=True)
        self._stop_if_signalled()

    def train_step(self, batch: Batch, began: float) -> None:
        """Make one update from `batch`; skip it if its loss or gradient is not finite.

        `began` is the time (`time.monotonic`) from which the logged speed counts the update.
        """
        tokens, progress, config = batch.tgt_tokens, self.progress, self.config
        bindings.threads()  # follows the load also where no kernel asks
        self.network.train()
        ratio = teacher_forcing_ratio(config.scheduled_sampling, self._share_done())
        own = self.accumulator.accumulate(batch, progress.step + 1, ratio)
        self.accumulator.scaler.unscale_(self.optimizer)
        if config.diagnostics and self.group.is_main and (progress.step + 1) % config.log_every_steps == 0:
            self.output.log.diagnosis(diagnose(self.network, batch))  # before clipping
        norm = clip_grad_norm_(self.network.parameters(), config.max_grad_norm or float("inf"))
        figures = self._over_ranks(own, norm)  # the last collective: if a rank is lost, the step is not counted
        progress.step += 1
        progress.position += 1
        rate = learning_rate(config, progress.step, self._share_done(), progress.plateau_scale)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        figures = torch.cat([figures, self._step(figures)[None].to(figures)])
        sec, slots = time.monotonic() - began, batch.padded_tokens
        self._unread.append((Update(progress.step, rate, sec, tokens, slots, batch.corpus_tokens), figures))
        if not self.reads_later or len(self._unread) == MAX_UNREAD:
            self._read_figures()
        self.optimizer.zero_grad(set_to_none=True)

    def _over_ranks(self, own: Tensor, norm: Tensor) -> Tensor:
        """Return the sums (`GradientAccumulator.accumulate`) of all ranks, then the gradient norm.

        They stay on the device if there is one rank.
        """
        if self.group.size == 1:
            self._synchronise()
            return torch.cat([own, norm[None]])
        return torch.tensor([*self._synchronise(own.tolist()), float(norm)], dtype=torch.float64)

    def _step(self, figures: Tensor) -> Tensor:
        """Update the weights, and their average, unless a figure is not finite; return `update_scale`."""
        finite = figures.isfinite().all()
        if self.reads_later:  # the fused step looks at it on the device, as it does for torch's GradScaler
            vars(self.optimizer)["found_inf"] = (~finite).float()
        if self.reads_later or finite:
            self.optimizer.step()
            if self.average is not None:
                self.average.update(self.progress.step, finite if self.reads_later else None)
        return self.accumulator.update_scale()

    def _read_figures(self) -> None:
        """Record the updates whose figures have not been read: a CPU–GPU sync, whose time counts as the last one's."""
        unread, self._unread = self._unread, []
        if not unread:
            return
        progress, began = self.progress, time.monotonic()
        rows = torch.stack([figures for _, figures in unread]).tolist()
        waited = time.monotonic() - began
        for (update, _), (*sums, norm, lowered_to) in zip(unread, rows, strict=True):
            (nll, risk, score), corpus_nll = sums[: len(NO_SUMS)], sums[len(NO_SUMS) :]
            loss = nll / update.tokens
            if not all(map(math.isfinite, (*sums, norm))):
                self.output.log.event(EventKind.skip, step=update.step, loss=loss, grad_norm=norm)
                lowered_to = lowered_to if all(map(math.isfinite, sums)) else 0.0  # else not the gradient's scale
                record_skip(progress, update.step, self.config.max_skipped, lowered_to=lowered_to)
                continue
            progress.skipped_in_a_row = 0
            if record_loss(progress, update.step, loss):
                self.output.log.event(EventKind.spike, step=update.step, loss=loss, grad_norm=norm)
            progress.window.add(update, nll, norm, corpus_nll)
            if self.config.minimum_risk.weight:
                progress.window.count_risk(risk=risk, candidate_score=score, tokens=update.tokens)
        if progress.window.steps:
            progress.window.sec += waited

    def _synchronise(self, own: Sequence[float] = ()) -> list[float]:
        """Return the sums over all ranks; agree on the elapsed time and on a signal to stop."""
        elapsed = time.monotonic() - self._started
        rows = self.group.all_gather([elapsed, float(self.stop_signal or 0), *own])
        self.progress.elapsed_sec = rows[0][0]
        self._agreed_signal = int(max(row[1] for row in rows))
        return [sum(column) for column in list(zip(*rows, strict=True))[2:]]

    def _open_epoch(self) -> None:
        self._epoch_batches, self._batches = self.data(self.progress.epoch, self.progress.position)

    def _next_batch(self) -> Batch:
        if self.progress.position >= self._epoch_batches:  # greater after a resume with larger batches
            self.progress.epoch, self.progress.position = self.progress.epoch + 1, 0
            self._open_epoch()
        return self.network.ordered(next(self._batches))

    def _epochs(self) -> float:
        """Return the epochs done, as a fraction.

        The current one counts at most 1, even if a resume with larger batches left `position` past its end.
        """
        return self.progress.epoch + min(1.0, self.progress.position / self._epoch_batches)

    def _share_done(self) -> float:
        """Return the share of the run that is over, by the nearest of its limits."""
        config, progress = self.config, self.progress
        pairs = (
            (progress.step, config.max_steps),
            (self._epochs(), config.max_epochs),
            (progress.elapsed_sec / 60, config.max_minutes),
        )
        return max((done / limit if limit else 1.0) for done, limit in pairs if limit is not None)

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

    def _save_due(self) -> bool:
        every = self.config.save_every_steps
        if every:
            return self.progress.step % every == 0
        return time.monotonic() - self._saved > max(SAVE_EVERY_SEC, self._save_sec / SAVE_SHARE)

    def _stop_if_signalled(self) -> None:
        if self._agreed_signal:
            self._save()
            raise Stopped(self._agreed_signal)

    def _log_progress(self) -> None:
        self.output.log.show_progress(self._share_done())
        if self.progress.step % self.config.log_every_steps == 0:
            self._log_window()

    def _log_window(self) -> None:
        self._read_figures()
        if self.progress.window.steps:
            self.output.log.updates(self.progress, self._epochs(), self._share_done())
            self.progress.window = Window()

    def _validate(self) -> None:
        """Validate the network, or the average of its weights, and save the models that are to be kept."""
        self._log_window()
        progress, group = self.progress, self.group
        with self.average.applied() if self.average is not None else contextlib.nullcontext():
            result = self.callbacks.validate() if group.is_main else NOT_VALIDATED
            result, progress.elapsed_sec = group.broadcast((result, time.monotonic() - self._started))
            score = result.score(self.config.monitor)
            better = progress.record_validation(score, self.config)
            if group.is_main:
                self._save_models(score, better)
        self.output.log.validation(progress, result, better)
        if group.is_main:
            if keeps_step_models(self.config):
                self._save()  # before models are deleted that the older checkpoint names
                remove_unkept_models(self.output.folder, progress.kept)
            self.callbacks.on_validation(progress.step, result)
        self._synchronise()  # a signal may have come meanwhile

    def _save_models(self, score: tuple[float, float], better: bool) -> None:
        folder, step = self.output.folder, self.progress.step
        if better:
            self.callbacks.save_model(folder / BEST_NAME)
        if keeps_step_models(self.config):
            self.progress.kept = update_kept(self.progress.kept, (step, *score), self.config)
            if step in {model[0] for model in self.progress.kept}:
                self.callbacks.save_model(model_path(folder, step))

    def _save(self) -> None:
        self._read_figures()
        began = time.monotonic()
        if self.group.is_main:
            self.output.log.sync()
            save_checkpoint(self.output.folder / LAST_NAME, self._state, self.output.tokenizer_fingerprint)
        self._saved = time.monotonic()
        self._save_sec = self._saved - began
