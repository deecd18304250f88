"""What metrics.jsonl, TensorBoard and the log contain, from figures worked out by hand."""

from __future__ import annotations

import io
import json
import logging
import math
import shutil
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from seq2seq.errors import StorageError
from seq2seq.storage.metrics_file import EventKind
from seq2seq.training.diagnostics import Diagnosis
from seq2seq.training.progress import Progress
from seq2seq.training.records import Update, Validation, Window
from seq2seq.training.run_log import RunLog, log_to
from tiny_trainer import events


@pytest.fixture
def screen() -> io.StringIO:
    """Standard error of a run without a terminal."""
    return io.StringIO()


def silent_log(folder: Path) -> RunLog:
    return RunLog(folder, Console(file=io.StringIO()))


def after(step: int, *updates: Window, elapsed_sec: float = 1.0) -> Progress:
    """A run at `step` with these updates still to be logged."""
    window = Window()
    for one in updates:
        window.add(Update(1, one.rate, one.sec, one.tokens, one.slots, {}), one.nll, one.norm)
    return Progress(step=step, elapsed_sec=elapsed_sec, window=window)


def update(nll: float) -> Window:
    return Window(nll=nll, norm=1.0, rate=0.1, sec=1.0, tokens=10, slots=10)


def board_of(folder: Path) -> EventAccumulator:
    board = EventAccumulator(str(folder / "tensorboard"))
    board.Reload()
    return board


def test_a_line_holds_the_means_over_its_updates(tmp_path: Path, screen: io.StringIO) -> None:
    console = Console(file=screen)
    windows = [
        Window(nll=10.0, norm=1.0, rate=0.1, sec=0.5, tokens=10, slots=20),
        Window(nll=80.0, norm=4.0, rate=0.2, sec=1.5, tokens=20, slots=20),
        Window(nll=7.0, norm=1.0, rate=0.3, sec=1.0, tokens=7, slots=7),
        Window(nll=21.0, norm=2.0, rate=0.4, sec=1.0, tokens=7, slots=7),
    ]
    with log_to(tmp_path, console), RunLog(tmp_path, console) as log:
        log.updates(after(2, *windows[:2], elapsed_sec=3.0), epochs=0.5, share_done=0.5)
        log.updates(after(4, *windows[2:], elapsed_sec=5.0), epochs=1.0, share_done=1.0)
    first, second = events(tmp_path, "step")
    assert (first["step"], first["epoch"], first["elapsed_sec"]) == (2, 0.5, 3.0)
    assert first["loss"] == 3.0  # 90 over 30 tokens, not the mean of 1 and 4
    assert second["loss"] == 2.0
    assert first["grad_norm"] == 2.5
    assert first["padding"] == 0.25
    assert first["tokens_per_sec"] == 15
    assert (first["learning_rate"], second["learning_rate"]) == (0.2, 0.4)
    lines = screen.getvalue().splitlines()
    assert lines[0] == "step 2  epoch 0.50  loss 3.000  15 tok/s  rate 2.00e-01  3 s, ETA 3 s"
    logged = (tmp_path / "train.log").read_text(encoding="utf-8").splitlines()
    assert [line.split(" INFO ", 1)[1] for line in logged] == lines
    assert [(point.step, point.value) for point in board_of(tmp_path).Scalars("train/loss")] == [(2, 3.0), (4, 2.0)]


def test_rewind_drops_the_events_that_will_be_written_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with silent_log(tmp_path) as log:
        for step in (1, 2, 3):
            log.updates(after(step, update(10.0)), 0.1, 0.1)
            log.validation(Progress(step=step), Validation(1.0, 2.7, float(step), 0.0), better=True)
        log.event(EventKind.test, set="test")
    path.write_text(path.read_text() + '{"event": "step", "st')  # a kill in the middle of a line
    before = path.read_text().splitlines()
    time.sleep(1.1)  # TensorBoard reads its files in the order of their names, which have a resolution of seconds
    with silent_log(tmp_path) as log:
        log.rewind(Progress(step=2, validated_step=1))
        assert path.read_text().splitlines() == before[:3]
        log.updates(after(3, update(50.0)), 0.1, 0.1)
    assert [(event["step"], event["loss"]) for event in events(tmp_path, "step")] == [(1, 1.0), (2, 1.0), (3, 5.0)]
    points = [(point.step, point.value) for point in board_of(tmp_path).Scalars("train/loss")]
    assert points == [(1, 1.0), (2, 1.0), (3, 5.0)]


def test_rewind_drops_the_line_of_a_window_that_will_be_logged_again(tmp_path: Path) -> None:
    with silent_log(tmp_path) as log:
        for step in (1, 2):
            log.updates(after(step, update(10.0)), 0.1, 0.1)
        log.rewind(after(2, update(10.0)))
    assert [event["step"] for event in events(tmp_path, "step")] == [1]


def test_a_validation_is_written_with_its_figures(tmp_path: Path, screen: io.StringIO) -> None:
    console = Console(file=screen)
    with log_to(tmp_path, console), RunLog(tmp_path, console) as log:
        log.validation(Progress(step=5, elapsed_sec=90.0), Validation(2.0, 7.389, 12.345, 30.0), better=True)
        log.validation(Progress(step=6, elapsed_sec=99.0), Validation(800.0, math.inf, 0.0, 0.0), better=False)
    good, bad = events(tmp_path, "validation")
    assert (good["step"], good["loss"], good["perplexity"], good["bleu"], good["best"]) == (5, 2.0, 7.389, 12.345, True)
    assert (bad["perplexity"], bad["best"]) == (None, False)  # JSON has no infinity
    assert screen.getvalue().splitlines() == [
        "step 5  validation: perplexity 7.39  BLEU 12.35  best so far, saved  (1.5 min)",
        "step 6  validation: perplexity inf  BLEU 0.00  (1.6 min)",
    ]


def test_every_line_is_json_whatever_the_figures(tmp_path: Path) -> None:
    with silent_log(tmp_path) as log:
        log.updates(after(1, Window(nll=math.nan, norm=math.inf, rate=0.1, tokens=3, slots=4)), 0.1, 0.1)
        log.event(EventKind.test, set="größe", nothing=None)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    lines = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    step, test = (json.loads(line, parse_constant=refuse) for line in lines)
    assert (step["loss"], step["grad_norm"]) == (None, None)
    assert (test["set"], test["nothing"]) == ("größe", None)


def test_a_diagnosis_is_written_after_its_line_and_only_once(tmp_path: Path, screen: io.StringIO) -> None:
    console = Console(file=screen)
    diagnosis = Diagnosis(
        gradient_norm={"readout": 0.123456, "output": math.inf},
        gradient_back={"decoder.1": [2.0, 1.0, 0.5]},
        gradient_slope={"decoder.1": -0.30103},
        gates={"decoder.1": {"forget": {"closed": 0.0, "open": 0.25}}},
        attention_entropy=None,
        attention_spread=None,
    )
    with log_to(tmp_path, console), RunLog(tmp_path, console) as log:
        log.diagnosis(diagnosis)
        for step in (1, 2):
            log.updates(after(step, update(10.0)), 0.1, 0.1)
    (event,) = events(tmp_path, "diagnostics")
    assert event["step"] == 1
    assert event["gradient_norm"] == {"readout": 0.1235, "output": None}  # JSON has no infinity
    assert event["gradient_back"] == {"decoder.1": [2.0, 1.0, 0.5]}
    assert event["gates"] == {"decoder.1": {"forget": {"closed": 0.0, "open": 0.25}}}
    assert event["attention_entropy"] is None
    lines = screen.getvalue().splitlines()
    assert lines[1] == "step 1  diagnostics: gradient 2, 2 steps back 0.5 (decoder.1); gates 0% closed, 25% open"
    assert len(lines) == 3
    board = board_of(tmp_path)
    (slope,) = board.Scalars("diagnostics/gradient_slope/decoder.1")
    assert (slope.step, slope.value) == (1, pytest.approx(-0.30103))
    assert [point.value for point in board.Scalars("diagnostics/gates/decoder.1/forget_open")] == [0.25]
    (curve,) = board.Histograms("diagnostics/gradient_back/decoder.1")
    heights = dict(zip(curve.histogram_value.bucket_limit, curve.histogram_value.bucket, strict=True))
    assert [heights[limit] for limit in (0.5, 1.5, 2.5)] == [2.0, 1.0, 0.5]


def test_rewind_drops_the_diagnoses_that_will_be_written_again(tmp_path: Path) -> None:
    diagnosis = Diagnosis({}, {"decoder.1": [1.0]}, {"decoder.1": math.nan}, {}, None, None)
    with silent_log(tmp_path) as log:
        for step in (1, 2, 3):
            log.diagnosis(diagnosis)
            log.updates(after(step, update(10.0)), 0.1, 0.1)
        log.rewind(Progress(step=2, validated_step=0))
    assert [event["step"] for event in events(tmp_path, "diagnostics")] == [1, 2]


def test_the_jobs_of_a_sweep_do_not_share_a_log(tmp_path: Path, screen: io.StringIO) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        with log_to(tmp_path / name, Console(file=screen)):
            logging.getLogger("seq2seq.data").info("in %s", name)
    for name in ("one", "two"):
        assert (tmp_path / name / "train.log").read_text(encoding="utf-8").endswith(f"INFO in {name}\n")
    assert screen.getvalue() == "in one\nin two\n"


def test_the_log_ends_with_its_run(tmp_path: Path, screen: io.StringIO, caplog: pytest.LogCaptureFixture) -> None:
    """A handler of the program that trains stays, and a later message is not the run's."""
    root, other = logging.getLogger("seq2seq"), logging.NullHandler()
    root.addHandler(other)
    try:
        level, handlers = root.level, list(root.handlers)
        with pytest.raises(ValueError, match="ends"), log_to(tmp_path, Console(file=screen)):  # noqa: PT012
            root.info("of the run")
            raise ValueError("it ends")
        assert (root.level, root.handlers) == (level, handlers)
        root.warning("of other work")
    finally:
        root.removeHandler(other)
    assert screen.getvalue() == "of the run\n"
    assert (tmp_path / "train.log").read_text(encoding="utf-8").endswith("INFO of the run\n")
    assert caplog.messages[-1] == "of other work"


@pytest.mark.parametrize("taken", ["tensorboard", "metrics.jsonl"])
def test_a_log_that_cannot_be_opened_leaves_nothing_behind(tmp_path: Path, taken: str) -> None:
    hook = threading.excepthook
    if taken == "tensorboard":
        (tmp_path / taken).write_text("a file")
    else:
        (tmp_path / taken).mkdir()
    with pytest.raises((StorageError, OSError)), silent_log(tmp_path):
        pass
    assert threading.excepthook is hook


def test_a_folder_that_was_deleted_is_one_error_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").mkdir()
    hook = threading.excepthook
    with pytest.raises(StorageError, match=f"cannot write {tmp_path / 'run'}") as caught:  # noqa: PT012, SIM117
        with RunLog(tmp_path / "run", Console(file=io.StringIO())) as log:
            shutil.rmtree(tmp_path / "run")
            for step in range(1, 1000):
                log.updates(after(step, update(10.0)), 0.1, 0.1)
                time.sleep(0.01)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""
    assert threading.excepthook is hook
