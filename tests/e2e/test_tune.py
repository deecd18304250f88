"""`python -m seq2seq.tune` to the end: its runs, its table, stopped and killed and given again."""

from __future__ import annotations

import random
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from forking import Child, Done, call
from launching import Launcher
from run_folder import FILES, TINY, figures, started
from scaling import scaled
from seq2seq.evaluate import main as evaluate
from seq2seq.train import train

pytestmark = pytest.mark.slow
RUN = (
    *TINY, "training.validate_every_steps=6", "training.monitor=loss",
    "model.dropout.context=${model.dropout.embedding}",
)  # fmt: skip
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
def search(tmp_path: Path, cache: Path) -> Callable[..., Done]:
    """The command in an empty working folder."""

    def run(*arguments: str) -> Done:
        return call("seq2seq.tune", tmp_path, *arguments, f"data.cache_dir={cache}")

    return run


class Process:
    """The command in a process of its own; `fresh`: one whose interpreter starts for it."""

    def __init__(self, cache: Path, folder: Path, *arguments: str, fresh: bool = False) -> None:
        self.study = folder / "study"
        arguments = (*arguments, f"data.cache_dir={cache}")
        make = started if fresh else Child
        self.child: Child | subprocess.Popen[str] = make("seq2seq.tune", folder, *arguments)

    def lines(self) -> int:
        return sum(path.read_text().count("\n") for path in self.study.glob("trial_*/metrics.jsonl"))

    def wait_for(self, lines: int) -> None:
        """Return once the runs have logged so many lines in all, or the search is over."""
        while self.lines() < lines and self.child.poll() is None:
            time.sleep(0.002)

    def wait(self) -> Done:
        try:
            out, err = self.child.communicate()
        finally:
            self.child.kill()  # of a test whose time is up
        return Done(self.child.returncode, out, err)


def table_of(out: str) -> list[str]:
    """The output down to the counts; below them are commands, which name a cache folder."""
    return out.partition("\nBest model")[0].splitlines()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> tuple[Path, Done]:
    """The search that nothing disturbed: its working folder, and what it printed."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    done = Process(cache, folder, *SEARCH, f"tune.trials={TRIALS}", fresh=True).wait()
    assert done.status == 0, done.err
    return folder, done


def settings(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    return content


def test_every_trial_is_a_run_with_values_of_its_own(uninterrupted: tuple[Path, Done]) -> None:
    folder, done = uninterrupted
    runs = sorted((folder / "study").glob("trial_*"))
    assert [run.name for run in runs] == [f"trial_{number:04d}" for number in range(TRIALS)]
    assert all({path.name for path in run.iterdir()} >= FILES - {"last.pt"} for run in runs)
    made = [settings(run) for run in runs]
    assert (made[0]["model"]["hidden_size"], made[0]["training"]["learning_rate"]) == (16, 0.01)  # the base's own
    assert len({one["training"]["learning_rate"] for one in made}) == TRIALS
    for one in made:
        assert one["model"]["dropout"]["context"] == one["model"]["dropout"]["embedding"]
        assert one["model"]["hidden_size"] in (8, 16)
        assert 1e-6 <= one["training"]["learning_rate"] <= 3e-2
    assert "Traceback" not in done.err
    assert "Warning" not in done.err


def test_the_table_says_what_the_runs_say(uninterrupted: tuple[Path, Done]) -> None:
    folder, done = uninterrupted
    rows = re.findall(r"^(trial_\d{4}) +(\d+\.\d{4}) +(8|16) ", done.out, re.MULTILINE)
    counts = re.search(rf"^{TRIALS} trials in study: (\d) complete, (\d) pruned, 0 failed$", done.out, re.MULTILINE)
    assert counts is not None
    assert len(rows) == int(counts[1])
    assert int(counts[1]) + int(counts[2]) == TRIALS
    scores = [float(score) for _, score, _ in rows]
    assert scores == sorted(scores)
    for name, score, size in rows:
        losses = [one["loss"] for one in figures(folder / "study" / name) if one["event"] == "validation"]
        assert float(score) == pytest.approx(min(losses), abs=1e-4)
        assert len(losses) == 4
        assert settings(folder / "study" / name)["model"]["hidden_size"] == int(size)
    for run in (folder / "study").glob("trial_*"):
        if run.name not in {name for name, _, _ in rows}:  # cut short
            assert len([one for one in figures(run) if one["event"] == "validation"]) < 4
    assert f"With the settings as given (trial_0000): loss {dict(row[:2] for row in rows)['trial_0000']}" in done.out


def test_the_commands_at_the_end_score_the_best_model_and_train_it_again(
    uninterrupted: tuple[Path, Done],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, done = uninterrupted
    best = re.search(r"^Best model so far: (.+)$", done.out, re.MULTILINE)
    command = re.search(r"^  python -m seq2seq\.train (.+)$", done.out, re.MULTILINE)
    assert best is not None
    assert command is not None
    monkeypatch.chdir(folder)
    assert evaluate([best[1]]) == 0
    monkeypatch.chdir(tmp_path)
    again = Launcher(monkeypatch, capsys, lambda config, run: train(config, run, tested=False))
    assert again(*shlex.split(command[1]), "hydra.run.dir=run").status == 0
    of_trial, of_run = (settings(run) for run in (folder / best[1], tmp_path / "run"))
    assert {**of_trial, "tune": None} == {**of_run, "tune": None}
    assert figures(folder / best[1]) == figures(tmp_path / "run")


@pytest.mark.parametrize("kills", [scaled(2, 8)])
def test_a_killed_search_ends_as_if_it_had_not_been(
    tmp_path: Path, cache: Path, uninterrupted: tuple[Path, Done], kills: int
) -> None:
    numbers = random.Random(kills)
    command = (*SEARCH, f"tune.trials={TRIALS}", "training.save_every_steps=1")
    for _ in range(kills):
        process = Process(cache, tmp_path, *command)
        process.wait_for(process.lines() + numbers.randint(1, 60 * TRIALS // kills // 2))
        time.sleep(numbers.random() / 10)
        process.child.kill()
        assert process.wait().status in (-signal.SIGKILL, 0)
    done = Process(cache, tmp_path, *command).wait()
    assert done.status == 0, done.err
    assert table_of(done.out) == table_of(uninterrupted[1].out)
    assert len(list((tmp_path / "study").glob("trial_*"))) == TRIALS
    for run in (tmp_path / "study").glob("trial_*"):
        assert figures(run) == figures(uninterrupted[0] / "study" / run.name)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_the_trial_and_the_same_command_goes_on_with_it(
    tmp_path: Path, cache: Path, uninterrupted: tuple[Path, Done], number: signal.Signals, status: int
) -> None:
    process = Process(cache, tmp_path, *SEARCH, "tune.trials=2")
    process.wait_for(40)  # in the second trial
    process.child.send_signal(number)
    found, out, err = process.wait()
    assert (found, out) == (status, "")
    assert err.splitlines()[-1] == (
        f"stopped by signal {int(number)}; last.pt is saved; the same command goes on with the search"
    )
    done = Process(cache, tmp_path, *SEARCH, "tune.trials=2").wait()
    assert done.status == 0, done.err
    assert "resumed at step" in done.err
    for name in ("trial_0000", "trial_0001"):
        assert figures(tmp_path / "study" / name) == figures(uninterrupted[0] / "study" / name)


def test_the_same_command_makes_nothing_again_and_more_trials_go_on(search: Callable[..., Done]) -> None:
    command = (*SEARCH, "training.max_steps=2")
    first = search(*command, "tune.trials=2")
    assert first.status == 0
    again = search(*command, "tune.trials=2")
    assert (again.out, again.err) == (first.out, "")
    more = search(*command, "tune.trials=3", "training.log_every_steps=7", "tune.startup_trials=1")
    assert re.findall(r"^trial_\d+ \(.*\)", more.err, re.MULTILINE) == ["trial_0002 (3 of 3)"]
    over = search(*command, "tune.trials=9", "tune.max_minutes=1e-4")
    assert over.err == "tune.max_minutes=0.0001 are over: 3 of 9 trials\n"


def test_every_point_is_tried_once_and_one_that_cannot_be_is_recorded(search: Callable[..., Done]) -> None:
    sizes = ("model.attention_heads=1,3", "model.encoder_layers=range(1,3)")
    done = search(*RUN, *sizes, "tune.folder=study", "tune.trials=9", "training.max_steps=2", "tune.startup_trials=9")
    assert done.status == 0
    assert done.err.endswith("every point of the space is tried: 4 of 9 trials\n")
    assert "4 trials in study: 2 complete, 0 pruned, 2 failed" in done.out
    message = "model.attention_heads=3 does not divide model.attention_size=16"
    assert done.out.count(f"failed: {message}") == done.err.count(f": {message}\n") == 2
    assert sorted(re.findall(r"^trial_\d{4} +\S+ +1 +([12])$", done.out, re.MULTILINE)) == ["1", "2"]


def test_a_search_in_which_everything_fails_ends(search: Callable[..., Done], tmp_path: Path) -> None:
    for sweep, setting, told in (
        (
            "model.hidden_size=range(8,16)",
            "data.tokenizer.vocab_size=1000000",
            "5 trials in a row have failed, the last one with: .*vocab_size=1000000",
        ),
        (
            "model.attention_heads=3,5",
            "tune.folder=other",
            r"no trial has come to its end: model\.attention_heads=. does not divide",
        ),
    ):
        done = search(*RUN, "tune.folder=study", sweep, setting)
        assert done.status == 2
        assert re.match(f"error: {told}", done.err.splitlines()[-1])
    assert not list(tmp_path.glob("*/trial_*/best.safetensors"))
