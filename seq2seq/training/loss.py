"""The training loss: label-smoothed cross entropy, summed over tokens; the caller divides by the update's tokens."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from seq2seq.kernels import bindings

CHUNK_TOKENS = 1024  # rows of logits in memory at a time


def output_loss(
    output: nn.Linear,
    readouts: Float[Tensor, "tokens emb"],
    targets: Int[Tensor, " tokens"],
    smoothing: float,
    token_nll: Float[Tensor, " tokens"] | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return `smoothed_cross_entropy` of `output(readouts)`; with the CPU kernels, logits are computed in chunks."""
    if not bindings.usable(readouts):
        return smoothed_cross_entropy(output(readouts), targets, smoothing, token_nll)
    return projected_loss(output, readouts, targets, smoothing, 0.0, token_nll)


def projected_loss(
    output: nn.Linear,
    readouts: Float[Tensor, "rows emb"],
    targets: Int[Tensor, " tokens"],
    smoothing: float,
    alpha: float,
    token_nll: Float[Tensor, " tokens"] | None,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return the loss of `output(readouts)` by the CPU kernels; with an alpha that of R-Drop, of two passes' rows."""
    readouts = readouts.to(bindings.compute_dtype(readouts))
    arguments = (output.weight, output.bias, targets, smoothing, alpha, torch.is_grad_enabled(), token_nll)
    loss, nll = ProjectedLoss.apply(readouts, *arguments)  # type: ignore[no-untyped-call]
    return loss, nll


class ProjectedLoss(torch.autograd.Function):
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
        needs_grad: bool,
        token_nll: Float[Tensor, " tokens"] | None = None,
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Return (training loss, negative log-likelihood), summed over tokens, from products of the readouts' type."""
        dtype, sum_dtype, tokens = weight.dtype, bindings.sum_dtype(readouts.dtype), len(targets)
        weight, bias = weight.to(readouts.dtype), bias.to(sum_dtype)
        loss, nll = (torch.empty(tokens, dtype=sum_dtype) for _ in range(2))
        dreadouts, dweight, dbias = torch.empty_like(readouts), torch.zeros(()), torch.zeros(())
        by_pass = (2 if alpha else 1, tokens, readouts.shape[1])
        for start in range(0, max(1, tokens), CHUNK_TOKENS // by_pass[0]):
            chunk = slice(start, start + CHUNK_TOKENS // by_pass[0])
            rows = readouts.view(by_pass)[:, chunk].flatten(0, 1)
            logits, own = rows @ weight.t(), (bias, targets[chunk], smoothing)
            if alpha:
                first, second = logits.chunk(2)
                bindings.r_drop(first, second, *own, alpha, loss[chunk], nll[chunk])
            else:
                bindings.cross_entropy(logits, *own, loss[chunk], nll[chunk])
            if needs_grad:  # the kernel has overwritten the logits with their gradient
                dreadouts.view(by_pass)[:, chunk] = (logits @ weight).view(by_pass[0], -1, by_pass[2])
                gradients = (logits.t() @ rows).to(dtype), logits.sum(0).to(dtype)
                dweight, dbias = gradients if start == 0 else (dweight.add_(gradients[0]), dbias.add_(gradients[1]))
        if needs_grad:
            ctx.save_for_backward(dreadouts, dweight, dbias)
        if token_nll is not None:
            token_nll.copy_(nll)
        total = nll.sum()
        ctx.mark_non_differentiable(total)
        return loss.sum(), total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of readouts, weight and bias."""
        dreadouts, dweight, dbias = ctx.saved_tensors
        return dreadouts * gradient, dweight * gradient, dbias * gradient, None, None, None, None, None


def smoothed_cross_entropy(
    logits: Float[Tensor, "tokens vocab"],
    targets: Int[Tensor, " tokens"],
    smoothing: float,
    token_nll: Float[Tensor, " tokens"] | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return (training loss, negative log-likelihood), both summed over tokens, in nats.

    loss = (1 - eps) * -log p(y) + eps * mean_k -log p(k) (Szegedy et al. 2016, section 7). With
    -log p(k) = logsumexp(z) - z_k both terms need one logsumexp, and no matrix of log-probabilities. `token_nll`, if
    given, is filled with the negative log-likelihood of each token.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    normaliser = torch.logsumexp(logits, dim=-1)
    each = normaliser - logits.gather(1, targets[:, None]).squeeze(1)
    if token_nll is not None:
        token_nll.copy_(each.detach())
    nll = each.sum()
    if smoothing == 0:
        return nll, nll.detach()
    uniform = (normaliser - logits.mean(dim=-1)).sum()
    return (1 - smoothing) * nll + smoothing * uniform, nll.detach()
