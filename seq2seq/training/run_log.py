"""Where a run reports its progress: the terminal, train.log, metrics.jsonl and TensorBoard."""

from __future__ import annotations

import contextlib
import logging
import math
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar
from torch.utils.tensorboard import SummaryWriter

from seq2seq.errors import StorageError
from seq2seq.filesystem.atomic_files import storage_errors
from seq2seq.storage.metrics_file import Event, EventKind, MetricsFile, map_floats
from seq2seq.storage.run_folder import LOG_NAME, TENSORBOARD_NAME
from seq2seq.training.diagnostics import Diagnosis
from seq2seq.training.progress import Progress
from seq2seq.training.records import Validation, samples_as_markdown

log = logging.getLogger(__name__)


@runtime_checkable  # for the type checks of the tests
class TrainingLog(Protocol):
    """What the trainer reports to."""

    def __enter__(self) -> TrainingLog: ...

    def __exit__(self, *error: object) -> None: ...

    def rewind(self, progress: Progress) -> None:
        """Drop the events that a run which stands at `progress` will write again."""

    def sync(self) -> None:
        """Flush the events to the disk, before a checkpoint that relies on them."""

    def event(self, kind: EventKind, **fields: Any) -> None:
        """Write one event to metrics.jsonl."""

    def show_progress(self, share_done: float) -> None:
        """Move the progress bar; called after every update."""

    def updates(self, progress: Progress, epochs: float, share_done: float) -> None:
        """Write one line for the updates in `progress.window`."""

    def diagnosis(self, diagnosis: Diagnosis) -> None:
        """Write a diagnosis after the next line of `updates`."""

    def validation(self, progress: Progress, result: Validation, better: bool) -> None:
        """Write one validation; `better`: it is the best so far."""


class NullLog:
    """A log that writes nothing, for ranks other than 0."""

    def __init__(self) -> None:
        # Without a handler, Python prints warnings to stderr.
        logging.getLogger("seq2seq").addHandler(logging.NullHandler())

    def __enter__(self) -> NullLog:
        return self

    def _ignore(self, *args: Any, **fields: Any) -> None:
        pass

    __exit__ = rewind = sync = event = show_progress = updates = diagnosis = validation = _ignore


class RunLog:
    """Writes a run's events to the terminal, train.log, metrics.jsonl and TensorBoard."""

    def __init__(self, folder: Path, console: Console) -> None:
        self._console, self._folder = console, folder
        self._bar = ProgressBar(
            TextColumn("[bold]training"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("training", total=1.0, figures="")
        self._diagnosis: Diagnosis | None = None

    def __enter__(self) -> RunLog:
        with contextlib.ExitStack() as opened:
            self._excepthook, threading.excepthook = threading.excepthook, self._report_thread
            opened.callback(setattr, threading, "excepthook", self._excepthook)
            self._metrics = opened.enter_context(MetricsFile(self._folder))
            self._open_board()
            opened.callback(self._close_board)
            self._bar.start()
            opened.callback(self._stop_bar)
            self._opened = opened.pop_all()  # what was opened before an error is closed at once
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.close()

    def _stop_bar(self) -> None:
        with contextlib.suppress(OSError):  # the terminal may be closed
            self._bar.stop()

    def _close_board(self) -> None:
        with self._board_errors():
            self._board.close()

    def _report_thread(self, failed: threading.ExceptHookArgs) -> None:
        """Print the exception of a thread, except a write error of TensorBoard's, which its next call raises."""
        if not isinstance(failed.exc_value, OSError):
            self._excepthook(failed)

    def _open_board(self, next_step: int | None = None) -> None:
        with self._board_errors():
            self._board = SummaryWriter(str(self._folder / TENSORBOARD_NAME), purge_step=next_step)

    def _board_errors(self) -> contextlib.AbstractContextManager[None]:
        """Return a context that names TensorBoard's folder in a write error, which a later call may raise."""
        return storage_errors(self._folder / TENSORBOARD_NAME)

    def rewind(self, progress: Progress) -> None:
        """Drop updates after `progress.step`, validations after `progress.validated_step`, tests and the end.

        They are left by a run that was killed after its last save, or before its first one.
        """
        step = progress.step
        # A window that is saved with updates in it is logged after the save, and will be again.
        logged = step - 1 if progress.window.steps else step
        last = {
            EventKind.step: logged,
            EventKind.diagnostics: logged,
            EventKind.validation: progress.validated_step,
        }

        def keep(event: Event) -> bool:
            kept: bool = event.get("step", math.inf) <= last.get(event["event"], step)
            return kept

        if self._metrics.rewind(keep):
            self._close_board()
            self._open_board(next_step=step + 1)

    def sync(self) -> None:
        """Flush the events to the disk."""
        self._metrics.sync()

    def event(self, kind: EventKind, **fields: Any) -> None:
        """Write one event to metrics.jsonl."""
        self._metrics.write(kind, **fields)

    def show_progress(self, share_done: float) -> None:
        """Move the progress bar."""
        self._bar.update(self._task, completed=min(1.0, share_done))

    def updates(self, progress: Progress, epochs: float, share_done: float) -> None:
        """Write one line for the updates in `progress.window`, and the pending diagnosis."""
        step, elapsed_sec, figures = progress.step, progress.elapsed_sec, progress.window.figures()
        text = f"loss {figures['loss']:.3f}  {figures['tokens_per_sec']:,} tok/s  rate {figures['learning_rate']:.2e}"
        if "expected_risk" in figures:
            text += f"  risk {figures['expected_risk']:.3f}, candidates {figures['candidate_score']:.2f}"
        self._bar.update(self._task, figures=text)
        if not self._console.is_terminal:
            eta = elapsed_sec * (1 - share_done) / max(share_done, 1e-9)
            log.info("step %d  epoch %.2f  %s  %.0f s, ETA %.0f s", step, epochs, text, elapsed_sec, max(0.0, eta))
        position = {"step": step, "epoch": round(epochs, 4), "elapsed_sec": round(elapsed_sec, 1)}
        by_corpus = progress.window.corpus_figures()
        self.event(EventKind.step, **position, **figures, **by_corpus)
        self._add_scalars("train", figures, step)
        self._add_scalars("train/token_share", by_corpus.get("token_shares", {}), step)
        self._add_scalars("train/corpus_loss", by_corpus.get("corpus_loss", {}), step)
        if self._diagnosis is not None:
            self._write_diagnosis(step, self._diagnosis)
            self._diagnosis = None

    def diagnosis(self, diagnosis: Diagnosis) -> None:
        """Write a diagnosis after the next line of `updates`."""
        self._diagnosis = diagnosis

    def _write_diagnosis(self, step: int, diagnosis: Diagnosis) -> None:
        log.info("step %d  diagnostics: %s", step, diagnosis.summary())
        rounded = map_floats(asdict(diagnosis), lambda value: float(f"{value:.4g}"))
        self.event(EventKind.diagnostics, step=step, **rounded)
        self._add_scalars("diagnostics", diagnosis.scalars(), step)
        for layer, norms in diagnosis.gradient_back.items():
            self._add_curve(f"diagnostics/gradient_back/{layer}", norms, step)

    def validation(self, progress: Progress, result: Validation, better: bool) -> None:
        """Write one validation."""
        step, elapsed_sec = progress.step, progress.elapsed_sec
        saved, minutes = "  best so far, saved" if better else "", elapsed_sec / 60
        message = "step %d  validation: perplexity %.2f  BLEU %.2f%s  (%.1f min)"
        log.info(message, step, result.perplexity, result.bleu, saved, minutes)
        position = {"step": step, "elapsed_sec": round(elapsed_sec, 1), "best": better}
        for name, other in result.corpora.items():
            log.info("step %d  validation of %s: perplexity %.2f  BLEU %.2f", step, name, other.perplexity, other.bleu)
            self._add_scalars(f"valid_{name}", other.figures(), step)
        corpora = {n: {**r.figures(), "bleu_signature": r.bleu_signature} for n, r in result.corpora.items()}
        figures = {**result.figures(), "bleu_signature": result.bleu_signature}
        self.event(EventKind.validation, **position, **figures, **({"corpora": corpora} if corpora else {}))
        self._add_scalars("valid", result.figures(), step)
        with self._board_errors():
            if result.samples:
                self._board.add_text("valid/samples", samples_as_markdown(result.samples), step)
            if result.attention is not None:
                self._board.add_text("valid/attention", result.attention.axis_labels(), step)
                self._board.add_image("valid/attention", result.attention.image(), step)

    def _add_scalars(self, group: str, figures: dict[str, float], step: int) -> None:
        with self._board_errors():
            for name, value in figures.items():
                self._board.add_scalar(f"{group}/{name}", value, step)

    def _add_curve(self, tag: str, heights: Sequence[float], step: int) -> None:
        """Add a curve over x = 0, 1, 2 ... as a histogram, TensorBoard's only plot with an axis besides the step."""
        total, xs = sum(heights), range(len(heights))
        if math.isfinite(total):
            self._board.add_histogram_raw(
                tag,
                min=-0.5,
                max=len(heights) - 0.5,
                num=total,
                sum=sum(x * height for x, height in zip(xs, heights, strict=True)),
                sum_squares=sum(x * x * height for x, height in zip(xs, heights, strict=True)),
                bucket_limits=[x + 0.5 for x in xs],
                bucket_counts=list(heights),
                global_step=step,
            )


class LogFile(logging.FileHandler):
    """A log file that raises StorageError if it cannot be written, as the other files of a run do."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Raise on a write error instead of printing a traceback.

        Raises:
            StorageError: the line cannot be written.
        """
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            raise StorageError(f"cannot write {self.baseFilename}: {error.strerror or error}") from error
        super().handleError(record)


@contextlib.contextmanager
def log_to(folder: Path, console: Console) -> Iterator[None]:
    """Send the package's log to `folder`/train.log and to the console (standard error) inside the block."""
    file = LogFile(folder / LOG_NAME, encoding="utf-8", errors="backslashreplace")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    screen: logging.Handler = logging.StreamHandler(console.file)
    if console.is_terminal:
        screen = RichHandler(console=console, show_path=False, show_time=False, show_level=False)
    root = logging.getLogger("seq2seq")
    level = root.level
    root.setLevel(logging.INFO)
    try:
        for handler in (file, screen):
            root.addHandler(handler)
        yield
    finally:
        root.setLevel(level)
        for handler in (file, screen):
            root.removeHandler(handler)
            handler.close()
