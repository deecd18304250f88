"""The compiled kernels and the plain operations beside them give the same network, forwards and backwards."""

from __future__ import annotations

import itertools
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from covering import covering_set, name_of
from scaling import LONG, scaled
from seq2seq.config.data import DataConfig, DataName
from seq2seq.config.model import AttentionName, CellName, DropoutConfig, ModelConfig, TieName
from seq2seq.config.tokenizer import PieceType, TokenizerConfig
from seq2seq.config.training import TrainingConfig
from seq2seq.data.batches.batch import Batch, make_batch
from seq2seq.data.corpora import multi30k
from seq2seq.data.corpus import ParallelText
from seq2seq.data.special_ids import BOS_ID
from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.errors import NotFiniteError
from seq2seq.inference.ensemble import Ensemble
from seq2seq.kernels import bindings, build, cache
from seq2seq.model.cells import GATES
from seq2seq.model.cpu import dispatch, probes, torch_layers
from seq2seq.model.cpu.attentional import AttentionalSequence
from seq2seq.model.cpu.cell_adapters import ADAPTERS
from seq2seq.model.cpu.decoder_step import CompiledStep, SearchStep
from seq2seq.model.cpu.hashed_dropout import HashedDropout
from seq2seq.model.cpu.packed_linear import int8_linear
from seq2seq.model.cpu.recurrence import CellSequence
from seq2seq.model.dropout import Dropout
from seq2seq.model.network import Seq2Seq
from seq2seq.runtime import autocast
from seq2seq.training.loss import ProjectedLoss, output_loss, smoothed_cross_entropy
from seq2seq.training.optimizer import make_optimizer
from seq2seq.training.r_drop import r_drop_cross_entropy
from tiny_trainer import random_ids

COMPILER = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
pytestmark = pytest.mark.skipif(not COMPILER, reason="no C++ compiler, so no kernels")
EXAMPLES = settings(max_examples=scaled(12, 100), deadline=None, derandomize=True)
DOUBLE = torch.float64
NO_DROPOUT = DropoutConfig(0.0, 0.0, 0.0, 0.0)
seeds = st.integers(0, 2**20)
CELLS: dict[str, dict[str, Any]] = {cell.name: {"cell": cell} for cell in CellName}
CELLS["peephole_lstm with candidate"] = {"cell": CellName.peephole_lstm, "peephole_candidate": True}
ATTENTIONS: dict[str, dict[str, Any]] = {
    "additive": {},
    "two heads": {"attention_heads": 2},
    "none": {"attention": AttentionName.none},
    "coverage": {"attention_heads": 2, "coverage": True},
    "normalised": {"attention_heads": 2, "attention_weight_norm": True},
    "general": {"attention": AttentionName.general},
    "dot": {"attention": AttentionName.dot},
}


@pytest.fixture(autouse=True)
def kernels() -> Iterator[None]:
    """Kernels that a test switched off are on again after it."""
    assert bindings.failure() is None, "there is a compiler, but it does not compile kernels.cpp"
    yield
    bindings.enable(True)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=DOUBLE, requires_grad=True)


def network_and_batch(seed: int, layers: int = 2, rows: int = 4, **parts: Any) -> tuple[Seq2Seq, Batch]:
    """A network of any sizes, and of these parts; where none is given, of any that have kernels."""
    numbers = random.Random(seed)
    torch.manual_seed(seed)
    cell = dict(numbers.choice(list(CELLS.values())))
    attention = dict(numbers.choice(list(ATTENTIONS.values())))
    attention |= {"residual": numbers.random() < 0.5, "layer_norm": numbers.random() < 0.5}
    parts = parts or {**cell, **attention}
    sizes = {
        key: numbers.randint(1, 20) for key in ("emb_size", "hidden_size", "encoder_hidden_size", "attention_size")
    }
    for key in ("encoder_hidden_size", "attention_size"):
        sizes[key] *= parts.get("attention_heads", 1)
    if parts.get("attention") is AttentionName.dot:
        sizes["hidden_size"] = 2 * sizes["encoder_hidden_size"]
    tied = numbers.choice([TieName.none, TieName.three_way])
    depth = {"encoder_layers": layers, "decoder_layers": layers}
    network = Seq2Seq(ModelConfig(**sizes, **depth, **parts, tie_embeddings=tied, dropout=NO_DROPOUT), 12, 12)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.7)
    return network, make_batch(random_ids(numbers, rows, vocab=12), random_ids(numbers, rows))


def gradients(network: Seq2Seq, batch: Batch) -> dict[str, Tensor]:
    """Every weight's gradient of a loss that looks at the logits and at the attention weights."""
    network.zero_grad()
    readouts, targets, attn_weights = network.read_out(batch)
    loss, nll = output_loss(network.output, readouts, targets, 0.1)
    (loss + (attn_weights[:, :, 0] ** 2).sum()).backward()  # type: ignore[no-untyped-call]
    found = {name: weight.grad.clone() for name, weight in network.named_parameters() if weight.grad is not None}
    return found | {"loss": loss.detach(), "nll": nll}


# --- backward ---------------------------------------------------------------------------------------------------------


def assert_same_gradients(network: Seq2Seq, batch: Batch) -> None:
    """Of the kernels, of torch's fused layers where there are some, and of the plain cells, step by step."""
    network.double()
    bindings.enable(False)
    with mock.patch.object(dispatch.probes, "has_torch_layer", return_value=False):
        expected = gradients(network, batch)
    fused = gradients(network, batch)
    bindings.enable(True)
    assert_close(fused, expected)
    assert_close(gradients(network, batch), expected)


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    largest = max((float(value.abs().max()) for value in expected.values() if value.numel()), default=0.0)
    atol = min(1e-11, max(1e-12, 1e-14 * largest))  # a gradient that nearly cancels is rounded as its large terms
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, rtol=1e-9, atol=atol, msg=lambda text, name=name: f"{name}: {text}"
        )


@EXAMPLES
@given(seeds, st.integers(1, 3), st.integers(1, 5))
def test_gradients_are_those_of_the_plain_network(seed: int, layers: int, rows: int) -> None:
    assert_same_gradients(*network_and_batch(seed, layers, rows))


FUSED = {
    "cell": [*CELLS],
    "attention": [*ATTENTIONS],
    "residual": [False, True],
    "layer_norm": [False, True],
    "layers": [1, 3],
    "rows": [2, 5],  # few have a kernel of their own
}


@pytest.mark.parametrize("row", covering_set(FUSED), ids=name_of)
def test_every_fused_part_has_the_gradients_of_the_plain_one(row: dict[str, Any]) -> None:
    parts = {**CELLS[row["cell"]], **ATTENTIONS[row["attention"]]}
    parts |= {key: row[key] for key in ("residual", "layer_norm")}
    assert_same_gradients(*network_and_batch(1, row["layers"], row["rows"], **parts))


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("cell", CELLS)
def test_more_threads_compute_the_same(cell: str, attention: str) -> None:
    network, batch = network_and_batch(3, 2, 5, **CELLS[cell], **ATTENTIONS[attention])
    network.double()
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected = gradients(network, batch)
        torch.set_num_threads(3)
        found = gradients(network, batch)
    finally:
        torch.set_num_threads(threads)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-9)


def combinations(**factors: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return all combinations of the values in `make test-long`, otherwise some that cover every pair."""
    rows = itertools.product(*factors.values()) if LONG else (row.values() for row in covering_set(factors))
    return [tuple(row) for row in rows]


def own_weights(cell: CellName, size: int) -> tuple[Tensor | None, Tensor | None]:
    """Peephole weights, and the bias that a GRU's reset gate multiplies."""
    peepholes = normal(4, size) if cell is CellName.peephole_lstm else None
    return peepholes, normal(size) if cell is CellName.gru else None


def norm_of(cell: CellName, normalised: bool) -> Tensor | None:
    return normal(2, GATES[cell], 4) if normalised else None


@pytest.mark.parametrize(
    ("cell", "rows", "reverse", "given_state", "normalised"),
    combinations(
        cell=list(CellName),
        rows=[2, 3],  # few rows have a kernel of their own
        reverse=[False, True],
        given_state=[False, True],
        normalised=[False, True],
    ),
)
def test_recurrent_layer_gradcheck(
    cell: CellName, rows: int, reverse: bool, given_state: bool, normalised: bool
) -> None:
    torch.manual_seed(0)
    memory = 4 if "lstm" in cell.name else 0
    state = (normal(rows, 4), normal(rows, memory)) if given_state else (None, None)
    lengths = None if given_state else torch.tensor([5, 1, 3])[:rows]
    units = 4 * GATES[cell]
    weights = normal(units, 2), normal(units, 4), normal(units), *own_weights(cell, 4), norm_of(cell, normalised)
    arguments = (cell, normal(5, rows, 2), *weights, *state, lengths, reverse)
    assert torch.autograd.gradcheck(CellSequence.apply, arguments)


@pytest.mark.parametrize(
    ("cell", "score", "normalised"),
    combinations(
        cell=list(CellName),
        score=["additive", "two heads", "coverage", "two heads with coverage", "product"],
        normalised=[False, True],
    ),
)
def test_attentional_layer_gradcheck(cell: CellName, score: str, normalised: bool) -> None:
    torch.manual_seed(0)
    units, memory, heads = 4 * GATES[cell], 4 if "lstm" in cell.name else 0, 2 if "two" in score else 1
    peepholes, _ = own_weights(cell, 4)
    scoring = (None, None) if score == "product" else (normal(6, 4), normal(6))
    coverage = (normal(6), normal(3, heads, 4)) if "coverage" in score else (None, normal(3, 0, 0))
    weights = (
        normal(units, 2),
        normal(units),
        normal(units, 6 + 4),
        peepholes,
        norm_of(cell, normalised),
        *scoring,
        coverage[0],
    )
    source = normal(3, 4, 4 if score == "product" else 6), normal(3, 4, 6), torch.tensor([4, 1, 2])
    arguments = (cell, heads, normal(3, 3, 2), *weights, *source, normal(3, 4), normal(3, memory), coverage[1])
    assert torch.autograd.gradcheck(AttentionalSequence.apply, arguments)


@pytest.mark.parametrize("alpha", [0.0, 3.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_projected_loss_gradcheck(smoothing: float, alpha: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seq2seq.training.loss.CHUNK_TOKENS", 4 if alpha else 2)
    torch.manual_seed(0)
    targets = torch.tensor([1, 0, 6, 3, 3])
    readouts, weight, bias = normal(10 if alpha else 5, 3), normal(7, 3), normal(7)
    arguments = (readouts, weight, bias, targets, smoothing, alpha, True)
    assert torch.autograd.gradcheck(lambda *inputs: ProjectedLoss.apply(*inputs)[0], arguments)
    loss, nll = ProjectedLoss.apply(*arguments)
    logits = nn.functional.linear(readouts, weight, bias)
    if alpha:
        expected = r_drop_cross_entropy(*logits.chunk(2), targets, smoothing, alpha)
    else:
        expected = smoothed_cross_entropy(logits, targets, smoothing)
    torch.testing.assert_close((loss, nll), expected)
    assert not nll.requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernel_of_r_drop_is_the_plain_loss(dtype: torch.dtype) -> None:
    """For passes as close as dropout makes them, and for passes that are far apart."""
    torch.manual_seed(0)
    first, targets, bias = 3 * torch.randn(9, 70), torch.randint(70, (9,)), torch.randn(70)
    second = first + torch.tensor([0.01, 0.3, 3.0]).repeat(3)[:, None] * torch.randn(9, 70)
    plain = [values.to(dtype).float().requires_grad_() for values in (first, second)]
    expected = [
        r_drop_cross_entropy(*(row[None] + bias for row in rows), y[None], 0.1, 5.0)
        for *rows, y in zip(*plain, targets, strict=True)
    ]
    gradients = torch.autograd.grad(sum(loss for loss, _ in expected), plain)
    loss, nll, logits = torch.empty(9), torch.empty(9), [values.to(dtype) for values in (first, second)]
    bindings.r_drop(*logits, bias, targets, 0.1, 5.0, loss, nll)
    torch.testing.assert_close(
        torch.stack([loss, nll], 1),
        torch.tensor([[float(one.detach()) for one in row] for row in expected]),
        rtol=1e-5,
        atol=1e-5,
    )
    close = {"rtol": 2.0**-8 if dtype is torch.bfloat16 else 1e-4, "atol": 1e-5, "check_dtype": False}
    torch.testing.assert_close(logits, list(gradients), **close)


@pytest.mark.parametrize("second", [False, True])
def test_a_row_of_r_drop_with_nan_or_without_a_target_is_nan(second: bool) -> None:
    logits = torch.zeros(2, 4, 20)
    logits[int(second), 1, 17] = math.nan
    loss, nll = torch.empty(4), torch.empty(4)
    bindings.r_drop(*logits, None, torch.tensor([1, 1, 20, -1]), 0.1, 3.0, loss, nll)
    assert loss.isnan().tolist() == nll.isnan().tolist() == [False, True, True, True]
    assert logits.isnan().any(dim=2).tolist() == [[False, True, True, True]] * 2


def test_no_tokens_lose_nothing() -> None:
    output = nn.Linear(3, 7)
    loss, nll = output_loss(output, torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), 0.1)
    assert (loss.item(), nll.item()) == (0, 0)
    loss.backward()
    assert output.weight.grad is not None
    assert not output.weight.grad.any()


def assert_same_direction(network: Seq2Seq, batch: Batch, least: float, matrices_alone: bool = False) -> None:
    exact = gradients(network, batch)
    with autocast(torch.device("cpu"), torch.bfloat16):
        rounded = gradients(network, batch)
    assert rounded["loss"] != exact["loss"]
    compared = {name: value for name, value in exact.items() if value.dim() > matrices_alone}
    similar = {
        name: torch.cosine_similarity(rounded[name].flatten().double(), value.flatten().double(), dim=0).item()
        for name, value in compared.items()
    }
    assert not {name: value for name, value in similar.items() if not value >= least}  # NaN is not either


@pytest.mark.parametrize("cell", CELLS)
def test_bf16_gradients_point_the_same_way(cell: str) -> None:
    """On random ids: the gradient is a small rest of what cancels, and the biases' even more so."""
    torch.manual_seed(3)
    sizes = {"emb_size": 64, "hidden_size": 64, "attention_size": 64, "encoder_layers": 2, "decoder_layers": 2}
    network = Seq2Seq(ModelConfig(**sizes, **CELLS[cell], dropout=NO_DROPOUT), 100, 100)
    numbers = random.Random(3)
    batch = make_batch(random_ids(numbers, 40, vocab=100), random_ids(numbers, 40, vocab=100))
    assert_same_direction(network, batch, 0.99, matrices_alone=True)


@pytest.fixture(scope="module")
def real_batch(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Batch, int]:
    """Captions of Multi30k in pieces, and the number of these."""
    config = DataConfig(name=DataName.multi30k, src="en", tgt="de", root=str(corpora / "multi30k"))
    text = multi30k.read(config, "train")
    pieces = TokenizerConfig(type=PieceType.bpe, vocab_size=1000, byte_fallback=False)
    some = ParallelText(text.src[:3000], text.tgt[:3000])
    tokenizer = Tokenizer.train(some, pieces, tmp_path_factory.mktemp("pieces"))
    batch = make_batch(tokenizer.encode_src(text.src[:60]), tokenizer.encode_tgt(text.tgt[:60]))
    return batch, tokenizer.src_size


OTHERS = ("residual", "input_feeding", "layer_norm")
REAL = CELLS | ATTENTIONS | {part: {part: True} for part in OTHERS}


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("parts", REAL)
def test_bf16_gradients_of_real_sentences_are_those_of_fp32(
    parts: str, enabled: bool, real_batch: tuple[Batch, int]
) -> None:
    """Every tensor's, biases included, with kernels and without."""
    torch.manual_seed(1)
    bindings.enable(enabled)
    batch, vocab = real_batch
    sizes = {"emb_size": 128, "hidden_size": 128, "encoder_hidden_size": 64, "attention_size": 128}
    depth = {"encoder_layers": 2, "decoder_layers": 2}
    network = Seq2Seq(ModelConfig(**sizes, **depth, **REAL[parts], dropout=NO_DROPOUT), vocab, vocab)
    for name, parameter in network.named_parameters():
        if name.endswith("gain"):  # at 1 an untrained LSTM is chaos: rounding its weights alone turns the gradient
            torch.nn.init.constant_(parameter, 0.3)
    assert_same_direction(network, batch, 0.999)


# --- forwards --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("precision", [(torch.float32, 1e-5), (torch.bfloat16, 4e-2), (DOUBLE, 1e-9)], ids=str)
@torch.no_grad()
def test_a_fast_step_is_the_plain_step(cell: str, attention: str, precision: tuple[torch.dtype, float]) -> None:
    """For every cell and attention, with one layer and with three, residual or not, and beams of several widths.

    In bf16 a logit above 4 is a multiple of 1/32.
    """
    for seed, (layers, beam) in enumerate([(1, 3), (3, 1), (2, 4)]):
        parts = {**CELLS[cell], **ATTENTIONS[attention], "residual": seed % 2 == 0, "layer_norm": seed == 2}
        network, batch = network_and_batch(seed, layers, **parts)
        assert_fast_step_is_plain(network, batch, beam, *precision)


@EXAMPLES
@given(seeds, st.integers(1, 3), st.integers(1, 4), st.sampled_from([(torch.float32, 1e-5), (DOUBLE, 1e-9)]))
@torch.no_grad()
def test_a_fast_step_is_the_plain_step_whatever_the_sizes(
    seed: int, layers: int, beam: int, precision: tuple[torch.dtype, float]
) -> None:
    assert_fast_step_is_plain(*network_and_batch(seed, layers), beam, *precision)


def assert_fast_step_is_plain(network: Seq2Seq, batch: Batch, beam: int, dtype: torch.dtype, error: float) -> None:
    """At values that bend every tanh in float64, and at small ones where roundings count."""
    network.to(DOUBLE if dtype is DOUBLE else torch.float32).eval()
    if dtype is not DOUBLE:
        for parameter in network.parameters():
            parameter *= 0.4
    with autocast(torch.device("cpu"), torch.float32 if dtype is DOUBLE else dtype):
        compare_steps(network, batch, beam, error)


def compare_steps(network: Seq2Seq, batch: Batch, beam: int, error: float) -> None:
    close = {"rtol": 0, "atol": error, "check_dtype": False}  # what is summed up is not in bf16
    memory, start = network.encode(batch.src_ids, batch.src_lengths)
    start = type(start)(*(values.expand(-1, beam, -1, -1) for values in start))
    fast = dispatch.decoder_step(network, network.step)
    assert isinstance(fast, CompiledStep)
    state, plain_state = start, start
    for _ in range(3):
        last = torch.randint(12, (len(batch.src_lengths), beam))
        logits, state, attn_weights = fast(last, state, memory)
        expected, plain_state, expected_weights = network.step(last, plain_state, memory)
        torch.testing.assert_close(logits, expected, **close)
        torch.testing.assert_close(attn_weights, expected_weights, **close)
        for found, wanted in zip(state, plain_state, strict=True):
            torch.testing.assert_close(found, wanted, **close)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "parts", CELLS | ATTENTIONS | {"residual": {"residual": True}, "layer_norm": {"layer_norm": True}}
)
@torch.inference_mode()
def test_replayed_steps_are_the_steps_in_8_bits(parts: str, dtype: torch.dtype) -> None:
    """To the last bit, for beams that widen and a batch that shrinks; new inputs show what a replay left out."""
    known = CELLS | ATTENTIONS
    network, batch = network_and_batch(1, **known.get(parts, {parts: True}))
    network.eval()
    with autocast(torch.device("cpu"), dtype):
        step = dispatch.decoder_step(network, network.step, int8=True)
        assert isinstance(step, CompiledStep)
        alone = parts not in ("gru", "none", "coverage", "residual")
        assert step.kernels_alone == alone
        memory, first = network.encode(batch.src_ids, batch.src_lengths)
        in_search, union = SearchStep(step, torch.arange(2, 9)), torch.arange(2, 9)
        for beam, rows in ((1, 4), (3, 4), (3, 2)):
            memory = memory._make(values[:rows] for values in memory)
            state = type(first)(*(values[:rows].expand(-1, beam, -1, -1) for values in first))
            for _ in range(4):
                last = torch.randint(12, (rows, beam))
                expected = step(last, state, memory, step.advance_with(memory, step.output_of(union)))
                found = in_search(last, state, memory)
                assert_equal_tensors([found[0], *found[1], found[2]], [expected[0], *expected[1], expected[2]])
                state = expected[1]


def assert_equal_tensors(found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def test_kernels_of_another_thread_are_not_recorded() -> None:
    values, recorded, run = torch.arange(4.0), torch.zeros(4), torch.zeros(4)
    with bindings.recording() as program:
        bindings.dropout(values, recorded, 1.0, 1)
        other = threading.Thread(target=bindings.dropout, args=(values, run, 1.0, 1))
        other.start()
        other.join()
    assert torch.equal(run, values)
    assert not recorded.any()
    for factor in (1.0, 2.0):
        values *= factor
        program.run(1)
        assert torch.equal(recorded, values)
    bindings.dropout(values, run, 1.0, 1)
    assert torch.equal(run, values)


def test_a_prepared_step_is_kept_until_a_weight_changes() -> None:
    network, _ = network_and_batch(1)
    first = dispatch.decoder_step(network, network.step)
    assert dispatch.decoder_step(network, first) is first
    with autocast(torch.device("cpu"), torch.bfloat16):
        assert dispatch.decoder_step(network, first) is not first
    with torch.no_grad():
        network.output.bias += 1
    assert dispatch.decoder_step(network, first) is not first


def test_a_translation_after_an_update_is_that_of_the_new_weights() -> None:
    network, batch = network_and_batch(1)
    optimizer = make_optimizer(network.parameters(), TrainingConfig(learning_rate=0.1))
    ensemble = Ensemble([network])

    def first_word() -> Tensor:
        with torch.inference_mode():
            state = ensemble.start([[4, 5]], torch.device("cpu"))
            return ensemble.step(torch.full((1, 1), BOS_ID), state)[0].log_probs

    network.eval()
    before = first_word()
    gradients(network, batch)
    optimizer.step()
    fresh, ensemble_before = Ensemble([network]), ensemble
    after = first_word()
    ensemble = fresh
    torch.testing.assert_close(after, first_word())
    assert not torch.allclose(after, before)
    with torch.no_grad():
        network.output.bias.data.add_(torch.arange(12.0))  # which no counter counts
    ensemble_before.invalidate()
    ensemble = ensemble_before
    assert not torch.allclose(first_word(), after)


def test_weights_made_in_inference_mode_can_be_prepared() -> None:
    with torch.inference_mode():
        network, _ = network_and_batch(1)
        assert isinstance(dispatch.decoder_step(network, network.step), CompiledStep)


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_without_kernel_runs_step_by_step(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network, batch = network_and_batch(2, **CELLS[cell])
    network.double()
    expected = gradients(network, batch)
    monkeypatch.delitem(ADAPTERS, CELLS[cell]["cell"])
    assert dispatch.decoder_step(network, network.step) == network.step
    assert_close(gradients(network, batch), expected)


def test_other_types_take_the_plain_form() -> None:
    assert not bindings.usable(torch.zeros(1, dtype=torch.float16))
    with torch.autocast("cpu", torch.float16):
        assert not bindings.usable(torch.zeros(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("worst", [0.0, -math.inf, math.nan])
def test_log_sum_exp_is_that_of_torch(dtype: torch.dtype, worst: float) -> None:
    values = 20 * torch.randn(3, 5, 1001, generator=torch.Generator().manual_seed(1)).to(dtype)
    values[0, 0, 7], values[1, 1] = worst, worst
    expected = torch.logsumexp(values.to(bindings.sum_dtype(dtype)), dim=2)
    torch.testing.assert_close(bindings.log_sum_exp(values), expected, rtol=1e-6, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("value", [0.0, -0.0, 1e-8, 0.1, -3.0, 9.0, 88.0, 1e4, -1e4, math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gates_of_any_size_do_what_torch_does(value: float, dtype: torch.dtype) -> None:
    cell, new_cell = torch.full((1, 40), 0.5), torch.empty(1, 40)
    gates, hidden = torch.full((1, 160), value, dtype=dtype), torch.empty(1, 40, dtype=dtype)
    i = torch.sigmoid(gates[0, 0].double())
    expected = i * 0.5 + i * torch.tanh(gates[0, 0].double())
    step = bindings.Kernel("cell_forward", dtype, kind="LSTM", rows=1, size=40, inputs=gates.clone(), hidden=hidden)
    step(carried_before=cell, activations=gates, carried_after=new_cell)
    torch.testing.assert_close(new_cell, torch.full((1, 40), float(expected)), rtol=1e-5, atol=1e-6, equal_nan=True)
    exact = (i * torch.tanh(expected)).to(dtype)
    torch.testing.assert_close(hidden, exact.expand(1, 40), rtol=1e-2, atol=1e-6, equal_nan=True)


def test_a_logit_that_is_not_a_number_is_seen_in_the_loss() -> None:
    for place in (0, 5, 16, 69):
        logits = torch.zeros(2, 70)
        logits[1, place] = math.nan
        loss, nll = torch.empty(2), torch.empty(2)
        bindings.cross_entropy(logits, None, torch.tensor([1, 1]), 0.1, loss, nll)
        assert loss.isnan().tolist() == nll.isnan().tolist() == [False, True]


# --- 8 bits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_product_in_8_bits_is_the_product_of_what_it_rounded(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    weight, bias, x = torch.randn(40, 24) * 3, torch.randn(40), (torch.randn(6, 24) * 5).to(dtype)
    x[2] = 0

    def rounded(rows: Tensor) -> Tensor:
        scale = rows.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / 127
        return torch.round(rows / scale) * scale

    found = int8_linear(weight.to(dtype), 6, bias)(x)
    assert found.dtype == dtype
    weight = weight.to(dtype).float()
    expected = rounded(x.float()) @ rounded(weight).t() + bias
    torch.testing.assert_close(found.float(), expected, rtol=1e-5 if dtype == torch.float32 else 1e-2, atol=1e-3)


@pytest.mark.parametrize(
    ("outputs", "inputs", "rows"), [(1, 1, 1), (33, 25, 13), (16, 8, 6), (17, 31, 4), (50, 300, 100)]
)
def test_the_kernel_s_sums_in_8_bits_are_exact(outputs: int, inputs: int, rows: int) -> None:
    """On any processor, at the largest values, too; the largest of each row is 127, which is its own rounding."""
    numbers = torch.Generator().manual_seed(1)
    whole = torch.randint(-127, 128, (outputs, inputs), generator=numbers).to(torch.int8)
    x = torch.randint(-127, 128, (rows, inputs), generator=numbers)
    whole[0], x[0], x[:, 0] = 127, 127, 127
    found = bindings.Int8Product(whole, torch.ones(outputs), None, torch.float32)(x.float())
    assert torch.equal(found, (x.int() @ whole.int().t()).float())


def test_parts_in_8_bits_are_the_columns_of_one_matrix() -> None:
    """Rows that lie apart, and parts that end inside a group of columns."""
    torch.manual_seed(0)
    product, x = int8_linear(torch.randn(40, 27), 6), torch.randn(9, 27)
    apart = torch.randn(9, 5, 10)
    apart[:, 3] = x[:, 7:17]
    assert torch.equal(product(x[:, :7], apart[:, 3], x[:, 17:18], x[:, 18:]), product(x))


def test_a_row_in_8_bits_does_not_depend_on_the_others() -> None:
    torch.manual_seed(0)
    product, x = int8_linear(torch.randn(40, 24), 6), torch.randn(9, 24)
    x[4] *= 1000
    alone = torch.cat([product(row[None]) for row in x])
    assert torch.equal(product(x), alone)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_8_bits_hide_nothing_that_is_not_finite(value: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 24)
    x[1], x[3, 20] = 0, value
    x[4] = value
    found = int8_linear(torch.randn(40, 24).to(dtype), 6)(x.to(dtype))
    assert found.isnan().all(dim=1).tolist() == [False, False, False, True, True, False]
    assert found[[0, 1, 2, 5]].isfinite().all()


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_8_bits_refuse_weights_that_are_not_finite(value: float) -> None:
    weight = torch.randn(40, 24)
    weight[39, 23] = value
    with pytest.raises(NotFiniteError, match="int8 cannot hold"):
        int8_linear(weight, 6)


# --- dropout ---------------------------------------------------------------------------------------------------------


def test_dropout_gradcheck() -> None:
    values = torch.randn(3, 5, dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: HashedDropout.apply(x.t(), 0.7, 3), values)
    kept = HashedDropout.apply(torch.ones(1000, dtype=DOUBLE), 0.9, 3)
    assert set(kept.tolist()) == {0.0, 1 / 0.9}


@pytest.mark.parametrize("change", [lambda x: x, lambda x: x.t(), lambda x: x[:, ::2], lambda x: x.t()[:, ::2]])
def test_dropout_keeps_the_right_share_and_drops_the_same_in_backward(change: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    values = change(torch.rand(300, 400) + 1).requires_grad_()
    dropped = Dropout(0.3)(values) / values.detach()
    (dropped.contiguous() * 2).sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(dropped[dropped != 0], torch.full((int((dropped != 0).sum()),), 1 / 0.7))
    assert (dropped == 0).float().mean() == pytest.approx(0.3, abs=0.01)
    assert values.grad is not None
    torch.testing.assert_close(values.grad * values.detach(), 2 * dropped.detach())
    for share in ((dropped == 0).float().mean(dim) for dim in (0, 1)):  # no row and no column is special
        assert 0.1 < share.min() < share.max() < 0.5


def test_dropout_draws_anew_each_time_and_again_from_the_same_seed() -> None:
    module, values = Dropout(0.5), torch.ones(5000)

    def draw() -> list[Tensor]:
        torch.manual_seed(1)
        return [module(values) for _ in range(4)]

    first = draw()
    assert all(torch.equal(one, two) for one, two in zip(first, draw(), strict=True))
    for one, two in itertools.pairwise(first):
        assert (one == two).float().mean() == pytest.approx(0.5, abs=0.05)
    assert module.eval()(values) is values


# --- where there is no compiler --------------------------------------------------------------------------------------


def forget_library() -> None:
    for cached in (build.library, bindings.failure, bindings.interface):
        cached.cache_clear()


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A library that has not been looked for yet, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))  # the second choice
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(
        build, "FLAGS", ["-O0" if flag == "-O3" else flag for flag in build.FLAGS]
    )  # compiles in less time
    forget_library()
    yield tmp_path
    monkeypatch.undo()
    forget_library()


def fake_compiler(folder: Path, script: str) -> str:
    path = folder / "compiler"
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def test_without_a_compiler_there_are_no_kernels_and_no_error(
    fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(fresh_cache))
    assert not bindings.usable(torch.zeros(1))
    assert str(bindings.problem()).startswith("compiled kernels are off: there is no C++ compiler")
    network, batch = network_and_batch(1)
    assert gradients(network, batch)["loss"].isfinite()
    assert dispatch.decoder_step(network, network.step) == network.step


def test_a_compiler_that_fails_is_no_compiler(fresh_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", fake_compiler(fresh_cache, "echo 'x.cpp: error: too old' >&2; exit 1"))
    assert build.library().path is None
    assert str(bindings.problem()).endswith("failed: x.cpp: error: too old")
    monkeypatch.setenv("CXX", str(fresh_cache / "no such compiler"))
    forget_library()
    assert build.library().path is None


def test_a_compiler_that_fails_runs_once(fresh_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that lacks a header, at the start of every process."""
    calls = fresh_cache / "calls"
    monkeypatch.setenv("CXX", fake_compiler(fresh_cache, f"echo >> {calls}; echo 'x.cpp: error: too old' >&2; exit 1"))
    for _ in range(2):
        assert build.library().path is None
        forget_library()
    assert len(calls.read_text().splitlines()) == 1
    (remembered,) = (fresh_cache / "seq2seq-lstm").glob("*.failed")
    assert str(bindings.problem()).endswith(f"failed: x.cpp: error: too old; to try again now, delete {remembered}")
    os.utime(remembered, (time.time() - build.REMEMBER_SEC - 60,) * 2)
    forget_library()
    assert build.library().path is None
    assert len(calls.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("error", "runs"),
    [
        ("kernels.cpp:1: error: no such thing", 1),
        ("compiler: error: component missing", 1),
        ("clang: error: unsupported option '-fopenmp'", 2),
        ("/usr/bin/ld: cannot find -lgomp: No such file\ncollect2: error: ld returned 1 exit status", 2),
        ("ld: library not found for -lomp\nclang: error: linker command failed with exit code 1", 2),
        ("c++: fatal error: cannot read spec file 'libgomp.spec': No such file", 2),
        ("mold: fatal: library not found: gomp\ncollect2: error: ld returned 1 exit status", 2),
    ],
)
def test_only_an_error_about_openmp_is_tried_without_it(
    fresh_cache: Path, monkeypatch: pytest.MonkeyPatch, error: str, runs: int
) -> None:
    calls, text = fresh_cache / "calls", fresh_cache / "text"
    text.write_text(f"{error}\n", encoding="utf-8")
    monkeypatch.setenv("CXX", fake_compiler(fresh_cache, f"echo >> {calls}; cat {text} >&2; exit 1"))
    for _ in range(2):
        assert error.splitlines()[0] in str(build.library().problem)
        forget_library()
    assert len(calls.read_text().splitlines()) == runs


@pytest.fixture
def compiled() -> Path:
    """The library of the other tests."""
    path = build.library().path
    assert path is not None
    return path


@pytest.mark.parametrize("second", ["good", "bad", "none"])
def test_a_library_that_does_not_load_is_compiled_once_more(
    compiled: Path, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch, second: str
) -> None:
    """As one that was compiled in another container."""
    calls, bad = fresh_cache / "calls", 'echo library > "$out"'
    again = {"good": f'cp {compiled} "$out"', "bad": bad, "none": "exit 1"}[second]
    script = f"for out; do :; done; echo >> {calls}; if [ $(wc -l < {calls}) = 1 ]; then {bad}; else {again}; fi"
    monkeypatch.setenv("CXX", fake_compiler(fresh_cache, script))
    for _ in range(2):
        assert bindings.usable(torch.zeros(1)) == (second == "good")
        problem = str(bindings.problem())
        assert problem == "None" if second == "good" else "delete" in problem and "\n" not in problem
        forget_library()
    assert len(calls.read_text().splitlines()) == 2


def test_a_compiler_that_hangs_is_waited_for_once(fresh_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fresh_cache / "calls"
    monkeypatch.setenv("CXX", fake_compiler(fresh_cache, f"echo >> {calls}; exec sleep 60"))
    monkeypatch.setattr(build, "COMPILE_SEC", 0.5)
    for _ in range(2):
        assert build.library().path is None
        forget_library()
    assert len(calls.read_text().splitlines()) == 1
    assert "did not finish" in str(bindings.problem())
    (remembered,) = (fresh_cache / "seq2seq-lstm").glob("*.hangs")
    for flags in ([*build.FLAGS, "-g"], build.FLAGS):  # other flags are tried at once
        monkeypatch.setattr(build, "FLAGS", flags)
        forget_library()
        assert build.library().path is None
    assert len(calls.read_text().splitlines()) == 2
    calls.write_text("\n")
    for age in (build.REMEMBER_SEC + 60, -60):  # of a clock that was wrong
        os.utime(remembered, (time.time() - age,) * 2)
        forget_library()
        assert build.library().path is None
    assert len(calls.read_text().splitlines()) == 3


def test_a_compiler_that_hangs_costs_processes_that_start_together_its_limit_once(
    fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = fresh_cache / "calls"
    monkeypatch.setenv("CXX", fake_compiler(fresh_cache, f"echo >> {calls}; exec sleep 60"))
    code = "from seq2seq.kernels import build; build.COMPILE_SEC = 2.0; print(build.library().problem)"
    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    problems = [process.communicate(timeout=60)[0] for process in processes]
    assert sorted("to try again now, delete" in problem for problem in problems) == [False, True, True]
    assert len(calls.read_text().splitlines()) == 1


@pytest.mark.parametrize(("seconds", "lines"), [(0.0, 0), (0.5, 1)])
def test_a_start_says_what_it_waits_for(
    fresh_cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, seconds: float, lines: int
) -> None:
    """A process that waits for another one's compiler says it as the one that compiles does."""
    monkeypatch.setattr(build, "ANNOUNCE_SEC", 0.2 if seconds else 30.0)
    monkeypatch.setenv("CXX", fake_compiler(fresh_cache, f'for out; do :; done; sleep {seconds}; echo > "$out"'))
    assert build.library().path is not None
    said = [message for message in caplog.messages if "waiting for the C++ compiler" in message]
    assert len(said) == lines
    if seconds:
        build.library().path.unlink()
        forget_library()
        caplog.clear()
        lock = cache.filelock.FileLock(fresh_cache / "seq2seq-lstm" / cache.LOCK, thread_local=False)
        with lock:
            threading.Timer(seconds, lock.release).start()
            assert build.library().path is not None
        assert sum("waiting for the C++ compiler" in message for message in caplog.messages) == lines


def test_processes_that_start_together_compile_once(fresh_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fresh_cache / "calls"
    last = 'for out; do :; done; echo "$out" >> {}; sleep 1; echo library > "$out"'
    monkeypatch.setenv("CXX", fake_compiler(fresh_cache, last.format(calls)))
    command = [sys.executable, "-c", "from seq2seq.kernels import build; print(build.library().path)"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    found = {process.communicate(timeout=60)[0] for process in processes}
    assert len(found) == 1
    assert Path(found.pop().strip()).read_text() == "library\n"
    assert len(calls.read_text().splitlines()) == 1


def test_without_openmp_there_is_one_thread_and_a_word_about_it(
    fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shutil.which((os.environ.get("CXX") or "c++").split()[0])
    refuse = 'case "$*" in *-fopenmp*) echo "error: unsupported option -fopenmp" >&2; exit 1;; esac'
    monkeypatch.setenv("CXX", fake_compiler(fresh_cache, f'{refuse}\nexec {real} "$@"'))
    assert bindings.usable(torch.zeros(1))
    assert "use one thread: without OpenMP" in str(bindings.problem())


def test_kernels_are_compiled_once(fresh_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bindings.failure() is None
    (made,) = (fresh_cache / "seq2seq-lstm").glob("*.so")
    compiled = made.stat().st_mtime_ns
    forget_library()
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("compiled again"))
    assert bindings.failure() is None
    assert made.stat().st_mtime_ns == compiled


def test_a_cache_that_cannot_be_written_is_replaced(fresh_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (fresh_cache / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(fresh_cache / "file"))
    assert bindings.failure() is None
    assert build.library().path.parent.parent == fresh_cache / "temporary"  # and not compiled again at the next start


def test_a_library_that_lacks_a_function_is_named(fresh_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.which((os.environ.get("CXX") or "c++").split()[0])
    script = f'for out; do :; done; echo "int nothing;" | exec {real} -shared -fPIC -x c++ - -o "$out"'
    monkeypatch.setenv("CXX", fake_compiler(fresh_cache, script))
    problem = str(bindings.failure())
    assert "kernels_fp32" in problem
    assert problem.endswith(f"delete {build.library().path}")
    assert "\n" not in problem


# --- where torch has changed -----------------------------------------------------------------------------------------


@pytest.fixture
def fresh_probes() -> Iterator[None]:
    def forget() -> None:
        for cached in (probes.has_packed_linear, probes.has_torch_layer):
            cached.cache_clear()

    forget()
    yield
    forget()


def changed(*_: Any, **__: Any) -> Any:
    """A function of torch that takes other arguments than before."""
    raise TypeError("expected at most 2 arguments but received 3")


@pytest.mark.usefixtures("fresh_probes")
def test_without_packed_products_the_results_are_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    network, batch = network_and_batch(2)
    expected = gradients(network, batch)
    if not probes.has_packed_linear(torch.float32):
        pytest.skip("this torch has no packed products")
    probes.has_packed_linear.cache_clear()
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", changed)
    for _ in range(2):
        for name, value in gradients(network, batch).items():
            torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-4)
    (line,) = caplog.messages
    assert "packed products" in line
    assert "at most 2 arguments" in line


@pytest.mark.usefixtures("fresh_probes")
@pytest.mark.parametrize("cell", [CellName.lstm, CellName.gru, CellName.rnn])
def test_without_torchs_fused_layers_the_plain_steps_run(
    cell: CellName, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bindings.enable(False)
    network, batch = network_and_batch(2, cell=cell)
    network.double()
    expected = gradients(network, batch)
    probes.has_torch_layer.cache_clear()
    monkeypatch.setitem(torch_layers.FUNCTIONS, cell, changed)
    for _ in range(2):
        assert_close(gradients(network, batch), expected)
    (line,) = caplog.messages
    assert f"fused {cell.name} layer" in line
