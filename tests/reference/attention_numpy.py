"""Additive attention of one query over one sentence, in NumPy, as Bahdanau et al. 2015 write it (section A.1.2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Weights = dict[str, Array]  # the names of the network's parameters


def attend(weights: Weights, query: Array, states: Array) -> tuple[Array, Array]:
    """Return (context, attention weights) for the previous state `query` and the h_1 … h_n that are rows of `states`.

    e_j = v^T tanh(W s + U h_j + b); alpha = softmax(e); c = sum_j alpha_j h_j. The paper's U has no bias.
    """
    w, u, b, v = (weights[name] for name in ("query.weight", "key.weight", "key.bias", "energy.weight"))
    energies = np.array([v[0] @ np.tanh(w @ query + u @ h + b) for h in states])
    exponentials = np.exp(energies - energies.max())
    alphas = exponentials / exponentials.sum()
    return sum(alpha * h for alpha, h in zip(alphas, states, strict=True)), alphas
