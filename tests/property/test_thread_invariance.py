"""In fp32 the number of threads changes no bit of an update or a translation, so it may change while a run goes on."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from seq2seq.config.model import AttentionName, CellName, DropoutConfig, ModelConfig
from seq2seq.config.training import TrainingConfig
from seq2seq.data.batches.batch import make_batch
from seq2seq.model.network import Seq2Seq
from seq2seq.training.distributed import ProcessGroup
from seq2seq.training.gradient_accumulation import GradientAccumulator
from seq2seq.training.optimizer import make_optimizer
from seq2seq.training.progress import Progress
from tiny_trainer import random_ids

VOCAB = 400
DROPOUT = DropoutConfig(0.1, 0.1, 0.1, 0.1)
PARTS: dict[str, dict[str, Any]] = {
    "default": {},
    "deep, normalised": {"encoder_layers": 2, "decoder_layers": 2, "layer_norm": True, "residual": True},
    "heads, coverage": {"attention_heads": 2, "coverage": True},
    "peepholes": {"cell": CellName.peephole_lstm},
    "gru, general": {"cell": CellName.gru, "attention": AttentionName.general},
    "rnn, none": {"cell": CellName.rnn, "attention": AttentionName.none},
}


@pytest.fixture(autouse=True)
def _same_number_of_threads_after_the_test() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def updated(parts: dict[str, Any], rows: int, threads: list[int]) -> dict[str, Tensor]:
    """Weights after an update with each of these numbers of threads."""
    torch.manual_seed(1)
    network = Seq2Seq(ModelConfig(64, 96, None, 64, dropout=DROPOUT, **parts), VOCAB, VOCAB)
    config, numbers = TrainingConfig(max_grad_norm=1.0), random.Random(rows)
    longest = max(6, 60 // rows)  # all sentences together have 12 tokens or more
    accumulator = GradientAccumulator(network, config, torch.float32, ProcessGroup(), Progress())
    optimizer = make_optimizer(network.parameters(), config)
    for step, count in enumerate(threads, start=1):
        torch.set_num_threads(count)
        src, tgt = (random_ids(numbers, rows, longest, VOCAB) for _ in range(2))
        batch = make_batch(src, tgt)
        accumulator.accumulate(batch, step)
        torch.nn.utils.clip_grad_norm_(network.parameters(), config.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
    return network.state_dict()


@pytest.mark.parametrize("rows", [2, 5, 11, 40])  # MKL has products of its own for 5 to 11 rows
@pytest.mark.parametrize("name", PARTS)
def test_the_number_of_threads_changes_no_update(name: str, rows: int) -> None:
    expected = updated(PARTS[name], rows, [1, 1, 1])
    for threads in ([2, 2, 2], [3, 1, 2]):
        found = updated(PARTS[name], rows, threads)
        assert [key for key, value in expected.items() if not torch.equal(found[key], value)] == []
