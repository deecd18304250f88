"""Scheduled sampling: the schedule, the inputs it mixes, the gradient, and a resumed run."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from seq2seq.config.model import AttentionName, CellName, DropoutConfig, ModelConfig
from seq2seq.config.training import SamplingScheduleName, ScheduledSamplingConfig, TrainingConfig
from seq2seq.data.batches.batch import Batch, make_batch
from seq2seq.data.special_ids import BOS_ID, EOS_ID, PAD_ID, UNK_ID
from seq2seq.kernels import bindings
from seq2seq.model.network import Seq2Seq
from seq2seq.runtime import autocast
from seq2seq.training.gradient_accumulation import BatchLoss
from seq2seq.training.scheduled_sampling import mix_inputs, teacher_forcing_ratio
from seq2seq.training.trainer import Trainer
from tiny_trainer import VOCAB, events, random_ids, same_weights, trained, weights_of

PARTS: dict[str, dict[str, Any]] = {
    **{cell.name: {"cell": cell} for cell in CellName},
    "no attention": {"attention": AttentionName.none},
    "general": {"attention": AttentionName.general},
    "dot": {"attention": AttentionName.dot, "encoder_hidden_size": 4},
    "heads, coverage": {"attention_heads": 2, "coverage": True},
    "input feeding": {"input_feeding": True},
}


@pytest.fixture(params=["auto", "plain"])
def kernels(request: pytest.FixtureRequest) -> Iterator[None]:
    bindings.enable(request.param == "auto")
    yield
    bindings.enable(True)


def make_network(dtype: torch.dtype = torch.float64, **parts: Any) -> Seq2Seq:
    """A network in training mode with every kind of dropout, whose predictions depend on its inputs."""
    torch.manual_seed(1)
    dropout = DropoutConfig(*(0.3,) * 4, recurrent=0.3, src_words=0.3, tgt_words=0.3)
    sizes = {"emb_size": 6, "hidden_size": 8, "attention_size": 4, "decoder_layers": 2}
    network = Seq2Seq(ModelConfig(**{**sizes, **parts}, dropout=dropout), VOCAB, VOCAB).to(dtype)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_()
    return network.train()


def random_batch(rows: int = 5, longest: int = 8) -> Batch:
    numbers = random.Random(1)
    return make_batch(random_ids(numbers, rows, longest), random_ids(numbers, rows, longest))


def predictions(network: Seq2Seq, batch: Batch, row: int, tgt_in: list[int]) -> list[int]:
    """The most probable token after each prefix of `tgt_in`, from one sentence alone with `Seq2Seq.step`."""
    src_ids, src_lengths = batch.src_ids[row : row + 1, : batch.src_lengths[row]], batch.src_lengths[row : row + 1]
    tokens = []
    with torch.no_grad():
        memory, state = network.encode(src_ids, src_lengths)
        for token in tgt_in:
            logits, state, _ = network.step(torch.tensor([[token]]), state, memory)
            tokens.append(int(logits.argmax()))
    return tokens


# --- schedule --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "final", "expected"),
    [
        ("none", 0.2, {0: 1, 0.5: 1, 1: 1}),
        ("linear", 0.2, {0: 1, 0.25: 0.8, 0.5: 0.6, 1: 0.2, 1.3: 0.2}),
        ("linear", 0.0, {0: 1, 0.75: 0.25, 1: 0}),
        ("exponential", 0.25, {0: 1, 0.5: 0.5, 1: 0.25, 1.3: 0.25}),
        ("exponential", 0.0001, {0.25: 0.1, 0.75: 0.001}),
        ("inverse_sigmoid", 0.0, {0: 1, 0.25: (20 / (20 + 20**0.5) - 1 / 21) / (20 / 21 - 1 / 21), 0.5: 0.5, 1: 0}),
        ("inverse_sigmoid", 0.5, {0: 1, 0.5: 0.75, 1: 0.5, 1.3: 0.5}),
    ],
)
def test_the_ratio_falls_along_the_curve(schedule: str, final: float, expected: dict[float, float]) -> None:
    config = ScheduledSamplingConfig(SamplingScheduleName[schedule], final)
    assert [teacher_forcing_ratio(config, float(done)) for done in expected] == pytest.approx(list(expected.values()))


@pytest.mark.parametrize("schedule", [one for one in SamplingScheduleName if one is not SamplingScheduleName.none])
def test_the_ratio_never_rises(schedule: SamplingScheduleName) -> None:
    ratios = [teacher_forcing_ratio(ScheduledSamplingConfig(schedule, 0.1), done / 100) for done in range(101)]
    assert all(later < earlier for earlier, later in itertools.pairwise(ratios))


# --- inputs ----------------------------------------------------------------------------------------------------------


def test_at_ratio_1_nothing_is_computed_and_no_random_number_drawn() -> None:
    network, batch = make_network(), random_batch()
    before = torch.get_rng_state()
    assert mix_inputs(network, batch, 1.0) is batch
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_ratio_0_is_greedy_decoding(kernels: None, parts: dict[str, Any]) -> None:
    """Up to the length of each sentence; where a special token is predicted, the reference is fed."""
    network, batch = make_network(**parts), random_batch(rows=8)
    mixed = mix_inputs(network, batch, 0.0)
    assert network.training
    assert not mixed.tgt_in.requires_grad
    network.eval()
    for row, reference in enumerate(batch.tgt_in.tolist()):
        length = int((batch.tgt_out[row] != PAD_ID).sum())
        expected = [BOS_ID]
        for token in reference[1:length]:
            predicted = predictions(network, batch, row, expected)[-1]
            expected.append(predicted if predicted > EOS_ID else token)
        assert mixed.tgt_in[row].tolist() == expected + [PAD_ID] * (len(reference) - length)
    assert not torch.equal(mixed.tgt_in, batch.tgt_in)
    for name in ("src_ids", "src_lengths", "tgt_out"):
        assert torch.equal(getattr(mixed, name), getattr(batch, name))


@pytest.mark.parametrize("special", [PAD_ID, UNK_ID, BOS_ID, EOS_ID])
def test_special_tokens_are_never_fed(special: int) -> None:
    network, batch = make_network(), random_batch()
    with torch.no_grad():
        network.output.bias[special] = 1000.0
    assert torch.equal(mix_inputs(network, batch, 0.0).tgt_in, batch.tgt_in)


def test_each_token_is_the_reference_or_the_prediction_after_the_tokens_fed_before() -> None:
    network, batch, ratio = make_network(), random_batch(rows=40), 0.7
    torch.manual_seed(2)
    mixed = mix_inputs(network, batch, ratio)
    network.eval()
    kept: list[bool] = []
    for row, fed in enumerate(mixed.tgt_in.tolist()):
        for token, predicted, reference in zip(
            fed[1:], predictions(network, batch, row, fed[:-1]), batch.tgt_in[row, 1:].tolist(), strict=True
        ):
            assert token == reference or (token == predicted and predicted > EOS_ID and reference != PAD_ID)
            if predicted > EOS_ID and reference not in (PAD_ID, predicted):
                kept.append(token == reference)
    deviation = (ratio * (1 - ratio) / len(kept)) ** 0.5
    assert sum(kept) / len(kept) == pytest.approx(ratio, abs=4 * deviation)
    assert deviation < 0.05


# --- gradient --------------------------------------------------------------------------------------------------------


def gradient(network: Seq2Seq, config: TrainingConfig, dtype: torch.dtype, batch: Batch, ratio: float) -> list[Tensor]:
    network.zero_grad(set_to_none=True)
    BatchLoss(network, config, dtype)(batch, ratio)[0].backward()
    return [weight.grad for weight in network.parameters() if weight.grad is not None]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("parts", [{}, {"input_feeding": True}, {"attention": AttentionName.dot}], ids=str)
def test_the_gradient_equals_teacher_forcing_on_the_mixed_inputs(
    kernels: None, dtype: torch.dtype, parts: dict[str, Any]
) -> None:
    """With the same dropout masks; and no gradient is lost to a weight that autocast cached without gradient."""
    config = TrainingConfig()
    network = make_network(torch.float32, encoder_hidden_size=4, **parts)
    batch = random_batch()
    torch.manual_seed(3)
    with autocast(torch.device("cpu"), dtype):
        mixed = mix_inputs(network, batch, 0.3)
    assert not torch.equal(mixed.tgt_in, batch.tgt_in)
    expected = gradient(network, config, dtype, mixed, 1.0)
    torch.manual_seed(3)
    actual = gradient(network, config, dtype, batch, 0.3)
    assert len(actual) == len(list(network.parameters()))
    assert all(torch.equal(*pair) for pair in zip(actual, expected, strict=True))


def test_both_passes_of_r_drop_have_the_same_inputs() -> None:
    """Without dropout they have the same logits, so that R-Drop changes nothing."""
    network, batch = make_network(torch.float32), random_batch()
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    gradients = []
    for alpha in (0.0, 5.0):
        torch.manual_seed(3)
        gradients.append(gradient(network, TrainingConfig(r_drop=alpha), torch.float32, batch, 0.3))
    for plain, r_drop in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, r_drop, rtol=1e-3, atol=1e-4)


# --- run -------------------------------------------------------------------------------------------------------------


def run(folder: Path, schedule: str, stop_at: int | None = None, **settings: Any) -> Trainer:
    """Run to the end; with `stop_at`, stop after that step and resume with a new trainer."""
    sampling = ScheduledSamplingConfig(SamplingScheduleName[schedule], 0.1)
    settings = {"max_epochs": 2, "micro_batches": 2, "scheduled_sampling": sampling, **settings}
    return trained(folder, stop_at, **settings)


def test_a_resumed_run_draws_the_same_inputs_as_the_uninterrupted_one(tmp_path: Path) -> None:
    whole, parts = run(tmp_path / "whole", "linear"), run(tmp_path / "parts", "linear", stop_at=5)
    assert same_weights(weights_of(whole), weights_of(parts))
    losses = [[event["loss"] for event in events(tmp_path / name, "step")] for name in ("whole", "parts")]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 8


def test_a_run_begins_with_teacher_forcing_and_departs_from_it(tmp_path: Path) -> None:
    with_, without = run(tmp_path / "with", "linear"), run(tmp_path / "without", "none")
    losses = [[event["loss"] for event in events(tmp_path / name, "step")] for name in ("with", "without")]
    assert losses[0][0] == losses[1][0]
    assert losses[0][-1] != losses[1][-1]
    assert not same_weights(weights_of(with_), weights_of(without))
