"""Attention and decoder against NumPy written from the paper, in double precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reference import attention_numpy, decoder_numpy
from seq2seq.model.attention import AdditiveAttention
from seq2seq.model.decoder import Decoder
from seq2seq.model_config import DropoutConfig, ModelConfig

EMB, HIDDEN, CONTEXT, ATTENTION = 5, 4, 6, 3
SENTENCES = [7, 1, 4]  # lengths; the memory is padded to the longest
BEAM, STEPS = 2, 5
EXACT = {"rtol": 0, "atol": 1e-12}


def model_config(**settings: Any) -> ModelConfig:
    sizes = {"emb_size": EMB, "hidden_size": HIDDEN, "encoder_hidden_size": CONTEXT // 2, "attention_size": ATTENTION}
    return ModelConfig(**sizes, dropout=DropoutConfig(layers=0.5), **settings)


def randomise(module: nn.Module) -> dict[str, np.ndarray]:
    """Fill a module with weights large enough to bend every tanh; return them as NumPy arrays."""
    module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.8)
    return {name: value.numpy() for name, value in module.state_dict().items()}


def padded_states() -> tuple[Tensor, Tensor]:
    """Encoder states with padding that would be noticed, and the mask."""
    mask = torch.arange(max(SENTENCES)) < torch.tensor(SENTENCES)[:, None]
    states = torch.randn(len(SENTENCES), max(SENTENCES), CONTEXT, dtype=torch.float64)
    return states.masked_fill(~mask[..., None], 1e6), mask


@torch.no_grad()
def test_additive_attention() -> None:
    torch.manual_seed(1)
    attention = AdditiveAttention(model_config())
    weights = randomise(attention)
    states, mask = padded_states()
    queries = torch.randn(len(SENTENCES), BEAM, HIDDEN, dtype=torch.float64)
    memory = attention.memory(states, states[:, 0], mask)
    contexts, attn_weights, _ = attention(queries, memory, attention.nothing_received(memory))
    for row, length in enumerate(SENTENCES):
        for beam in range(BEAM):
            context, alphas = attention_numpy.attend(weights, queries[row, beam].numpy(), states[row, :length].numpy())
            np.testing.assert_allclose(contexts[row, beam], context, **EXACT)
            np.testing.assert_allclose(attn_weights[row, beam, :length], alphas, **EXACT)
            assert not attn_weights[row, beam, length:].any()


@torch.no_grad()
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_decoder(num_layers: int) -> None:
    """Several steps of every hypothesis, each from the state that the step before left behind."""
    torch.manual_seed(2)
    decoder = Decoder(model_config(decoder_layers=num_layers)).eval()
    weights = randomise(decoder)
    states, mask = padded_states()
    summary = torch.randn(len(SENTENCES), CONTEXT, dtype=torch.float64)
    memory = decoder.bottom.attention.memory(states, summary, mask)
    words = torch.randn(STEPS, len(SENTENCES), BEAM, EMB, dtype=torch.float64)

    state = decoder.initial_state(summary, memory)
    expected = {}
    for row in range(len(SENTENCES)):
        for beam in range(BEAM):
            hiddens, cells = decoder_numpy.first_state(weights, summary[row].numpy(), num_layers)
            np.testing.assert_allclose(state.hidden[row, 0], hiddens, **EXACT)
            np.testing.assert_allclose(state.cell[row, 0], cells, **EXACT)
            expected[row, beam] = hiddens, cells

    state = type(state)(*(tensor.expand(-1, BEAM, -1, -1) for tensor in state))
    for step in range(STEPS):
        readouts, state, attn_weights = decoder.step(words[step], state, memory)
        for (row, beam), (hiddens, cells) in expected.items():
            length = SENTENCES[row]
            word = words[step, row, beam].numpy()
            readout, hiddens, cells, alphas = decoder_numpy.step(
                weights, word, hiddens, cells, states[row, :length].numpy()
            )
            np.testing.assert_allclose(readouts[row, beam], readout, **EXACT)
            np.testing.assert_allclose(state.hidden[row, beam], hiddens, **EXACT)
            np.testing.assert_allclose(state.cell[row, beam], cells, **EXACT)
            np.testing.assert_allclose(attn_weights[row, beam, :length], alphas, **EXACT)
            expected[row, beam] = hiddens, cells
