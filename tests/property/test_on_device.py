"""Model, training and search on a device: torch's own layers, which a GPU runs, against the kernels in fp64."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from seq2seq.config.decode import DecodeConfig
from seq2seq.config.model import AttentionName, CellName, DropoutConfig, ModelConfig
from seq2seq.config.training import ScheduleName, TrainingConfig
from seq2seq.data.batches.batch import Batch, make_batch
from seq2seq.inference.ensemble import Ensemble
from seq2seq.kernels import bindings
from seq2seq.model.network import Seq2Seq
from seq2seq.search.batched_search import SearchInput, search
from seq2seq.training.distributed import ProcessGroup
from seq2seq.training.gradient_accumulation import BatchLoss, GradientAccumulator
from seq2seq.training.progress import Progress
from tiny_trainer import events, random_data, random_ids, tiny_trainer, weights_of

pytestmark = pytest.mark.device
CONSTANT = ScheduleName.constant
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
SIZES = {"emb_size": 16, "hidden_size": 16, "attention_size": 8, "encoder_layers": 2, "decoder_layers": 2}
NETWORKS: dict[str, dict[str, Any]] = {
    "lstm": {},
    "gru, residual": {"cell": CellName.gru, "residual": True},
    "peephole, layer norm": {"cell": CellName.peephole_lstm, "layer_norm": True},
    "heads, coverage": {"attention_heads": 2, "coverage": True, "attention_weight_norm": True},
    "general, input feeding": {"attention": AttentionName.general, "input_feeding": True},
}


@pytest.fixture(autouse=True)
def _without_kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A CPU then runs torch's layers, as a GPU does; `in_fp64` uses the kernels."""
    monkeypatch.setattr(bindings, "_enabled", False)
    yield
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def make_network(**parts: Any) -> Seq2Seq:
    torch.manual_seed(1)
    return Seq2Seq(ModelConfig(**SIZES, **parts, dropout=DropoutConfig(layers=0.0, readout=0.0)), 12, 12)


def some_batch(rows: int = 5) -> Batch:
    numbers = random.Random(1)
    return make_batch(random_ids(numbers, rows), random_ids(numbers, rows))


def gradient(network: Seq2Seq, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """The nll of a batch and the gradients of all weights, on the CPU."""
    accumulator = GradientAccumulator(network.train(), TrainingConfig(), dtype, ProcessGroup(), Progress())
    nll, *_ = accumulator.accumulate(some_batch(), 1)
    scale = accumulator.scaler.get_scale()
    return [nll.cpu(), *(weight.grad.cpu() / scale for weight in network.parameters() if weight.grad is not None)]


def in_fp64(network: Seq2Seq, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    with monkeypatch.context() as context:
        context.setattr(bindings, "_enabled", True)
        return [value.float() for value in gradient(copy.deepcopy(network).double().cpu())]


@pytest.mark.parametrize("parts", NETWORKS.values(), ids=NETWORKS)
def test_loss_and_gradient_are_those_of_fp64(
    device: str, parts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = make_network(**parts)
    expected = in_fp64(network, monkeypatch)
    torch.testing.assert_close(gradient(network.to(device)), expected, **CLOSE)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_low_precision_has_the_direction_of_the_gradient(
    device: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = make_network()
    (nll, *wanted), (found_nll, *found) = in_fp64(network, monkeypatch), gradient(network.to(device), dtype)
    assert float(found_nll) == pytest.approx(float(nll), rel=0.01)
    flat, expected = (torch.cat([one.flatten() for one in gradients]) for gradients in (found, wanted))
    assert torch.cosine_similarity(flat, expected, dim=0) > 0.99


@pytest.mark.parametrize("parts", NETWORKS.values(), ids=NETWORKS)
@torch.inference_mode()
def test_search_finds_the_outputs_of_the_cpu(device: str, parts: dict[str, Any]) -> None:
    network = make_network(**parts).eval()
    for weight in network.parameters():
        weight.normal_(std=0.5)
    inputs = [SearchInput(ids, [], []) for ids in random_ids(random.Random(2), 4)]
    outputs = []
    for place, own in (("cpu", copy.deepcopy(network).double()), (device, network.to(device))):
        found = search(Ensemble([own]), inputs, DecodeConfig(beam_size=3), device=place)
        outputs.append([(best.tokens, best.score) for best, *_ in found])
    assert [ids for ids, _ in outputs[1]] == [ids for ids, _ in outputs[0]]
    assert [score for _, score in outputs[1]] == pytest.approx([score for _, score in outputs[0]], abs=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_a_resumed_run_is_the_run_that_did_not_stop(tmp_path: Path, device: str, dtype: torch.dtype) -> None:
    def run(folder: Path, steps: int, resume: bool = False) -> dict[str, Tensor]:
        settings = {"max_steps": steps, "schedule": CONSTANT, "log_every_steps": 2, "validate_every_steps": 50}
        with tiny_trainer(folder, random_data(4), dtype=dtype, device=device, **settings) as trainer:
            trainer.begin(resume=resume)
            trainer.fit()
        return weights_of(trainer)

    whole = run(tmp_path / "whole", 6)
    run(tmp_path / "parts", 3)
    resumed = run(tmp_path / "parts", 6, resume=True)
    torch.testing.assert_close(resumed, whole, **CLOSE)
    losses = [event["loss"] for event in events(tmp_path / "whole", "step")]
    assert losses[-1] < losses[0]


def test_data_parallel_training_has_the_same_gradient(tmp_path: Path, device: str) -> None:
    network, batch = make_network().to(device), some_batch().to(torch.device(device))
    wanted = gradient(network)[1:]
    network.zero_grad()
    backend = "nccl" if device == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        loss, _ = DistributedDataParallel(BatchLoss(network, TrainingConfig(), torch.float32))(batch)
        (loss / some_batch().tgt_tokens).backward()
    finally:
        dist.destroy_process_group()
    found = [weight.grad.cpu() for weight in network.parameters() if weight.grad is not None]
    torch.testing.assert_close(found, wanted, **CLOSE)


def test_a_batch_that_does_not_fit_is_cut_until_it_does(tmp_path: Path, device: str) -> None:
    if device == "cpu":
        pytest.skip("an operating system does not refuse memory")
    with tiny_trainer(tmp_path, random_data(4), device=device) as trainer:
        pairs = [[4 + i % 8 for i in range(100)]] * 4096
        _, total = torch.cuda.mem_get_info()
        limit = min(1.0, 512 * 2**20 / total)  # of this process
        torch.cuda.set_per_process_memory_fraction(limit)
        try:
            trainer.guard_memory(lambda epoch, cost: make_batch(pairs, pairs))
            assert trainer.progress.splits > 1
            assert bool(trainer.accumulator.accumulate(make_batch(pairs, pairs), 1).isfinite().all())
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
