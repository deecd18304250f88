"""One step of the decoder for one hypothesis of one sentence, in NumPy, as the equations stand in its docstrings.

The bottom layer is Bahdanau et al. 2015 (A.1.2) with any cell: the context comes from the previous state, then the
state from word and context, and from the last readout with input feeding (Luong et al. 2015, 3.3). The layers above
read [below; context], and add to what is below with residual connections (Wu et al. 2016); the readout is
tanh(W [y; s; c] + b).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from reference import cells_numpy
from reference.attention_numpy import attend
from reference.cells_numpy import Array, Weights, layer_weights, part
from seq2seq.config.model import ModelConfig


class State(NamedTuple):
    hiddens: list[Array]
    memories: list[Array]
    readout: Array
    received: Array  # by head and position


def first_state(config: ModelConfig, weights: Weights, summary: Array, positions: int) -> State:
    """tanh(W s + b), cut into the hidden states of all layers, then their memories if the cell has one."""
    n = config.decoder_layers
    bridged = np.tanh(weights["bridge.weight"] @ summary + weights["bridge.bias"])
    parts = list(bridged.reshape(-1, config.hidden_size))
    assert len(parts) == (2 * n if "lstm" in config.cell.name else n)
    nothing = [np.zeros(0)] * n
    return State(
        parts[:n], parts[n:] or nothing, np.zeros(config.emb_size), np.zeros((config.attention_heads, positions))
    )


def step(config: ModelConfig, weights: Weights, word: Array, state: State, states: Array) -> tuple[State, Array]:
    """Return the new state and the attention weights, mean over heads; `states` are those of the encoder."""
    context, alphas = attend(
        part(weights, "bottom.attention."),
        state.hiddens[0],
        states,
        config.attention.name,
        config.attention_heads,
        state.received if config.coverage else None,
    )
    recurrent = weights["bottom.recurrent.weight"]  # its first columns read the context, the others the state
    reads = [(weights["bottom.word_gates.weight"], word), (recurrent[:, : len(context)], context)]
    if config.input_feeding:
        reads.append((weights["bottom.readout_gates.weight"], state.readout))
    matrices, read = zip(*reads, strict=True)
    bottom = {
        "weight_ih": np.concatenate(matrices, axis=1),
        "weight_hh": recurrent[:, len(context) :],
        "bias_ih": weights["bottom.word_gates.bias"],
    } | part(weights, "bottom.cell.")
    output, memory = cells_numpy.step(
        config.cell.name, bottom, np.concatenate(read), state.hiddens[0], state.memories[0]
    )
    hiddens, memories = [output], [memory]
    for number in range(1, config.decoder_layers):
        said, memory = cells_numpy.step(
            config.cell.name,
            layer_weights(weights, f"upper.{number - 1}."),
            np.concatenate([output, context]),
            state.hiddens[number],
            state.memories[number],
        )
        hiddens.append(said)
        memories.append(memory)
        output = output + said if config.residual else said
    seen = np.concatenate([word, output, context])
    readout = np.tanh(weights["readout.weight"] @ seen + weights["readout.bias"])
    return State(hiddens, memories, readout, state.received + alphas), alphas.mean(axis=0)
