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
    dtype = bindings.compute_dtype(readouts)
    weights = (value.to(dtype) for value in (output.weight, output.bias))
    needs_grad = torch.is_grad_enabled()
    loss, nll = ProjectedCrossEntropy.apply(readouts.to(dtype), *weights, targets, smoothing, needs_grad, token_nll)  # type: ignore[no-untyped-call]
    return loss, nll


class ProjectedCrossEntropy(torch.autograd.Function):
    """Vocabulary projection and loss in one, in chunks of rows; the gradient is computed in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        readouts: Float[Tensor, "tokens emb"],
        weight: Float[Tensor, "vocab emb"],
        bias: Float[Tensor, " vocab"],
        targets: Int[Tensor, " tokens"],
        smoothing: float,
        needs_grad: bool,
        token_nll: Float[Tensor, " tokens"] | None = None,
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Return (training loss, negative log-likelihood), summed over tokens."""
        sum_dtype = bindings.sum_dtype(weight.dtype)
        loss, nll = (torch.empty(len(readouts), dtype=sum_dtype) for _ in range(2))
        if needs_grad:
            dreadouts = torch.empty_like(readouts)
            dweight, dbias = torch.zeros_like(weight, dtype=sum_dtype), torch.zeros_like(bias, dtype=sum_dtype)
        for start in range(0, len(readouts), CHUNK_TOKENS):
            rows = slice(start, start + CHUNK_TOKENS)
            logits = torch.addmm(bias, readouts[rows], weight.t())
            bindings.cross_entropy(logits, targets[rows], smoothing, loss[rows], nll[rows])
            if needs_grad:  # the kernel has overwritten the logits with their gradient
                torch.mm(logits, weight, out=dreadouts[rows])
                dweight += logits.t() @ readouts[rows]
                dbias += logits.sum(0)
        if needs_grad:
            ctx.save_for_backward(dreadouts, dweight, dbias)
        if token_nll is not None:
            token_nll.copy_(nll)
        total = nll.sum()
        ctx.mark_non_differentiable(total)
        return loss.sum(), total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None, None]:
        """Return the gradients of readouts, weight and bias."""
        dreadouts, dweight, dbias = ctx.saved_tensors
        return dreadouts * gradient, dweight * gradient, dbias * gradient, None, None, None, None


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
