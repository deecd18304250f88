"""`seq2seq.train(...)` from Python: the run it makes, how it resumes, which errors it raises."""

from __future__ import annotations

from pathlib import Path

import pytest

import seq2seq
from run_folder import FILES, TINY, figures, model_of, same, state_of
from seq2seq.errors import ConfigError


@pytest.fixture(scope="module")
def overrides(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return [*TINY, "training.max_steps=2", f"data.cache_dir={tmp_path_factory.mktemp('cache')}"]


@pytest.mark.slow
def test_a_run_is_trained_tested_and_translates(overrides: list[str], tmp_path: Path) -> None:
    run = seq2seq.train(overrides, folder=tmp_path / "run")
    assert {path.name for path in run.folder.iterdir()} >= FILES
    assert list(run.scores) == ["test"]
    assert run.scores["test"].sentences == 10
    assert len(run.translator(device="cpu").translate(["a dog", "a cat"])) == 2
    with pytest.raises(ConfigError, match=r"already holds a run: continue it with training\.resume="):
        seq2seq.train(overrides, folder=run.folder)
    longer = seq2seq.train([*overrides, "training.max_steps=3", "training.resume=auto"], folder=run.folder)
    assert longer.folder == run.folder
    with pytest.raises(ConfigError, match=r"cannot change on resume.*model\.hidden_size \(was 16\)"):
        seq2seq.train(["model.hidden_size=32", f"training.resume={run.folder}"])


@pytest.mark.slow
def test_calibration_changes_no_weights_and_no_figures(overrides: list[str], tmp_path: Path) -> None:
    off, on = (
        seq2seq.train([*overrides, f"training.calibrate_sentences={limit}"], folder=tmp_path / str(limit))
        for limit in (0, 2000)
    )
    assert off.translator(device="cpu").calibration is None
    calibration = on.translator(device="cpu").calibration
    assert calibration is not None
    assert calibration.pairs == 10
    assert on.scores == off.scores
    assert figures(on.folder) == figures(off.folder)
    assert same(state_of(on.folder), state_of(off.folder))
    assert same(model_of(on.folder)[0], model_of(off.folder)[0])


def test_errors_are_exceptions_with_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'model\.hidden_size'") as error:
        seq2seq.train(["model.hiden_size=3"], folder=tmp_path)
    assert "\n" not in str(error.value)
    with pytest.raises(TypeError, match="overrides must be a list, not one string"):
        seq2seq.train("data=grammar", folder=tmp_path)
    with pytest.raises(ConfigError, match="training has no limit"):
        seq2seq.train(["training.max_minutes=null"], folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_command_and_the_function_share_a_name() -> None:
    from seq2seq import train
    from seq2seq.train import main

    assert callable(train)
    assert callable(main)
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        seq2seq.trian  # noqa: B018
