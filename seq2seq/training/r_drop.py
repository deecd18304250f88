"""R-Drop: the loss of two passes with different dropout masks, plus the divergence of their distributions."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from seq2seq.kernels import bindings
from seq2seq.training.loss import projected_loss, smoothed_cross_entropy

CHUNK_TOKENS = 256  # rows of logits of each pass at a time, in about ten matrices; larger chunks are also slower


def r_drop_loss(
    output: nn.Linear,
    readouts: Float[Tensor, "rows emb"],
    targets: Int[Tensor, " rows"],
    smoothing: float,
    alpha: float,
    token_nll: Float[Tensor, " tokens"] | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return `r_drop_cross_entropy` of `output(readouts)`, with logits computed in chunks.

    The first half of the rows is the first pass and the second half the second, as in `Batch.twice`.
    """
    half = targets[: len(targets) // 2]  # both halves are equal
    if bindings.usable(readouts):
        return projected_loss(output, readouts, half, smoothing, alpha, token_nll)
    loss, nll = ProjectedRDrop.apply(readouts, output.weight, output.bias, half, smoothing, alpha, token_nll)  # type: ignore[no-untyped-call]
    return loss, nll


def r_drop_cross_entropy(
    logits1: Float[Tensor, "tokens vocab"],
    logits2: Float[Tensor, "tokens vocab"],
    targets: Int[Tensor, " tokens"],
    smoothing: float,
    alpha: float,
    token_nll: Float[Tensor, " tokens"] | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return (training loss, negative log-likelihood) of the logits of two passes, both summed over tokens, in nats.

    The loss of R-Drop (Liang, Wu et al. 2021, eq. 4) is L1 + L2 + alpha * (KL(p1 || p2) + KL(p2 || p1)) / 2, where L1
    and L2 are the cross entropies of the passes (eq. 3), here with label smoothing. The result is halved, so that it
    has the scale of a single pass and suits the same learning rate. The likelihood is the mean of the passes, also that
    of each token, with which `token_nll` is filled if it is given.
    """
    passes = [logits.to(torch.promote_types(logits.dtype, torch.float32)) for logits in (logits1, logits2)]
    each = None if token_nll is None else token_nll.new_empty(2, len(token_nll))
    (loss1, nll1), (loss2, nll2) = (
        smoothed_cross_entropy(logits, targets, smoothing, own)
        for logits, own in zip(passes, (None, None) if each is None else each, strict=True)
    )
    if token_nll is not None and each is not None:
        token_nll.copy_(each.mean(dim=0))
    log_p1, log_p2 = (logits.log_softmax(dim=-1) for logits in passes)
    # KL(p1 || p2) + KL(p2 || p1) = sum_k (p1_k - p2_k) (log p1_k - log p2_k)
    divergence = ((log_p1.exp() - log_p2.exp()) * (log_p1 - log_p2)).sum() / 2
    return (loss1 + loss2 + alpha * divergence) / 2, (nll1 + nll2) / 2


class ProjectedRDrop(torch.autograd.Function):
    """Vocabulary projection and loss in one, in chunks of rows; the gradient is computed in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        readouts: Float[Tensor, "rows emb"],
        weight: Float[Tensor, "vocab emb"],
        bias: Float[Tensor, " vocab"],
        targets: Int[Tensor, " tokens"],
        smoothing: float,
        alpha: float,
        token_nll: Float[Tensor, " tokens"] | None = None,
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Return (training loss, negative log-likelihood), summed over tokens."""
        inputs = [value.detach().requires_grad_() for value in (readouts, weight, bias)]
        gradients = [torch.zeros_like(value) for value in inputs]
        loss = nll = torch.zeros((), dtype=weight.dtype, device=weight.device)
        for start in range(0, len(targets), CHUNK_TOKENS):
            rows = slice(start, start + CHUNK_TOKENS)
            with torch.enable_grad():
                logits1, logits2 = (linear(half[rows], *inputs[1:]) for half in inputs[0].chunk(2))
                own = None if token_nll is None else token_nll[rows]
                chunk_loss, chunk_nll = r_drop_cross_entropy(logits1, logits2, targets[rows], smoothing, alpha, own)
            for total, gradient in zip(gradients, torch.autograd.grad(chunk_loss, inputs), strict=True):
                total += gradient
            loss, nll = loss + chunk_loss.detach(), nll + chunk_nll
        ctx.save_for_backward(*gradients)
        ctx.mark_non_differentiable(nll)
        return loss, nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None, None]:
        """Return the gradients of readouts, weight and bias."""
        dreadouts, dweight, dbias = ctx.saved_tensors
        return dreadouts * gradient, dweight * gradient, dbias * gradient, None, None, None, None
