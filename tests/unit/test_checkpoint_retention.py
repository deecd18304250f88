"""Which models of a run are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from seq2seq.config.training import MonitorName, TrainingConfig
from seq2seq.training.checkpoint_retention import Kept, model_path, remove_unkept_models, score_of, update_kept
from seq2seq.training.trainer import Validation
from tiny_trainer import events, random_data, tiny_trainer


def kept_after(scores: list[float], best: int, last: int) -> list[int]:
    """Steps kept after validations at steps 1, 2 … with these scores."""
    config = TrainingConfig(keep_best=best, keep_last=last)
    kept: list[Kept] = []
    for step, score in enumerate(scores, start=1):
        kept = update_kept(kept, (step, float(score), 0.0), config)
    return [one[0] for one in kept]


@pytest.mark.parametrize(
    ("best", "last", "expected"),
    [(1, 0, [3]), (2, 0, [1, 3]), (3, 0, [1, 3, 5]), (1, 2, [3, 5, 6]), (2, 1, [1, 3, 6]), (1, 9, [1, 2, 3, 4, 5, 6])],
)
def test_the_best_and_the_last_stay(best: int, last: int, expected: list[int]) -> None:
    assert kept_after([8, 1, 9, 2, 7, 3], best, last) == expected


def test_of_equal_scores_the_earlier_stays() -> None:
    assert kept_after([5, 5, 5], best=2, last=0) == [1, 2]


def test_a_validation_made_again_takes_its_own_place() -> None:
    config = TrainingConfig(keep_best=2)
    assert update_kept([(1, 3.0, 0.0), (2, 2.0, 0.0)], (2, 2.0, 0.0), config) == [(1, 3.0, 0.0), (2, 2.0, 0.0)]


def test_every_monitor_prefers_what_is_better() -> None:
    better = {"loss": 1.0, "bleu": 30.0, "chrf": 50.0}
    worse = {"loss": 2.0, "bleu": 20.0, "chrf": 40.0}
    for monitor in MonitorName:
        assert score_of(monitor, **better) > score_of(monitor, **worse)
        mixed = worse | {monitor.name: better[monitor.name]}
        assert score_of(monitor, **mixed) > score_of(monitor, **(better | {monitor.name: worse[monitor.name]}))


def test_other_files_of_the_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    for path in (model_path(tmp_path, 1), model_path(tmp_path, 2), tmp_path / "models" / "mine.safetensors"):
        path.touch()
    remove_unkept_models(tmp_path, [(2, 1.0, 1.0)])
    assert {path.name for path in (tmp_path / "models").iterdir()} == {"step_0000002.safetensors", "mine.safetensors"}


@pytest.mark.parametrize("monitor", list(MonitorName))
def test_a_run_keeps_what_its_monitor_says(tmp_path: Path, monitor: MonitorName) -> None:
    figures = {"bleu": [1, 3, 2, 0], "chrf": [5, 1, 2, 9], "loss": [4, 3, 1, 2]}
    rows = iter(zip(figures["loss"], figures["bleu"], figures["chrf"], strict=True))

    def validate() -> Validation:
        loss, bleu, chrf = map(float, next(rows))
        return Validation(loss, 1.0, bleu, chrf)

    settings = {"max_steps": 4, "validate_every_steps": 1, "monitor": monitor, "keep_best": 2}
    (tmp_path / "models").mkdir()

    def keep(path: Path) -> None:
        path.write_text(str(made.progress.step))

    with tiny_trainer(tmp_path, random_data(4), validate, keep, **settings) as made:
        made.fit()
    best = {"bleu": (2, [2, 3]), "chrf": (4, [1, 4]), "loss": (3, [3, 4])}[monitor.name]
    assert (tmp_path / "best.safetensors").read_text() == str(best[0])
    assert sorted(int(path.read_text()) for path in (tmp_path / "models").iterdir()) == best[1]
    assert [event["step"] for event in events(tmp_path, "validation") if event["best"]][-1] == best[0]
