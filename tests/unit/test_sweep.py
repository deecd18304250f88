"""Sweeps: names of points, which points run, run results and the table."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from hydra_cli import Launcher
from seq2seq.cli.resume import RunContext
from seq2seq.config.loading import to_dict
from seq2seq.config.schema import Config
from seq2seq.config.training import MonitorName
from seq2seq.experiments.sweep_points import Point, Status, Sweep, point_name, swept_keys
from seq2seq.experiments.sweep_results import mark_end, read_result
from seq2seq.experiments.sweep_table import report
from seq2seq.storage.metrics_file import MetricsFile
from seq2seq.storage.run_folder import CONFIG_NAME, LAST_NAME, METRICS_NAME

# --- names of points -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"model.hidden_size": "256", "training.seed": "1"}, "hidden_size-256+seed-1"),
        ({"model": "small", "training.learning_rate": "0.001"}, "model-small+learning_rate-0.001"),
        ({"data.tokenizer.src_model": "a", "data.src": "b"}, "src_model-a+src-b"),
        ({"data.sampling.src": "0.1", "data.src": "en", "model": "x"}, "data.sampling.src-0.1+data.src-en+model-x"),
        ({"data.fold": "2/5"}, "fold-2of5"),
    ],
)  # fmt: skip
def test_point_is_named_after_its_swept_values(values: dict[str, str], name: str) -> None:
    assert point_name(values) == name


texts = st.text(max_size=80) | st.sampled_from(["/data/a/train.en", "/data/b/train.en", "a", "b", "", "x" * 90])


@given(st.lists(st.tuples(texts, texts), min_size=2, max_size=2, unique=True))
def test_names_are_distinct_and_valid_for_file_systems_and_hydra(points: list[tuple[str, str]]) -> None:
    first, second = (point_name({"training.init_from": init_from, "data.root": root}) for init_from, root in points)
    assert first != second
    for name in (first, second):
        assert re.fullmatch(r"[A-Za-z0-9_.@+-]{1,200}", name)
        assert OverridesParser.create().parse_override(f"training.resume=runs/{name}").value() == f"runs/{name}"


@pytest.mark.parametrize(
    ("arguments", "keys"),
    [
        (["-m", "training.seed=1,2", "model.hidden_size=3"], ["training.seed"]),
        (["model=small,base", "training.seed=range(1,4)", "-m"], ["model", "training.seed"]),
        (["model=glob(*)", "data.fold=1/2,2/2", "data.src=choice(en,de)"], ["model", "data.fold", "data.src"]),
        (["data.root='a,b'", "decode.never_emit=[a,b]", "--config-dir", "x,y", "broken=(("], []),
    ],
)
def test_swept_keys_have_several_values(arguments: list[str], keys: list[str]) -> None:
    assert swept_keys(arguments) == keys


# --- which points run ------------------------------------------------------------------------------------------------


def write(folder: Path, *events: dict[str, Any]) -> None:
    with open(folder / METRICS_NAME, "a", encoding="utf-8") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)


def validation(step: int, bleu: float = 20.0, best: bool = True, **more: Any) -> dict[str, Any]:
    figures = {"loss": 1.0, "perplexity": 2.7, "bleu": bleu, "chrf": 50.0, "elapsed_sec": 6.0 * step}
    return {"event": "validation", "step": step, "best": best, **figures, **more}


def scored(bleu: float = 10.0) -> dict[str, Any]:
    return {"event": "test", "set": "test", "bleu": bleu}


def fake_run(config: Config, run: RunContext) -> None:
    """Write the files of a run except its model. Seed 14 is interrupted, seed 15 meets a bug."""
    training = config.training
    text = yaml.safe_dump(to_dict(config))
    (run.folder / CONFIG_NAME).write_text(text, encoding="utf-8")
    (run.folder / LAST_NAME).touch()
    if training.seed == 14:
        raise KeyboardInterrupt
    if training.seed == 15:
        raise ZeroDivisionError("a bug")
    assert training.max_steps is not None
    write(run.folder, validation(training.max_steps), scored())


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Launcher:
    monkeypatch.chdir(tmp_path)
    return Launcher(monkeypatch, capsys, fake_run, ("-m", "training.max_steps=10", "hydra.sweep.dir=sweep"))


def point_folders(jobs: list[tuple[Config, RunContext]]) -> list[str]:
    return [run.folder.relative_to("sweep").as_posix() for _, run in jobs]


@pytest.mark.slow
def test_extended_sweep_runs_new_points_only(start: Launcher) -> None:
    first = start("model.hidden_size=32,64", "training.seed=1,2")
    assert (first.status, first.err) == (0, "")
    assert point_folders(first.jobs) == [f"hidden_size-{size}+seed-{seed}" for size in (32, 64) for seed in (1, 2)]
    again = start("model.hidden_size=32,64", "training.seed=1,2,3")
    assert point_folders(again.jobs) == ["hidden_size-32+seed-3", "hidden_size-64+seed-3"]
    assert not any(run.resumes for _, run in again.jobs)
    assert again.err.splitlines() == [
        f"sweep/hidden_size-{size}+seed-{seed}: already finished, skipped" for size in (32, 64) for seed in (1, 2)
    ]


def test_groups_and_sweeper_params_of_a_config_file_are_swept(start: Launcher, tmp_path: Path) -> None:
    (tmp_path / "own" / "experiment").mkdir(parents=True)
    (tmp_path / "own" / "experiment" / "seeds.yaml").write_text(
        "# @package _global_\nhydra: {sweeper: {params: {training.seed: '1,2'}}}\n", encoding="utf-8"
    )
    start.fixed = ("--config-dir=own", *start.fixed)
    result = start("model=small,base", "experiment=seeds", "model.emb_size=64")
    assert point_folders(result.jobs) == [f"seed-{seed}+model-{name}" for seed in (1, 2) for name in ("small", "base")]


def test_point_without_swept_keys_is_numbered(start: Launcher) -> None:
    assert point_folders(start("training.seed=1").jobs) == ["0"]


def test_corpora_are_swept_into_one_folder(start: Launcher) -> None:
    start.fixed = start.fixed[:-1]
    folders = [run.folder for _, run in start("data=tatoeba,grammar").jobs]
    assert [folder.name for folder in folders] == ["data-tatoeba", "data-grammar"]
    assert len({folder.parent for folder in folders}) == 1


@pytest.mark.slow
def test_unfinished_point_is_resumed(start: Launcher) -> None:
    stopped = start("training.seed=1,14,2")
    assert stopped.status == 130
    assert point_folders(stopped.jobs) == ["seed-1", "seed-14"]
    assert re.findall(r"^1?\d .* (\w+)$", stopped.out, re.MULTILINE) == ["finished", "unfinished"]
    again = start("training.seed=1,14,2")
    assert point_folders(again.jobs) == ["seed-14"]
    assert again.jobs[0][1].resumes


@pytest.mark.slow
def test_test_event_does_not_mark_the_end(start: Launcher) -> None:
    """A run may be killed after the first of several test sets."""
    start("training.seed=1,2")
    metrics = Path("sweep/seed-2") / METRICS_NAME
    lines = metrics.read_text(encoding="utf-8").splitlines(keepends=True)
    assert json.loads(lines[-1])["event"] == "end"
    metrics.write_text("".join(lines[:-1]), encoding="utf-8")
    again = start("training.seed=1,2")
    assert point_folders(again.jobs) == ["seed-2"]
    assert again.jobs[0][1].resumes


@pytest.mark.slow
def test_finished_point_is_resumed_when_a_limit_is_raised(start: Launcher) -> None:
    start("training.seed=1,2")
    again = start("training.seed=1,2", "training.max_steps=20", "training.log_every_steps=7")
    assert point_folders(again.jobs) == ["seed-1", "seed-2"]
    config, run = again.jobs[0]
    assert config.training.max_steps == 20
    assert run.resumes
    assert sorted(run.overrides) == ["training.log_every_steps=7", "training.max_steps=20"]
    assert not start("training.seed=1,2", "training.max_steps=20", "runtime.threads=1").jobs


@pytest.mark.slow
def test_folder_with_a_run_of_other_settings_fails_its_point(start: Launcher) -> None:
    start("training.seed=1,2")
    other = start("training.seed=1,2,3", "training.learning_rate=0.5", "model.hidden_size=8")
    assert other.status == 2
    assert point_folders(other.jobs) == ["seed-3"]
    message = Path("sweep/seed-1/failed.txt").read_text(encoding="utf-8")
    assert message.startswith(
        "error: sweep/seed-1 holds a run with other settings: model.hidden_size (was 384), training.learning_rate "
        "(was 0.0025); set another hydra.sweep.dir"
    )
    assert other.err.splitlines()[-1] == "error: 2 of 3 points of the sweep failed: sweep/seed-1, sweep/seed-2"
    start("training.seed=1,2", "training.resume=auto", "training.learning_rate=0.5")
    assert not Path("sweep/seed-1/failed.txt").exists()
    assert "0.5" in Path("sweep/seed-1", CONFIG_NAME).read_text(encoding="utf-8")


def test_bug_in_one_point_sets_the_exit_status_and_later_points_run(start: Launcher) -> None:
    result = start("training.seed=15,1")
    assert (result.status, len(result.jobs)) == (1, 2)
    assert "ZeroDivisionError: a bug" in Path("sweep/seed-15/failed.txt").read_text(encoding="utf-8")
    assert re.findall(r"^1?\d .* (\w+)$", result.out, re.MULTILINE) == ["finished", "broken"]


def test_command_that_continues_the_sweep_is_printed(start: Launcher) -> None:
    start.fixed = ("training.max_steps=10",)
    for folder in ("hydra.sweep.dir=it", "hydra.sweep.dir='my sweep'"):
        result = start("training.seed=1,2", folder, "model.hidden_size=32", "-m")
        assert result.out.splitlines()[-2] == "To continue this sweep, or to add values:"
        command = result.out.splitlines()[-1].strip()
        quoted = folder if "'" not in folder else "'hydra.sweep.dir='\"'\"'my sweep'\"'\"''"
        assert command == (
            f"python -m seq2seq.train {quoted} training.max_steps=10 training.seed=1,2 model.hidden_size=32 -m"
        )


# --- results of a run ------------------------------------------------------------------------------------------------


def test_result_has_the_best_validation_and_the_test_scores(tmp_path: Path) -> None:
    write(tmp_path, validation(10, 20.0), validation(20, 25.0), validation(30, 22.0, best=False), scored(9.0))
    result = read_result(tmp_path)
    assert (result.validation["step"], result.updates, result.minutes) == (20, 30, 3.0)
    assert (result.tests, result.ended) == ({"test": 9.0}, False)
    mark_end(tmp_path)
    assert read_result(tmp_path).ended


def test_resumed_run_has_no_test_scores_and_has_not_ended(tmp_path: Path) -> None:
    write(tmp_path, validation(10), scored())
    mark_end(tmp_path)
    write(tmp_path, {"event": "step", "step": 11, "elapsed_sec": 66.0})
    result = read_result(tmp_path)
    assert (result.tests, result.ended, result.updates, result.minutes) == ({}, False, 11, 1.1)
    assert result.validation["step"] == 10


def test_events_of_an_earlier_attempt_are_dropped(tmp_path: Path) -> None:
    write(tmp_path, validation(10, 99.0), validation(20, 99.5))
    write(tmp_path, validation(10, 30.0))
    assert read_result(tmp_path).validation["bleu"] == 30.0


def test_truncated_line_is_skipped(tmp_path: Path) -> None:
    assert read_result(tmp_path).updates == 0
    write(tmp_path, validation(10))
    with open(tmp_path / METRICS_NAME, "a", encoding="utf-8") as file:
        file.write('{"event": "en')
    result = read_result(tmp_path)
    assert (result.updates, result.ended) == (10, False)


def test_damaged_lines_cost_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bad = ({"event": "step"}, {"event": "step", "step": "1"}, {"event": ["x"]}, {"event": "test"}, {"step": 3})
    write(tmp_path, validation(10, 20.0), *bad, {"event": "validation", "step": 20, "elapsed_sec": None, "best": True})
    path = tmp_path / METRICS_NAME
    path.write_bytes(path.read_bytes() + b"\x00\xff garbage\n" + b"[" * 100_000 + b"\n9\n" + b'{"event": "step", "st')
    for _ in range(2):
        assert (read_result(tmp_path).updates, read_result(tmp_path).validation["bleu"]) == (10, 20.0)
    assert caplog.messages == [f"{path}: 9 damaged lines are ignored"]
    with MetricsFile(tmp_path) as file:
        assert file.rewind(lambda event: event["step"] == 10)
    assert caplog.messages[1:] == [f"{path}: 10 damaged lines are ignored"]
    assert path.read_text(encoding="utf-8").count("\n") == 1


# --- the table -------------------------------------------------------------------------------------------------------


class Table:
    """A sweep of finished points, and the cells of its printed table."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.capture, self.sweep = capture, Sweep([], folder)

    def add(self, values: dict[str, str], bleu: float, monitor: MonitorName = MonitorName.bleu, **more: Any) -> Point:
        assert self.sweep.folder is not None
        point = Point(self.sweep.folder / point_name(values), values, Status.finished, monitor)
        point.folder.mkdir(parents=True)
        write(point.folder, validation(10, bleu, **more), scored(bleu / 2))
        self.sweep.points[point.folder] = point
        return point

    def __call__(self) -> list[list[list[str]]]:
        """Return the cells of each printed table."""
        report(self.sweep)
        parts = [part.strip().splitlines() for part in self.capture.readouterr().out.split("\n\n")]
        tables = [part[part[0].startswith("Mean") :] for part in parts[:-1]]
        return [[re.split(r" {2,}", line.strip()) for line in table] for table in tables]


@pytest.fixture
def table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Table:
    return Table(tmp_path / "sweep", capsys)


def test_points_are_sorted_by_status_then_score(table: Table) -> None:
    table.add({"model.hidden_size": "32", "training.seed": "1"}, 4.0)
    table.add({"model.hidden_size": "64", "training.seed": "1"}, 99.0).status = Status.failed
    table.add({"model.hidden_size": "32", "training.seed": "2"}, 98.0).status = Status.unfinished
    table.add({"model.hidden_size": "64", "training.seed": "2"}, 5.0)
    assert table() == [
        [
            ["hidden_size", "seed", "valid BLEU", "perplexity", "test BLEU", "updates", "minutes", "status"],
            ["64", "2", "5.00", "2.70", "2.50", "10", "1.0", "finished"],
            ["32", "1", "4.00", "2.70", "2.00", "10", "1.0", "finished"],
            ["32", "2", "98.00", "2.70", "49.00", "10", "1.0", "unfinished"],
            ["64", "1", "–", "–", "–", "–", "–", "failed"],
        ]
    ]


@pytest.mark.parametrize("key", ["training.seed", "data.fold"])
def test_mean_and_sample_deviation_over_seeds_and_folds(table: Table, key: str) -> None:
    for size, add in (("30", 0.0), ("60", 3.0)):
        for number, bleu in enumerate((4.0, 5.0, 7.0)):  # mean 16/3, sample variance 7/3
            table.add({"model.hidden_size": size, key: str(number)}, bleu + add)
    _, means = table()
    assert means == [
        ["hidden_size", "runs", "valid BLEU", "perplexity", "test BLEU"],
        ["60", "3", "8.33 ± 1.53", "2.70 ± 0.00", "4.17 ± 0.76"],
        ["30", "3", "5.33 ± 1.53", "2.70 ± 0.00", "2.67 ± 0.76"],
    ]


def test_unfinished_points_are_not_averaged(table: Table) -> None:
    for seed in "123":
        point = table.add({"training.seed": seed, "data.fold": "1/2"}, float(seed))
    point.status = Status.unfinished
    assert table()[1] == [
        ["runs", "valid BLEU", "perplexity", "test BLEU"],
        ["2", "1.50 ± 0.71", "2.70 ± 0.00", "0.75 ± 0.35"],
    ]


@pytest.mark.parametrize(
    ("monitor", "head", "order"),
    [
        (MonitorName.loss, "valid loss", "132"),
        (MonitorName.chrf, "valid chrF", "231"),
        (MonitorName.bleu, "valid BLEU", "321"),
    ],
)
def test_points_are_sorted_by_the_monitored_score(table: Table, monitor: MonitorName, head: str, order: str) -> None:
    for seed, loss, chrf in (("1", 2.0, 50.0), ("2", 4.0, 70.0), ("3", 3.0, 60.0)):
        table.add({"training.seed": seed}, float(seed), monitor, loss=loss, chrf=chrf)
    points = table()[0]
    assert points[0][:2] == ["seed", head]
    assert "".join(row[0] for row in points[1:]) == order


def test_non_finite_score_is_sorted_last_and_has_no_mean(table: Table) -> None:
    table.add({"training.seed": "1"}, 99.0, MonitorName.loss, loss=None, perplexity=None)
    table.add({"training.seed": "2"}, 1.0, MonitorName.loss)
    points, means = table()
    assert [row[:3] for row in points[1:]] == [["2", "1.00", "2.70"], ["1", "–", "–"]]
    assert means[1] == ["2", "– ± –", "– ± –", "25.00 ± 34.65"]


def test_table_is_written_as_tsv(table: Table) -> None:
    for seed, bleu in (("1", 5.2), ("2", 4.2)):
        table.add({"training.seed": seed, "data.root": "a\tb"}, bleu)
    table.add({"training.seed": "3", "data.root": "c"}, 1.0).status = Status.failed
    table()
    assert table.sweep.folder is not None
    text = (table.sweep.folder / "summary.tsv").read_text(encoding="utf-8")
    lines = [line.split("\t") for line in text.splitlines()]
    assert lines[0] == [
        "point", "training.seed", "data.root", "status", "runs", "valid_bleu", "valid_bleu_sd",
        "perplexity", "perplexity_sd", "test_bleu", "test_bleu_sd", "updates", "minutes",
    ]  # fmt: skip
    names = [point.folder.name for point in table.sweep.points.values()]
    assert lines[1:] == [
        [names[0], "1", "a b", "finished", "1", "5.2000", "", "2.7000", "", "2.6000", "", "10", "1.00"],
        [names[1], "2", "a b", "finished", "1", "4.2000", "", "2.7000", "", "2.1000", "", "10", "1.00"],
        [names[2], "3", "c", "failed", "1", "", "", "", "", "", "", "", ""],
        ["", "*", "a b", "finished", "2", "4.7000", "0.7071", "2.7000", "0.0000", "2.3500", "0.3536", "10", "1.00"],
    ]
