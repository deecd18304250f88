"""What metrics.jsonl, TensorBoard and the log say, from figures worked out by hand."""

from __future__ import annotations

import io
import json
import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from seq2seq.training.diagnostics import Diagnosis
from seq2seq.training.run_log import RunLog, Window, log_to
from seq2seq.training.trainer import Validation
from tiny_trainer import events


@pytest.fixture
def screen() -> Iterator[io.StringIO]:
    """Standard error of a run that is not on a terminal; the package's log goes there while the test runs."""
    yield io.StringIO()
    root = logging.getLogger("seq2seq")
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()


def test_a_line_holds_the_means_since_the_last_one(tmp_path: Path, screen: io.StringIO) -> None:
    console = Console(file=screen)
    log_to(tmp_path, console)
    with RunLog(tmp_path, 2, console) as log:
        log.step(10.0, 1.0, 10, 20, 0.1, 0.5)
        log.progress(1, 0.25, 0.25, 1.0)
        log.step(80.0, 4.0, 20, 20, 0.2, 1.5)
        log.progress(2, 0.5, 0.5, 3.0)
        log.step(7.0, 1.0, 7, 7, 0.3, 1.0)
        log.progress(3, 0.75, 0.75, 4.0)
        log.step(21.0, 2.0, 7, 7, 0.4, 1.0)
        log.progress(4, 1.0, 1.0, 5.0)
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
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert [(point.step, point.value) for point in board.Scalars("train/loss")] == [(2, 3.0), (4, 2.0)]


def test_a_validation_ends_a_window_and_no_update_is_counted_twice(tmp_path: Path) -> None:
    with RunLog(tmp_path, 2, Console(file=io.StringIO())) as log:
        for step in (1, 2, 3, 4):
            log.step(10.0 * step, 1.0, 10, 10, 0.1, 1.0)
            log.progress(step, step / 4, step / 4, float(step))
            if step in (3, 4):
                log.flush(step)
    assert [(event["step"], event["loss"]) for event in events(tmp_path, "step")] == [(2, 1.5), (3, 3.0), (4, 4.0)]
    assert [event["elapsed_sec"] for event in events(tmp_path, "step")] == [2, 3, 4]


def test_a_rewound_log_forgets_what_will_be_done_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with RunLog(tmp_path, 1, Console(file=io.StringIO())) as log:
        for step in (1, 2, 3):
            log.step(10.0, 1.0, 10, 10, 0.1, 1.0)
            log.progress(step, 0.1, 0.1, 1.0)
            log.validation(step, 1.0, Validation(1.0, 2.7, float(step), 0.0), better=True)
        log.event("test", set="test")
    path.write_text(path.read_text() + '{"event": "step", "st')  # a kill in the middle of a line
    before = path.read_text().splitlines()
    time.sleep(1.1)  # TensorBoard reads its files in the order of their names, which count seconds
    with RunLog(tmp_path, 1, Console(file=io.StringIO())) as log:
        log.rewind(2, validated_step=1, window=Window())
        assert path.read_text().splitlines() == before[:3]
        log.step(50.0, 1.0, 10, 10, 0.1, 1.0)
        log.progress(3, 0.1, 0.1, 1.0)
    assert [(event["step"], event["loss"]) for event in events(tmp_path, "step")] == [(1, 1.0), (2, 1.0), (3, 5.0)]
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert [(point.step, point.value) for point in board.Scalars("train/loss")] == [(1, 1.0), (2, 1.0), (3, 5.0)]


def test_a_validation_is_written_with_its_figures(tmp_path: Path, screen: io.StringIO) -> None:
    console = Console(file=screen)
    log_to(tmp_path, console)
    with RunLog(tmp_path, 1, console) as log:
        log.validation(5, 90.0, Validation(2.0, 7.389, 12.345, 30.0), better=True)
        log.validation(6, 99.0, Validation(800.0, math.inf, 0.0, 0.0), better=False)
    good, bad = events(tmp_path, "validation")
    assert (good["step"], good["loss"], good["perplexity"], good["bleu"], good["best"]) == (5, 2.0, 7.389, 12.345, True)
    assert (bad["perplexity"], bad["best"]) == (None, False)  # JSON has no infinity
    assert screen.getvalue().splitlines() == [
        "step 5  validation: perplexity 7.39  BLEU 12.35  best so far, saved  (1.5 min)",
        "step 6  validation: perplexity inf  BLEU 0.00  (1.6 min)",
    ]


def test_every_line_is_json_whatever_the_figures(tmp_path: Path) -> None:
    with RunLog(tmp_path, 1, Console(file=io.StringIO())) as log:
        log.step(math.nan, math.inf, 3, 4, 0.1, 0.0)
        log.progress(1, 0.1, 0.1, 0.0)
        log.event("test", set="größe", nothing=None)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    lines = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    step, test = (json.loads(line, parse_constant=refuse) for line in lines)
    assert (step["loss"], step["grad_norm"]) == (None, None)
    assert (test["set"], test["nothing"]) == ("größe", None)


def test_a_diagnosis_is_written_behind_its_line_and_only_once(tmp_path: Path, screen: io.StringIO) -> None:
    console = Console(file=screen)
    log_to(tmp_path, console)
    found = Diagnosis(
        gradient_norm={"readout": 0.123456, "output": math.inf},
        gradient_back={"decoder.1": [2.0, 1.0, 0.5]},
        gradient_slope={"decoder.1": -0.30103},
        gates={"decoder.1": {"forget": {"closed": 0.0, "open": 0.25}}},
        attention_entropy=None,
        attention_spread=None,
    )
    with RunLog(tmp_path, 1, console) as log:
        for step in (1, 2):
            log.step(10.0, 1.0, 10, 10, 0.1, 1.0)
            if step == 1:
                log.diagnose(found)
            log.progress(step, 0.1, 0.1, 1.0)
    (event,) = events(tmp_path, "diagnostics")
    assert event["step"] == 1
    assert event["gradient_norm"] == {"readout": 0.1235, "output": None}  # JSON has no infinity
    assert event["gradient_back"] == {"decoder.1": [2.0, 1.0, 0.5]}
    assert event["gates"] == {"decoder.1": {"forget": {"closed": 0.0, "open": 0.25}}}
    assert event["attention_entropy"] is None
    lines = screen.getvalue().splitlines()
    assert lines[1] == "step 1  diagnostics: gradient 2, 2 steps back 0.5 (decoder.1); gates 0% closed, 25% open"
    assert len(lines) == 3
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    (slope,) = board.Scalars("diagnostics/gradient_slope/decoder.1")
    assert (slope.step, slope.value) == (1, pytest.approx(-0.30103))
    assert [point.value for point in board.Scalars("diagnostics/gates/decoder.1/forget_open")] == [0.25]
    (curve,) = board.Histograms("diagnostics/gradient_back/decoder.1")
    heights = dict(zip(curve.histogram_value.bucket_limit, curve.histogram_value.bucket, strict=True))
    assert [heights[limit] for limit in (0.5, 1.5, 2.5)] == [2.0, 1.0, 0.5]


def test_a_rewound_log_forgets_the_diagnoses_that_will_be_made_again(tmp_path: Path) -> None:
    found = Diagnosis({}, {"decoder.1": [1.0]}, {"decoder.1": math.nan}, {}, None, None)
    with RunLog(tmp_path, 1, Console(file=io.StringIO())) as log:
        for step in (1, 2, 3):
            log.step(10.0, 1.0, 10, 10, 0.1, 1.0)
            log.diagnose(found)
            log.progress(step, 0.1, 0.1, 1.0)
        log.rewind(2, validated_step=0, window=Window())
    assert [event["step"] for event in events(tmp_path, "diagnostics")] == [1, 2]


def test_the_jobs_of_a_sweep_do_not_share_a_log(tmp_path: Path, screen: io.StringIO) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        log_to(tmp_path / name, Console(file=screen))
        logging.getLogger("seq2seq.data").info("in %s", name)
    for name in ("one", "two"):
        assert (tmp_path / name / "train.log").read_text(encoding="utf-8").endswith(f"INFO in {name}\n")
    assert screen.getvalue() == "in one\nin two\n"
