"""Single kernels against torch, at the numbers that a network seldom makes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

from seq2seq.config.model import CellName
from seq2seq.kernels import bindings, build
from seq2seq.model.cells import EPSILON, GATES, Cell, State
from seq2seq.model.cpu.cell_adapters import ADAPTERS, norm_weights, peephole_weights

COMPILER = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
pytestmark = pytest.mark.skipif(not COMPILER, reason="no C++ compiler, so no kernels")


@pytest.fixture(autouse=True)
def kernels() -> None:
    assert bindings.failure() is None, "there is a compiler, but it does not compile kernels.cpp"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("offset", [-1000.0, 0.0, 1000.0])
def test_attention_does_not_depend_on_what_all_scores_have_in_common(offset: float, dtype: torch.dtype) -> None:
    """Products of eighths that are exact in fp32, whatever is added to them."""
    torch.manual_seed(1)
    query, keys = torch.randint(-8, 9, (2, 3, 7)) / 8, torch.randint(-8, 9, (2, 5, 7)) / 8
    expected = (query @ keys.mT).to(dtype)
    expected[1, :, 3:] = -torch.inf
    expected = torch.softmax(expected, dim=-1)
    query, keys = pad(query, (0, 1), value=offset).to(dtype), pad(keys, (0, 1), value=1.0).to(dtype)
    states = torch.randn(2, 5, 6, dtype=dtype)
    weights, context = torch.empty(2, 3, 1, 5, dtype=dtype), torch.empty(6, 6, dtype=dtype)
    sizes = {"rows": 2, "queries": 3, "heads": 1, "positions": 5, "size": 8, "context_size": 6}
    strides = {"states_stride": 30, "context_stride": 6}
    tensors = {"query": query, "keys": keys, "states": states, "lengths": torch.tensor([5, 3])}
    bindings.Kernel("attend_forward", dtype, **sizes, **strides)(**tensors, weights=weights, context=context)
    torch.testing.assert_close(weights[:, :, 0], expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(context, (expected @ states).flatten(0, 1), rtol=1e-5, atol=1e-5)


def test_numbers_become_bf16_as_in_torch() -> None:
    """Every bf16 number and those between it and the next one: to nearest, ties to even, NaN of any bits."""
    upper, lower = torch.arange(1 << 16) << 16, torch.tensor([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF])
    values = (upper[:, None] + lower).to(torch.uint32).view(torch.float32)
    one = torch.ones(1, 1, dtype=torch.bfloat16)
    found = bindings.packed_product(one, values.flatten()[:, None], values.numel(), None).view_as(values)
    torch.testing.assert_close(found, values.bfloat16(), rtol=0, atol=0, equal_nan=True)


@torch.no_grad()
@pytest.mark.parametrize("deviation", [1.0, 1e-3])  # the variance of the second is far below epsilon
@pytest.mark.parametrize("name", CellName)
def test_normalised_gates_in_bf16_are_computed_in_fp32(name: CellName, deviation: float) -> None:
    torch.manual_seed(1)
    cell = Cell(name, size=16, layer_norm=True)
    for weight in cell.parameters():
        weight.normal_()
    gates = (deviation * torch.randn(3, 16 * cell.gates)).bfloat16()
    hidden, memory = torch.randn(3, 16), torch.randn(3, cell.memory_size)
    expected = cell(gates, torch.zeros_like(gates), State(hidden, memory))
    adapter = ADAPTERS[name]
    before = adapter.first_carried(State(hidden, memory))
    after, output = torch.empty_like(before), gates.new_empty(3, 16)
    saved = gates.new_empty(3, adapter.saved * 16)
    peepholes, norm = peephole_weights(cell, torch.float32), norm_weights(cell, torch.float32)
    product = torch.zeros_like(gates)
    fields = {"kind": adapter.kind, "rows": 3, "size": 16, "norm": norm, "epsilon": EPSILON}
    step = bindings.Kernel("cell_forward", torch.bfloat16, **fields)
    written = {"activations": saved, "carried_after": after, "hidden": output}
    step(product=product, inputs=gates, carried_before=before, peepholes=peepholes, **written)
    torch.testing.assert_close(output, expected.hidden.bfloat16(), rtol=2**-7, atol=0)
    torch.testing.assert_close(after, adapter.first_carried(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (7, 5), (256, 32), (257, 33), (600, 100)])
def test_a_packed_product_rounds_each_row_alone(inputs: int, outputs: int, dtype: torch.dtype) -> None:
    """The product of all rows is exact enough, and that of any number of them has the same bits, with any threads."""
    torch.manual_seed(1)
    x, bias = torch.randn(150, inputs, dtype=dtype), torch.randn(outputs, dtype=dtype)
    weight = torch.randn(outputs, inputs + 3, dtype=dtype)[:, 1:-2]
    packed = bindings.pack(weight)
    every = bindings.packed_product(x, packed, outputs, bias)
    expected = torch.nn.functional.linear(x.double(), weight.double(), bias.double())
    torch.testing.assert_close(every.double(), expected, rtol=1e-4, atol=1e-9 if dtype == torch.float64 else 1e-4)
    torch.testing.assert_close(bindings.packed_product(x, packed, outputs, None), every - bias, rtol=1e-4, atol=1e-4)
    before = torch.get_num_threads()
    try:
        for threads, rows in ((1, 1), (2, 2), (3, 5), (1, 6), (2, 7), (1, 16), (2, 149)):
            torch.set_num_threads(threads)
            assert torch.equal(bindings.packed_product(x[-rows:], packed, outputs, bias), every[-rows:])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", CellName)
def test_both_forms_of_a_cell_have_the_same_gates(name: CellName) -> None:
    assert ADAPTERS[name].gates == GATES[name] <= ADAPTERS[name].saved


# --- what a call may not get wrong -----------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [-1, 5, 6, 70, -(2**62), 2**62])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_target_that_is_no_class_makes_its_row_nan_and_writes_nowhere_else(target: int, dtype: torch.dtype) -> None:
    whole, exact = torch.zeros(40, 5, dtype=dtype), bindings.sum_dtype(dtype)
    loss, nll = torch.empty(3, dtype=exact), torch.empty(3, dtype=exact)
    bindings.cross_entropy(whole[19:22], None, torch.tensor([1, target, 2]), 0.1, loss, nll)
    assert loss.isnan().tolist() == nll.isnan().tolist() == [False, True, False]
    assert whole.isnan().nonzero().tolist() == [[20, column] for column in range(5)]
    assert (whole[:19] == 0).all()
    assert (whole[22:] == 0).all()


@pytest.mark.parametrize(
    "view", [lambda x: x.mT, lambda x: x[..., :6], lambda x: x[:, ::2], lambda x: x[:1].expand(4, -1, -1)]
)
def test_log_sum_exp_of_a_view_is_that_of_its_values(view: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(1)
    values = view(torch.randn(3, 12, 12))
    torch.testing.assert_close(bindings.log_sum_exp(values), torch.logsumexp(values, -1))


def best(eos: int = 3, never: int = 1, found: int = 4, **changed: Any) -> None:
    """The best continuations of two sentences."""
    logits, sums = torch.zeros(2, 3, 8), torch.zeros(2, 3)
    tensors = {"logits": logits, "normaliser": sums, "live": sums, "only_eos": torch.ones(2, dtype=torch.bool)}
    tensors |= {"never": torch.zeros(never, 8, dtype=torch.bool), **changed}
    scores, indices = torch.empty(2, found), torch.empty(2, found, dtype=torch.long)
    written = {"totals": scores, "parents": indices, "tokens": indices.clone(), "log_probs": scores.clone()}
    bindings.best_continuations(**tensors, eos=eos, **written)


square, square_bytes = torch.ones(4, 4), torch.ones(4, 4, dtype=torch.int8)
fours, fours_whole = torch.ones(4), torch.ones(4, dtype=torch.long)
MISUSES: dict[str, Callable[[], object]] = {
    "logits of cross_entropy": lambda: bindings.cross_entropy(square.t()[:, :3], None, fours_whole, 0.1, fours, fours),
    "targets": lambda: bindings.cross_entropy(
        square, None, torch.zeros(8, dtype=torch.long)[::2], 0.1, fours, fours.clone()
    ),
    "loss": lambda: bindings.cross_entropy(square, None, fours_whole, 0.1, torch.ones(8)[::2], fours),
    "values of dropout": lambda: bindings.dropout(torch.ones(2, 4).t(), torch.ones(4, 2), 0.5, 1),
    "output of dropout": lambda: bindings.dropout(torch.ones(4, 2), torch.ones(2, 4).t(), 0.5, 1),
    "logits of best_continuations": lambda: best(logits=torch.zeros(8, 3, 2).permute(2, 1, 0)),
    "live": lambda: best(live=torch.zeros(3, 2).t()),
    "never": lambda: best(never=3),
    "packed": lambda: bindings.packed_product(square, bindings.pack(square), 100, None),
    "scales of int8_product": lambda: bindings.Int8Product(square_bytes, torch.ones(8)[::2], None, torch.float32),
}


@pytest.mark.parametrize("call", MISUSES.values(), ids=MISUSES)
def test_a_tensor_of_another_layout_is_refused(call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="the kernel needs a contiguous CPU tensor of shape"):
        call()


@pytest.mark.parametrize(
    "parts",
    [(square.t(),), (square, square), (square[:, :2], square[:3, 2:]), (*square.split(1, dim=1), square[:, :0])],
)
def test_parts_that_are_no_rows_of_the_inputs_are_refused(parts: tuple[Tensor, ...]) -> None:
    product = bindings.Int8Product(square_bytes, fours, None, torch.float32)
    product(square)
    with pytest.raises(ValueError, match="the kernel needs rows of 4 on the CPU"):
        product(*parts)


@pytest.mark.parametrize("wrong", [{"eos": 8}, {"eos": -1}, {"found": 0}])
def test_continuations_without_a_place_are_refused(wrong: dict[str, int]) -> None:
    best()
    with pytest.raises(ValueError, match="need 0 ≤ eos < 8 and best ≥ 1"):
        best(**wrong)


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("valeus", torch.ones(4), KeyError),
        ("values", torch.ones(4, dtype=torch.float64), KeyError),
        ("values", torch.ones(4, dtype=torch.int64), TypeError),
        ("count", torch.ones(4), TypeError),
        ("count", 0.5, TypeError),
    ],
    ids=str,
)
def test_a_field_of_another_name_or_type_is_an_error(field: str, value: object, error: type[Exception]) -> None:
    dropout = bindings.Kernel("dropout", torch.float32)
    with pytest.raises(error):
        dropout(**{field: value})


def test_a_library_of_another_header_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One field more, in a place where no call would fail: the loader sees it."""
    changed = tmp_path / "kernels.h"
    text = build.HEADER.read_text(encoding="utf-8")
    assert text.count("    int64_t count;\n") == 1
    changed.write_text(text.replace("    int64_t count;\n", "    int64_t count, unused;\n"), encoding="utf-8")
    assert bindings.usable(torch.zeros(1))
    monkeypatch.setattr(build, "HEADER", changed)
    forget = (bindings.interface.cache_clear, bindings.failure.cache_clear)
    try:
        for clear in forget:
            clear()
        with pytest.raises(OSError, match=r"another kernels\.h"):
            bindings.interface(torch.float64)
        assert not bindings.usable(torch.zeros(1))
        assert "another kernels.h" in str(bindings.problem())
    finally:
        monkeypatch.undo()
        for clear in forget:
            clear()
    assert bindings.usable(torch.zeros(1))


def test_the_compiler_warns_of_nothing(tmp_path: Path) -> None:
    compiler = (os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or "clang++").split()
    for openmp in ([], ["-fopenmp"]):
        command = [
            *compiler,
            *build.FLAGS,
            *openmp,
            "-DHEADER_HASH=0ull",
            "-Werror",
            "-fsyntax-only",
            str(build.SOURCE),
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0 or "fopenmp" in done.stderr, done.stderr
