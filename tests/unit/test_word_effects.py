"""Effects of source tokens on target words: against finite differences, sums that must hold, and removal by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from seq2seq.config.model import AttentionName, CellName, ModelConfig, TieName
from seq2seq.data.batches.batch import make_batch
from seq2seq.inference import word_effects
from seq2seq.inference.word_effects import ForcedPair, gradients, integrated_gradients, occlusion, saliency
from seq2seq.kernels import bindings
from seq2seq.model.network import Seq2Seq

SRC, TGT = [4, 9, 5, 9], [6, 10, 4]
PAIR = ForcedPair(SRC, TGT, [[0], [1, 2]])
VOCAB, EMB = 11, 4
NETWORKS: list[dict[str, Any]] = [
    {}, {"cell": CellName.gru, "encoder_layers": 2}, {"attention": AttentionName.none}, {"input_feeding": True},
    {"attention_heads": 2, "coverage": True}, {"tie_embeddings": TieName.three_way},
]  # fmt: skip


def random_network(double: bool = True, **settings: Any) -> Seq2Seq:
    torch.manual_seed(4)
    sizes = {"emb_size": EMB, "hidden_size": 6, "encoder_hidden_size": 3, "attention_size": 4}
    network = Seq2Seq(ModelConfig(**{**sizes, "tie_embeddings": TieName.two_way, **settings}), VOCAB, VOCAB)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.6)
    return network.double().eval() if double else network.eval()


@torch.no_grad()
def word_log_probs(network: Seq2Seq, vectors: torch.Tensor | None, src: list[int] = SRC) -> torch.Tensor:
    """log p of the target words, when the encoder reads these vectors."""
    readouts, targets, _ = network.read_out(make_batch([src], [TGT]), vectors)
    log_probs = network.output(readouts).log_softmax(-1).gather(1, targets[:, None])[:, 0]
    return torch.stack([log_probs[word].sum() for word in PAIR.words])


@pytest.mark.parametrize("settings", NETWORKS, ids=str)
def test_gradients_are_those_of_finite_differences(settings: dict[str, Any]) -> None:
    network = random_network(**settings)
    log_probs, found = gradients(network, PAIR)
    vectors, eps = network.embed_source(torch.tensor([[*SRC, 3]])).detach(), 1e-6
    torch.testing.assert_close(log_probs, word_log_probs(network, vectors))
    for at in range(len(SRC) + 1):
        for unit in range(EMB):
            ends = []
            for push in (eps, -eps):
                pushed = vectors.clone()
                pushed[0, at, unit] += push
                ends.append(word_log_probs(network, pushed))
            expected = (ends[0] - ends[1]) / (2 * eps)
            torch.testing.assert_close(found[:, at, unit], expected, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(saliency(network, PAIR), (found * vectors).abs().sum(-1))


@pytest.mark.parametrize("positions", [1, 30, 10**6])
def test_the_size_of_the_batches_changes_nothing(positions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network = random_network()
    expected, removed = saliency(network, PAIR), occlusion(network, PAIR, [[0], [1], [2, 3]])
    monkeypatch.setattr(word_effects, "POSITIONS", positions)
    monkeypatch.setattr(word_effects, "TARGET_TOKENS", positions)
    torch.testing.assert_close(saliency(network, PAIR), expected)
    torch.testing.assert_close(occlusion(network, PAIR, [[0], [1], [2, 3]]), removed)


@pytest.mark.skipif(not bindings.usable(torch.zeros(1)), reason="no C++ compiler, so no kernels")
@pytest.mark.parametrize("settings", NETWORKS, ids=str)
def test_the_fast_forms_have_the_gradients_of_the_definition(settings: dict[str, Any]) -> None:
    network = random_network(double=False, **settings)
    fast = saliency(network, PAIR)
    bindings.enable(False)
    try:
        torch.testing.assert_close(fast, saliency(network, PAIR), rtol=1e-4, atol=1e-5)
    finally:
        bindings.enable(True)


def test_padding_has_no_gradient() -> None:
    network = random_network()
    batch = make_batch([SRC, SRC[:1]], [TGT, TGT])
    vectors = network.embed_source(batch.src_ids).detach()
    vectors[1, 2:] = 5.0  # what padding reads must not matter either
    vectors.requires_grad_()
    readouts, targets, _ = network.read_out(batch, vectors)
    log_probs = network.output(readouts).log_softmax(-1).gather(1, targets[:, None])
    (found,) = torch.autograd.grad(log_probs.sum(), vectors)
    assert (found[1, 2:] == 0).all()
    assert (found[0] != 0).all()
    assert (found[1, :2] != 0).all()
    torch.testing.assert_close(log_probs[len(TGT) + 1 :].sum(), alone(network).sum())


@torch.no_grad()
def alone(network: Seq2Seq) -> torch.Tensor:
    logits, targets, _ = network(make_batch([SRC[:1]], [TGT]))
    return logits.log_softmax(-1).gather(1, targets[:, None])


@pytest.mark.parametrize("settings", NETWORKS, ids=str)
def test_integrated_gradients_are_complete(settings: dict[str, Any]) -> None:
    """They sum to the difference from embeddings of zero; of a linear function they are gradient times input."""
    network = random_network(**settings)
    attributions, difference = integrated_gradients(network, PAIR, 30)
    vectors = network.embed_source(torch.tensor([[*SRC, 3]])).detach()
    expected = word_log_probs(network, vectors) - word_log_probs(network, torch.zeros_like(vectors))
    torch.testing.assert_close(difference, expected)
    torch.testing.assert_close(attributions.sum(1), difference, rtol=1e-4, atol=1e-4)
    coarse, _ = integrated_gradients(network, PAIR, 1)
    middle = (gradients(network, PAIR, 0.5).vectors * vectors).sum(-1)  # the only point of the midpoint rule
    torch.testing.assert_close(coarse, middle)


def test_occlusion_is_the_fall_of_log_p_without_the_positions() -> None:
    network = random_network()
    found = occlusion(network, PAIR, [[0], [1, 3], [0, 1, 2, 3], []])
    whole = word_log_probs(network, None)
    for column, src in enumerate(([9, 5, 9], [4, 5], [], SRC)):
        torch.testing.assert_close(found[:, column], whole - word_log_probs(network, None, src))
    assert occlusion(network, PAIR, []).shape == (2, 0)
