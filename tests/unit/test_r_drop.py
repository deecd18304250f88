"""The loss of R-Drop: worked out by hand, in NumPy from the paper, and for two equal passes."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seq2seq.kernels import bindings
from seq2seq.training import loss, r_drop
from seq2seq.training.loss import smoothed_cross_entropy
from seq2seq.training.r_drop import ProjectedRDrop, r_drop_cross_entropy, r_drop_loss

TOKENS, VOCAB, EMB = 7, 5, 3
SETTINGS = [(0.0, 1.0), (0.1, 5.0), (0.3, 0.0)]  # label smoothing, alpha


def two_passes() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(1)
    first, second = 2 * torch.randn(2, TOKENS, VOCAB, dtype=torch.float64)
    return first, second, torch.tensor([0, 4, 2, 2, 1, 3, 0])


def projected() -> tuple[nn.Linear, Tensor, Tensor]:
    """An output layer, the readouts of two passes and the targets of both."""
    output, targets = nn.Linear(EMB, VOCAB, dtype=torch.float64), two_passes()[2]
    return output, torch.randn(2 * TOKENS, EMB, dtype=torch.float64, requires_grad=True), targets.repeat(2)


def test_by_hand() -> None:
    """The divergences of (1/2, 1/2) and (1/4, 3/4), (1/2 - 1/4) log 2 + (1/2 - 3/4) log 2/3, add up to log(3) / 4."""
    p, q = torch.tensor([[0.5, 0.5]]).double().log(), torch.tensor([[0.25, 0.75]]).double().log()
    loss, nll = r_drop_cross_entropy(p, q, torch.tensor([0]), 0.0, 3.0)
    assert nll.item() == pytest.approx((math.log(2) + math.log(4)) / 2, abs=1e-12)
    assert loss.item() == pytest.approx(nll.item() + 3 * (math.log(3) / 4 / 2) / 2, abs=1e-12)


def by_the_paper(
    logits: list[NDArray[np.float64]], targets: NDArray[np.int64], smoothing: float, alpha: float
) -> tuple[float, float]:
    """Half of equations 1 to 4, token by token."""
    nll = cross_entropy = divergence = 0.0
    for rows in zip(*logits, targets, strict=True):
        p, q = (np.exp(row) / np.exp(row).sum() for row in rows[:2])
        smoothed = (1 - smoothing) * np.eye(VOCAB)[rows[2]] + smoothing / VOCAB
        nll += -math.log(p[rows[2]]) - math.log(q[rows[2]])
        cross_entropy += -(smoothed * np.log(p)).sum() - (smoothed * np.log(q)).sum()
        divergence += ((p * np.log(p / q)).sum() + (q * np.log(q / p)).sum()) / 2
    return (cross_entropy + alpha * divergence) / 2, nll / 2


@pytest.mark.parametrize(("smoothing", "alpha"), SETTINGS)
def test_equals_the_formula_of_the_paper(smoothing: float, alpha: float) -> None:
    first, second, targets = two_passes()
    actual = r_drop_cross_entropy(first, second, targets, smoothing, alpha)
    expected = by_the_paper([first.numpy(), second.numpy()], targets.numpy(), smoothing, alpha)
    assert [value.item() for value in actual] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("smoothing", "alpha"), SETTINGS)
def test_gradient(smoothing: float, alpha: float) -> None:
    first, second, targets = two_passes()
    passes = (first.requires_grad_(), second.requires_grad_())
    assert torch.autograd.gradcheck(lambda *z: r_drop_cross_entropy(*z, targets, smoothing, alpha)[0], passes)
    assert not r_drop_cross_entropy(first, second, targets, smoothing, alpha)[1].requires_grad


@pytest.mark.parametrize(("smoothing", "alpha"), SETTINGS)
def test_gradient_of_the_projection_in_chunks(monkeypatch: pytest.MonkeyPatch, smoothing: float, alpha: float) -> None:
    monkeypatch.setattr(r_drop, "CHUNK_TOKENS", 2)
    torch.manual_seed(0)
    inputs = [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((6, 4), (VOCAB, 4), (VOCAB,))]
    targets = torch.tensor([0, 3, 1])
    assert torch.autograd.gradcheck(lambda *x: ProjectedRDrop.apply(*x, targets, smoothing, alpha)[0], inputs)


@pytest.mark.parametrize(("smoothing", "alpha"), SETTINGS)
def test_equal_passes_have_the_loss_and_gradient_of_one_pass(smoothing: float, alpha: float) -> None:
    first, _, targets = two_passes()
    loss, nll = smoothed_cross_entropy(first.requires_grad_(), targets, smoothing)
    (gradient,) = torch.autograd.grad(loss, first)
    both = r_drop_cross_entropy(first, first, targets, smoothing, alpha)
    torch.testing.assert_close(both, (loss, nll), rtol=1e-12, atol=0)
    torch.testing.assert_close(torch.autograd.grad(both[0], first)[0], gradient, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("kernels", [False, True])
@pytest.mark.parametrize("rows", [1, 3, 100])
def test_chunks_give_the_result_of_all_rows_at_once(monkeypatch: pytest.MonkeyPatch, rows: int, kernels: bool) -> None:
    if kernels and bindings.failure():
        pytest.skip("no compiled kernels on this machine")
    monkeypatch.setattr(bindings, "_enabled", kernels)
    monkeypatch.setattr(r_drop, "CHUNK_TOKENS", rows)
    monkeypatch.setattr(loss, "CHUNK_TOKENS", 2 * rows)
    output, readouts, targets = projected()
    inputs = (readouts, output.weight, output.bias)
    nll, expected_nll = torch.empty(2, TOKENS, dtype=torch.float64)
    actual = r_drop_loss(output, readouts, targets, 0.1, 5.0, nll)
    first, second = output(readouts).chunk(2)
    expected = r_drop_cross_entropy(first, second, targets[:TOKENS], 0.1, 5.0, expected_nll)
    torch.testing.assert_close((*actual, nll), (*expected, expected_nll), rtol=1e-12, atol=0)
    gradients = [torch.autograd.grad(value / 3, inputs) for value in (actual[0], expected[0])]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)
    assert not actual[1].requires_grad  # kept over many steps: no graph


def test_half_precision_logits_are_compared_in_single_precision() -> None:
    """bf16 log-probabilities have errors of per cents, and so would their differences."""
    torch.manual_seed(2)
    first = torch.randn(400, 50).bfloat16()
    second, targets = first + 0.1 * torch.randn(400, 50).bfloat16(), torch.zeros(400, dtype=torch.int64)
    actual = r_drop_cross_entropy(first, second, targets, 0.1, 5.0)
    exact = r_drop_cross_entropy(first.double(), second.double(), targets, 0.1, 5.0)
    assert {value.dtype for value in actual} == {torch.float32}
    assert [value.item() for value in actual] == pytest.approx([value.item() for value in exact], rel=1e-5)


def test_under_autocast_the_gradient_equals_fp32_up_to_the_rounding_of_products() -> None:
    torch.manual_seed(3)
    output, readouts = nn.Linear(16, 30), torch.randn(80, 16, requires_grad=True)
    targets = torch.randint(30, (40,)).repeat(2)
    inputs = (readouts, output.weight, output.bias)
    exact = torch.autograd.grad(r_drop_loss(output, readouts, targets, 0.1, 5.0)[0], inputs)
    with torch.autocast("cpu", torch.bfloat16):
        rounded, _ = r_drop_loss(output, readouts, targets, 0.1, 5.0)
    for actual, expected in zip(torch.autograd.grad(rounded, inputs), exact, strict=True):
        assert actual.dtype == torch.float32
        assert (actual - expected).norm() < 0.02 * expected.norm()


def test_no_tokens_no_loss() -> None:
    output, _, _ = projected()
    none = torch.zeros(0, EMB, dtype=torch.float64)
    assert [value.item() for value in r_drop_loss(output, none, torch.zeros(0, dtype=torch.int64), 0.1, 5.0)] == [0, 0]
