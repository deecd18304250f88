"""What a GPU runs, as far as a CPU can show it: no wait for the device in an update, rows in eights, the loss scale."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from seq2seq.config.model import AttentionName, CellName, DropoutConfig, ModelConfig
from seq2seq.config.training import PrecisionName, ScheduleName, TrainingConfig
from seq2seq.data.batches.batch import Batch, make_batch
from seq2seq.data.batches.batching import Cost
from seq2seq.errors import ConfigError, Seq2SeqError
from seq2seq.model.network import Seq2Seq, without_weights
from seq2seq.runtime import resolve_precision
from seq2seq.training.distributed import ProcessGroup
from seq2seq.training.gradient_accumulation import GradientAccumulator
from seq2seq.training.progress import Progress
from seq2seq.training.trainer import Trainer
from tiny_trainer import events, random_data, random_ids, same_weights, tiny_trainer, weights_of

CONSTANT = ScheduleName.constant
META = torch.device("meta")  # its tensors have no values: whatever reads one, or a number of them, raises
SIZES = {"emb_size": 6, "hidden_size": 8, "attention_size": 4, "encoder_layers": 2, "decoder_layers": 2}
NETWORKS: dict[str, dict[str, Any]] = {
    **{cell.name: {"cell": cell} for cell in CellName},
    "layer norm": {"layer_norm": True, "residual": True},
    "coverage": {"coverage": True, "attention_heads": 2, "attention_weight_norm": True},
    "input feeding": {"input_feeding": True},
    **{name.name: {"attention": name} for name in AttentionName},
    "dropout": {"dropout": DropoutConfig(*[0.5] * 7)},
    "variational": {"dropout": DropoutConfig(*[0.5] * 7, variational=True)},
}


def some_batch(rows: int = 5) -> Batch:
    numbers = random.Random(1)
    return make_batch(random_ids(numbers, rows), random_ids(numbers, rows))


# --- no wait ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize(("r_drop", "ratio"), [(0.0, 1.0), (1.0, 0.5)])
def test_a_gradient_reads_nothing_from_the_device(parts: dict[str, Any], r_drop: float, ratio: float) -> None:
    network = without_weights(ModelConfig(**SIZES, **parts), 12, 12).train()
    config = TrainingConfig(r_drop=r_drop, micro_batches=2)
    accumulator = GradientAccumulator(network, config, torch.float32, ProcessGroup(), Progress())
    sums = accumulator.accumulate(some_batch(), 1, ratio)
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    assert sums.device == norm.device == META


def test_reading_from_the_device_would_be_noticed() -> None:
    batch = some_batch().to(META)
    with pytest.raises((RuntimeError, NotImplementedError)):
        batch.tgt_tokens  # noqa: B018
    with pytest.raises((RuntimeError, NotImplementedError)):
        Batch(batch.src_ids, batch.src_lengths, batch.tgt_in, batch.tgt_out).real_positions()


class ReadsNothing(TorchDispatchMode):
    """Raises where the host reads a number from a tensor."""

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func.overloadpacket in (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero, torch.ops.aten.equal):
            raise AssertionError(f"{func} reads from the device")
        return func(*args, **(kwargs or {}))


def make_later(trainer: Trainer) -> None:
    """Let a trainer on the CPU read its losses as on a GPU."""
    trainer.reads_later = True


def test_the_step_itself_reads_nothing(tmp_path: Path) -> None:
    with tiny_trainer(tmp_path, random_data(4), ema=0.9) as trainer:
        trainer._started = 0.0
        sums = trainer.accumulator.accumulate(some_batch(), 1)
        norm = torch.nn.utils.clip_grad_norm_(trainer.network.parameters(), 1.0)
        with pytest.raises(AssertionError), ReadsNothing():
            trainer._step(trainer._over_ranks(sums, norm))
        make_later(trainer)
        with ReadsNothing():
            trainer._step(trainer._over_ranks(sums, norm))


def without_times(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k not in {"time", "elapsed_sec", "tokens_per_sec"}} for line in lines]


@pytest.mark.parametrize("bad", [(), (3,), (1, 2, 6)], ids=str)
def test_losses_that_are_read_later_are_those_of_the_same_run(tmp_path: Path, bad: tuple[int, ...]) -> None:
    runs = []
    for later in (False, True):
        folder = tmp_path / str(later)
        settings = {"max_steps": 8, "log_every_steps": 3, "save_every_steps": 5, "ema": 0.9}
        with tiny_trainer(folder, random_data(4), **settings) as trainer:
            trainer.reads_later = later

            def poison(gradient: torch.Tensor, trainer: Trainer = trainer) -> torch.Tensor:
                return gradient * math.nan if trainer.progress.step + 1 in bad else gradient

            trainer.network.output.bias.register_hook(poison)
            trainer.fit()
        logged = [without_times(events(folder, kind)) for kind in ("step", "skip", "validation")]
        assert trainer.average is not None
        averages = dict(enumerate(trainer.average.average))
        states = trainer.optimizer.state_dict()["state"]
        runs.append((weights_of(trainer), averages, logged, trainer.progress.skipped, states))
    weights, averages, logged, skipped, states = runs[0]
    later_weights, later_averages, later_logged, later_skipped, later_states = runs[1]
    assert same_weights(weights, later_weights)
    assert all(torch.equal(averages[i], later_averages[i]) for i in averages)  # without the skipped updates
    assert logged == later_logged
    assert skipped == later_skipped == len(bad)
    assert all(torch.equal(states[i][key], later_states[i][key]) for i in states for key in states[i])


def test_a_run_that_reads_later_resumes_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    def run(folder: Path, steps: int, resume: bool = False) -> Trainer:
        settings = {"max_steps": steps, "log_every_steps": 4, "validate_every_steps": 50, "schedule": CONSTANT}
        with tiny_trainer(folder, random_data(4), **settings) as trainer:
            make_later(trainer)
            trainer.begin(resume=resume)
            trainer.fit()
        return trainer

    whole = run(tmp_path / "whole", 7)
    run(tmp_path / "parts", 3)
    assert same_weights(weights_of(run(tmp_path / "parts", 7, resume=True)), weights_of(whole))


# --- rows in eights --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("r_drop", [0.0, 1.0])
@pytest.mark.parametrize("parts", NETWORKS.values(), ids=NETWORKS)
def test_rows_of_padding_change_no_loss_and_no_gradient(parts: dict[str, Any], r_drop: float) -> None:
    torch.manual_seed(1)
    config = ModelConfig(**{**SIZES, **parts, "dropout": DropoutConfig(layers=0.0, readout=0.0)})
    network = Seq2Seq(config, 12, 12).double().train()
    accumulator = GradientAccumulator(network, TrainingConfig(r_drop=r_drop), torch.float32, ProcessGroup(), Progress())
    results = []
    for rows in (1, 4):
        accumulator.rows = rows
        sums = accumulator.accumulate(some_batch(9), 1)
        results.append([sums, *(weight.grad for weight in network.parameters())])
        network.zero_grad()
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-9)


def test_a_batch_is_filled_up_to_a_multiple_of_rows() -> None:
    assert [len(some_batch(rows).filled(8).src_ids) for rows in (1, 7, 8, 9)] == [8, 8, 8, 16]
    assert some_batch(5).filled(8).tgt_tokens == some_batch(5).tgt_tokens


@pytest.mark.parametrize("parts", [1, 2])
def test_the_memory_of_a_batch_counts_its_rows_of_padding(tmp_path: Path, parts: int) -> None:
    costs: list[list[float]] = []
    rows, lengths = np.arange(1, 40), np.full(39, 10)

    def worst(epoch: int, cost: Cost) -> Batch:
        costs.append(cost(rows, lengths, lengths).tolist())
        return some_batch()

    with tiny_trainer(tmp_path, random_data(4), micro_batches=parts, max_steps=1) as trainer:
        for multiple in (1, 8):
            trainer.accumulator.rows = multiple
            trainer.guard_memory(worst)
        computed = [
            max(len(trainer.accumulator._filled(part).src_ids) for part in some_batch(count).split(parts))
            for count in rows.tolist()
        ]
    assert costs[0][0] > 0
    assert costs[1] == pytest.approx([count * costs[0][0] for count in computed])


# --- fp16 ------------------------------------------------------------------------------------------------------------


def test_fp16_is_refused_on_a_cpu_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^precision fp16 runs on a CUDA GPU, not on cpu: use auto, fp32 or bf16$"):
        resolve_precision(PrecisionName.fp16, torch.device("cpu"))


def test_the_loss_scale_changes_no_gradient_and_survives_a_stop(tmp_path: Path) -> None:
    figures = []
    for dtype in (torch.float32, torch.float16):
        folder = tmp_path / str(dtype)
        with tiny_trainer(folder, random_data(4), max_steps=2, dtype=dtype, dropout=0.0) as trainer:
            scaler = trainer.accumulator.scaler
            assert scaler.is_enabled() == (dtype == torch.float16)
            trainer.fit()
        figures.append([value for event in events(folder, "step") for value in (event["loss"], event["grad_norm"])])
    assert figures[1] != figures[0]
    assert figures[1] == pytest.approx(figures[0], rel=0.02)
    first = scaler.get_scale()
    with tiny_trainer(folder, random_data(4), max_steps=4, dtype=torch.float16, dropout=0.0) as trainer:
        trainer.accumulator.scaler.load_state_dict({**scaler.state_dict(), "scale": 3.0})  # replaced by the stored one
        trainer.begin(resume=True)
        trainer.network.output.bias.register_hook(lambda gradient: gradient * math.inf)
        trainer.fit()
    assert trainer.progress.skipped == 2
    assert trainer.accumulator.scaler.get_scale() == first / 4  # an overflow halves it


def overflow_above(trainer: Trainer, level: float) -> None:
    """Let gradients overflow while the loss scale is above `level`."""
    scaler = trainer.accumulator.scaler
    trainer.network.output.bias.register_hook(
        lambda gradient: gradient * math.inf if scaler.get_scale() > level else gradient
    )


@pytest.mark.parametrize("later", [False, True])
def test_skips_by_which_the_loss_scale_finds_its_level_do_not_end_a_run(tmp_path: Path, later: bool) -> None:
    with tiny_trainer(tmp_path, random_data(4), max_steps=8, dtype=torch.float16, max_skipped=1) as trainer:
        trainer.reads_later = later
        overflow_above(trainer, 2.0**10)
        trainer.fit()
    assert (trainer.progress.skipped, trainer.progress.skipped_in_a_row) == (6, 0)  # 2^16 to 2^10
    assert [event["step"] for event in events(tmp_path, "skip")] == [1, 2, 3, 4, 5, 6]
    assert [event["step"] for event in events(tmp_path, "step")] == [7, 8]


def test_a_loss_scale_that_never_settles_ends_the_run(tmp_path: Path) -> None:
    with tiny_trainer(tmp_path, random_data(4), max_steps=99, dtype=torch.float16, max_skipped=2) as trainer:
        overflow_above(trainer, 0.0)
        with pytest.raises(Seq2SeqError, match="2 updates in a row"):
            trainer.fit()
    assert trainer.progress.skipped == 16 + 2  # 2^16 to 1 may be the scale's fault


def test_a_loss_that_is_not_finite_is_not_the_loss_scales_fault(tmp_path: Path) -> None:
    with tiny_trainer(tmp_path, random_data(4), max_steps=99, dtype=torch.float16, max_skipped=2) as trainer:
        with torch.no_grad():
            trainer.network.output.bias[5] = math.nan
        with pytest.raises(Seq2SeqError, match="2 updates in a row"):
            trainer.fit()
    assert trainer.progress.skipped == 2
