"""The encoder for one sentence, in NumPy: layers in both directions (Schuster and Paliwal 1997), or residual ones."""

from __future__ import annotations

import numpy as np

from reference.cells_numpy import Array, Weights, layer_weights, run


def encode(kind: str, weights: Weights, words: Array, layers: int, size: int, residual: bool) -> tuple[Array, Array]:
    """Return the top layer's states, and what each of its directions says when it has read everything."""
    states = words
    for number in range(layers):
        directions = [layer_weights(weights, f"layers.{number}.", d) for d in (0, 1)]
        forward = run(kind, directions[0], states, size)
        backward = run(kind, directions[1], states[::-1], size)[::-1]
        above = np.concatenate([forward, backward], axis=1)
        states = states + above if residual and number else above
    return states, np.concatenate([states[-1, :size], states[0, size:]])
