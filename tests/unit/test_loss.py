"""The training loss: a value worked out by hand, torch's own, and its gradient by finite differences."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from seq2seq.training.loss import smoothed_cross_entropy

SMOOTHINGS = [0.0, 0.1, 0.9]


def random_logits() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return 3 * torch.randn(7, 5, dtype=torch.float64), torch.tensor([0, 4, 2, 2, 1, 3, 0])


def test_by_hand() -> None:
    """p = (1/2, 1/4, 1/4); -log p = (1, 2, 2) log 2, of which the mean is 5/3 log 2."""
    logits = torch.tensor([[2.0, 1.0, 1.0], [2.0, 1.0, 1.0]], dtype=torch.float64) * math.log(2)
    loss, nll = smoothed_cross_entropy(logits, torch.tensor([0, 2]), 0.3)
    assert nll.item() == pytest.approx((1 + 2) * math.log(2), abs=1e-12)
    assert loss.item() == pytest.approx((0.7 * (1 + 2) + 0.3 * 2 * 5 / 3) * math.log(2), abs=1e-12)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_is_torchs_cross_entropy_and_the_likelihood_is_not_smoothed(smoothing: float) -> None:
    logits, targets = random_logits()
    loss, nll = smoothed_cross_entropy(logits, targets, smoothing)
    expected = cross_entropy(logits, targets, label_smoothing=smoothing, reduction="sum")
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(nll, cross_entropy(logits, targets, reduction="sum"), rtol=1e-12, atol=0)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_gradient(smoothing: float) -> None:
    logits, targets = random_logits()
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: smoothed_cross_entropy(z, targets, smoothing)[0], (logits,))
    assert not smoothed_cross_entropy(logits, targets, smoothing)[1].requires_grad  # kept over many steps: no graph


def test_half_precision_logits_are_summed_in_single_precision() -> None:
    """A bf16 sum of 4,000 terms would be off by per cents."""
    torch.manual_seed(2)
    logits, targets = torch.randn(4000, 8).bfloat16(), torch.zeros(4000, dtype=torch.int64)
    loss, nll = smoothed_cross_entropy(logits, targets, 0.1)
    exact = [sum_of.item() for sum_of in smoothed_cross_entropy(logits.double(), targets, 0.1)]
    assert loss.dtype == nll.dtype == torch.float32
    assert [loss.item(), nll.item()] == pytest.approx(exact, rel=1e-5)


def test_no_tokens_no_loss() -> None:
    loss, nll = smoothed_cross_entropy(torch.zeros(0, 5), torch.zeros(0, dtype=torch.int64), 0.1)
    assert loss.item() == nll.item() == 0
