"""Gates and states that explanations report: against NumPy written from the papers, and against the fast forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from reference import cells_numpy, decoder_numpy
from reference.cells_numpy import Array, layer_weights
from seq2seq.config.model import AttentionName, CellName, ModelConfig
from seq2seq.data.special_ids import BOS_ID, EOS_ID
from seq2seq.inference.layer_activity import ACTIVATION, Layer, observe
from seq2seq.inference.word_effects import ForcedPair
from seq2seq.kernels import bindings
from seq2seq.model.network import Seq2Seq

VOCAB, EMB, HIDDEN, ENCODER = 11, 5, 6, 4
SRC, TGT = [4, 9, 5, 7], [6, 10, 4]
PAIR = ForcedPair(SRC, TGT, [[0], [1, 2]])
LETTERS = {"input": "i", "forget": "f", "output": "o", "reset": "r", "update": "z"}
CELLS = [{"cell": cell} for cell in CellName] + [{"cell": CellName.peephole_lstm, "peephole_candidate": True}]
PARTS: list[dict[str, Any]] = [
    {}, {"layer_norm": True}, {"residual": True}, {"input_feeding": True}, {"coverage": True}, {"attention_heads": 2},
    {"attention": AttentionName.none}, {"attention": AttentionName.general},
]  # fmt: skip


def random_network(double: bool = True, **settings: Any) -> Seq2Seq:
    torch.manual_seed(2)
    sizes = {"emb_size": EMB, "hidden_size": HIDDEN, "encoder_hidden_size": ENCODER, "attention_size": 6}
    network = Seq2Seq(ModelConfig(**sizes, **{"encoder_layers": 2, "decoder_layers": 2, **settings}), VOCAB, VOCAB)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.8)
    return network.double().eval() if double else network.eval()


def arrays(module: torch.nn.Module) -> dict[str, Array]:
    return {name: value.detach().numpy() for name, value in module.state_dict().items()}


def words_of(network: Seq2Seq, ids: list[int]) -> Array:
    words: Array = network.src_embedding.weight.detach().numpy()[ids] * np.sqrt(EMB)
    return words


def figures(values: list[Array]) -> dict[str, Array]:
    stacked = np.array(values)
    return {"mean": stacked.mean(1), "closed": (stacked < 0.1).mean(1), "open": (stacked > 0.9).mean(1)}


def assert_gates(layer: Layer, expected: dict[str, list[Array]]) -> None:
    assert set(layer.gates) == set(expected)
    for name, values in expected.items():
        for figure, by_token in figures(values).items():
            np.testing.assert_allclose(
                getattr(layer.gates[name], figure), by_token, atol=1e-12, err_msg=f"{name} {figure}"
            )


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("settings", CELLS, ids=str)
def test_gates_and_states_of_the_encoder_are_those_of_the_papers(settings: dict[str, Any], layer_norm: bool) -> None:
    network = random_network(**settings, layer_norm=layer_norm)
    kind, weights = network.config.cell.name, arrays(network.encoder)
    layers = {layer.name: layer for layer in observe(network, PAIR).layers}
    read = words_of(network, [*SRC, EOS_ID])
    for number in range(2):
        outputs = []
        for direction, name in enumerate(("forward", "backward")):
            own, order = layer_weights(weights, f"layers.{number}.", direction), 1 - 2 * direction
            hidden = memory = np.zeros(ENCODER)
            hiddens, memories, gates = [], [], []
            for inputs in read[::order]:
                (hidden, memory), activations = cells_numpy.step_and_gates(kind, own, inputs, hidden, memory)
                hiddens.append(hidden)
                memories.append(memory)
                gates.append(activations)
            layer = layers[f"encoder.{number + 1}.{name}"]
            hiddens, memories, gates = hiddens[::order], memories[::order], gates[::order]
            named = {gate: [one[letter] for one in gates] for gate, letter in LETTERS.items() if letter in gates[0]}
            assert_gates(layer, named or {ACTIVATION: [abs(one) for one in hiddens]})
            np.testing.assert_allclose(layer.hidden_norm, np.linalg.norm(hiddens, axis=1), atol=1e-12)
            if "lstm" in kind:
                np.testing.assert_allclose(layer.cell_norm, np.linalg.norm(memories, axis=1), atol=1e-12)
            else:
                assert layer.cell_norm is None
            outputs.append(np.array(hiddens))
        read = np.concatenate(outputs, axis=1)


@pytest.mark.parametrize("parts", PARTS, ids=str)
@pytest.mark.parametrize("cell", [CellName.lstm, CellName.gru])
def test_states_of_the_decoder_and_attention_are_those_of_the_papers(cell: CellName, parts: dict[str, Any]) -> None:
    network = random_network(cell=cell, **parts)
    seen = observe(network, PAIR)
    with torch.no_grad():
        vectors = network.embed_source(torch.tensor([[*SRC, EOS_ID]]))
        states, summary = network.encoder(vectors, torch.tensor([len(SRC) + 1]))
    config, weights = network.config, arrays(network.decoder)
    read = summary.numpy() if config.attention is AttentionName.none else states[0].numpy()
    state = decoder_numpy.first_state(config, weights, summary[0].numpy(), len(read))
    embedding = network.tgt_embedding.weight.detach().numpy() * np.sqrt(EMB)
    for step, token in enumerate([BOS_ID, *TGT]):
        state, attention = decoder_numpy.step(config, weights, embedding[token], state, read)
        np.testing.assert_allclose(seen.attn_weights[step].numpy(), attention, atol=1e-12)
        for number, layer in enumerate(seen.layers[-2:]):
            np.testing.assert_allclose(layer.hidden_norm[step], np.linalg.norm(state.hiddens[number]), atol=1e-12)
            if layer.cell_norm is not None:
                np.testing.assert_allclose(layer.cell_norm[step], np.linalg.norm(state.memories[number]), atol=1e-12)
        logits = network.output.weight.detach().numpy() @ state.readout + network.output.bias.detach().numpy()
        wanted = [*TGT, EOS_ID][step]
        log_prob = logits[wanted] - np.log(np.exp(logits).sum())
        np.testing.assert_allclose(seen.token_log_probs[step], log_prob, atol=1e-10)


@pytest.mark.skipif(not bindings.usable(torch.zeros(1)), reason="no C++ compiler, so no kernels")
@pytest.mark.parametrize("settings", [*CELLS, *PARTS[1:]], ids=str)
def test_recomputed_states_are_those_of_the_fast_forms(settings: dict[str, Any]) -> None:
    """In fp32, with the compiled kernels: encoder, teacher forcing and search give the states that are reported."""
    network = random_network(double=False, **settings)
    seen = observe(network, PAIR)
    layers = {layer.name: layer for layer in seen.layers}
    close = {"rtol": 1e-5, "atol": 1e-5}
    with torch.inference_mode():
        ids, lengths = torch.tensor([[*SRC, EOS_ID]]), torch.tensor([len(SRC) + 1])
        states, _ = network.encoder(network.embed_source(ids), lengths)
        if not network.config.residual:
            for name, values in zip(("forward", "backward"), states[0].chunk(2, dim=-1), strict=True):
                np.testing.assert_allclose(layers[f"encoder.2.{name}"].hidden_norm, values.norm(dim=-1), **close)
        memory, state = network.encode(ids, lengths)
        for step, token in enumerate([BOS_ID, *TGT]):
            logits, state, attention = network.step(torch.tensor([[token]]), state, memory)
            for number, layer in enumerate(seen.layers[-2:]):
                np.testing.assert_allclose(layer.hidden_norm[step], state.hidden[0, 0, number].norm(), **close)
                if layer.cell_norm is not None:
                    np.testing.assert_allclose(layer.cell_norm[step], state.cell[0, 0, number].norm(), **close)
            np.testing.assert_allclose(seen.attn_weights[step], attention[0, 0], **close)
            log_prob = logits[0, 0].log_softmax(-1)[[*TGT, EOS_ID][step]]
            np.testing.assert_allclose(seen.token_log_probs[step], log_prob, **close)


def test_gradient_norms_are_those_of_finite_differences() -> None:
    """Of the decoder's states: each is pushed by a hook, one unit after the other."""
    network = random_network(encoder_layers=1, decoder_layers=1)
    reported = observe(network, PAIR).layers[-1].gradient_norm
    cell, eps = network.decoder.bottom.cell, 1e-6
    gradients = np.zeros((len(TGT) + 1, HIDDEN))
    for step in range(len(TGT) + 1):
        for unit in range(HIDDEN):
            for sign in (1, -1):
                calls = iter(range(100))

                def push(module: Any, inputs: Any, state: Any, unit: int = unit, by: float = sign * eps) -> Any:
                    if next(calls) != step:  # noqa: B023 (called in this turn of the loop)
                        return state
                    hidden = state.hidden.clone()
                    hidden[..., unit] += by
                    return state._replace(hidden=hidden)

                handle = cell.register_forward_hook(push)
                cell.watcher = lambda gates, state: None  # step by step
                batch = forced(network)
                gradients[step, unit] += sign * batch / (2 * eps)
                cell.watcher = None
                handle.remove()
    np.testing.assert_allclose(reported, np.linalg.norm(gradients, axis=1), rtol=1e-5, atol=1e-8)
    assert reported[-1] == 0  # it predicts EOS, after the last word


def forced(network: Seq2Seq) -> float:
    """log p of the last target word."""
    from seq2seq.data.batches.batch import make_batch

    with torch.no_grad():
        logits, targets, _ = network(make_batch([SRC], [TGT]))
    log_probs = logits.log_softmax(-1).gather(1, targets[:, None])[:, 0]
    return float(log_probs[PAIR.words[-1]].sum())


def test_observing_leaves_the_network_as_it_was() -> None:
    network = random_network()
    observe(network, PAIR)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(getattr(module, "watcher", None) is None for module in network.modules())
