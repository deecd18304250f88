"""Hyper-parameter search: the space, the study that goes on after a stop, pruning. No network is trained here."""

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
from seq2seq.experiments.pruning import Pruned, Watcher
from seq2seq.experiments.search_space import Point, Space, own_point, search_space, size
from seq2seq.experiments.study import ATTEMPTS, ask, check_folder, check_same, ended_trials, fail, opened, trial_folder
from seq2seq.experiments.tune_settings import Settings
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
def test_a_sweep_is_searched_over_the_values_that_it_would_run(sweep: str, distribution: object) -> None:
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
def test_a_space_has_as_many_points_as_its_sweeps(sweep: str, points: float) -> None:
    assert size(space_of(sweep)) == points
    assert size(space_of(sweep, "model.residual=true,false")) == 2 * points


@pytest.mark.parametrize(
    ("sweep", "told"),
    [
        ("model.hiden_size=1,2", "did you mean 'model.hidden_size'"),
        ("model.hidden_size=128", "write KEY=choice(A,B)"),
        ("model.hidden_size=glob(*)", "write KEY=choice(A,B)"),
        ("model.hidden_size", "EQUAL"),
        ("~model.hidden_size=1,2", "write KEY=SWEEP"),
        ("model.cell=interval(0,1)", "model.cell is no number"),
        ("model=interval(0,1)", "model is no number"),
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
def test_what_cannot_be_searched_is_told_in_one_line(sweep: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        search_space([sweep], [], [], GROUPS)
    assert f"cannot search {sweep!r}" in str(error.value)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_the_command_line_goes_before_the_listed_space() -> None:
    listed = ["model.hidden_size=1,2", "model.emb_size=3,4", RATE]
    space = search_space(listed, ["model.hidden_size=7", "data=grammar"], ["model.emb_size=5,6"], GROUPS)
    assert space.keys() == {"model.emb_size", "training.learning_rate"}
    assert space["model.emb_size"] == CategoricalDistribution(["5", "6"])


@pytest.mark.parametrize(
    ("sweep", "own"),
    [
        ("model.hidden_size=256,512", "512"),
        ("model.hidden_size=256,128", None),
        ("model.hidden_size=interval(1,512)", 512),
        ("model.hidden_size=interval(1,511)", None),
        ("model.hidden_size=range(12,600,50)", 512),
        ("model.hidden_size=range(10,600,50)", None),
        ("model.dropout.embedding=range(0,0.5,0.05)", 0.1),
        ("model.encoder_hidden_size=64,null", "null"),
        ("model.encoder_hidden_size=interval(8,64)", None),
        ("model.residual=true,false", "False"),
        ("model.cell=gru,lstm", "lstm"),
        ("training.learning_rate=1e-3,3e-3", "0.003"),
        ("model=base,small", "small"),
        ("model=base,deep", None),
    ],
)
def test_the_settings_as_given_are_a_point_where_the_space_holds_them(sweep: str, own: object) -> None:
    from omegaconf import OmegaConf

    base = OmegaConf.structured(Config(data=DataConfig(src="en", tgt="de")))
    point = own_point(space_of(sweep, RATE) if "rate" not in sweep else space_of(sweep), base, GROUPS)
    assert (point and next(iter(point.values()))) == own


# --- the study -------------------------------------------------------------------------------------------------------


@pytest.fixture
def study(tmp_path: Path) -> Iterator[optuna.Study]:
    with opened(tmp_path, maximise=True) as made:
        yield made


SPACE = ("model.dropout.layers=interval(0,0.5)", RATE, "model.cell=lstm,gru")
OWN: Point = {"model.dropout.layers": 0.1, "training.learning_rate": 3e-3, "model.cell": "lstm"}


def score_of(point: Point) -> float:
    return -abs(point["model.dropout.layers"] - 0.3) - abs(math.log(point["training.learning_rate"] / 1e-3))


def search(folder: Path, trials: int, dies: Callable[[], bool] = lambda: False) -> list[tuple[str, Point, str]]:
    """Make trials; where `dies` says so, leave one as a killed process would, and open the study again."""
    settings, space = TuneConfig(startup_trials=4), space_of(*SPACE)
    while True:
        with opened(folder, maximise=True) as study:
            while len(ends := ended_trials(study)) < trials:
                trial = ask(study, folder, settings, space, OWN)
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
                    fail(study, trial, "diverged")
                else:
                    study.tell(trial, score_of(trial.params))
            else:
                return [(trial_folder(t), t.params, t.state.name) for t in ends]


def next_trial(study: optuna.Study, folder: Path) -> optuna.Trial:
    trial = ask(study, folder, TuneConfig(startup_trials=3), space_of(*SPACE), OWN)
    assert trial is not None
    return trial


def test_a_search_that_is_killed_again_and_again_makes_the_trials_of_one_never_stopped(tmp_path: Path) -> None:
    import random

    numbers = random.Random(1)
    straight = search(tmp_path / "straight", 12)
    killed = search(tmp_path / "killed", 12, dies=lambda: numbers.random() < 0.3)
    assert killed == straight
    assert straight[0][1] == OWN
    assert len({str(point) for _, point, _ in straight}) == 12
    assert [name for name, _, _ in killed] == [f"trial_{number:04d}" for number in range(12)]


def test_no_point_is_tried_twice_and_all_are_in_the_end(study: optuna.Study, tmp_path: Path) -> None:
    space, settings = (
        space_of("model.cell=lstm,gru,rnn", "model.encoder_layers=range(1,5)"),
        TuneConfig(startup_trials=2),
    )
    found = []
    while (trial := ask(study, tmp_path, settings, space, None)) is not None:
        found.append(tuple(trial.params.values()))
        study.tell(trial, 1.0)
    assert sorted(found) == [(cell, layers) for cell in ("gru", "lstm", "rnn") for layers in (1, 2, 3, 4)]
    wider = space_of("model.cell=lstm,gru,rnn", "model.encoder_layers=range(1,6)")
    more = ask(study, tmp_path, settings, wider, None)
    assert more is not None
    assert more.params["model.encoder_layers"] == 5
    study.tell(more, 1.0)
    assert (
        ask(study, tmp_path, settings, space_of("model.cell=lstm,gru,rnn", "model.encoder_layers=range(2,4)"), None)
        is None
    )


def test_a_trial_that_was_killed_while_it_was_taken_up_is_queued_once(study: optuna.Study, tmp_path: Path) -> None:
    first = next_trial(study, tmp_path)
    study.enqueue_trial(first.params, user_attrs={"folder": trial_folder(first), "point": first.params})
    again = next_trial(study, tmp_path)
    assert (trial_folder(again), again.params) == (trial_folder(first), OWN)
    assert study.get_trials(states=(TrialState.WAITING,)) == []


def test_a_trial_that_saves_nothing_is_counted(study: optuna.Study, tmp_path: Path) -> None:
    attempts = []
    for number in range(4):
        trial = next_trial(study, tmp_path)
        attempts.append(trial.user_attrs.get(ATTEMPTS, 0))
        if number == 2:
            (tmp_path / trial_folder(trial)).mkdir()
            (tmp_path / trial_folder(trial) / LAST_NAME).touch()
    assert attempts == [0, 1, 2, 0]


def test_a_run_that_the_study_does_not_know_is_left_alone(study: optuna.Study, tmp_path: Path) -> None:
    (tmp_path / trial_folder(next_trial(study, tmp_path))).mkdir()
    check_folder(study, tmp_path)
    (tmp_path / "trial_0001").mkdir()
    with pytest.raises(ConfigError, match=r"trial_0001 is not of the study in study\.db: remove it"):
        check_folder(study, tmp_path)


def test_one_process_at_a_time(study: optuna.Study, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"another search runs in .*another tune\.folder"), opened(tmp_path, True):
        pass


def test_a_file_that_is_no_study_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("no database " * 100)
    with pytest.raises(StorageError, match=r"study\.db: .*not a database"), opened(tmp_path, True):
        pass


@pytest.mark.parametrize(
    ("settings", "ties", "sweeps", "told"),
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
def test_a_study_goes_on_only_with_the_same_settings(
    study: optuna.Study, settings: dict[str, str], ties: dict[str, str], sweeps: list[str], told: str | None
) -> None:
    def space(*sweeps: str) -> Space:
        return {**space_of(*(one for one in sweeps if one[0] != "a")), **({"a": None} if "a=1,2" in sweeps else {})}

    before = space(RATE, "model.cell=lstm,gru")
    check_same(study, Path("f"), {"a": "other"}, {}, before)  # there is no trial yet that it could contradict
    check_same(study, Path("f"), {"a": "1"}, {}, before)
    study.tell(study.ask(before), 1.0)
    if told is None:
        check_same(study, Path("f"), settings, ties, space(*sweeps))
    else:
        with pytest.raises(ConfigError, match=told):
            check_same(study, Path("f"), settings, ties, space(*sweeps))


# --- pruning ---------------------------------------------------------------------------------------------------------


def config(monitor: MonitorName = MonitorName.bleu, warmup: int = 0, **tune: object) -> Config:
    training = TrainingConfig(warmup_steps=warmup, monitor=monitor)
    return Config(data=DataConfig(src="en", tgt="de"), training=training, tune=TuneConfig(startup_trials=3, **tune))  # type: ignore[arg-type]


def validated(study: optuna.Study, config: Config, folder: Path, scores: list[float]) -> int:
    """Run a trial with a validation every 10 updates; return how many it has made, and tell the study."""
    trial = ask(study, folder, config.tune, space_of(RATE), None)
    assert trial is not None
    watcher = Watcher(trial, config, folder / "nothing")
    made = 0
    try:
        for made, score in enumerate(scores, start=1):
            loss = score if config.training.monitor is MonitorName.loss else 9.0
            watcher(10 * made, Validation(loss, 1.0, score, score))
    except Pruned:
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, watcher.best())
    return made


def test_a_trial_below_the_median_is_pruned_after_warm_up(study: optuna.Study, tmp_path: Path) -> None:
    for _ in range(3):
        assert validated(study, config(), tmp_path, [1.0, 10.0, 20.0]) == 3
    assert validated(study, config(), tmp_path, [0.0, 11.0, 21.0]) == 3  # bad at its first validation only
    assert validated(study, config(), tmp_path, [2.0, 9.0, 30.0]) == 2
    assert validated(study, config(warmup=30), tmp_path, [2.0, 9.0, 9.0, 9.0]) == 3
    assert validated(study, config(), tmp_path, [2.0, 12.0, 12.0, 40.0]) == 3
    assert validated(study, config(prune=False), tmp_path, [0.0, 0.0, 0.0]) == 3
    assert study.best_value == 21.0


def test_none_is_pruned_before_as_many_are_complete_as_the_setting_says(study: optuna.Study, tmp_path: Path) -> None:
    assert [validated(study, config(), tmp_path, [s, s, s]) for s in (9.0, 8.0, 7.0, 6.0)] == [3, 3, 3, 2]


def test_a_loss_is_the_better_the_lower(tmp_path: Path) -> None:
    with opened(tmp_path, maximise=False) as study:
        for _ in range(3):
            validated(study, config(MonitorName.loss), tmp_path, [5.0, 3.0, 4.0])
        assert study.best_value == 3.0
        assert validated(study, config(MonitorName.loss), tmp_path, [5.0, 3.1, 1.0]) == 2
        assert validated(study, config(MonitorName.loss), tmp_path, [5.0, 2.9, math.nan]) == 3
        assert study.best_value == 2.9


def test_a_run_without_a_finite_score_has_none(study: optuna.Study, tmp_path: Path) -> None:
    watcher = Watcher(study.ask(), config(MonitorName.loss), tmp_path)
    watcher(10, Validation(math.nan, math.inf, 0.0, 0.0))
    with pytest.raises(Seq2SeqError, match="no validation has a finite loss"):
        watcher.best()


# --- the settings of a trial -----------------------------------------------------------------------------------------


def test_groups_of_ones_own_are_searched_and_read_once(tmp_path: Path) -> None:
    from hydra import initialize_config_dir
    from hydra.core.config_store import ConfigStore

    from seq2seq.config.loading import config_dir

    (tmp_path / "model").mkdir()
    mine = tmp_path / "model" / "mine.yaml"
    mine.write_text("defaults: [small, _self_]\nhidden_size: 33\n")
    ConfigStore.instance().store(name="train_schema", node=Config)
    with initialize_config_dir(config_dir=config_dir(), version_base="1.3"):
        sweeps = ["model=small,mine", "model.dropout.layers=interval(0,0.5)"]
        settings = Settings([*sweeps, "model.dropout.context=${model.dropout.layers}", "tune.seed=3"], str(tmp_path))
    mine.write_text("hidden_size: 44\n")
    assert settings.own == {"model": "small", "model.dropout.layers": 0.1}
    values, ties = settings.same_in_all(but=["runtime"])
    assert "model.dropout.layers" not in values  # searched
    assert not [key for key in values if key.startswith("runtime.")]
    assert values["model.hidden_size"] == values["model.cell"] == "that of the group"
    assert (values["training.seed"], ties) == ("1", {"model.dropout.context": "${model.dropout.layers}"})
    point = {"model": "mine", "model.dropout.layers": 0.25}
    model = settings.of(point).model
    assert (model.hidden_size, model.dropout.layers, model.dropout.context) == (33, 0.25, 0.25)
    assert settings.of({**point, "model": "small"}).model.hidden_size == 512
    assert settings.command(point) == [
        "--config-dir", str(tmp_path), "model.dropout.context=${model.dropout.layers}",
        "model=mine", "model.dropout.layers=0.25",
    ]  # fmt: skip


# --- the command line ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["data=grammar"], r"nothing to search: add experiment=tune"),
        (["experiment=tune", "tune.trails=3"], r"unknown key 'tune\.trails'; did you mean 'tune\.trials'"),
        (["experiment=tune", "tune.trials=0"], r"tune\.trials=0 is out of range"),
        (["model.cell=lstm,gnu"], r"model\.cell: Invalid value 'gnu'"),
        (["model=small,tiny"], r"model/tiny"),
        (["experiment=tune", "training.resume=auto"], r"leave training\.resume and hydra\.run\.dir out"),
        (["experiment=tune", "hydra.run.dir=x"], r"leave training\.resume and hydra\.run\.dir out"),
        (["experiment=tune", "'x="], r"cannot read"),
    ],
)
def test_a_command_line_that_cannot_be_is_told_in_one_line(
    arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Seq2SeqError, match=told):
        tune(arguments)
    assert list(tmp_path.iterdir()) == []


def test_without_optuna_one_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(Seq2SeqError, match=r"pip install 'optuna>=4'"):
        tune(["experiment=tune"])


def test_help_tells_the_grammar_and_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert tune(["--help"]) == 0
    out = capsys.readouterr().out
    assert "KEY=tag(log,interval(1e-4,1e-2))" in out
    assert "tune.startup_trials" in out
    assert "--multirun" not in out
