"""Cells, attention and decoder against NumPy written from the papers, in double precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reference import attention_numpy, cells_numpy, decoder_numpy
from seq2seq.config.model import AttentionName, CellName, DropoutConfig, ModelConfig, check_model
from seq2seq.model.attention import make_attention
from seq2seq.model.cells import State
from seq2seq.model.decoder import Decoder
from seq2seq.model.layers import make_cell

EMB, HIDDEN, CONTEXT, ATTENTION = 5, 4, 6, 6
SENTENCES = [7, 1, 4]  # lengths; the memory is padded to the longest
BEAM, STEPS = 2, 4
EXACT = {"rtol": 0, "atol": 1e-12}
CELLS = [{"cell": cell} for cell in CellName] + [{"cell": CellName.peephole_lstm, "peephole_candidate": True}]
ATTENTIONS: list[dict[str, Any]] = [
    {},
    {"attention_heads": 2},
    {"coverage": True},
    {"attention_heads": 3, "coverage": True},
    {"attention_weight_norm": True},
    {"attention_heads": 2, "attention_weight_norm": True, "coverage": True},
    {"attention": AttentionName.general},
    {"attention": AttentionName.dot, "hidden_size": CONTEXT},
    {"attention": AttentionName.none},
]


def model_config(**settings: Any) -> ModelConfig:
    sizes = {"emb_size": EMB, "hidden_size": HIDDEN, "encoder_hidden_size": CONTEXT // 2, "attention_size": ATTENTION}
    config = ModelConfig(**{**sizes, **settings}, dropout=DropoutConfig(layers=0.5, recurrent=0.5, tgt_words=0.5))
    check_model(config)
    return config


def name_of(settings: dict[str, Any]) -> str:
    return " ".join(
        value.name if isinstance(value, CellName | AttentionName) else str(key) for key, value in settings.items()
    )


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
@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("settings", CELLS, ids=name_of)
def test_cell(settings: dict[str, Any], layer_norm: bool) -> None:
    torch.manual_seed(1)
    cell = make_cell(model_config(layer_norm=layer_norm, **settings), HIDDEN)
    inputs, recurrent = nn.Linear(EMB, cell.gates * HIDDEN), nn.Linear(HIDDEN, cell.gates * HIDDEN)
    own = randomise(cell)
    assert ("peephole" in own, "gain" in own) == (cell.name is CellName.peephole_lstm, layer_norm)
    weights = [randomise(inputs), randomise(recurrent)]
    weights = {
        f"{kind}_{side}": values[kind] for side, values in zip(("ih", "hh"), weights, strict=True) for kind in values
    } | own
    words = torch.randn(STEPS, BEAM, EMB, dtype=torch.float64)
    state = State(*(torch.randn(BEAM, size, dtype=torch.float64) for size in (HIDDEN, cell.memory_size)))
    expected = [(hidden.numpy(), memory.numpy()) for hidden, memory in zip(*state, strict=True)]
    for word in words:
        state = cell(inputs(word), recurrent(state.hidden), state)
        for row in range(BEAM):
            expected[row] = cells_numpy.step(cell.name.name, weights, word[row].numpy(), *expected[row])
            np.testing.assert_allclose(state.hidden[row], expected[row][0], **EXACT)
            np.testing.assert_allclose(state.cell[row], expected[row][1], **EXACT)


@torch.no_grad()
@pytest.mark.parametrize("settings", ATTENTIONS, ids=name_of)
def test_attention(settings: dict[str, Any]) -> None:
    """Several steps, as coverage needs them, of queries side by side."""
    torch.manual_seed(1)
    config = model_config(**settings)
    attention = make_attention(config)
    weights = randomise(attention)
    states, mask = padded_states()
    summary = torch.randn(len(SENTENCES), CONTEXT, dtype=torch.float64)
    memory = attention.memory(states, summary, mask)
    coverage = attention.no_coverage(memory)
    expected: dict[tuple[int, int], Any] = {}
    for _ in range(3):
        queries = torch.randn(len(SENTENCES), BEAM, config.hidden_size, dtype=torch.float64)
        contexts, attn_weights, coverage = attention(queries, memory, coverage)
        for row, length in enumerate(SENTENCES):
            source = summary[row : row + 1] if config.attention is AttentionName.none else states[row, :length]
            for beam in range(BEAM):
                query, had = (
                    queries[row, beam].numpy(),
                    expected.get((row, beam), np.zeros((config.attention_heads, len(source)))),
                )
                context, alphas = attention_numpy.attend(
                    weights, query, source.numpy(), config.attention.name, config.attention_heads, had
                )
                expected[row, beam] = had + alphas
                np.testing.assert_allclose(contexts[row, beam], context, **EXACT)
                np.testing.assert_allclose(attn_weights[row, beam, : len(source)], alphas.mean(axis=0), **EXACT)
                assert not attn_weights[row, beam, len(source) :].any()


def decoders() -> list[dict[str, Any]]:
    """Every cell with input feeding and without, with layer norm and without, and every attention."""
    plain = [{**cell, "decoder_layers": 1 + number % 3} for number, cell in enumerate(CELLS)]
    rich = [
        {
            **cell,
            "decoder_layers": 2 + number % 2,
            "residual": True,
            "input_feeding": True,
            "layer_norm": number % 2 == 0,
        }
        for number, cell in enumerate(CELLS)
    ]
    attentions = [
        {**attention, "decoder_layers": 2, "residual": number % 2 == 0, "input_feeding": number % 3 == 0}
        for number, attention in enumerate(ATTENTIONS)
    ]
    return plain + rich + attentions


@torch.no_grad()
@pytest.mark.parametrize("settings", decoders(), ids=name_of)
def test_decoder(settings: dict[str, Any]) -> None:
    """Several steps of every hypothesis, each from the state that the step before left behind."""
    torch.manual_seed(2)
    config = model_config(**settings)
    decoder = Decoder(config).eval()
    weights = randomise(decoder)
    states, mask = padded_states()
    summary = torch.randn(len(SENTENCES), CONTEXT, dtype=torch.float64)
    memory = decoder.bottom.attention.memory(states, summary, mask)
    words = torch.randn(STEPS, len(SENTENCES), BEAM, EMB, dtype=torch.float64)
    fixed = config.attention is AttentionName.none
    sources = [summary[row : row + 1] if fixed else states[row, :length] for row, length in enumerate(SENTENCES)]

    state = decoder.initial_state(summary, memory)
    expected = {}
    for row, source in enumerate(sources):
        for beam in range(BEAM):
            first = decoder_numpy.first_state(config, weights, summary[row].numpy(), len(source))
            np.testing.assert_allclose(state.hidden[row, 0], first.hiddens, **EXACT)
            np.testing.assert_allclose(state.cell[row, 0], first.memories, **EXACT)
            expected[row, beam] = first

    state = type(state)(*(tensor.expand(-1, BEAM, -1, -1) for tensor in state))
    for step in range(STEPS):
        readouts, state, attn_weights = decoder.step(words[step], state, memory)
        for (row, beam), before in expected.items():
            source = sources[row].numpy()
            after, alphas = decoder_numpy.step(config, weights, words[step, row, beam].numpy(), before, source)
            np.testing.assert_allclose(readouts[row, beam], after.readout, **EXACT)
            np.testing.assert_allclose(state.hidden[row, beam], after.hiddens, **EXACT)
            np.testing.assert_allclose(state.cell[row, beam], after.memories, **EXACT)
            np.testing.assert_allclose(attn_weights[row, beam, : len(source)], alphas, **EXACT)
            if config.coverage:
                np.testing.assert_allclose(state.coverage[row, beam, :, : len(source)], after.received, **EXACT)
            expected[row, beam] = after
