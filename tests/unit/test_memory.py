"""The memory guard of training: available memory, the need of a batch, and the errors."""

from __future__ import annotations

import functools
import math
import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from seq2seq.config.decode import DecodeConfig
from seq2seq.config.model import AttentionName, ModelConfig
from seq2seq.config.training import MinimumRiskConfig, TrainingConfig
from seq2seq.data.batches.batch import Batch, make_batch
from seq2seq.errors import ConfigError
from seq2seq.evaluation.candidates import CandidateFinder
from seq2seq.kernels import bindings
from seq2seq.model.network import Seq2Seq, without_weights
from seq2seq.training.available_memory import available_bytes
from seq2seq.training.distributed import ProcessGroup
from seq2seq.training.gradient_accumulation import GradientAccumulator
from seq2seq.training.loss import output_loss
from seq2seq.training.memory import (
    ESTIMATE_FACTOR,
    OVERHEAD_BYTES,
    check_memory,
    check_weights,
    estimated_bytes,
    peak_bytes,
    update_bytes,
)
from seq2seq.training.progress import Progress
from tiny_model import make_model

MIB, GIB = 2**20, 2**30
VOCAB = 50


# --- available memory ------------------------------------------------------------------------------------------------


def system(root: Path, files: dict[str, str]) -> Path:
    for name, text in {"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable: 8000 kB\n", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def test_without_control_groups_it_is_the_estimate_of_the_kernel(tmp_path: Path) -> None:
    assert available_bytes(root=system(tmp_path, {})) == 8000 * 1024


def test_a_system_that_does_not_report_it(tmp_path: Path) -> None:
    assert available_bytes(root=tmp_path) is None


@pytest.mark.parametrize("group", ["/", "/batch/job", "/outside/the/container"])
def test_group_of_version_2(tmp_path: Path, group: str) -> None:
    """The limit of the group or of one around it; file pages count as free."""
    top = "sys/fs/cgroup"
    files = {
        "proc/self/cgroup": f"0::{group}\n",
        f"{top}/memory.max": "5000000\n",
        f"{top}/memory.current": "3000000\n",
        f"{top}/memory.stat": "anon 2000000\ninactive_file 600000\nactive_file 300000\n",
        f"{top}/batch/job/memory.max": "4000000\n",
        f"{top}/batch/job/memory.current": "3500000\n",
        f"{top}/batch/job/memory.stat": "anon 3500000\ninactive_file 0\n",
        f"{top}/batch/memory.max": "max\n",
        f"{top}/batch/memory.current": "3500000\n",
    }
    left = 500_000 if group == "/batch/job" else 2_900_000
    assert available_bytes(root=system(tmp_path, files)) == left


def test_group_of_version_1(tmp_path: Path) -> None:
    top = "sys/fs/cgroup/memory"
    files = {
        "proc/self/cgroup": "5:devices:/\n4:cpu,memory:/job\n0::/\n",
        f"{top}/job/memory.limit_in_bytes": "4000000\n",
        f"{top}/job/memory.usage_in_bytes": "3000000\n",
        f"{top}/job/memory.stat": "inactive_file 1\ntotal_inactive_file 400000\ntotal_active_file 100000\n",
        f"{top}/memory.limit_in_bytes": "9223372036854771712\n",
        f"{top}/memory.usage_in_bytes": "7000000\n",
    }
    assert available_bytes(root=system(tmp_path, files)) == 1_500_000


def test_a_group_above_its_limit_leaves_nothing(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/memory.max": "1000\n",
        "sys/fs/cgroup/memory.current": "2000\n",
    }
    assert available_bytes(root=system(tmp_path, files)) == 0


# --- what a batch needs ----------------------------------------------------------------------------------------------


def test_the_peak_counts_tensors_that_are_alive_at_the_same_time() -> None:
    def work() -> None:
        first = torch.empty(3 * MIB, dtype=torch.uint8)
        del first
        second, third = (torch.empty(2 * MIB, dtype=torch.uint8) for _ in range(2))
        del second, third

    assert peak_bytes(work) == 4 * MIB


def test_long_sentences_need_more_for_pairs_of_positions() -> None:
    """Both batches have the same number of positions; only the attention's vectors differ."""
    short, long = estimated_bytes(network(), np.array([20, 1]), *(np.array([5, 100]),) * 2)
    assert long > short


@pytest.mark.parametrize("kernels", [False, True])
def test_r_drop_with_a_large_vocabulary_stays_below_the_estimate_factor(
    kernels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With kernels far below: they need no matrices beside the logits."""
    monkeypatch.setattr(bindings, "_enabled", kernels)
    model = Seq2Seq(ModelConfig(emb_size=4, hidden_size=4, attention_size=4), 4000, 4000)
    batch, config = some_batch(25, 10, 10), TrainingConfig(r_drop=5.0)
    accumulator = GradientAccumulator(model, config, torch.float32, ProcessGroup(), Progress())
    estimate = estimated_bytes(model, *np.array([[25], [10], [10]]))[0]
    factor = peak_bytes(lambda: accumulator.accumulate_part(batch)) / estimate
    compiled = bindings.usable(model.output.weight)
    assert (1 if compiled else ESTIMATE_FACTOR / 2) < factor < (ESTIMATE_FACTOR / 3 if compiled else ESTIMATE_FACTOR)


def test_an_update_with_candidates_stays_below_the_estimate_factor(tmp_path: Path) -> None:
    """The search with a large vocabulary included."""
    model = Seq2Seq(ModelConfig(emb_size=4, hidden_size=4, attention_size=4), 4000, 4000)
    accumulator, config = with_candidates(model, tmp_path)
    estimate = update_bytes(model, config, *np.array([[8], [10], [10]]))[0]
    assert 1 < peak_bytes(lambda: accumulator.accumulate_part(some_batch(8, 10, 10))) / estimate < ESTIMATE_FACTOR


def test_the_guard_knows_the_candidates(tmp_path: Path) -> None:
    """It computes the gradient with the longest ones and refuses a batch whose plain update is far below the limit."""
    model, part = network(), some_batch(300, 10, 10)
    accumulator, config = with_candidates(model, tmp_path)
    plain = peak_bytes(lambda: gradient_of(model)(part))
    available = OVERHEAD_BYTES + 4 * plain
    estimate = functools.partial(update_bytes, model, config)
    assert not refusal(model, part, available)
    settings = {"batch_tokens": 3000, "available": available, "estimate": estimate}
    with pytest.raises(ConfigError, match=r"training\.batch_tokens=3000: .*training\.micro_batches="):
        check_memory(accumulator.accumulate_part, model, part, **settings)


def with_candidates(model: Seq2Seq, folder: Path) -> tuple[GradientAccumulator, MinimumRiskConfig]:
    risk = MinimumRiskConfig(weight=0.5)
    find = CandidateFinder(model, make_model(folder).tokenizer, risk, DecodeConfig())
    config = TrainingConfig(minimum_risk=risk)
    return GradientAccumulator(model, config, torch.float32, ProcessGroup(), Progress(), find), risk


# --- errors ----------------------------------------------------------------------------------------------------------


def network(attention: AttentionName = AttentionName.additive) -> Seq2Seq:
    torch.manual_seed(1)
    sizes = {"emb_size": 16, "hidden_size": 32, "attention_size": 16, "attention": attention}
    return Seq2Seq(ModelConfig(**sizes), VOCAB, VOCAB)


def gradient_of(model: Seq2Seq) -> Callable[[Batch], None]:
    def gradient(batch: Batch) -> None:
        readouts, targets, _ = model.read_out(batch)
        loss, _ = output_loss(model.output, readouts, targets, 0.1)
        torch.autograd.backward(loss / len(targets))

    return gradient


def some_batch(rows: int, src_len: int, tgt_len: int) -> Batch:
    numbers = random.Random(1)

    def side(length: int) -> list[list[int]]:
        return [[numbers.randrange(4, VOCAB) for _ in range(length - 1)] for _ in range(rows)]

    return make_batch(side(src_len), side(tgt_len))


def refusal(model: Seq2Seq, batch: Batch, available: int, micro_batches: int = 1, copies: int = 2) -> str:
    """The error of `check_memory`, or an empty string."""
    tokens = batch.src_ids.numel()
    try:
        settings = {"batch_tokens": tokens, "micro_batches": micro_batches, "copies": copies}
        check_memory(gradient_of(model), model, batch, available=available, **settings)
    except ConfigError as error:
        return str(error)
    return ""


def needed_bytes(error: str) -> float:
    match = re.search(r"about (\d+\.\d+) GiB", error)
    assert match
    return float(match[1]) * GIB


ROWS, LENGTH = 300, 10


@pytest.fixture(scope="module")
def batch() -> Batch:
    return some_batch(ROWS, LENGTH, LENGTH)


@pytest.fixture(scope="module")
def peak(batch: Batch) -> int:
    """Peak memory of the whole batch."""
    return peak_bytes(lambda: gradient_of(network())(batch))


@pytest.fixture(scope="module")
def half(peak: int) -> int:
    """Memory for about half of the batch."""
    return OVERHEAD_BYTES + peak // 2


def test_the_predicted_need_is_close_to_the_measured_one(batch: Batch, peak: int) -> None:
    """Predicted from a part of the rows, it is between 1 and 1.5 times the need of the whole batch."""
    model = network()
    weights = sum(weight.nbytes for weight in model.parameters())
    assert not refusal(model, batch, int(1.5 * (peak + 2 * weights)) + OVERHEAD_BYTES)
    assert refusal(model, batch, peak + 2 * weights + OVERHEAD_BYTES)


def test_the_budget_in_the_error_fits_and_a_larger_one_does_not(batch: Batch, half: int) -> None:
    model = network()
    error = refusal(model, batch, half)
    assert error.startswith(f"training.batch_tokens={ROWS * LENGTH}: an update needs about 0.")
    assert f" {half / GIB:.2f} GiB are available" in error
    budget = int(re.search(r"Lower it to (\d+)", error)[1])  # type: ignore[index]
    assert budget % 64 == 0
    assert not refusal(model, some_batch(budget // LENGTH, LENGTH, LENGTH), half)
    assert refusal(model, some_batch(math.ceil(1.1 * budget / LENGTH), LENGTH, LENGTH), half)


def test_the_number_of_parts_in_the_error_fits_and_a_smaller_one_does_not(batch: Batch, half: int) -> None:
    model = network()
    error = refusal(model, batch, half)
    parts = int(re.search(r"training\.micro_batches=(\d+)", error)[1])  # type: ignore[index]
    assert parts > 1
    assert not refusal(model, batch, half, micro_batches=parts)
    assert refusal(model, batch, half, micro_batches=parts - 1)


def test_not_enough_memory_for_one_pair(batch: Batch) -> None:
    assert "too little even for one pair of 10 tokens: lower data.max_length" in refusal(network(), batch, 100_000)


def test_a_network_that_is_too_large_is_refused_before_it_is_created() -> None:
    config = ModelConfig(emb_size=16, hidden_size=65536, attention_size=16)
    weights = sum(weight.numel() for weight in without_weights(config, VOCAB, VOCAB).parameters())
    with pytest.raises(ConfigError, match=rf"^{weights:,} weights, [\d,]+ of them in the decoder, need .*hidden_size"):
        check_weights(config, VOCAB, VOCAB, 16 * weights - 1)
    for enough in (16 * weights, None):
        check_weights(config, VOCAB, VOCAB, enough)


def test_each_copy_of_the_weights_counts(batch: Batch) -> None:
    model = network()
    needed = [needed_bytes(refusal(model, batch, MIB, copies=copies)) for copies in (0, 2000)]
    weights = sum(weight.nbytes for weight in model.parameters())
    assert needed[1] - needed[0] >= 2000 * weights - 0.02 * GIB


def test_weights_gradients_and_random_state_are_unchanged(batch: Batch, half: int) -> None:
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random_state = torch.get_rng_state()
    assert refusal(model, batch, half)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())


@pytest.mark.parametrize("available", [None, 64 * GIB])
def test_with_unknown_or_ample_memory_nothing_is_computed(batch: Batch, available: int | None) -> None:
    def gradient(part: Batch) -> None:
        pytest.fail("a gradient was computed")

    check_memory(gradient, network(), batch, batch_tokens=ROWS * LENGTH, available=available)
