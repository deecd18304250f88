"""The points of a sweep (`-m`): each runs as a job of its own, and the sweep continues if one fails."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from seq2seq.cli.exit_status import BUG, OK, USER_ERROR
from seq2seq.cli.hydra_errors import one_line
from seq2seq.cli.resume import RunContext, prepare_point, same_settings
from seq2seq.config.schema import Config
from seq2seq.errors import Seq2SeqError
from seq2seq.experiments.sweep_points import Point, Status, Sweep
from seq2seq.experiments.sweep_results import mark_end, read_result
from seq2seq.storage.run_folder import CONFIG_NAME, FAILED_NAME
from seq2seq.storage.run_lock import folder_held


def run_point(job: Callable[[Config, RunContext], object], raw: DictConfig, point: Point) -> None:
    """Run or resume a point; skip it if it is finished; record its error if it fails.

    A folder that another process uses is left as it is.
    """
    try:
        with folder_held(point.folder, "hydra.sweep.dir"):
            try:
                _run_held(job, raw, point)
            except Exception as error:
                with contextlib.suppress(OSError):  # the message is printed below in any case
                    (point.folder / FAILED_NAME).write_text(_message(error), encoding="utf-8")
                raise
        point.status = Status.finished
    except Exception as error:
        point.status = Status.failed if _is_expected(error) else Status.broken
        sys.stderr.write(_message(error))


def _run_held(job: Callable[[Config, RunContext], object], raw: DictConfig, point: Point) -> None:
    (point.folder / FAILED_NAME).unlink(missing_ok=True)
    config, context = prepare_point(raw, point.folder.absolute())
    point.monitor = config.training.monitor
    if _is_finished(config, point.folder):
        sys.stderr.write(f"{point.folder}: already finished, skipped\n")
    else:
        job(config, context)
        mark_end(point.folder)


def _is_expected(error: Exception) -> bool:
    return isinstance(error, Seq2SeqError | OmegaConfBaseException)


def _message(error: Exception) -> str:
    """Return one line for a user error, the traceback of a bug."""
    return f"error: {one_line(error)}\n" if _is_expected(error) else "".join(traceback.format_exception(error))


def exit_status(sweep: Sweep) -> int:
    """Return the exit status of a sweep (0 without one), and print which points failed."""
    failed = [point for point in sweep.points.values() if point.status in (Status.failed, Status.broken)]
    if not failed:
        return OK
    names = ", ".join(str(point.folder) for point in failed)
    sys.stderr.write(f"error: {len(failed)} of {len(sweep.points)} points of the sweep failed: {names}\n")
    return BUG if any(point.status is Status.broken for point in failed) else USER_ERROR


def _is_finished(config: Config, folder: Path) -> bool:
    """Return True if a run with the same settings has ended in `folder`."""
    return (folder / CONFIG_NAME).is_file() and read_result(folder).ended and same_settings(config, folder)
