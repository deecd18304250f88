"""One step of the decoder for one hypothesis of one sentence, in NumPy, as the equations stand in its docstrings.

The bottom layer is Bahdanau et al. 2015 (A.1.2) with an LSTM for the GRU: the context comes from the previous state,
then the state from word and context. The layers above read [below; context]; the readout is tanh(W [y; s; c] + b).
"""

from __future__ import annotations

import numpy as np

from reference.attention_numpy import Array, Weights, attend


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def lstm(inputs: Array, from_inputs: Array, from_hidden: Array, bias: Array, hidden: Array, cell: Array):
    """Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000; the rows are i, f, g, o, as torch's."""
    n = len(hidden)
    total = from_inputs @ inputs + from_hidden @ hidden + bias
    i, f, g, o = (total[k * n : (k + 1) * n] for k in range(4))
    cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(cell), cell


def first_state(weights: Weights, summary: Array, num_layers: int) -> tuple[list[Array], list[Array]]:
    """tanh(W s + b), cut into the hidden states of all layers, then their cells."""
    parts = np.split(np.tanh(weights["bridge.weight"] @ summary + weights["bridge.bias"]), 2 * num_layers)
    return parts[:num_layers], parts[num_layers:]


def step(
    weights: Weights, word: Array, hiddens: list[Array], cells: list[Array], states: Array
) -> tuple[Array, list[Array], list[Array], Array]:
    """Return (readout, new hidden states, new cells, attention weights); `states` are those of the encoder."""
    attention = {name.removeprefix("bottom.attention."): value for name, value in weights.items()}
    context, alphas = attend(attention, hiddens[0], states)
    recurrent = weights["bottom.recurrent.weight"]  # its first columns read the context, the others the state
    output, cell = lstm(
        np.concatenate([word, context]),
        np.concatenate([weights["bottom.word_gates.weight"], recurrent[:, : len(context)]], axis=1),
        recurrent[:, len(context) :],
        weights["bottom.word_gates.bias"],
        hiddens[0],
        cells[0],
    )
    new_hiddens, new_cells = [output], [cell]
    for number in range(1, len(hiddens)):
        layer = {kind: weights[f"upper.{number - 1}.{kind}_l0"] for kind in LSTM_PARTS}
        output, cell = lstm(
            np.concatenate([output, context]),
            layer["weight_ih"],
            layer["weight_hh"],
            layer["bias_ih"] + layer["bias_hh"],
            hiddens[number],
            cells[number],
        )
        new_hiddens.append(output)
        new_cells.append(cell)
    seen = np.concatenate([word, output, context])
    return np.tanh(weights["readout.weight"] @ seen + weights["readout.bias"]), new_hiddens, new_cells, alphas


LSTM_PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
