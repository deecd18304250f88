"""Attention of one query over one sentence, in NumPy, as the papers write it.

Additive: Bahdanau et al. 2015 (section A.1.2); general and dot: Luong et al. 2015 (section 3.1); coverage: See et al.
2017 (eq. 11), with a sum of attention for every head; gain: Salimans and Kingma 2016 (eq. 2); none: Cho et al. 2014.
"""

from __future__ import annotations

import numpy as np

from reference.cells_numpy import Array, Weights


def softmax(energies: Array) -> Array:
    exponentials = np.exp(energies - energies.max())
    return exponentials / exponentials.sum()


def attend(
    weights: Weights, query: Array, states: Array, kind: str = "additive", heads: int = 1, received: Array | None = None
) -> tuple[Array, Array]:
    """Return (context, attention weights by head) for the previous state `query` and the rows h_1 … h_n of `states`.

    `received` holds a_j, the attention that position j has had from each head before this step; absent: no coverage.
    """
    if kind == "none":  # `states` is the summary alone
        return states[0], np.ones((1, 1))
    contexts, alphas = [], []
    for head in range(heads):
        if kind == "additive":
            had = np.zeros(len(states)) if received is None else received[head]
            energies = np.array([additive(weights, head, heads, query, h, a) for h, a in zip(states, had, strict=True)])
        elif kind == "general":
            energies = np.array([query @ weights["key.weight"] @ h for h in states])
        else:
            energies = np.array([query @ h for h in states])
        alphas.append(softmax(energies))
        contexts.append(sum(alpha * share(h, head, heads) for alpha, h in zip(alphas[-1], states, strict=True)))
    return np.concatenate(contexts), np.array(alphas)


def share(values: Array, head: int, heads: int) -> Array:
    """Return what belongs to a head: consecutive rows, as many for each."""
    size = len(values) // heads
    return values[head * size : (head + 1) * size]


def additive(weights: Weights, head: int, heads: int, query: Array, h: Array, a: float) -> float:
    """e_j = v^T tanh(W s + U h_j + w a_j + b), with the head's rows of each; the paper's U has no bias."""
    w, u, b, v = (
        share(matrix, head, heads)
        for matrix in (weights["query.weight"], weights["key.weight"], weights["key.bias"], weights["energy.weight"][0])
    )
    if "gain" in weights:
        v = weights["gain"][head] * v / np.sqrt((v * v).sum())
    seen = share(weights["coverage.weight"][:, 0], head, heads) * a if "coverage.weight" in weights else 0
    return float(v @ np.tanh(w @ query + u @ h + seen + b))
