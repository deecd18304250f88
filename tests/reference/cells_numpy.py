"""Recurrent cells for one sequence, in NumPy, gate by gate as their papers write them.

Elman 1990; Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000; peepholes of Gers et al. 2002,
which are diagonal, with or without one for the candidate; Cho et al. 2014, its reset gate after the product; layer
normalisation of Ba et al. 2016, of every gate by itself.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Weights = dict[str, Array]  # the names of the network's parameters

GATES = {"rnn": ["h"], "lstm": ["i", "f", "g", "o"], "peephole_lstm": ["i", "f", "g", "o"], "gru": ["r", "z", "n"]}


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def step(kind: str, weights: Weights, inputs: Array, hidden: Array, memory: Array) -> tuple[Array, Array]:
    """Return (h_t, c_t) from x_t, h_{t-1} and c_{t-1}; a cell without memory gives c back as it got it."""
    state, _ = step_and_gates(kind, weights, inputs, hidden, memory)
    return state


def step_and_gates(
    kind: str, weights: Weights, inputs: Array, hidden: Array, memory: Array
) -> tuple[tuple[Array, Array], Weights]:
    """Return the state of `step`, and the activations of the gates by letter."""
    n, gates = len(hidden), GATES[kind]
    rows = {gate: slice(k * n, (k + 1) * n) for k, gate in enumerate(gates)}
    bias = np.zeros(len(gates) * n)
    x = {g: weights["weight_ih"][r] @ inputs + weights["bias_ih"][r] for g, r in rows.items()}
    h = {g: weights["weight_hh"][r] @ hidden + weights.get("bias_hh", bias)[r] for g, r in rows.items()}

    def normal(gate: str, total: Array) -> Array:
        if "gain" not in weights:
            return total
        k = gates.index(gate)
        deviation = np.sqrt(((total - total.mean()) ** 2).mean() + 1e-5)
        return weights["gain"][k] * (total - total.mean()) / deviation + weights["shift"][k]

    if kind == "rnn":
        return (np.tanh(normal("h", x["h"] + h["h"])), memory), {}
    if kind == "gru":
        r, z = (sigmoid(normal(gate, x[gate] + h[gate])) for gate in "rz")
        new = np.tanh(normal("n", x["n"] + r * h["n"]))
        return ((1 - z) * new + z * hidden, memory), {"r": r, "z": z}
    total = {gate: normal(gate, x[gate] + h[gate]) for gate in gates}
    sees = dict(zip("ifog", weights.get("peephole", []), strict=False))
    nothing = np.zeros(n)
    i = sigmoid(total["i"] + sees.get("i", nothing) * memory)
    f = sigmoid(total["f"] + sees.get("f", nothing) * memory)
    after = f * memory + i * np.tanh(total["g"] + sees.get("g", nothing) * memory)
    o = sigmoid(total["o"] + sees.get("o", nothing) * after)
    return (o * np.tanh(after), after), {"i": i, "f": f, "o": o}


def run(kind: str, weights: Weights, sequence: Array, size: int) -> Array:
    """Return the hidden states over a sequence, from a state of zeros."""
    hidden = memory = np.zeros(size)
    states = []
    for inputs in sequence:
        hidden, memory = step(kind, weights, inputs, hidden, memory)
        states.append(hidden)
    return np.array(states)


def layer_weights(weights: Weights, prefix: str, direction: int = 0) -> Weights:
    """Return one direction's weights of a layer, from those of the whole module."""
    suffix = "_l0_reverse" if direction else "_l0"
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return {name: weights[prefix + name + suffix] for name in names} | part(weights, f"{prefix}cells.{direction}.")


def part(weights: Weights, prefix: str) -> Weights:
    """Return the weights below a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
