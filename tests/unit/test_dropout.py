"""Regularisers: nothing in evaluation; in training the right units, words and weights, for as long as they should."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seq2seq.config.model import AttentionName, CellName, DropoutConfig, ModelConfig
from seq2seq.data.batches.batch import Batch, make_batch
from seq2seq.data.special_ids import PAD_ID
from seq2seq.kernels import bindings
from seq2seq.model.dropout import Dropout
from seq2seq.model.layers import RecurrentLayer
from seq2seq.model.network import Seq2Seq

NONE = DropoutConfig(0.0, 0.0, 0.0, 0.0)
PLACES = ["embedding", "layers", "context", "readout", "recurrent", "src_words", "tgt_words"]
VARIATIONAL = PLACES[:4]
SIZE, VOCAB = 10, 14


@pytest.fixture(params=[True, False], ids=["kernels", "plain"])
def kernels(request: pytest.FixtureRequest) -> Iterator[bool]:
    bindings.enable(request.param)
    yield request.param
    bindings.enable(True)


def make_network(settings: dict[str, Any], **parts: Any) -> Seq2Seq:
    """A network of two layers in double precision, with dropout as given; the same weights for the same parts."""
    torch.manual_seed(1)
    sizes = {"emb_size": SIZE, "hidden_size": SIZE, "encoder_hidden_size": SIZE, "attention_size": SIZE}
    parts = {"encoder_layers": 2, "decoder_layers": 2, **parts}
    network = Seq2Seq(ModelConfig(**sizes, **parts, dropout=dataclasses.replace(NONE, **settings)), VOCAB, VOCAB)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.5)
    return network.double()


def batch_of(rows: int = 3) -> Batch:
    """Sentences of one length, so that everything in it is real."""
    ids = [[4 + (5 * row + 3 * k) % 10 for k in range(5)] for row in range(rows)]
    return make_batch(ids, ids[::-1])


# --- at work in training alone ---------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("input_feeding", [False, True])
@pytest.mark.parametrize("variational", [False, True])
@pytest.mark.parametrize("place", PLACES)
def test_a_place_is_at_work_in_training_and_not_in_evaluation(
    place: str, variational: bool, input_feeding: bool
) -> None:
    network = make_network({place: 0.5, "variational": variational}, input_feeding=input_feeding)
    batch = batch_of()
    once, again = (network.train()(batch)[0] for _ in range(2))
    assert not torch.allclose(once, again)
    plain = make_network({}, input_feeding=input_feeding)
    assert torch.equal(network.eval()(batch)[0], plain.train()(batch)[0])
    memory, state = network.encode(batch.src_ids, batch.src_lengths)
    steps = [network.step(batch.tgt_in[:, :1], state, memory)[0] for _ in range(2)]
    assert torch.equal(*steps)


@torch.no_grad()
@pytest.mark.parametrize("input_feeding", [False, True])
@pytest.mark.parametrize("depth", [(2, 1), (1, 2)], ids=["encoder", "decoder"])
def test_layers_are_dropped_on_both_sides_and_not_after_the_last(depth: tuple[int, int], input_feeding: bool) -> None:
    batch = batch_of()
    for layers, at_work in ((depth, True), ((1, 1), False)):
        parts = {"encoder_layers": layers[0], "decoder_layers": layers[1], "input_feeding": input_feeding}
        network = make_network({"layers": 0.5}, **parts).train()
        once, again = (network(batch)[0] for _ in range(2))
        assert torch.equal(once, again) != at_work


def test_every_place_has_a_probability_of_its_own() -> None:
    expected = {place: number / 10 for number, place in enumerate(PLACES, start=1)}
    network = make_network(expected)
    drops: dict[str, list[nn.Module]] = {
        "embedding": [network.embedding_dropout],
        "layers": [network.encoder.dropout, network.decoder.dropout],
        "context": [network.context_dropout],
        "readout": [network.readout_dropout],
        "recurrent": [module.weight_drop for module in network.modules() if hasattr(module, "weight_drop")],
        "src_words": [network.src_word_dropout],
        "tgt_words": [network.tgt_word_dropout],
    }
    assert {place: {drop.p for drop in here} for place, here in drops.items()} == {
        place: {p} for place, p in expected.items()
    }
    assert sum(map(len, drops.values())) == sum(isinstance(module, Dropout) for module in network.modules())


@torch.no_grad()
def test_keys_and_the_states_that_are_summed_are_dropped_with_one_mask() -> None:
    batch = batch_of()
    network = make_network({"context": 0.5}).train()
    memory, _ = network.encode(batch.src_ids, batch.src_lengths)
    plain, _ = make_network({}).train().encode(batch.src_ids, batch.src_lengths)
    kept = memory.states != 0
    assert kept.double().mean().item() == pytest.approx(0.5, abs=0.2)
    torch.testing.assert_close(memory.states, 2 * plain.states * kept)
    torch.testing.assert_close(memory.keys, network.decoder.bottom.attention.keys(memory.states))


@torch.no_grad()
@pytest.mark.parametrize("variational", [False, True])
@pytest.mark.parametrize("input_feeding", [False, True])
def test_a_context_that_layers_of_the_decoder_read_is_whole(input_feeding: bool, variational: bool) -> None:
    """Where the second layer reads the context alone there is no chance."""
    parts = {"encoder_layers": 1, "input_feeding": input_feeding}
    network = make_network({"layers": 0.5, "variational": variational}, **parts).train()
    network.decoder.upper[0].weight_ih_l0[:, :SIZE] = 0
    once, again = (network(batch_of())[0] for _ in range(2))
    assert torch.equal(once, again)


@torch.no_grad()
@pytest.mark.parametrize("input_feeding", [False, True])
@pytest.mark.parametrize("depth", [(2, 1), (1, 2)], ids=["encoder", "decoder"])
def test_a_residual_sum_adds_to_what_was_not_dropped(depth: tuple[int, int], input_feeding: bool) -> None:
    """Where the layers above add nothing there is no chance."""
    parts = {"encoder_layers": depth[0], "decoder_layers": depth[1], "input_feeding": input_feeding}
    network = make_network({"layers": 0.5}, residual=True, cell=CellName.rnn, **parts).train()
    for layer in (*network.encoder.layers[1:], *network.decoder.upper):
        for weight in layer.parameters():
            weight.zero_()
    once, again = (network(batch_of())[0] for _ in range(2))
    assert torch.equal(once, again)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("variational", [False, True])
def test_the_mean_is_kept(p: float, variational: bool, kernels: bool) -> None:
    torch.manual_seed(1)
    positions = 1 if variational else 5  # masks that are independent of each other
    found = Dropout(p, variational)(torch.ones(200, positions, 100))
    torch.testing.assert_close(found[found != 0].unique(), torch.tensor([1 / (1 - p)]))
    error = math.sqrt(p / (1 - p) / found.numel())
    assert found.mean().item() == pytest.approx(1, abs=5 * error)


# --- one mask a sentence ---------------------------------------------------------------------------------------------


def test_a_variational_mask_is_one_of_all_positions_and_not_of_other_sentences(kernels: bool) -> None:
    torch.manual_seed(1)
    module, values = Dropout(0.5, variational=True), torch.rand(6, 7, 100, dtype=torch.float64) + 1
    once, again = ((module(values) != 0) for _ in range(2))
    for mask in (once, again):
        assert torch.equal(mask, mask[:, :1].expand_as(mask))
    for one, other in [(once[row, 0], once[row - 1, 0]) for row in range(6)] + [(once[0, 0], again[0, 0])]:
        assert 20 < (one != other).sum() < 80  # half of them, where they have nothing to do with each other
    drop = module.for_sentences(values)
    first, second = (drop(values[:, t : t + 1]) for t in (0, 1))
    assert torch.equal(first != 0, second != 0)
    torch.testing.assert_close(first[first != 0], 2 * values[:, :1][first != 0])


def kept_by(module: nn.Module, network: Seq2Seq, batch: Batch) -> list[Tensor]:
    """What a module of a network keeps in a training pass, at each of its bindings."""
    found = []
    handle = module.register_forward_hook(lambda _, inputs, output: found.append((inputs[0], output)))
    network.train()(batch)
    handle.remove()
    for before, after in found:
        torch.testing.assert_close(after[after != 0], 2 * before[after != 0])
    return [after != 0 for _, after in found]


def assert_variational(kept: Tensor, variational: bool) -> None:
    assert torch.equal(kept, kept[:, :1].expand_as(kept)) == variational
    assert not torch.equal(kept[0], kept[1])


@torch.no_grad()
@pytest.mark.parametrize("variational", [False, True])
def test_every_place_of_the_network_has_masks_of_its_kind(variational: bool) -> None:
    network = make_network({**dict.fromkeys(VARIATIONAL, 0.5), "variational": variational}, residual=True)
    batch = batch_of()
    sizes = {
        network.embedding_dropout: 2,  # source and target
        network.encoder.dropout: 1,
        network.decoder.dropout: 1,
        network.context_dropout: 1,
        network.readout_dropout: 1,
    }
    for module, number in sizes.items():
        masks = kept_by(module, network, batch)
        assert len(masks) == number
        for kept in masks:
            assert_variational(kept.view(len(batch.src_ids), -1, kept.shape[-1]), variational)
        if number == 2:
            assert not torch.equal(masks[0][:, :1], masks[1][:, :1])


@torch.no_grad()
@pytest.mark.parametrize("input_feeding", [False, True])
@pytest.mark.parametrize("variational", [False, True])
def test_the_decoders_layers_have_masks_of_that_kind_step_by_step_too(variational: bool, input_feeding: bool) -> None:
    """A decoder that shows them: its second layer passes on what it reads, the readout that; 0 remains 0."""
    parts = {"cell": CellName.rnn, "input_feeding": input_feeding, "encoder_layers": 1}
    network = make_network({"layers": 0.5, "variational": variational}, **parts).train()
    decoder, same = network.decoder, torch.eye(SIZE)
    for weight in (*decoder.upper.parameters(), decoder.readout.weight, decoder.readout.bias):
        weight.zero_()
    decoder.upper[0].weight_ih_l0[:, :SIZE] = same
    decoder.readout.weight[:, SIZE : 2 * SIZE] = same
    batch = batch_of()
    once, again = (network.read_out(batch)[0].view(*batch.tgt_out.shape, SIZE) != 0 for _ in range(2))
    for kept in (once, again):
        assert_variational(kept, variational)
        assert kept.double().mean().item() == pytest.approx(0.5, abs=0.3)
    assert not torch.equal(once, again)


# --- weights ---------------------------------------------------------------------------------------------------------


def recurrent_weights(network: Seq2Seq) -> dict[str, Tensor]:
    """The matrices of all cells that multiply the state before."""
    found = {name: p for name, p in network.named_parameters() if "weight_hh" in name}
    return found | {"bottom": network.decoder.bottom.recurrent.weight[:, -SIZE:]}


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"cell": CellName.gru},
        {"cell": CellName.rnn, "input_feeding": True},
        {"cell": CellName.peephole_lstm, "layer_norm": True},
        {"cell": CellName.gru, "input_feeding": True, "coverage": True},
        {"attention": AttentionName.none},
        {"attention": AttentionName.general, "cell": CellName.gru},
    ],
    ids=lambda parts: " ".join(str(getattr(value, "name", key)) for key, value in parts.items()) or "default",
)
def test_dropped_weights_are_missing_at_every_step_and_others_in_the_next_pass(
    parts: dict[str, Any], kernels: bool
) -> None:
    """A pass is that of a network without dropout in which these weights are 0 and the others twice as large."""
    batch = batch_of()
    undropped = make_network({}, **parts)
    network = make_network({"recurrent": 0.5}, **parts).train()
    kept = []
    for _ in range(2):
        network.zero_grad()
        logits = network(batch)[0]
        nn.functional.cross_entropy(logits, batch.tgt_out[batch.tgt_out != PAD_ID]).backward()
        gradients = {name: p.grad for name, p in network.named_parameters() if "weight_hh" in name}
        whole = network.decoder.bottom.recurrent.weight.grad
        assert whole[:, :-SIZE].all()  # what reads the context is not dropped
        kept.append({name: g != 0 for name, g in (gradients | {"bottom": whole[:, -SIZE:]}).items()})
        plain = copy.deepcopy(undropped)
        with torch.no_grad():
            for name, weight in recurrent_weights(plain).items():
                assert kept[-1][name].double().mean().item() == pytest.approx(0.5, abs=0.25), name
                weight *= 2 * kept[-1][name]
        torch.testing.assert_close(logits, plain(batch)[0], rtol=0, atol=1e-9)
    for name, mask in kept[0].items():
        assert (mask != kept[1][name]).double().mean().item() == pytest.approx(0.5, abs=0.25), name
    # Two directions, two layers in the encoder, two in the decoder, and not one mask for all of them.
    assert len(kept[0]) == 2 * 2 + 2
    masks = [mask for name, mask in kept[0].items() if name.startswith("encoder")]
    assert not any(torch.equal(masks[0], mask) for mask in masks[1:])


@pytest.mark.parametrize("input_feeding", [False, True])
def test_weights_are_dropped_one_by_one_where_units_are_variational(input_feeding: bool) -> None:
    network = make_network({"recurrent": 0.5, "variational": True}, input_feeding=input_feeding).train()
    network(batch_of())[0].square().sum().backward()
    gradients = {name: weight.grad for name, weight in network.named_parameters() if "weight_hh" in name}
    gradients["bottom"] = network.decoder.bottom.recurrent.weight.grad[:, -SIZE:]
    for name, gradient in gradients.items():
        kept = gradient != 0
        assert kept.double().mean().item() == pytest.approx(0.5, abs=0.25), name
        for lines in (kept, kept.T):
            assert not torch.equal(lines, lines[:, :1].expand_as(lines)), name


def test_the_weights_themselves_are_not_changed() -> None:
    network = make_network({"recurrent": 0.5}, input_feeding=True).train()
    before = copy.deepcopy(network.state_dict())
    network(batch_of())[0].sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    layers = [module for module in network.modules() if isinstance(module, RecurrentLayer)]
    assert all(layer.weight_drop.p == 0.5 for layer in layers)


# --- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CellName)
def test_dropped_first_words_do_not_make_the_gradient_of_normalised_gates_explode(cell: CellName) -> None:
    batch, norms = batch_of(40), {}
    for dropped in (0.0, 0.5):
        torch.manual_seed(1)
        config = ModelConfig(
            SIZE, SIZE, layer_norm=True, cell=cell, dropout=dataclasses.replace(NONE, src_words=dropped)
        )
        network = Seq2Seq(config, VOCAB, VOCAB).train()
        _, _, attn_weights = network(batch)
        attn_weights[:, :, 0].square().sum().backward()
        norms[dropped] = torch.nn.utils.get_total_norm([p.grad for p in network.parameters() if p.grad is not None])
    assert 0 < norms[0.5] < 5 * norms[0.0]


@torch.no_grad()
@pytest.mark.parametrize("input_feeding", [False, True])
@pytest.mark.parametrize("variational", [False, True])
@pytest.mark.parametrize("side", ["src_words", "tgt_words"])
def test_whole_words_are_dropped_on_one_side_alone(side: str, variational: bool, input_feeding: bool) -> None:
    batch = batch_of(40)
    network = make_network({side: 0.25, "variational": variational}, input_feeding=input_feeding).train()
    read: dict[str, list[Tensor]] = {"src_words": [], "tgt_words": []}
    for name, module in (("src_words", network.encoder), ("tgt_words", network.decoder)):
        module.register_forward_pre_hook(lambda _, inputs, name=name: read[name].append(inputs[0]))
    for _ in range(2):
        network(batch)
    tables = {"src_words": (network.src_embedding, batch.src_ids), "tgt_words": (network.tgt_embedding, batch.tgt_in)}
    for name, (table, ids) in tables.items():
        words = table(ids) * math.sqrt(SIZE)
        once, again = read[name]
        if name != side:
            assert torch.equal(once, words)
            assert torch.equal(again, words)
            continue
        for seen in (once, again):
            kept = seen.any(dim=2)
            torch.testing.assert_close(seen[kept], words[kept] / 0.75)
            error = math.sqrt(0.25 * 0.75 / kept.numel())
            assert kept.double().mean().item() == pytest.approx(0.75, abs=5 * error)
            for lines in (kept, kept.T):
                assert not torch.equal(lines, lines[:, :1].expand_as(lines))
        assert not torch.equal(once, again)
