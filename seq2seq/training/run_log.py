"""What a run tells the world: progress on the terminal, a log file, metrics.jsonl and TensorBoard."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

from seq2seq.atomic_files import write_atomically
from seq2seq.errors import StorageError
from seq2seq.storage.metrics_file import METRICS_NAME, parse_event
from seq2seq.training.records import as_text

if TYPE_CHECKING:
    from seq2seq.training.diagnostics import Diagnosis
    from seq2seq.training.trainer import Validation

log = logging.getLogger(__name__)


@dataclass
class Window:
    """Sums over the updates since the last line."""

    nll: float = 0.0
    norm: float = 0.0
    rate: float = 0.0
    sec: float = 0.0
    tokens: int = 0
    slots: int = 0
    steps: int = 0


class LogFile(logging.FileHandler):
    """A log file that says in one line that it cannot be written, as the other files of a run do."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Raise what the disk refuses.

        Raises:
            StorageError: the line cannot be written.
        """
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            raise StorageError(f"cannot write {self.baseFilename}: {error.strerror or error}") from error
        super().handleError(record)


def log_to(folder: Path, console: Console) -> None:
    """Send the package's log to `folder`/train.log and to the console (standard error)."""
    file = LogFile(folder / "train.log", encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    screen: logging.Handler = logging.StreamHandler(console.file)
    if console.is_terminal:
        screen = RichHandler(console=console, show_path=False, show_time=False, show_level=False)
    root = logging.getLogger("seq2seq")
    for handler in list(root.handlers):  # a sweep runs several jobs in one process
        root.removeHandler(handler)
        handler.close()
    root.setLevel(logging.INFO)
    root.addHandler(file)
    root.addHandler(screen)


class RunLog:
    """Collects per-step figures and writes one line per `every` updates and per validation."""

    def __init__(self, folder: Path, every: int, console: Console) -> None:
        self._every, self._console, self._folder = every, console, folder
        self._open()
        self._bar = Progress(
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
        self._where = 0.0, 0.0, 0.0  # epochs, share of the run, seconds
        self._reset()

    def __enter__(self) -> RunLog:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()
        self._board.close()
        self._metrics.close()

    def _open(self, next_step: int | None = None) -> None:
        self._metrics = open(self._folder / METRICS_NAME, "a", encoding="utf-8")  # noqa: SIM115 (closed in __exit__)
        self._board = SummaryWriter(str(self._folder / "tensorboard"), purge_step=next_step)

    def rewind(self, step: int, validated_step: int, window: Window) -> None:
        """Forget what a killed run makes again, or what another one has left that had not saved anything.

        That is the updates after `step`, the validations after `validated_step`, the tests and the end. The sums of
        the updates before `step` that have no line yet go on from `window`.
        """
        path = self._folder / METRICS_NAME
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        self.window = dataclasses.replace(window)
        if not lines:
            return
        self._board.close()
        self._metrics.close()
        # Where sums are left over, the line of `step` was written after they were saved, and will be again.
        logged = step - 1 if window.steps else step
        last = {"step": logged, "diagnostics": logged, "validation": validated_step}
        events = [(line, parse_event(line)) for line in lines]
        kept = [
            line for line, event in events if event and event.get("step", math.inf) <= last.get(event["event"], step)
        ]
        write_atomically(path, lambda temporary: temporary.write_text("".join(kept), encoding="utf-8"))
        self._open(next_step=step + 1)

    def sync(self) -> None:
        """Make sure that what is written so far outlives the machine: a checkpoint is about to count on it."""
        os.fsync(self._metrics.fileno())

    def _reset(self) -> None:
        self.window = Window()
        self._diagnosis: Diagnosis | None = None

    def step(self, nll: float, norm: float, tokens: int, slots: int, rate: float, sec: float) -> None:
        """Add one update: summed nll, gradient norm before clipping, real tokens, padded slots, rate, time."""
        window = self.window
        window.nll += nll
        window.norm += norm
        window.tokens += tokens
        window.slots += slots
        window.steps += 1
        window.rate = rate
        window.sec += sec

    def diagnose(self, diagnosis: Diagnosis) -> None:
        """Add a diagnosis, to be written behind the next line."""
        self._diagnosis = diagnosis

    def progress(self, step: int, epochs: float, share_done: float, elapsed_sec: float) -> None:
        """Move the bar; every `every` updates write a line."""
        self._bar.update(self._task, completed=min(1.0, share_done))
        self._where = epochs, share_done, elapsed_sec
        if step % self._every == 0:
            self.flush(step)

    def flush(self, step: int) -> None:
        """Write the figures of the updates since the last line, if there are any."""
        window = self.window
        if not window.steps:
            return
        epochs, share_done, elapsed_sec = self._where
        figures = {
            "loss": round(window.nll / max(1, window.tokens), 4),
            "tokens_per_sec": round(window.tokens / max(1e-9, window.sec)),
            "learning_rate": float(f"{window.rate:.4g}"),
            "grad_norm": round(window.norm / window.steps, 4),
            "padding": round(1 - window.tokens / max(1, window.slots), 4),
        }
        diagnosis = self._diagnosis
        self._reset()
        text = f"loss {figures['loss']:.3f}  {figures['tokens_per_sec']:,} tok/s  rate {figures['learning_rate']:.2e}"
        self._bar.update(self._task, figures=text)
        if not self._console.is_terminal:
            eta = elapsed_sec * (1 - share_done) / max(share_done, 1e-9)
            log.info("step %d  epoch %.2f  %s  %.0f s, ETA %.0f s", step, epochs, text, elapsed_sec, max(0.0, eta))
        self.event("step", step=step, epoch=round(epochs, 4), elapsed_sec=round(elapsed_sec, 1), **figures)
        for name, value in figures.items():
            self._board.add_scalar(f"train/{name}", value, step)
        if diagnosis is not None:
            self._write_diagnosis(step, diagnosis)

    def _write_diagnosis(self, step: int, diagnosis: Diagnosis) -> None:
        log.info("step %d  diagnostics: %s", step, diagnosis.summary())
        self.event("diagnostics", step=step, **_map_floats(asdict(diagnosis), lambda value: float(f"{value:.4g}")))
        for name, value in diagnosis.scalars().items():
            self._board.add_scalar(f"diagnostics/{name}", value, step)
        for layer, norms in diagnosis.gradient_back.items():
            self._curve(f"diagnostics/gradient_back/{layer}", norms, step)

    def _curve(self, tag: str, heights: Sequence[float], step: int) -> None:
        """Show a curve over 0, 1, 2 ... as a histogram, the plot of TensorBoard with one more axis than the step."""
        total, at = sum(heights), range(len(heights))
        if math.isfinite(total):
            self._board.add_histogram_raw(
                tag,
                min=-0.5,
                max=len(heights) - 0.5,
                num=total,
                sum=sum(x * height for x, height in zip(at, heights, strict=True)),
                sum_squares=sum(x * x * height for x, height in zip(at, heights, strict=True)),
                bucket_limits=[x + 0.5 for x in at],
                bucket_counts=list(heights),
                global_step=step,
            )

    def validation(self, step: int, elapsed_sec: float, result: Validation, better: bool) -> None:
        """Write one validation."""
        log.info(
            "step %d  validation: perplexity %.2f  BLEU %.2f%s  (%.1f min)",
            step,
            result.perplexity,
            result.bleu,
            "  best so far, saved" if better else "",
            elapsed_sec / 60,
        )
        figures = {"loss": result.loss, "perplexity": result.perplexity, "bleu": result.bleu, "chrf": result.chrf}
        self.event("validation", step=step, elapsed_sec=round(elapsed_sec, 1), best=better, **figures)
        for name, value in figures.items():
            self._board.add_scalar(f"valid/{name}", value, step)
        if result.samples:
            self._board.add_text("valid/samples", as_text(result.samples), step)
        if result.attention is not None:
            self._board.add_text("valid/attention", result.attention.edges(), step)
            self._board.add_image("valid/attention", result.attention.image(), step)

    def event(self, kind: str, **fields: Any) -> None:
        """Append one line to metrics.jsonl; a value that is not finite becomes null, as JSON has no NaN."""
        finite = _map_floats(fields, lambda value: value if math.isfinite(value) else None)
        print(json.dumps({"event": kind, "time": round(time.time(), 1), **finite}), file=self._metrics, flush=True)


class NullLog(RunLog):
    """The log of a rank that writes nothing."""

    def __init__(self) -> None:
        logging.getLogger("seq2seq").addHandler(logging.NullHandler())  # or Python would print warnings itself
        self.window = Window()

    def _nothing(self, *args: Any, **fields: Any) -> None:
        pass

    def __enter__(self) -> NullLog:
        return self

    __exit__ = rewind = sync = step = diagnose = progress = flush = validation = event = _nothing


def _map_floats(value: Any, function: Callable[[float], Any]) -> Any:
    """Return the same value with `function` of every float in it, in dictionaries and lists of any depth, too."""
    if isinstance(value, dict):
        return {key: _map_floats(item, function) for key, item in value.items()}
    if isinstance(value, list):
        return [_map_floats(item, function) for item in value]
    return function(value) if isinstance(value, float) else value
