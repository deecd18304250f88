"""The training loop on random ids: when it validates, saves and stops, and that a resumed run is the same run."""

from __future__ import annotations

import json
import math
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from torch import Tensor

from seq2seq.config.training import MonitorName, ScheduleName, TrainingConfig
from seq2seq.data.batches.batch import Batch
from seq2seq.errors import Seq2SeqError
from seq2seq.training.callbacks import EpochData
from seq2seq.training.checkpoint import save_checkpoint
from seq2seq.training.optimizer import learning_rate
from seq2seq.training.records import Validation
from seq2seq.training.trainer import Stopped, Trainer
from tiny_trainer import events, random_data, same_weights, tiny_trainer, weights_of

BATCHES = 4  # an epoch


def validations(*scores: tuple[float, float]) -> Callable[[], Validation]:
    """A validation that returns these (BLEU, loss) one after the other and fails after the last."""
    remaining = iter(scores)

    def validate() -> Validation:
        bleu, loss = next(remaining)
        return Validation(float(loss), math.inf, float(bleu), 0.0)

    return validate


def bleus(*values: float) -> Callable[[], Validation]:
    return validations(*((value, 1.0) for value in values))


def at_batch(number: int, act: Callable[[], object], data: EpochData) -> EpochData:
    """The same data, calling `act` before batch `number` (from 1) is returned."""

    def with_act(epoch: int, start: int) -> tuple[int, Iterator[Batch]]:
        count, batches = data(epoch, start)

        def acting() -> Iterator[Batch]:
            for i, batch in enumerate(batches, start=epoch * count + start + 1):
                if i == number:
                    act()
                yield batch

        return count, acting()

    return with_act


def steps_validated(folder: Path) -> list[int]:
    return [event["step"] for event in events(folder, "validation")]


def without_times(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    times = {"time", "elapsed_sec", "tokens_per_sec"}
    return [{key: value for key, value in line.items() if key not in times} for line in lines]


# --- limits and schedule ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "steps", "validated"),
    [
        ({"max_steps": 6}, 6, [4, 6]),
        ({"max_steps": 8}, 8, [4, 8]),
        ({"max_epochs": 2}, 8, [4, 8]),
        ({"max_steps": 7, "validate_every_steps": 3}, 7, [3, 6, 7]),
        ({"max_steps": 6, "validate_every_steps": 3}, 6, [3, 6]),
        ({"max_steps": 2, "max_epochs": 1}, 2, [2]),
        ({"max_steps": 9, "max_epochs": 1}, 4, [4]),
        ({"max_minutes": 0.0}, 0, [0]),
    ],
)
def test_the_nearest_limit_ends_the_run_with_one_validation(
    tmp_path: Path, settings: dict[str, Any], steps: int, validated: list[int]
) -> None:
    with tiny_trainer(tmp_path, random_data(BATCHES), **settings) as trainer:
        trainer.fit()
        trainer.fit()  # a finished run is not changed
    assert trainer.progress.step == steps
    assert steps_validated(tmp_path) == validated
    assert [event["step"] for event in events(tmp_path, "step")] == list(range(1, steps + 1))


@pytest.mark.parametrize("limit", [{"max_steps": 8}, {"max_epochs": 2}])
def test_the_rate_reaches_its_floor_with_the_last_update(tmp_path: Path, limit: dict[str, int]) -> None:
    with tiny_trainer(tmp_path, random_data(BATCHES), min_rate_ratio=0.25, **limit) as trainer:
        trainer.fit()
    rates = [event["learning_rate"] for event in events(tmp_path, "step")]
    expected = [0.01 * min(1, n / 2) * (0.25 + 0.75 * (1 - n / 8)) for n in range(1, 9)]
    assert rates == pytest.approx(expected, rel=1e-3)
    assert rates[-1] == pytest.approx(0.01 * 0.25)


class Clock:
    """Replaces the time module; time passes only where the test says so."""

    def __init__(self, now: float) -> None:
        self.now = now

    def monotonic(self) -> float:
        return self.now

    def pass_seconds(self, data: EpochData, seconds: float) -> EpochData:
        """The same data; each batch takes `seconds`."""

        def slow(epoch: int, start: int) -> tuple[int, Iterator[Batch]]:
            count, batches = data(epoch, start)

            def passing() -> Iterator[Batch]:
                for batch in batches:
                    self.now += seconds
                    yield batch

            return count, passing()

        return slow


@pytest.mark.parametrize("stop_after", [None, 3])
def test_minutes_include_resumed_parts_and_set_the_learning_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int | None
) -> None:
    """7 seconds per update, one minute: 9 updates. The resumed part starts with another clock."""
    for start in [5000.0] if stop_after is None else [5000.0, 100.0]:
        clock = Clock(start)
        monkeypatch.setattr("seq2seq.training.trainer.time", types.SimpleNamespace(monotonic=clock.monotonic))
        data = clock.pass_seconds(random_data(BATCHES), 7)
        with tiny_trainer(tmp_path, data, max_minutes=1.0, min_rate_ratio=0.1, save_every_steps=100) as trainer:
            if start == 100:
                trainer.begin(resume=True)
                trainer.fit()
            elif stop_after:
                trainer.data = at_batch(stop_after, lambda: setattr(trainer, "stop_signal", 2), data)
                with pytest.raises(Stopped):
                    trainer.fit()
            else:
                trainer.fit()
    steps = events(tmp_path, "step")
    assert [event["elapsed_sec"] for event in steps] == [7.0 * n for n in range(1, 10)]
    config = TrainingConfig(warmup_steps=2, learning_rate=0.01, min_rate_ratio=0.1)
    expected = [learning_rate(config, n, 7 * n / 60) for n in range(1, 10)]
    assert [event["learning_rate"] for event in steps] == pytest.approx(expected, rel=1e-3)


def test_the_logged_speed_counts_the_wait_for_data_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch takes 7 ms and the order of an epoch 2; validating takes 100 and saving a model 50."""
    clock = Clock(5000.0)
    monkeypatch.setattr("seq2seq.training.trainer.time", types.SimpleNamespace(monotonic=clock.monotonic))
    tokens: list[int] = []

    def data(epoch: int, start: int) -> tuple[int, Iterator[Batch]]:
        count, batches = clock.pass_seconds(random_data(BATCHES), 0.007)(epoch, start)
        clock.now += 0.002
        return count, map(counted, batches)

    def counted(batch: Batch) -> Batch:
        tokens.append(batch.tgt_tokens)
        return batch

    def validate() -> Validation:
        clock.now += 0.1
        return Validation(1.0, 2.7, 1.0, 0.0)

    def save(path: Path) -> None:
        clock.now += 0.05
        path.touch()

    with tiny_trainer(tmp_path, data, validate, save, max_steps=8, log_every_steps=2, save_every_steps=1) as trainer:
        trainer.fit()
    seconds = [0.014, 0.014, 0.016, 0.014]  # the third window opens an epoch
    expected = [sum(tokens[2 * i : 2 * i + 2]) / seconds[i] for i in range(4)]
    logged = [event["tokens_per_sec"] for event in events(tmp_path, "step")]
    assert logged == pytest.approx(expected, abs=0.6)


@pytest.mark.parametrize(("save_sec", "saved"), [(0.0, [7, 14, 21, 28, 35]), (5.0, [7, 22, 37])])
def test_a_slow_checkpoint_is_saved_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save_sec: float, saved: list[int]
) -> None:
    """A batch takes 7 seconds: after 45 seconds, or after 20 times as long as the last save took."""
    clock = Clock(5000.0)
    steps: list[int] = []
    monkeypatch.setattr("seq2seq.training.trainer.time", types.SimpleNamespace(monotonic=clock.monotonic))

    def save(*arguments: Any) -> None:
        clock.now += save_sec
        steps.append(trainer.progress.step)
        save_checkpoint(*arguments)

    monkeypatch.setattr("seq2seq.training.trainer.save_checkpoint", save)
    data = clock.pass_seconds(random_data(50), 7)
    with tiny_trainer(tmp_path, data, max_steps=40, validate_every_steps=1000) as trainer:
        trainer.fit()
    assert steps[:-2] == saved  # and twice at the end, around the validation


# --- after a validation ----------------------------------------------------------------------------------------------


def test_the_best_has_the_highest_bleu_and_among_equals_the_lowest_loss(tmp_path: Path) -> None:
    saved: list[int] = []
    scores = validations((1, 5), (3, 5), (2, 1), (3, 5), (3, 4), (3, 6), (4, 9))
    with tiny_trainer(
        tmp_path,
        random_data(BATCHES),
        scores,
        lambda path: saved.append(trainer.progress.step),
        max_steps=7,
        validate_every_steps=1,
    ) as trainer:
        trainer.fit()
    assert saved == [1, 2, 5, 7]
    assert [event["best"] for event in events(tmp_path, "validation")] == [n in saved for n in range(1, 8)]


def test_early_stopping_counts_validations_since_the_best(tmp_path: Path) -> None:
    settings = {"max_steps": 100, "validate_every_steps": 2, "early_stopping": 3}
    scores = bleus(1, 2, 1, 1, 3, 2, 3, 2)
    with tiny_trainer(tmp_path, random_data(BATCHES), scores, **settings) as trainer:
        trainer.fit()
    assert trainer.progress.step == 16
    assert steps_validated(tmp_path) == list(range(2, 17, 2))


def test_plateau_cuts_the_rate_after_validations_without_a_better_one(tmp_path: Path) -> None:
    settings = {"max_steps": 9, "validate_every_steps": 1, "warmup_steps": 0, "min_rate_ratio": 0.2}
    plateau = {"schedule": ScheduleName.plateau, "plateau_factor": 0.5, "plateau_patience": 2}
    scores = bleus(1, 1, 1, 1, 2, 1, 1, 1, 1)  # cut after 3, 7 and 9
    with tiny_trainer(tmp_path, random_data(BATCHES), scores, **settings, **plateau) as trainer:
        trainer.fit()
    rates = [event["learning_rate"] / 0.01 for event in events(tmp_path, "step")]
    assert rates == pytest.approx([1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25])
    assert trainer.progress.plateau_scale == 0.125


# --- an update -------------------------------------------------------------------------------------------------------


def on_gradients(trainer: Trainer, hook: Callable[[Sequence[Tensor]], object]) -> None:
    """Call `hook` with the gradients that reach the optimizer."""
    trainer.optimizer.register_step_pre_hook(
        lambda *_: hook([p.grad for p in trainer.network.parameters() if p.grad is not None])
    )


def test_the_gradient_is_clipped_and_its_norm_before_clipping_logged(tmp_path: Path) -> None:
    norms: dict[float, list[float]] = {}
    for bound in (0.0, 0.2):
        norms[bound] = []
        with tiny_trainer(tmp_path / f"{bound}", random_data(BATCHES), max_steps=1, max_grad_norm=bound) as trainer:
            on_gradients(trainer, lambda g: norms[bound].append(float(torch.nn.utils.get_total_norm(g))))  # noqa: B023
            trainer.fit()
    (unclipped,), (clipped,) = norms.values()
    assert unclipped > 0.5
    assert clipped == pytest.approx(0.2, rel=1e-4)
    for folder in (tmp_path / "0.0", tmp_path / "0.2"):
        assert events(folder, "step")[0]["grad_norm"] == pytest.approx(unclipped, abs=1e-3)


def test_bf16_keeps_weights_and_optimizer_state_in_fp32_and_changes_the_loss_little(tmp_path: Path) -> None:
    figures = []
    for dtype in (torch.float32, torch.bfloat16):
        with tiny_trainer(tmp_path / str(dtype), random_data(BATCHES), max_steps=1, dtype=dtype) as trainer:
            trainer.fit()
        states = [value for state in trainer.optimizer.state.values() for value in state.values()]
        assert {value.dtype for value in [*trainer.network.parameters(), *states]} == {torch.float32}
        (event,) = events(tmp_path / str(dtype), "step")
        figures.append([event["loss"], event["grad_norm"]])
    assert figures[0] != figures[1]
    assert figures[1] == pytest.approx(figures[0], rel=0.02)


def first_update(folder: Path, **settings: Any) -> tuple[list[Tensor], dict[str, Any]]:
    """The gradients of one update, and its logged event."""
    recorded: list[Tensor] = []
    with tiny_trainer(folder, random_data(BATCHES), max_steps=1, max_grad_norm=0.0, **settings) as trainer:
        on_gradients(trainer, lambda gradients: recorded.extend(g.clone() for g in gradients))
        trainer.fit()
    (event,) = without_times(events(folder, "step"))
    return recorded, event


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_r_drop_changes_nothing_without_dropout(tmp_path: Path, parts: int) -> None:
    """The passes agree, so that gradient, loss, norm and padding are those of a plain update."""
    plain, plain_event = first_update(tmp_path / "plain", dropout=0.0)
    r_drop, r_drop_event = first_update(tmp_path / "r_drop", dropout=0.0, r_drop=5.0, micro_batches=parts)
    torch.testing.assert_close(r_drop, plain, rtol=1e-4, atol=1e-6)
    assert r_drop_event == pytest.approx(plain_event, abs=2e-4)


def test_r_drop_changes_the_gradient_and_not_the_logged_loss(tmp_path: Path) -> None:
    weak, weak_event = first_update(tmp_path / "weak", dropout=0.3, r_drop=1e-6)
    strong, strong_event = first_update(tmp_path / "strong", dropout=0.3, r_drop=5.0)  # the same masks
    assert strong_event["loss"] == weak_event["loss"]
    assert any((a - b).norm() > 0.01 * b.norm() for a, b in zip(strong, weak, strict=True))


def two_passes(trainer: Trainer, batch: Batch) -> list[Tensor]:
    """The log-probabilities of both passes of an update."""
    trainer.network.train()
    with torch.no_grad():
        readouts, _, _ = trainer.network.read_out(batch.twice())
        return list(trainer.network.output(readouts).log_softmax(-1).chunk(2))


def test_the_two_passes_of_r_drop_have_different_dropout_masks(tmp_path: Path) -> None:
    _, batches = random_data(1)(0, 0)
    batch = next(batches)
    with tiny_trainer(tmp_path / "some", random_data(1), max_steps=1) as trainer:
        first, second = two_passes(trainer, batch)
        assert ((first - second).abs().amax(1) > 1e-4).all()  # at every token
    with tiny_trainer(tmp_path / "none", random_data(1), max_steps=1, dropout=0.0) as trainer:
        torch.testing.assert_close(*two_passes(trainer, batch))


def test_r_drop_makes_the_passes_agree(tmp_path: Path) -> None:
    """After training on one batch, they diverge less than after training with a negligible alpha."""
    batch = next(random_data(1)(0, 0)[1])
    divergences = []
    for alpha in (1e-9, 10.0):
        with tiny_trainer(
            tmp_path / str(alpha), lambda epoch, start: (1, iter([batch])), max_steps=60, dropout=0.3, r_drop=alpha
        ) as trainer:
            trainer.fit()
            torch.manual_seed(1)
            passes = (two_passes(trainer, batch) for _ in range(20))
            divergences.append(sum(float(((p.exp() - q.exp()) * (p - q)).sum()) for p, q in passes))
    assert divergences[1] < divergences[0] / 2


def poison_gradients(trainer: Trainer, steps: Callable[[int], bool], value: float) -> None:
    """Set the gradient of one weight to `value` at the steps for which `steps` is true; the loss stays finite."""

    def poison(gradient: Tensor) -> Tensor:
        return torch.full_like(gradient, value) if steps(trainer.progress.step + 1) else gradient

    trainer.network.output.bias.register_hook(poison)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_update_that_is_not_finite_is_skipped_and_the_run_goes_on(tmp_path: Path, value: float) -> None:
    weights: dict[int, dict[str, Tensor]] = {}
    moments: dict[int, list[Tensor]] = {}
    with tiny_trainer(tmp_path, random_data(BATCHES), max_steps=5, validate_every_steps=1) as trainer:
        validate = trainer.callbacks.validate

        def record_and_validate() -> Validation:
            weights[trainer.progress.step] = weights_of(trainer)
            states = (value for state in trainer.optimizer.state.values() for value in state.values())
            moments[trainer.progress.step] = [value.clone() for value in states]
            return validate()

        trainer.callbacks.validate = record_and_validate
        poison_gradients(trainer, lambda step: step == 3, value)
        trainer.fit()
    assert trainer.progress.skipped == 1
    assert same_weights(weights[2], weights[3])
    assert all(torch.equal(*pair) for pair in zip(moments[2], moments[3], strict=True))
    assert not same_weights(weights[3], weights[4])
    assert all(weight.isfinite().all() for weight in weights[5].values())
    assert [event["step"] for event in events(tmp_path, "step")] == [1, 2, 4, 5]
    (skipped,) = events(tmp_path, "skip")
    assert (skipped["step"], skipped["grad_norm"]) == (3, None)  # JSON has no NaN


def test_a_loss_that_is_never_finite_ends_the_run_with_one_line(tmp_path: Path) -> None:
    with tiny_trainer(tmp_path, random_data(BATCHES), max_steps=100) as trainer:
        with torch.no_grad():
            trainer.network.output.bias[5] = math.nan
        before = weights_of(trainer)
        with pytest.raises(Seq2SeqError, match=r"20 updates in a row .* training\.learning_rate") as caught:
            trainer.fit()
    assert "\n" not in str(caught.value)
    assert trainer.progress.step == trainer.progress.skipped == len(events(tmp_path, "skip")) == 20
    after = weights_of(trainer)
    assert all(torch.equal(after[name].nan_to_num(), before[name].nan_to_num()) for name in before)


def test_a_finite_update_resets_the_count_of_skips(tmp_path: Path) -> None:
    with tiny_trainer(tmp_path, random_data(BATCHES), max_steps=60) as trainer:
        poison_gradients(trainer, lambda step: step % 20 != 0, math.nan)
        trainer.fit()
    assert trainer.progress.skipped == 57


# --- stopping and resuming -------------------------------------------------------------------------------------------

STEPS = 12
SETTINGS: dict[str, Any] = {"max_steps": STEPS, "validate_every_steps": 5, "save_every_steps": 3, "micro_batches": 2}


class Crash(Exception):
    """The process ends; what is not on the disk is lost."""


def crash() -> NoReturn:
    raise Crash


def falling_bleu(trainer: Trainer, crash_at: int | None) -> Callable[[], Validation]:
    def validate() -> Validation:
        if trainer.progress.step == crash_at:
            crash()
        return Validation(1.0, math.e, 100.0 - trainer.progress.step, 0.0)

    return validate


def run_parts(folder: Path, *interruptions: tuple[int, str], **settings: Any) -> Trainer:
    """Run to the end, interrupted at these batches by a crash or a signal and resumed each time by a new trainer."""
    for part, (batch, how) in enumerate([*interruptions, (0, "")]):
        with tiny_trainer(folder, random_data(BATCHES), **{**SETTINGS, **settings}) as trainer:
            trainer.callbacks.validate = falling_bleu(trainer, batch if how == "crash in validation" else None)
            if part:
                trainer.begin(resume=True)
            act = {"crash": crash, "signal": lambda: setattr(trainer, "stop_signal", 15)}.get(how, lambda: None)
            trainer.data = at_batch(batch, act, trainer.data)
            if how.startswith("crash"):
                with pytest.raises(Crash):
                    trainer.fit()
            elif how == "signal":
                with pytest.raises(Stopped) as caught:
                    trainer.fit()
                assert caught.value.signal_number == 15
                assert trainer.progress.step == batch
            else:
                trainer.fit()
    return trainer


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trainer, Path]:
    folder = tmp_path_factory.mktemp("uninterrupted")
    return run_parts(folder), folder


@pytest.mark.parametrize("batch", [1, 3, 4, 5, 10, 11, 12])
def test_a_resumed_run_equals_the_uninterrupted_one(
    tmp_path: Path, uninterrupted: tuple[Trainer, Path], batch: int
) -> None:
    whole, folder = uninterrupted
    resumed = run_parts(tmp_path, (batch, "signal"))
    assert same_weights(weights_of(resumed), weights_of(whole))
    for kind in ("step", "validation"):
        assert without_times(events(tmp_path, kind)) == without_times(events(folder, kind))
    assert {**vars(resumed.progress), "elapsed_sec": 0} == {**vars(whole.progress), "elapsed_sec": 0}


@pytest.mark.parametrize(
    ("save_every_steps", "interruptions"),
    [
        (3, [(5, "crash")]),
        (3, [(4, "signal"), (10, "crash"), (12, "signal")]),
        (1, [(5, "crash in validation"), (12, "crash in validation")]),
        (3, [(10, "crash in validation")]),
        (1, [(11, "crash")]),  # that validation was logged but not saved
    ],
)
def test_a_run_that_crashed_resumes_from_its_last_save(
    tmp_path: Path,
    uninterrupted: tuple[Trainer, Path],
    save_every_steps: int,
    interruptions: list[tuple[int, str]],
) -> None:
    whole, folder = uninterrupted
    resumed = run_parts(tmp_path, *interruptions, save_every_steps=save_every_steps)
    assert same_weights(weights_of(resumed), weights_of(whole))
    for kind in ("step", "validation"):  # nothing is logged twice
        assert without_times(events(tmp_path, kind)) == without_times(events(folder, kind))


@pytest.mark.parametrize(
    "interruptions", [[(5, "crash")], [(4, "signal"), (8, "crash in validation")], [(7, "signal")]]
)
def test_log_lines_over_several_updates_equal_those_of_the_uninterrupted_run(
    tmp_path: Path, interruptions: list[tuple[int, str]]
) -> None:
    """Sums that are not logged yet are saved; a line that was written after the save is not written twice."""
    settings = {"log_every_steps": 3, "validate_every_steps": 4, "save_every_steps": 2}
    run_parts(tmp_path / "whole", **settings)
    run_parts(tmp_path / "parts", *interruptions, **settings)
    for kind in ("step", "validation"):
        assert without_times(events(tmp_path / "parts", kind)) == without_times(events(tmp_path / "whole", kind))


def test_models_left_by_a_crash_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The crash comes between the save that drops a model from `kept` and its deletion."""
    settings: dict[str, Any] = {"max_steps": 4, "validate_every_steps": 2, "keep_last": 1}
    (tmp_path / "models").mkdir()
    with tiny_trainer(tmp_path, random_data(BATCHES), **settings) as trainer, monkeypatch.context() as patch:
        patch.setattr(
            "seq2seq.training.trainer.remove_unkept_models", lambda *_: trainer.progress.step == 4 and crash()
        )
        with pytest.raises(Crash):
            trainer.fit()
    assert len(list((tmp_path / "models").iterdir())) == 2
    with tiny_trainer(tmp_path, random_data(BATCHES), bleus(), **settings) as trainer:
        trainer.begin(resume=True)
        trainer.fit()
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["step_0000004.safetensors"]


def test_a_validation_with_nan_is_never_the_best_after_the_first(tmp_path: Path) -> None:
    scores = validations((1, math.inf), (1, 2), (1, math.nan), (1, 1.5))
    settings = {"max_steps": 4, "validate_every_steps": 1, "monitor": MonitorName.loss}
    with tiny_trainer(tmp_path, random_data(BATCHES), scores, **settings) as trainer:
        trainer.fit()
    assert [event["best"] for event in events(tmp_path, "validation")] == [True, True, False, True]
    assert trainer.progress.best == (-1.5, 1.0)


def test_the_rate_is_not_cut_without_the_plateau_schedule(tmp_path: Path) -> None:
    with tiny_trainer(tmp_path, random_data(BATCHES), bleus(*[1] * 8), max_steps=8, validate_every_steps=1) as trainer:
        trainer.fit()
    assert (trainer.progress.plateau_scale, trainer.progress.stale_validations) == (1.0, 7)


def test_a_signal_during_the_last_validation_stops_the_run_after_its_save(tmp_path: Path) -> None:
    with tiny_trainer(tmp_path, random_data(BATCHES), **SETTINGS) as trainer:
        validate = trainer.callbacks.validate

        def signal_at_the_end() -> Validation:
            trainer.stop_signal = 15 if trainer.progress.step == STEPS else None
            return validate()

        trainer.callbacks.validate = signal_at_the_end
        with pytest.raises(Stopped):
            trainer.fit()
    with tiny_trainer(tmp_path, random_data(BATCHES), bleus(), **SETTINGS) as trainer:
        trainer.begin(resume=True)
        trainer.fit()  # nothing is left to do, not even a validation
    assert steps_validated(tmp_path) == [5, 10, STEPS]


def test_a_validation_flushes_the_log_line_before_it(tmp_path: Path) -> None:
    settings = {"max_steps": 8, "log_every_steps": 5, "validate_every_steps": 3}
    with tiny_trainer(tmp_path, random_data(BATCHES), **settings) as trainer:
        trainer.fit()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    expected = [("step", 3), ("validation", 3), ("step", 5), ("step", 6), ("validation", 6), ("step", 8)]
    assert [(line["event"], line["step"]) for line in lines] == [*expected, ("validation", 8)]


def test_every_update_is_in_exactly_one_log_line(tmp_path: Path) -> None:
    """Lines every 2 updates and before each validation, against the losses of single updates."""
    settings = {"max_steps": 4, "validate_every_steps": 3}
    lines = {}
    for every in (1, 2):
        with tiny_trainer(tmp_path / str(every), random_data(BATCHES), log_every_steps=every, **settings) as trainer:
            trainer.fit()
        lines[every] = {event["step"]: event["loss"] for event in events(tmp_path / str(every), "step")}
    single, tokens = lines[1], [batch.tgt_tokens for batch in random_data(BATCHES)(0, 0)[1]]
    first_two = (single[1] * tokens[0] + single[2] * tokens[1]) / (tokens[0] + tokens[1])
    assert lines[2] == {2: pytest.approx(first_two, abs=1e-4), 3: single[3], 4: single[4]}


def test_the_plateau_schedule_and_early_stopping_survive_a_stop(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "schedule": ScheduleName.plateau,
        "validate_every_steps": 1,
        "early_stopping": 6,
        "max_steps": 100,
    }
    falling = [9.0, 8, 7, 6, 5, 4, 3]
    rates = {}
    for name, cut in (("whole", 100), ("parts", 3)):
        folder = tmp_path / name
        with tiny_trainer(folder, random_data(BATCHES), bleus(*falling[:cut]), **settings) as trainer:
            if name == "whole":
                trainer.fit()
            else:
                trainer.data = at_batch(3, lambda: setattr(trainer, "stop_signal", 2), trainer.data)
                with pytest.raises(Stopped):
                    trainer.fit()
        if name == "parts":
            with tiny_trainer(folder, random_data(BATCHES), bleus(*falling[cut:]), **settings) as trainer:
                trainer.begin(resume=True)
                trainer.fit()
        assert trainer.progress.step == 7
        rates[name] = [event["learning_rate"] for event in events(folder, "step")]
    assert rates["whole"] == rates["parts"]
    assert len(set(rates["whole"][2:])) == 3


def test_a_resumed_run_with_r_drop_draws_the_same_masks(tmp_path: Path) -> None:
    runs = [
        run_parts(tmp_path / name, *stops, r_drop=5.0) for name, stops in (("whole", []), ("parts", [(5, "signal")]))
    ]
    assert same_weights(*map(weights_of, runs))
    assert without_times(events(tmp_path / "parts", "step")) == without_times(events(tmp_path / "whole", "step"))


def test_a_resumed_run_with_shorter_epochs_continues_with_the_next_epoch(tmp_path: Path) -> None:
    """As after a change of training.batch_tokens."""
    with tiny_trainer(tmp_path, random_data(BATCHES), **SETTINGS) as trainer:
        trainer.data = at_batch(3, lambda: setattr(trainer, "stop_signal", 2), trainer.data)
        with pytest.raises(Stopped):
            trainer.fit()
    with tiny_trainer(tmp_path, random_data(2), **SETTINGS) as trainer:
        trainer.begin(resume=True)
        trainer.fit()
    assert [(event["step"], event["epoch"]) for event in events(tmp_path, "step")][2:5] == [(3, 0.75), (4, 1.5), (5, 2)]


def test_the_seed_determines_the_run(tmp_path: Path, uninterrupted: tuple[Trainer, Path]) -> None:
    whole, _ = uninterrupted
    assert same_weights(weights_of(run_parts(tmp_path / "same")), weights_of(whole))
    assert not same_weights(weights_of(run_parts(tmp_path / "other", seed=2)), weights_of(whole))
