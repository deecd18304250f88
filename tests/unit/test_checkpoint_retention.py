"""Which models a run keeps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from seq2seq.config.training import MonitorName, TrainingConfig
from seq2seq.training.checkpoint_retention import model_path, remove_unkept_models, update_kept
from seq2seq.training.progress import Kept
from seq2seq.training.records import Validation
from tiny_trainer import events, random_data, tiny_trainer


def kept_after(scores: list[float], best: int, last: int) -> list[int]:
    """Steps of the models kept after validations with these scores at steps 1, 2 ..."""
    config = TrainingConfig(keep_best=best, keep_last=last)
    kept: list[Kept] = []
    for step, score in enumerate(scores, start=1):
        kept = update_kept(kept, (step, float(score), 0.0), config)
    return [model[0] for model in kept]


@pytest.mark.parametrize(
    ("best", "last", "expected"),
    [(1, 0, [3]), (2, 0, [1, 3]), (3, 0, [1, 3, 5]), (1, 2, [3, 5, 6]), (2, 1, [1, 3, 6]), (1, 9, [1, 2, 3, 4, 5, 6])],
)
def test_the_best_and_the_last_are_kept(best: int, last: int, expected: list[int]) -> None:
    assert kept_after([8, 1, 9, 2, 7, 3], best, last) == expected


def test_of_equal_scores_the_earlier_is_kept() -> None:
    assert kept_after([5, 5, 5], best=2, last=0) == [1, 2]


def test_a_repeated_validation_replaces_itself() -> None:
    config = TrainingConfig(keep_best=2)
    assert update_kept([(1, 3.0, 0.0), (2, 2.0, 0.0)], (2, 2.0, 0.0), config) == [(1, 3.0, 0.0), (2, 2.0, 0.0)]


def test_every_monitor_prefers_the_better_figure() -> None:
    better = Validation(loss=1.0, perplexity=2.7, bleu=30.0, chrf=50.0)
    worse = Validation(loss=2.0, perplexity=7.4, bleu=20.0, chrf=40.0)
    for monitor in MonitorName:
        assert better.score(monitor) > worse.score(monitor)
        only_monitored_better = replace(worse, **{monitor.name: getattr(better, monitor.name)})
        only_monitored_worse = replace(better, **{monitor.name: getattr(worse, monitor.name)})
        assert only_monitored_better.score(monitor) > only_monitored_worse.score(monitor)


def test_files_with_other_names_are_not_deleted(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    for path in (model_path(tmp_path, 1), model_path(tmp_path, 2), tmp_path / "models" / "mine.safetensors"):
        path.touch()
    remove_unkept_models(tmp_path, [(2, 1.0, 1.0)])
    assert {path.name for path in (tmp_path / "models").iterdir()} == {"step_0000002.safetensors", "mine.safetensors"}


@pytest.mark.parametrize("monitor", list(MonitorName))
def test_a_run_keeps_the_models_that_are_best_by_its_monitor(tmp_path: Path, monitor: MonitorName) -> None:
    figures = {"bleu": [1, 3, 2, 0], "chrf": [5, 1, 2, 9], "loss": [4, 3, 1, 2]}
    rows = iter(zip(figures["loss"], figures["bleu"], figures["chrf"], strict=True))

    def validate() -> Validation:
        loss, bleu, chrf = map(float, next(rows))
        return Validation(loss, 1.0, bleu, chrf)

    settings = {"max_steps": 4, "validate_every_steps": 1, "monitor": monitor, "keep_best": 2}
    (tmp_path / "models").mkdir()

    def save_model(path: Path) -> None:
        path.write_text(str(trainer.progress.step))

    with tiny_trainer(tmp_path, random_data(4), validate, save_model, **settings) as trainer:
        trainer.fit()
    best = {"bleu": (2, [2, 3]), "chrf": (4, [1, 4]), "loss": (3, [3, 4])}[monitor.name]
    assert (tmp_path / "best.safetensors").read_text() == str(best[0])
    assert sorted(int(path.read_text()) for path in (tmp_path / "models").iterdir()) == best[1]
    assert [event["step"] for event in events(tmp_path, "validation") if event["best"]][-1] == best[0]
