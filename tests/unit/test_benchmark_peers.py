"""The comparison with other toolkits: what can be tested without them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import benchmark
import benchmark_peers
import benchmark_timing
import pytest
from peers import driver, environments
from peers.environments import NotMeasured, Recipe


def work(folder: Path, **fields: Any) -> driver.Work:
    defaults: dict[str, Any] = {
        "action": "train",
        "text": str(folder),
        "folder": str(folder / "toolkit"),
        "model": "random",
        "threads": None,
        "hidden": 8,
        "dropout": 0.2,
        "batch_tokens": 100,
        "learning_rate": 1e-3,
        "seconds": 0.0,
        "warmup": 1,
        "save": False,
        "sentences": 2,
        "singles": 1,
        "outputs": "",
        "length_ratio": 1.0,
    }
    return driver.Work(**{**defaults, **fields})


# --- environments ----------------------------------------------------------------------------------------------------


def test_an_environment_is_created_without_dependencies_and_what_the_build_needs_comes_first(tmp_path: Path) -> None:
    create, before, packages = environments.commands(
        tmp_path, tmp_path / "bin/python", Recipe(["toolkit==1"], before=["pip<2"])
    )
    assert create == [sys.executable, "-m", "venv", str(tmp_path)]
    for command, last in ((before, "pip<2"), (packages, "toolkit==1")):
        assert command[:4] == [str(tmp_path / "bin/python"), "-m", "pip", "install"]
        assert "--no-deps" in command
        assert command[-1] == last


def test_every_toolkit_is_pinned_and_has_a_driver() -> None:
    for name, recipe in environments.RECIPES.items():
        assert "==" in recipe.packages[0]
        assert (benchmark_peers.SCRIPTS / "peers" / f"{name}.py").is_file()


def test_the_reason_is_the_error_of_a_failed_command() -> None:
    messages = "Collecting x\nERROR: No matching distribution found for x==1\n\nnote: not a problem with pip\n"
    assert environments.reason(messages) == "ERROR: No matching distribution found for x==1"
    assert environments.reason("Traceback\n  File x\nonmt.SomeError: bad value\n") == "onmt.SomeError: bad value"
    assert environments.reason("killed\n") == "killed"
    with pytest.raises(NotMeasured, match="ended with status 3"):
        environments.call([sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(NotMeasured, match="No such file"):
        environments.call(["no such command"])
    assert environments.call([sys.executable, "-c", "print('log'); print('result')"]) == "result"


# --- drivers ---------------------------------------------------------------------------------------------------------


def test_the_clock_counts_the_updates_after_the_warm_up() -> None:
    clock = driver.Clock(seconds=5.0, warmup=2)
    for tokens in (1000, 1000, 30):
        clock.tick(tokens)
    clock.ends = [100.0, 110.0, 112.0]
    assert clock.figures() == {"updates": 1, "tokens_per_update": 30, "tokens_per_sec": 15}
    clock.ends[1] = clock.ends[2] - 10.0  # so that the time is up
    with pytest.raises(driver.TimeUp):
        clock.tick(30)


def test_a_clock_without_time_stops_after_one_update() -> None:
    with pytest.raises(driver.TimeUp):
        driver.Clock(seconds=0.0, warmup=0).tick(7)


def test_lines_are_translated_in_sorted_batches_with_a_limit_for_each(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(benchmark_timing, "BATCH_SENTENCES", 2)
    calls = []

    def translate(lines: Any, longest: int) -> list[str]:
        calls.append((list(lines), longest))
        return [line.upper() for line in lines]

    outputs = driver.batches(work(tmp_path), translate, ["a b c d", "a", "a b c", "b c"])
    assert outputs == [["A", "B", "C", "D"], ["A"], ["A", "B", "C"], ["B", "C"]]
    assert calls == [(["a", "b c"], 3), (["a b c", "a b c d"], 5)]


def test_a_module_that_is_not_installed_can_be_imported_if_it_is_unused() -> None:
    with pytest.raises(ModuleNotFoundError):
        import absent_toolkit_part  # noqa: F401
    driver.without("absent_toolkit_part")
    try:
        from absent_toolkit_part import Anything

        class Derived(Anything):
            pass
    finally:
        del sys.modules["absent_toolkit_part"]
    assert issubclass(Derived, driver.AnyType)


def test_drivers_get_the_scripts_and_the_threads_but_no_seq2seq() -> None:
    variables = benchmark_peers.driver_environment({"PYTHONPATH": "checkout", "HOME": "home"}, threads=1)
    assert variables["PYTHONPATH"] == str(benchmark_peers.SCRIPTS)
    assert variables["OMP_NUM_THREADS"] == "1"
    assert variables["HOME"] == "home"
    assert "OMP_NUM_THREADS" not in benchmark_peers.driver_environment({}, threads=None)


def test_minutes_need_the_test_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        benchmark_peers.parse(["--minutes", "1", "--data", str(tmp_path)])
    assert f"--minutes: {tmp_path} lacks test_2016_flickr.en.gz" in capsys.readouterr().err


# --- report ----------------------------------------------------------------------------------------------------------


def test_ratios_of_rates_and_costs_are_larger_than_1_where_ours_is_better() -> None:
    ours, theirs = {"rate": 30.0, "cost": 2.0}, {"rate": 10.0, "cost": 8.0}
    values = benchmark_peers.beside("toolkit", [[ours, theirs]] * 2, ("rate",), ("cost",))
    assert values["rate"] == [30.0, 30.0]
    assert values["toolkit_rate"] == [10.0, 10.0]
    assert values["ratio_toolkit_rate"] == [3.0, 3.0]
    assert values["ratio_toolkit_cost"] == [4.0, 4.0]


def test_figures_of_ours_are_pooled_over_toolkits() -> None:
    measured: benchmark_peers.Measurements = {}
    for found in ({"rate": [1.0], "a_rate": [2.0]}, {"rate": [3.0], "b_rate": [4.0]}):
        benchmark_peers.add(measured, {"beam": found})
    assert measured == {"beam": {"rate": [1.0, 3.0], "a_rate": [2.0], "b_rate": [4.0]}}


def test_the_table_has_a_row_for_a_toolkit_that_was_not_measured() -> None:
    figure = {"median": 1.0, "min": 1.0, "max": 1.0}
    rows = benchmark_peers.table({"a": {"x": figure}, "b": {"x": figure}}, {"eole": "no network"})
    assert rows[2:] == ["| x | 1 (1–1) | 1 (1–1) |", "| eole | not measured: no network | |"]
    assert benchmark_peers.table({}, {"eole": "no network"})[-1] == "| eole | not measured: no network |"


FLAGS = "--pairs 1 --sentences 3 --grammar-pairs 150 --vocab 400 --hidden 16 --peers fairseq joeynmt --json"


class InProcessRun(benchmark_peers.PeerRun):
    """Measures in this process."""

    def measure(self, name: str, **arguments: Any) -> dict[str, Any]:
        if name in benchmark_peers.PEERS:
            return super().measure(name, **arguments)
        measured: dict[str, Any] = benchmark.measure(name, self.settings, arguments)
        return measured


def test_a_toolkit_whose_environment_cannot_be_created_is_reported_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", "no-such-python")  # creates the environments
    monkeypatch.setattr(benchmark_peers, "PeerRun", InProcessRun)
    data = ["--cache", str(tmp_path / "cache"), "--data", "synthetic"]
    monkeypatch.setattr(sys, "argv", ["benchmark_peers.py", *FLAGS.split(), *data])
    benchmark_peers.main()  # the exit status is 0
    report = json.loads(capsys.readouterr().out)
    assert report["results"] == {}
    assert report["not_measured"].keys() == {"fairseq", "joeynmt"}
    assert report["not_measured"]["fairseq"] == "no-such-python: No such file or directory"
    assert report["work"]["fairseq"] == "fairseq==0.12.2"
