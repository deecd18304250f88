"""The gradient of an update, whatever it is cut into."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from seq2seq.data.batch import Batch, make_batch
from seq2seq.errors import Seq2SeqError
from seq2seq.training.trainer import Trainer
from tiny_trainer import random_data, tiny_trainer

BATCH = make_batch([[4, 5], [6, 7, 8], [5], [9, 4]], [[7], [8, 9], [4, 4, 5], [6]])


def gradient(
    folder: Path, change: Callable[[Trainer], object] = lambda trainer: None, step: int = 1, **settings: Any
) -> tuple[dict[str, Tensor], float]:
    """The gradient of BATCH and its nll."""
    with tiny_trainer(folder, random_data(4), **settings) as trainer:
        change(trainer)
        nll = trainer.accumulator.accumulate(BATCH, step)
    weights = trainer.network.named_parameters()
    return {name: weight.grad for name, weight in weights if weight.grad is not None}, nll


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_random_numbers_are_those_of_seed_and_step_and_nothing_else(tmp_path: Path) -> None:
    first, _ = gradient(tmp_path)
    again, _ = gradient(tmp_path, lambda trainer: torch.manual_seed(99))
    later, _ = gradient(tmp_path, step=2)
    assert same(first, again)
    assert not same(first, later)


def test_every_part_has_random_numbers_of_its_own(tmp_path: Path) -> None:
    losses = []
    with tiny_trainer(tmp_path, random_data(1), micro_batches=3, dropout=0.5) as trainer:
        trainer.accumulator._loss.register_forward_hook(lambda module, inputs, output: losses.append(output[1].item()))
        trainer.accumulator.accumulate(make_batch([[4, 5]] * 3, [[7, 8]] * 3), 1)
    assert len(set(losses)) == 3


def out_of_memory_above(trainer: Trainer, rows: int) -> None:
    """Make the way back through the network fail with batches of more rows than these."""

    def fail(gradient: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("tried to allocate 20 GiB")

    def look(module: Any, inputs: tuple[Batch], output: tuple[Tensor, Tensor]) -> None:
        if len(inputs[0].src_lengths) > rows and output[0].requires_grad:
            output[0].register_hook(fail)

    trainer.accumulator._loss.register_forward_hook(look)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_batch_that_is_too_large_is_cut_and_its_gradient_is_that_of_its_parts(tmp_path: Path, rows: int) -> None:
    parts = {1: 4, 2: 2, 3: 2}[rows]
    expected, nll = gradient(tmp_path / "expected", micro_batches=parts)
    found, found_nll = gradient(tmp_path / "found", lambda trainer: out_of_memory_above(trainer, rows))
    assert same(found, expected)
    assert found_nll == nll


def test_a_sentence_that_is_too_large_by_itself_ends_the_run_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(Seq2SeqError, match=r"20 GiB.*training\.batch_tokens") as caught:
        gradient(tmp_path, lambda trainer: out_of_memory_above(trainer, 0))
    assert "\n" not in str(caught.value)


def test_another_error_is_not_taken_for_want_of_memory(tmp_path: Path) -> None:
    def break_it(trainer: Trainer) -> None:
        trainer.accumulator._loss.register_forward_hook(lambda *_: torch.zeros(2) @ torch.zeros(3))

    with pytest.raises(RuntimeError, match="size"):
        gradient(tmp_path, break_it)


def test_trying_the_worst_batch_leaves_no_trace_but_the_number_of_parts(tmp_path: Path) -> None:
    def fit_to_memory(trainer: Trainer) -> None:
        before = [weight.detach().clone() for weight in trainer.network.parameters()]
        out_of_memory_above(trainer, 2)
        trainer.accumulator.fit_to_memory(BATCH, copies=2)
        assert all(weight.grad is None for weight in trainer.network.parameters())
        assert all(torch.equal(*pair) for pair in zip(before, trainer.network.parameters(), strict=True))
        assert not trainer.optimizer.state

    expected, _ = gradient(tmp_path / "expected", micro_batches=2)
    found, _ = gradient(tmp_path / "found", try_worst)
    assert same(found, expected)


def test_a_worst_batch_of_one_sentence_that_is_too_large_is_told_before_the_first_update(tmp_path: Path) -> None:
    with pytest.raises(Seq2SeqError, match=r"single sentence.*data\.max_length"):
        gradient(
            tmp_path,
            lambda trainer: (out_of_memory_above(trainer, 0), trainer.accumulator.fit_to_memory(BATCH, copies=2))[1],
        )
