"""Hyper-parameter search without training: the space, the resumed study, pruning, settings, the command line."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from seq2seq.config.data import DataConfig
from seq2seq.config.schema import Config
from seq2seq.config.training import MonitorName, TrainingConfig
from seq2seq.config.tune import TuneConfig
from seq2seq.errors import ConfigError, Seq2SeqError, StorageError
from seq2seq.experiments.next_trial import next_trial
from seq2seq.experiments.pruning import PruningCallback, TrialPruned
from seq2seq.experiments.search_space import Point, Space, baseline_point, number_of_points, search_space
from seq2seq.experiments.study import ATTEMPTS, finished_trials, open_study, record_failure, trial_folder
from seq2seq.experiments.study_checks import check_run_folders, check_same_search
from seq2seq.experiments.study_settings import StudySettings
from seq2seq.storage.run_folder import LAST_NAME
from seq2seq.training.records import Validation
from seq2seq.tune import tune

GROUPS = {"model": "small", "data": "tatoeba"}
RATE = "training.learning_rate=tag(log,interval(1e-4,1e-2))"


def space_of(*sweeps: str) -> Space:
    return search_space([], [], sweeps, GROUPS)


# --- the space -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sweep", "distribution"),
    [
        ("model.hidden_size=128,256", CategoricalDistribution(["128", "256"])),
        ("model.cell=choice(lstm,gru)", CategoricalDistribution(["lstm", "gru"])),
        ("model=small,base", CategoricalDistribution(["small", "base"])),
        ("model.encoder_hidden_size=null,64,64", CategoricalDistribution(["null", "64"])),
        ("model.dropout.embedding=interval(0,0.4)", FloatDistribution(0, 0.4)),
        (RATE, FloatDistribution(1e-4, 1e-2, log=True)),
        ("model.hidden_size=interval(99.5,200)", IntDistribution(100, 200)),
        ("model.encoder_hidden_size=tag(log,interval(8,64))", IntDistribution(8, 64, log=True)),
        ("model.encoder_layers=range(1,3)", IntDistribution(1, 2)),
        ("model.hidden_size=range(64,257,64)", IntDistribution(64, 256, step=64)),
        ("model.hidden_size=range(256,0,-64)", IntDistribution(64, 256, step=64)),
        ("model.dropout.layers=range(0,0.5,0.25)", FloatDistribution(0, 0.25, step=0.25)),
        ("model.dropout.layers=range(0.3,0,-0.1)", FloatDistribution(0.1, 0.3, step=0.1)),
    ],
)
def test_sweep_becomes_the_distribution_of_its_values(sweep: str, distribution: object) -> None:
    assert list(space_of(sweep).values()) == [distribution]


@pytest.mark.parametrize(
    ("sweep", "points"),
    [
        ("model.cell=lstm,gru", 2),
        ("model.encoder_layers=range(1,6,2)", 3),
        ("model.encoder_layers=interval(2,2.5)", 1),
        *((f"model.dropout.layers=range(0.1,{0.15 + tenths / 10},0.1)", tenths + 1) for tenths in range(1, 8)),
        (RATE, math.inf),
    ],
)
def test_number_of_points_is_the_product_over_keys(sweep: str, points: float) -> None:
    assert number_of_points(space_of(sweep)) == points
    assert number_of_points(space_of(sweep, "model.residual=true,false")) == 2 * points


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ("model.hiden_size=1,2", "did you mean 'model.hidden_size'"),
        ("model.hidden_size=128", "write KEY=choice(A,B)"),
        ("model.hidden_size=glob(*)", "write KEY=choice(A,B)"),
        ("model.hidden_size", "EQUAL"),
        ("~model.hidden_size=1,2", "write KEY=SWEEP"),
        ("model.cell=interval(0,1)", "model.cell is not a number"),
        ("model=interval(0,1)", "model is not a number"),
        ("model.encoder_layers=range(1,1)", "empty"),
        ("model.encoder_layers=range(1,2,0.5)", "whole numbers"),
        ("model.encoder_layers=range(0,2)", "1 ≤ encoder_layers"),
        ("model.dropout.layers=interval(0,1)", "layers ≤ 0.95"),
        ("training.learning_rate=tag(log,interval(0,1))", "low"),
        ("training.learning_rate=tag(exp,interval(1,2))", "the only tag is log"),
        ("training.monitor=bleu,loss", "the same in all trials"),
        ("tune.seed=1,2", "the same in all trials"),
        ("hydra.job.num=1,2", "the same in all trials"),
    ],
)
def test_invalid_sweep_is_one_error_line(sweep: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        search_space([sweep], [], [], GROUPS)
    assert f"cannot search {sweep!r}" in str(error.value)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_command_line_overrides_the_listed_space() -> None:
    listed = ["model.hidden_size=1,2", "model.emb_size=3,4", RATE]
    space = search_space(listed, ["model.hidden_size=7", "data=grammar"], ["model.emb_size=5,6"], GROUPS)
    assert space.keys() == {"model.emb_size", "training.learning_rate"}
    assert space["model.emb_size"] == CategoricalDistribution(["5", "6"])


@pytest.mark.parametrize(
    ("sweep", "baseline"),
    [
        ("model.hidden_size=384,512", "384"),
        ("model.hidden_size=128,512", None),
        ("model.hidden_size=interval(1,384)", 384),
        ("model.hidden_size=interval(1,383)", None),
        ("model.hidden_size=range(34,600,50)", 384),
        ("model.hidden_size=range(10,600,50)", None),
        ("model.dropout.readout=range(0,0.5,0.05)", 0.1),
        ("model.encoder_hidden_size=64,null", "null"),
        ("model.encoder_hidden_size=interval(8,64)", None),
        ("model.residual=true,false", "False"),
        ("model.cell=gru,lstm", "lstm"),
        ("training.learning_rate=1e-3,2.5e-3", "0.0025"),
        ("model=base,small", "small"),
        ("model=base,deep", None),
    ],
)
def test_baseline_is_none_outside_the_space(sweep: str, baseline: object) -> None:
    from omegaconf import OmegaConf

    base = OmegaConf.structured(Config(data=DataConfig(src="en", tgt="de")))
    point = baseline_point(space_of(sweep, RATE) if "rate" not in sweep else space_of(sweep), base, GROUPS)
    assert (point and next(iter(point.values()))) == baseline


# --- the study -------------------------------------------------------------------------------------------------------


@pytest.fixture
def study(tmp_path: Path) -> Iterator[optuna.Study]:
    with open_study(tmp_path, maximise=True) as study:
        yield study


SPACE = ("model.dropout.layers=interval(0,0.5)", RATE, "model.cell=lstm,gru")
BASELINE: Point = {"model.dropout.layers": 0.1, "training.learning_rate": 3e-3, "model.cell": "lstm"}


def score_of(point: Point) -> float:
    return -abs(point["model.dropout.layers"] - 0.3) - abs(math.log(point["training.learning_rate"] / 1e-3))


def search(folder: Path, trials: int, dies: Callable[[], bool] = lambda: False) -> list[tuple[str, Point, str]]:
    """Run trials; when `dies` returns True, leave the trial as a killed process would and open the study again."""
    settings, space = TuneConfig(startup_trials=4), space_of(*SPACE)
    while True:
        with open_study(folder, maximise=True) as study:
            while len(finished := finished_trials(study)) < trials:
                trial = next_trial(study, folder, settings, space, BASELINE)
                assert trial is not None
                run = folder / trial_folder(trial)
                if dies():
                    break
                run.mkdir(exist_ok=True)
                (run / LAST_NAME).touch()
                trial.report(score_of(trial.params), 1)
                if dies():
                    break
                if trial.params["training.learning_rate"] > 5e-3:
                    record_failure(study, trial, "diverged")
                else:
                    study.tell(trial, score_of(trial.params))
            else:
                return [(trial_folder(t), t.params, t.state.name) for t in finished]


def ask(study: optuna.Study, folder: Path) -> optuna.Trial:
    trial = next_trial(study, folder, TuneConfig(startup_trials=3), space_of(*SPACE), BASELINE)
    assert trial is not None
    return trial


def test_killed_search_draws_the_trials_of_an_uninterrupted_one(tmp_path: Path) -> None:
    import random

    numbers = random.Random(1)
    uninterrupted = search(tmp_path / "uninterrupted", 12)
    killed = search(tmp_path / "killed", 12, dies=lambda: numbers.random() < 0.3)
    assert killed == uninterrupted
    assert uninterrupted[0][1] == BASELINE
    assert len({str(point) for _, point, _ in uninterrupted}) == 12
    assert [name for name, _, _ in killed] == [f"trial_{number:04d}" for number in range(12)]


def test_every_point_is_tried_once(study: optuna.Study, tmp_path: Path) -> None:
    settings, cells = TuneConfig(startup_trials=2), "model.cell=lstm,gru,rnn"
    space = space_of(cells, "model.encoder_layers=range(1,5)")
    points = []
    while (trial := next_trial(study, tmp_path, settings, space, None)) is not None:
        points.append(tuple(trial.params.values()))
        study.tell(trial, 1.0)
    assert sorted(points) == [(cell, layers) for cell in ("gru", "lstm", "rnn") for layers in (1, 2, 3, 4)]
    wider = space_of(cells, "model.encoder_layers=range(1,6)")
    added = next_trial(study, tmp_path, settings, wider, None)
    assert added is not None
    assert added.params["model.encoder_layers"] == 5
    study.tell(added, 1.0)
    narrower = space_of(cells, "model.encoder_layers=range(2,4)")
    assert next_trial(study, tmp_path, settings, narrower, None) is None


def test_trial_killed_while_it_was_requeued_is_queued_once(study: optuna.Study, tmp_path: Path) -> None:
    first = ask(study, tmp_path)
    study.enqueue_trial(first.params, user_attrs={"folder": trial_folder(first), "point": first.params})
    again = ask(study, tmp_path)
    assert (trial_folder(again), again.params) == (trial_folder(first), BASELINE)
    assert study.get_trials(states=(TrialState.WAITING,)) == []


def test_attempts_without_a_checkpoint_are_counted(study: optuna.Study, tmp_path: Path) -> None:
    attempts = []
    for number in range(4):
        trial = ask(study, tmp_path)
        attempts.append(trial.user_attrs.get(ATTEMPTS, 0))
        if number == 2:
            (tmp_path / trial_folder(trial)).mkdir()
            (tmp_path / trial_folder(trial) / LAST_NAME).touch()
    assert attempts == [0, 1, 2, 0]


def test_run_folder_of_no_trial_is_an_error(study: optuna.Study, tmp_path: Path) -> None:
    (tmp_path / trial_folder(ask(study, tmp_path))).mkdir()
    check_run_folders(study, tmp_path)
    (tmp_path / "trial_0001").mkdir()
    with pytest.raises(ConfigError, match=r"trial_0001 is not in the study study\.db: remove it"):
        check_run_folders(study, tmp_path)


def test_second_process_is_an_error(study: optuna.Study, tmp_path: Path) -> None:
    message = r"another search is running in .*another tune\.folder"
    with pytest.raises(ConfigError, match=message), open_study(tmp_path, True):
        pass


def test_damaged_database_is_one_error_line(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("no database " * 100)
    with pytest.raises(StorageError, match=r"study\.db: .*not a database"), open_study(tmp_path, True):
        pass


@pytest.mark.parametrize(
    ("settings", "ties", "sweeps", "message"),
    [
        ({"a": "1", "new": "0"}, {}, [RATE, "model.cell=lstm,gru"], None),
        ({"a": "1"}, {}, ["training.learning_rate=tag(log,interval(1e-5,1e-3))", "model.cell=lstm,gru"], None),
        ({"a": "2"}, {}, [RATE, "model.cell=lstm,gru"], r"a \(was 1\)"),
        ({"a": "1"}, {"a": "${b}"}, [RATE, "model.cell=lstm,gru"], r"a \(was not tied\)"),
        ({"a": "1", "model.cell": "lstm"}, {}, [RATE], r"model\.cell \(was searched\)"),
        ({}, {}, [RATE, "model.cell=lstm,gru", "a=1,2"], r"a \(was not searched\)"),
        ({"a": "1"}, {}, [RATE, "model.cell=lstm,rnn"], r"model\.cell \(was choice\(lstm,gru\)\)"),
        ({"a": "1"}, {}, ["training.learning_rate=1,2", "model.cell=lstm,gru"], r"rate \(was 0\.0001 to 0\.01\)"),
    ],
)
def test_study_continues_only_with_the_same_settings(
    study: optuna.Study, settings: dict[str, str], ties: dict[str, str], sweeps: list[str], message: str | None
) -> None:
    def space(*sweeps: str) -> Space:
        known = space_of(*(sweep for sweep in sweeps if sweep != "a=1,2"))  # `a` is not a key of the schema
        return known | ({"a": None} if "a=1,2" in sweeps else {})

    before = space(RATE, "model.cell=lstm,gru")
    check_same_search(study, Path("f"), {"a": "other"}, {}, before)  # overwritten: the study has no trial yet
    check_same_search(study, Path("f"), {"a": "1"}, {}, before)
    study.tell(study.ask(before), 1.0)
    if message is None:
        check_same_search(study, Path("f"), settings, ties, space(*sweeps))
    else:
        with pytest.raises(ConfigError, match=message):
            check_same_search(study, Path("f"), settings, ties, space(*sweeps))


# --- pruning ---------------------------------------------------------------------------------------------------------


def config(monitor: MonitorName = MonitorName.bleu, warmup: int = 0, **tune: object) -> Config:
    training = TrainingConfig(warmup_steps=warmup, monitor=monitor)
    return Config(data=DataConfig(src="en", tgt="de"), training=training, tune=TuneConfig(startup_trials=3, **tune))  # type: ignore[arg-type]


def validate_trial(study: optuna.Study, config: Config, folder: Path, scores: list[float]) -> int:
    """Run a trial with these scores, one every 10 updates, and return the number of its validations."""
    trial = next_trial(study, folder, config.tune, space_of(RATE), None)
    assert trial is not None
    callback = PruningCallback(trial, config, folder / "no run")
    try:
        for number, score in enumerate(scores, start=1):
            loss = score if config.training.monitor is MonitorName.loss else 9.0
            callback(10 * number, Validation(loss, 1.0, score, score))
    except TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, callback.best_score())
    return number


def test_trial_below_the_median_is_pruned_after_warm_up(study: optuna.Study, tmp_path: Path) -> None:
    for _ in range(3):
        assert validate_trial(study, config(), tmp_path, [1.0, 10.0, 20.0]) == 3
    below_the_median_at_first = [0.0, 11.0, 21.0]
    assert validate_trial(study, config(), tmp_path, below_the_median_at_first) == 3
    assert validate_trial(study, config(), tmp_path, [2.0, 9.0, 30.0]) == 2
    assert validate_trial(study, config(warmup=30), tmp_path, [2.0, 9.0, 9.0, 9.0]) == 3
    assert validate_trial(study, config(), tmp_path, [2.0, 12.0, 12.0, 40.0]) == 3
    assert validate_trial(study, config(prune=False), tmp_path, [0.0, 0.0, 0.0]) == 3
    assert study.best_value == 21.0


def test_no_trial_is_pruned_before_startup_trials_are_complete(study: optuna.Study, tmp_path: Path) -> None:
    assert [validate_trial(study, config(), tmp_path, [s, s, s]) for s in (9.0, 8.0, 7.0, 6.0)] == [3, 3, 3, 2]


def test_loss_is_minimised(tmp_path: Path) -> None:
    with open_study(tmp_path, maximise=False) as study:
        for _ in range(3):
            validate_trial(study, config(MonitorName.loss), tmp_path, [5.0, 3.0, 4.0])
        assert study.best_value == 3.0
        assert validate_trial(study, config(MonitorName.loss), tmp_path, [5.0, 3.1, 1.0]) == 2
        assert validate_trial(study, config(MonitorName.loss), tmp_path, [5.0, 2.9, math.nan]) == 3
        assert study.best_value == 2.9


def test_run_without_a_finite_score_is_an_error(study: optuna.Study, tmp_path: Path) -> None:
    callback = PruningCallback(study.ask(), config(MonitorName.loss), tmp_path)
    callback(10, Validation(math.nan, math.inf, 0.0, 0.0))
    with pytest.raises(Seq2SeqError, match="no validation has a finite loss"):
        callback.best_score()


# --- the settings of a trial -----------------------------------------------------------------------------------------


def test_own_config_groups_are_searched_and_read_once(tmp_path: Path) -> None:
    from hydra import initialize_config_dir

    from seq2seq.config.loading import config_dir, register_schema

    (tmp_path / "model").mkdir()
    mine = tmp_path / "model" / "mine.yaml"
    mine.write_text("defaults: [small, _self_]\nhidden_size: 33\n")
    register_schema()
    with initialize_config_dir(config_dir=config_dir(), version_base="1.3"):
        sweeps = ["model=small,mine", "model.dropout.layers=interval(0,0.5)"]
        tie = "model.dropout.context=${model.dropout.layers}"
        settings = StudySettings([*sweeps, tie, "tune.seed=3"], str(tmp_path))
    mine.write_text("hidden_size: 44\n")
    assert settings.baseline == {"model": "small", "model.dropout.layers": 0.1}
    values, ties = settings.fixed_settings(ignored=["runtime"])
    assert "model.dropout.layers" not in values  # it is searched
    assert not [key for key in values if key.startswith("runtime.")]
    assert values["model.hidden_size"] == values["model.cell"] == "that of the group"
    assert (values["training.seed"], ties) == ("1", {"model.dropout.context": "${model.dropout.layers}"})
    point = {"model": "mine", "model.dropout.layers": 0.25}
    model = settings.config_of(point).model
    assert (model.hidden_size, model.dropout.layers, model.dropout.context) == (33, 0.25, 0.25)
    assert settings.config_of({**point, "model": "small"}).model.hidden_size == 384
    assert settings.train_arguments(point) == [
        "--config-dir", str(tmp_path), "model.dropout.context=${model.dropout.layers}",
        "model=mine", "model.dropout.layers=0.25",
    ]  # fmt: skip


# --- the command line ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data=grammar"], r"nothing to search: add experiment=tune"),
        (["experiment=tune", "tune.trails=3"], r"unknown key 'tune\.trails'; did you mean 'tune\.trials'"),
        (["experiment=tune", "tune.trials=0"], r"tune\.trials=0 is out of range"),
        (["model.cell=lstm,gnu"], r"model\.cell: Invalid value 'gnu'"),
        (["model=small,tiny"], r"model/tiny"),
        (["experiment=tune", "training.resume=auto"], r"leave training\.resume and hydra\.run\.dir out"),
        (["experiment=tune", "hydra.run.dir=x"], r"leave training\.resume and hydra\.run\.dir out"),
        (["experiment=tune", "'x="], r"cannot parse"),
    ],
)
def test_invalid_command_line_is_an_error_before_any_file_is_written(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Seq2SeqError, match=message):
        tune(arguments)
    assert list(tmp_path.iterdir()) == []


def test_missing_optuna_is_an_error_with_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(Seq2SeqError, match=r"pip install 'optuna>=4'"):
        tune(["experiment=tune"])


def test_help_shows_the_sweep_grammar_and_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert tune(["--help"]) == 0
    out = capsys.readouterr().out
    assert "KEY=tag(log,interval(1e-4,1e-2))" in out
    assert "tune.startup_trials" in out
    assert "--multirun" not in out
