"""R-Drop: two passes with other dropout masks must agree, on top of both being right."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from seq2seq.training.loss import smoothed_cross_entropy

CHUNK_TOKENS = 256  # rows of logits of either pass that exist at once, some ten times; more are slower, too


def r_drop_loss(
    output: nn.Linear,
    readouts: Float[Tensor, "both emb"],
    targets: Int[Tensor, " both"],
    smoothing: float,
    alpha: float,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return `r_drop_cross_entropy` of `output(readouts)`, without ever holding all logits.

    The first half of the rows is one pass, the second half the other, as `Batch.twice` puts them.
    """
    said = targets[: len(targets) // 2]  # the same in both halves
    loss, nll = ProjectedRDrop.apply(readouts, output.weight, output.bias, said, smoothing, alpha)  # type: ignore[no-untyped-call]
    return loss, nll


def r_drop_cross_entropy(
    one: Float[Tensor, "tokens vocab"],
    two: Float[Tensor, "tokens vocab"],
    targets: Int[Tensor, " tokens"],
    smoothing: float,
    alpha: float,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return (training loss, negative log-likelihood) of the logits of two passes, both summed over tokens, in nats.

    The loss of R-Drop (Liang, Wu et al. 2021, eq. 4) is L1 + L2 + alpha * (KL(p1 || p2) + KL(p2 || p1)) / 2, where L1
    and L2 are the cross entropies of the passes (eq. 3), smoothed here. It is halved, so that it has the size of the
    loss of one pass and the rate that suits one suits the other; the likelihood is the mean of the passes.
    """
    one, two = (logits.float() if logits.dtype == torch.bfloat16 else logits for logits in (one, two))
    (loss1, nll1), (loss2, nll2) = (smoothed_cross_entropy(logits, targets, smoothing) for logits in (one, two))
    log_p1, log_p2 = one.log_softmax(dim=-1), two.log_softmax(dim=-1)
    # KL(p1 || p2) + KL(p2 || p1) = sum_k (p1_k - p2_k) (log p1_k - log p2_k)
    divergence = ((log_p1.exp() - log_p2.exp()) * (log_p1 - log_p2)).sum() / 2
    return (loss1 + loss2 + alpha * divergence) / 2, (nll1 + nll2) / 2


class ProjectedRDrop(torch.autograd.Function):
    """Vocabulary projection and loss in one, some rows at a time; the gradient is made on the way forward."""

    @staticmethod
    def forward(
        ctx: Any,
        readouts: Float[Tensor, "both emb"],
        weight: Float[Tensor, "vocab emb"],
        bias: Float[Tensor, " vocab"],
        targets: Int[Tensor, " tokens"],
        smoothing: float,
        alpha: float,
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Return (training loss, negative log-likelihood), summed over tokens."""
        inputs = [value.detach().requires_grad_() for value in (readouts, weight, bias)]
        gradients = [torch.zeros_like(value) for value in inputs]
        loss = nll = torch.zeros((), dtype=weight.dtype, device=weight.device)
        for start in range(0, len(targets), CHUNK_TOKENS):
            rows = slice(start, start + CHUNK_TOKENS)
            with torch.enable_grad():
                one, two = (linear(half[rows], *inputs[1:]) for half in inputs[0].chunk(2))
                part, part_nll = r_drop_cross_entropy(one, two, targets[rows], smoothing, alpha)
            for total, gradient in zip(gradients, torch.autograd.grad(part, inputs), strict=True):
                total += gradient
            loss, nll = loss + part.detach(), nll + part_nll
        ctx.save_for_backward(*gradients)
        ctx.mark_non_differentiable(nll)
        return loss, nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        """Return the gradients of readouts, weight and bias."""
        dreadouts, dweight, dbias = ctx.saved_tensors
        return dreadouts * gradient, dweight * gradient, dbias * gradient, None, None, None
