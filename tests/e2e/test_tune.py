"""`python -m seq2seq.tune` with training: runs, table, stopped, killed and repeated searches."""

from __future__ import annotations

import random
import re
import shlex
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from forking import Result, call
from hydra_cli import Launcher
from run_folder import FILES, TINY, Process, figures
from scaling import scaled
from seq2seq.evaluate import main as evaluate
from seq2seq.train import run_training

pytestmark = pytest.mark.slow
RUN = (
    "training.validate_every_steps=6",
    "training.monitor=loss",
    "model.dropout.context=${model.dropout.embedding}",
)
SWEEPS = (
    "model.hidden_size=8,16",
    "training.learning_rate=tag(log,interval(1e-6,3e-2))",
    "model.dropout.embedding=interval(0,0.4)",
)
SEARCH = (*RUN, *SWEEPS, "tune.folder=study", "tune.startup_trials=3")
TRIALS = 6


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def search(tmp_path: Path, cache: Path) -> Callable[..., Result]:
    """The command in an empty working folder, in a process of its own."""

    def run(*arguments: str) -> Result:
        return call("seq2seq.tune", tmp_path, *TINY, *arguments, f"data.cache_dir={cache}")

    return run


def start_search(cache: Path, folder: Path, *arguments: str, fresh: bool = False) -> Process:
    """Start the command in its own process."""
    metrics = "study/trial_*/metrics.jsonl"
    return Process(cache, folder, *arguments, module="seq2seq.tune", metrics=metrics, fresh=fresh)


def table_of(out: str) -> list[str]:
    """Return the output without the commands at its end, which name the cache folder."""
    return out.partition("\nBest model")[0].splitlines()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> tuple[Path, Result]:
    """Return the working folder and the result of a search that was not interrupted."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    result = start_search(cache, folder, *SEARCH, f"tune.trials={TRIALS}", fresh=True).wait()
    assert result.status == 0, result.err
    return folder, result


def settings(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    return content


def test_each_trial_is_a_run_with_its_own_values(uninterrupted: tuple[Path, Result]) -> None:
    folder, result = uninterrupted
    runs = sorted((folder / "study").glob("trial_*"))
    assert [run.name for run in runs] == [f"trial_{number:04d}" for number in range(TRIALS)]
    without_test = FILES - {"last.pt", "report.html", "model-card.md"}
    assert all({path.name for path in run.iterdir()} >= without_test for run in runs)
    configs = [settings(run) for run in runs]
    baseline = configs[0]
    assert (baseline["model"]["hidden_size"], baseline["training"]["learning_rate"]) == (16, 0.01)
    assert len({config["training"]["learning_rate"] for config in configs}) == TRIALS
    for config in configs:
        assert config["model"]["dropout"]["context"] == config["model"]["dropout"]["embedding"]
        assert config["model"]["hidden_size"] in (8, 16)
        assert 1e-6 <= config["training"]["learning_rate"] <= 3e-2
    assert "Traceback" not in result.err
    assert "Warning" not in result.err


def test_table_agrees_with_the_runs(uninterrupted: tuple[Path, Result]) -> None:
    folder, result = uninterrupted
    rows = re.findall(r"^(trial_\d{4}) +(\d+\.\d{4}) +(8|16) ", result.out, re.MULTILINE)
    counts = re.search(rf"^{TRIALS} trials in study: (\d) complete, (\d) pruned, 0 failed$", result.out, re.MULTILINE)
    assert counts is not None
    assert len(rows) == int(counts[1])
    assert int(counts[1]) + int(counts[2]) == TRIALS
    scores = [float(score) for _, score, _ in rows]
    assert scores == sorted(scores)
    for name, score, size in rows:
        losses = [event["loss"] for event in figures(folder / "study" / name) if event["event"] == "validation"]
        assert float(score) == pytest.approx(min(losses), abs=1e-4)
        assert len(losses) == 4
        assert settings(folder / "study" / name)["model"]["hidden_size"] == int(size)
    for run in (folder / "study").glob("trial_*"):
        if run.name not in {name for name, _, _ in rows}:  # pruned
            assert len([event for event in figures(run) if event["event"] == "validation"]) < 4
    assert f"With the settings as given (trial_0000): loss {dict(row[:2] for row in rows)['trial_0000']}" in result.out


def test_printed_commands_evaluate_and_retrain_the_best_model(
    uninterrupted: tuple[Path, Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, result = uninterrupted
    best = re.search(r"^Best model so far: (.+)$", result.out, re.MULTILINE)
    command = re.search(r"^  python -m seq2seq\.train (.+)$", result.out, re.MULTILINE)
    assert best is not None
    assert command is not None
    monkeypatch.chdir(folder)
    assert evaluate([best[1]]) == 0
    monkeypatch.chdir(tmp_path)
    retrain = Launcher(monkeypatch, capsys, lambda config, run: run_training(config, run, test=False))
    assert retrain(*shlex.split(command[1]), "hydra.run.dir=run").status == 0
    of_trial, of_run = (settings(run) for run in (folder / best[1], tmp_path / "run"))
    assert {**of_trial, "tune": None} == {**of_run, "tune": None}
    assert figures(folder / best[1]) == figures(tmp_path / "run")


@pytest.mark.parametrize("kills", [scaled(2, 8)])
def test_killed_search_ends_like_an_uninterrupted_one(
    tmp_path: Path, cache: Path, uninterrupted: tuple[Path, Result], kills: int
) -> None:
    numbers = random.Random(kills)
    command = (*SEARCH, f"tune.trials={TRIALS}", "training.save_every_steps=1")
    for _ in range(kills):
        process = start_search(cache, tmp_path, *command)
        process.wait_for(numbers.randint(1, 60 * TRIALS // kills // 2), may_end=True)
        time.sleep(numbers.random() / 10)
        process.child.kill()
        assert process.wait().status in (-signal.SIGKILL, 0)
    result = start_search(cache, tmp_path, *command).wait()
    assert result.status == 0, result.err
    assert table_of(result.out) == table_of(uninterrupted[1].out)
    assert len(list((tmp_path / "study").glob("trial_*"))) == TRIALS
    for run in (tmp_path / "study").glob("trial_*"):
        assert figures(run) == figures(uninterrupted[0] / "study" / run.name)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_saves_the_trial_and_the_same_command_resumes_it(
    tmp_path: Path, cache: Path, uninterrupted: tuple[Path, Result], number: signal.Signals, status: int
) -> None:
    process = start_search(cache, tmp_path, *SEARCH, "tune.trials=2")
    process.wait_for(40)  # in the second trial
    process.child.send_signal(number)
    exit_status, out, err = process.wait()
    assert (exit_status, out) == (status, "")
    assert err.splitlines()[-1] == (
        f"stopped by signal {int(number)}; last.pt is saved; the same command continues the search"
    )
    result = start_search(cache, tmp_path, *SEARCH, "tune.trials=2").wait()
    assert result.status == 0, result.err
    assert "resumed at step" in result.err
    for name in ("trial_0000", "trial_0001"):
        assert figures(tmp_path / "study" / name) == figures(uninterrupted[0] / "study" / name)


def test_same_command_trains_nothing_and_more_trials_continue_the_search(search: Callable[..., Result]) -> None:
    command = (*SEARCH, "training.max_steps=2")
    first = search(*command, "tune.trials=2")
    assert first.status == 0
    again = search(*command, "tune.trials=2")
    assert (again.out, again.err) == (first.out, "")
    more = search(*command, "tune.trials=3", "training.log_every_steps=7", "tune.startup_trials=1")
    assert re.findall(r"^trial_\d+ \(.*\)", more.err, re.MULTILINE) == ["trial_0002 (3 of 3)"]
    limited = search(*command, "tune.trials=9", "tune.max_minutes=1e-4")
    assert limited.err == "tune.max_minutes=0.0001 reached: 3 of 9 trials\n"


def test_every_point_is_tried_once_and_failures_are_recorded(search: Callable[..., Result]) -> None:
    sizes = ("model.attention_heads=1,3", "model.encoder_layers=range(1,3)")
    result = search(*RUN, *sizes, "tune.folder=study", "tune.trials=9", "training.max_steps=2", "tune.startup_trials=9")
    assert result.status == 0
    assert result.err.endswith("every point of the space has been tried: 4 of 9 trials\n")
    assert "4 trials in study: 2 complete, 0 pruned, 2 failed" in result.out
    message = "model.attention_heads=3 does not divide model.attention_size=16"
    assert result.out.count(f"failed: {message}") == result.err.count(f": {message}\n") == 2
    assert sorted(re.findall(r"^trial_\d{4} +\S+ +1 +([12])$", result.out, re.MULTILINE)) == ["1", "2"]


def test_search_in_which_every_trial_fails_is_an_error(search: Callable[..., Result], tmp_path: Path) -> None:
    for sweep, setting, error in (
        (
            "model.hidden_size=range(8,16)",
            "data.tokenizer.vocab_size=1000000",
            "5 trials in a row have failed, the last one with: .*vocab_size=1000000",
        ),
        (
            "model.attention_heads=3,5",
            "tune.folder=other",
            r"every trial has failed, the first one with: model\.attention_heads=. does not divide",
        ),
    ):
        result = search(*RUN, "tune.folder=study", sweep, setting)
        assert result.status == 2
        assert re.match(f"error: {error}", result.err.splitlines()[-1])
    assert not list(tmp_path.glob("*/trial_*/best.safetensors"))
