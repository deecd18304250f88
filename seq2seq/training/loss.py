"""The training loss: label-smoothed cross entropy, summed, so that the caller divides by the update's tokens."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def smoothed_cross_entropy(
    logits: Float[Tensor, "tokens vocab"], targets: Int[Tensor, " tokens"], smoothing: float
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return (training loss, negative log-likelihood), both summed over tokens, in nats.

    loss = (1 - eps) * -log p(y) + eps * mean_k -log p(k) (Szegedy et al. 2016, section 7). With
    -log p(k) = logsumexp(z) - z_k both terms come from one logsumexp, and no matrix of log-probabilities is kept.
    """
    logits = logits.float() if logits.dtype == torch.bfloat16 else logits
    normaliser = torch.logsumexp(logits, dim=-1)
    nll = (normaliser - logits.gather(1, targets[:, None]).squeeze(1)).sum()
    if smoothing == 0:
        return nll, nll.detach()
    uniform = (normaliser - logits.mean(dim=-1)).sum()
    return (1 - smoothing) * nll + smoothing * uniform, nll.detach()
