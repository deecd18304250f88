"""The gradient of an update does not depend on how its batch is cut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from seq2seq.data.batches.batch import Batch, make_batch
from seq2seq.errors import Seq2SeqError
from seq2seq.training.gradient_accumulation import enough_memory
from seq2seq.training.trainer import Trainer
from tiny_trainer import random_data, tiny_trainer

BATCH = make_batch([[4, 5], [6, 7, 8], [5], [9, 4]], [[7], [8, 9], [4, 4, 5], [6]])


def gradient(
    folder: Path, change: Callable[[Trainer], object] = lambda trainer: None, step: int = 1, **settings: Any
) -> tuple[dict[str, Tensor], float]:
    """The gradient of BATCH, and its nll."""
    with tiny_trainer(folder, random_data(4), **settings) as trainer:
        change(trainer)
        nll, *_ = trainer.accumulator.accumulate(BATCH, step).tolist()
    weights = trainer.network.named_parameters()
    return {name: weight.grad for name, weight in weights if weight.grad is not None}, nll


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_random_numbers_are_a_function_of_seed_and_step(tmp_path: Path) -> None:
    first, _ = gradient(tmp_path)
    again, _ = gradient(tmp_path, lambda trainer: torch.manual_seed(99))
    later, _ = gradient(tmp_path, step=2)
    assert same(first, again)
    assert not same(first, later)


def test_every_part_has_its_own_random_numbers(tmp_path: Path) -> None:
    losses = []
    with tiny_trainer(tmp_path, random_data(1), micro_batches=3, dropout=0.5) as trainer:
        trainer.accumulator._loss.register_forward_hook(lambda module, inputs, output: losses.append(output[1].item()))
        trainer.accumulator.accumulate(make_batch([[4, 5]] * 3, [[7, 8]] * 3), 1)
    assert len(set(losses)) == 3


def out_of_memory_above(trainer: Trainer, rows: int) -> None:
    """Make backward fail for batches of more than `rows` rows."""

    def fail(gradient: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("tried to allocate 20 GiB")

    def hook(module: Any, inputs: tuple[Batch], output: tuple[Tensor, Tensor]) -> None:
        if len(inputs[0].src_lengths) > rows and output[0].requires_grad:
            output[0].register_hook(fail)

    trainer.accumulator._loss.register_forward_hook(hook)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_batch_that_does_not_fit_is_cut_and_has_the_gradient_of_its_parts(tmp_path: Path, rows: int) -> None:
    parts = {1: 4, 2: 2, 3: 2}[rows]
    expected, nll = gradient(tmp_path / "expected", micro_batches=parts)
    actual, actual_nll = gradient(tmp_path / "actual", lambda trainer: out_of_memory_above(trainer, rows))
    assert same(actual, expected)
    assert actual_nll == nll


def test_a_single_sentence_that_does_not_fit_ends_the_run_with_one_line(tmp_path: Path) -> None:
    with pytest.raises(Seq2SeqError, match=r"single sentence.*20 GiB.*data\.max_length") as caught:
        gradient(tmp_path, lambda trainer: out_of_memory_above(trainer, 0))
    assert "\n" not in str(caught.value)


def test_what_does_not_fit_at_all_is_one_line(tmp_path: Path) -> None:
    expected = pytest.raises(Seq2SeqError, match=r"state of the optimizer .*: lower")
    with tiny_trainer(tmp_path, random_data(1)) as trainer, expected:
        trainer.accumulator.fit_to_memory(BATCH, copies=2**45)
    with pytest.raises(ValueError, match="other"), enough_memory("the weights"):
        raise ValueError("other")
    with pytest.raises(RuntimeError, match=r"^shape$"), enough_memory("the weights"):
        raise RuntimeError("shape")


@pytest.mark.parametrize(
    "message", ["CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", "CUDA out of memory"]
)
def test_the_libraries_of_a_gpu_report_their_lack_of_memory_in_their_own_way(message: str) -> None:
    with pytest.raises(Seq2SeqError, match=message.split("`")[0]), enough_memory("the weights"):
        raise RuntimeError(f"{message}\nmore lines")


def test_another_error_is_not_mistaken_for_out_of_memory(tmp_path: Path) -> None:
    def break_it(trainer: Trainer) -> None:
        trainer.accumulator._loss.register_forward_hook(lambda *_: torch.zeros(2) @ torch.zeros(3))

    with pytest.raises(RuntimeError, match="size"):
        gradient(tmp_path, break_it)


def test_fit_to_memory_changes_only_the_number_of_parts(tmp_path: Path) -> None:
    def fit_to_memory(trainer: Trainer) -> None:
        before = [weight.detach().clone() for weight in trainer.network.parameters()]
        out_of_memory_above(trainer, 2)
        trainer.accumulator.fit_to_memory(BATCH, copies=2)
        assert all(weight.grad is None for weight in trainer.network.parameters())
        assert all(torch.equal(*pair) for pair in zip(before, trainer.network.parameters(), strict=True))
        assert not trainer.optimizer.state

    expected, _ = gradient(tmp_path / "expected", micro_batches=2)
    actual, _ = gradient(tmp_path / "actual", fit_to_memory)
    assert same(actual, expected)


def test_fit_to_memory_raises_if_a_single_sentence_does_not_fit(tmp_path: Path) -> None:
    with tiny_trainer(tmp_path, random_data(4)) as trainer:
        out_of_memory_above(trainer, 0)
        with pytest.raises(Seq2SeqError, match=r"single sentence.*data\.max_length"):
            trainer.accumulator.fit_to_memory(BATCH, copies=2)
