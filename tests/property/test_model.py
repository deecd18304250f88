"""What holds for every network, whatever its sizes, depth and parts; in double precision."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from covering import covering_set, name_of, pairs_of
from scaling import scaled
from seq2seq.config.model import (
    AttentionName,
    CellName,
    DropoutConfig,
    InitialisationConfig,
    MatrixInit,
    ModelConfig,
    TieName,
    check_model,
)
from seq2seq.config.training import TrainingConfig
from seq2seq.data.batches.batch import Batch, make_batch
from seq2seq.data.special_ids import PAD_ID
from seq2seq.errors import ConfigError
from seq2seq.kernels import bindings
from seq2seq.model.attention import FixedContext
from seq2seq.model.cells import GATES, Cell
from seq2seq.model.decoder import DecoderState
from seq2seq.model.layers import RecurrentLayer
from seq2seq.model.network import Seq2Seq
from seq2seq.training.callbacks import Callbacks, RunOutput
from seq2seq.training.run_log import NullLog
from seq2seq.training.trainer import Trainer
from tiny_trainer import random_ids

EXAMPLES = settings(max_examples=scaled(15, 150), deadline=None, derandomize=True)
FEWER = settings(EXAMPLES, max_examples=scaled(10, 100))
CLOSE = {"rtol": 0, "atol": 1e-9}
NO_DROPOUT = DropoutConfig(0.0, 0.0, 0.0, 0.0)

seeds = st.integers(0, 2**20)


@st.composite
def model_configs(draw: st.DrawFn, **fixed: Any) -> ModelConfig:
    """Any parts that go together."""
    sizes, some = st.integers(1, 6), st.booleans()
    attention = fixed.get("attention") or draw(st.sampled_from(AttentionName))
    cell = draw(st.sampled_from(CellName))
    additive = attention is AttentionName.additive
    heads = draw(st.sampled_from([1, 1, 2, 3])) if additive else 1
    hidden = draw(sizes) * (2 if attention is AttentionName.dot else 1)
    encoder = hidden // 2 if attention is AttentionName.dot else draw(sizes if heads > 1 else st.none() | sizes)
    drawn = {
        "emb_size": draw(sizes),
        "hidden_size": hidden,
        "encoder_hidden_size": encoder and encoder * heads,
        "attention_size": draw(sizes) * heads,
        "encoder_layers": draw(st.integers(1, 3)),
        "decoder_layers": draw(st.integers(1, 3)),
        "attention": attention,
        "attention_heads": heads,
        "coverage": additive and draw(some),
        "attention_weight_norm": additive and draw(some),
        "cell": cell,
        "peephole_candidate": cell is CellName.peephole_lstm and draw(some),
        "layer_norm": draw(some),
        "residual": draw(some),
        "input_feeding": draw(some),
        "tie_embeddings": draw(st.sampled_from(TieName)),
        "dropout": NO_DROPOUT,
    }
    config = ModelConfig(**{**drawn, **fixed})
    config.layer_norm = config.layer_norm and min(config.hidden_size, config.encoder_size) > 1
    check_model(config)
    return config


def make_network(config: ModelConfig, seed: int, spread: bool = True) -> Seq2Seq:
    """A network in double precision; `spread` gives it weights large enough that everything it reads matters."""
    torch.manual_seed(seed)
    src_vocab = 12 if config.tie_embeddings is TieName.three_way else 10
    network = Seq2Seq(config, src_vocab, 12).double()
    with torch.no_grad():
        for parameter in network.parameters() if spread else []:
            parameter.normal_(std=0.7)
    return network


def random_batch(seed: int, rows: int, src_vocab: int) -> tuple[list[list[int]], list[list[int]]]:
    numbers = random.Random(seed)
    return random_ids(numbers, rows, vocab=src_vocab), random_ids(numbers, rows)


networks = st.builds(make_network, model_configs(), seeds)


def src_vocab_of(network: Seq2Seq) -> int:
    return network.src_embedding.num_embeddings


def per_sentence(network: Seq2Seq, batch: Batch) -> list[Tensor]:
    """The logits of teacher forcing, cut into sentences."""
    logits, targets, _ = network(batch)
    assert torch.equal(targets, batch.tgt_out[batch.tgt_out != PAD_ID])
    return list(logits.split((batch.tgt_out != PAD_ID).sum(1).tolist()))


# --- one sentence, any batch, any way of running the decoder ---------------------------------------------------------


def assert_forward_is_a_loop_of_steps(network: Seq2Seq, batch: Batch) -> None:
    network.eval()
    sentences = per_sentence(network, batch)
    attention = network(batch)[2]
    memory, state = network.encode(batch.src_ids, batch.src_lengths)
    for t in range(batch.tgt_in.shape[1]):
        logits, state, attn_weights = network.step(batch.tgt_in[:, t : t + 1], state, memory)
        for row, sentence in enumerate(sentences):
            if t < len(sentence):
                torch.testing.assert_close(logits[row, 0], sentence[t], **CLOSE)
                torch.testing.assert_close(attn_weights[row, 0], attention[row, t], **CLOSE)


@EXAMPLES
@given(networks, seeds, st.integers(1, 5))
@torch.no_grad()
def test_teacher_forcing_is_a_loop_of_steps(network: Seq2Seq, seed: int, rows: int) -> None:
    assert_forward_is_a_loop_of_steps(network, make_batch(*random_batch(seed, rows, src_vocab_of(network))))


@EXAMPLES
@given(networks, seeds, st.integers(2, 5))
@torch.no_grad()
def test_a_sentence_alone_is_the_sentence_in_a_padded_batch(network: Seq2Seq, seed: int, rows: int) -> None:
    assert_alone_is_together(network, *random_batch(seed, rows, src_vocab_of(network)))


def assert_alone_is_together(network: Seq2Seq, src: list[list[int]], tgt: list[list[int]]) -> None:
    network.eval()
    batch = make_batch(src, tgt)
    memory, state = network.encode(batch.src_ids, batch.src_lengths)
    together = per_sentence(network, batch)
    for row in range(len(src)):
        single = make_batch(src[row : row + 1], tgt[row : row + 1])
        own_memory, own_state = network.encode(single.src_ids, single.src_lengths)
        length = own_memory.mask.shape[1]
        torch.testing.assert_close(memory.states[row, :length], own_memory.states[0, :length], **CLOSE)
        torch.testing.assert_close(memory.keys[row, :length], own_memory.keys[0, :length], **CLOSE)
        assert not memory.mask[row, length:].any()
        assert own_memory.mask.all()
        for value, own in zip(state, own_state, strict=True):
            if value is state.coverage:  # has a place for every position of the batch
                value = value[..., : own.shape[-1]]
            torch.testing.assert_close(value[row], own[0], **CLOSE)
        torch.testing.assert_close(together[row], per_sentence(network, single)[0], **CLOSE)


def assert_padding_changes_nothing(network: Seq2Seq, batch: Batch) -> None:
    network.eval()
    others = [torch.randint_like(ids, 4, 10) for ids in (batch.src_ids, batch.tgt_in)]
    src_ids, tgt_in = (
        torch.where(i == PAD_ID, o, i) for i, o in zip((batch.src_ids, batch.tgt_in), others, strict=True)
    )
    noisy = dataclasses.replace(batch, src_ids=src_ids, tgt_in=tgt_in)
    torch.testing.assert_close(network(noisy)[0], network(batch)[0], **CLOSE)


@EXAMPLES
@given(networks, seeds, st.integers(2, 5))
@torch.no_grad()
def test_what_stands_in_the_padding_changes_nothing(network: Seq2Seq, seed: int, rows: int) -> None:
    batch = make_batch(*random_batch(seed, rows, src_vocab_of(network)))
    assume((batch.tgt_out == PAD_ID).any() or (batch.src_ids == PAD_ID).any())
    assert_padding_changes_nothing(network, batch)


@EXAMPLES
@given(networks, seeds, st.integers(1, 3), st.integers(2, 4))
@torch.no_grad()
def test_the_hypotheses_of_a_beam_do_not_see_each_other(network: Seq2Seq, seed: int, rows: int, beam: int) -> None:
    numbers = random.Random(seed)
    src = random_ids(numbers, rows, vocab=src_vocab_of(network))
    said = torch.tensor([[numbers.randrange(12) for _ in range(beam)] for _ in range(rows)])
    network.eval()
    batch = make_batch(src, src)
    memory, first = network.encode(batch.src_ids, batch.src_lengths)
    state = DecoderState(*(tensor.expand(-1, beam, -1, -1) for tensor in first))
    for _ in range(2):  # the second step starts from states that differ
        state = network.step(said, state, memory)[1]
    for k in range(beam):
        own = first
        for _ in range(2):
            own = network.step(said[:, k : k + 1], own, memory)[1]
        for value, expected in zip(state, own, strict=True):
            torch.testing.assert_close(value[:, k : k + 1], expected, **CLOSE)


def test_two_vocabularies_of_different_sizes_cannot_be_one_matrix() -> None:
    with pytest.raises(ConfigError, match=r"model\.tie_embeddings=three_way"):
        Seq2Seq(ModelConfig(tie_embeddings=TieName.three_way), 9, 8)


# --- every two parts together ----------------------------------------------------------------------------------------

FACTORS = {
    "cell": [*CellName, "peephole_lstm with candidate"],
    "attention": list(AttentionName),
    "attention_heads": [1, 2],
    "coverage": [False, True],
    "attention_weight_norm": [False, True],
    "layer_norm": [False, True],
    "residual": [False, True],
    "input_feeding": [False, True],
    "encoder_layers": [1, 2],
    "decoder_layers": [1, 2],
    "tie_embeddings": list(TieName),
    "kernels": [False, True],
}


def goes_together(row: dict[str, Any]) -> bool:
    parts = row["attention_heads"] > 1 or row["coverage"] or row["attention_weight_norm"]
    return row["attention"] is AttentionName.additive or not parts


COMBINATIONS = covering_set(FACTORS, goes_together)


def test_every_two_parts_that_go_together_are_tried_together() -> None:
    found = {pair for row in COMBINATIONS for pair in pairs_of(row)}
    for (one, its), (other, others) in itertools.combinations(FACTORS.items(), 2):
        for value, another in itertools.product(its, others):
            never = {one: value, other: another}
            only_additive = any(never.get(key, False) for key in ("coverage", "attention_weight_norm"))
            only_additive = only_additive or never.get("attention_heads", 1) == 2
            impossible = only_additive and never.get("attention", AttentionName.additive) is not AttentionName.additive
            assert (((one, value), (other, another)) in found) == (not impossible)
    assert len(COMBINATIONS) < 30


@pytest.mark.parametrize("parts", COMBINATIONS, ids=name_of)
@torch.no_grad()
def test_parts_go_together(parts: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    parts = dict(parts)
    monkeypatch.setattr(bindings, "_enabled", parts.pop("kernels"))
    candidate = not isinstance(parts["cell"], CellName)
    parts = {**parts, "cell": CellName.peephole_lstm if candidate else parts["cell"], "peephole_candidate": candidate}
    sizes = {"emb_size": 5, "hidden_size": 6, "encoder_hidden_size": 3, "attention_size": 4}
    config = ModelConfig(**sizes, **parts, dropout=NO_DROPOUT)
    check_model(config)
    network = make_network(config, 1)
    src, tgt = [[4, 5, 6, 7], [8], [9, 5]], [[5], [6, 7, 8, 9], [4, 4]]
    assert_forward_is_a_loop_of_steps(network, make_batch(src, tgt))
    assert_padding_changes_nothing(network, make_batch(src, tgt))
    assert_alone_is_together(network, src, tgt)


# --- without attention -----------------------------------------------------------------------------------------------


@EXAMPLES
@given(st.builds(make_network, model_configs(attention=AttentionName.none), seeds), seeds)
@torch.no_grad()
def test_without_attention_every_step_reads_the_summary(network: Seq2Seq, seed: int) -> None:
    batch = make_batch(*random_batch(seed, 3, src_vocab_of(network)))
    network.eval()
    memory, _ = network.encode(batch.src_ids, batch.src_lengths)
    words = network._embed(network.src_embedding, batch.src_ids, network.src_word_dropout)
    summary = network.encoder(words, batch.src_lengths)[1]
    attention = network.decoder.bottom.attention
    assert isinstance(attention, FixedContext)
    queries = torch.randn(3, 4, network.decoder.hidden_size, dtype=torch.float64)
    contexts, attn_weights, _ = attention(queries, memory, attention.no_coverage(memory))
    torch.testing.assert_close(contexts, summary[:, None].expand(-1, 4, -1), **CLOSE)
    assert torch.equal(attn_weights, torch.ones_like(attn_weights))


# --- gradients -------------------------------------------------------------------------------------------------------


class Captured(Exception):
    """Ends a run where its first update would begin."""


def gradients_of_update(network: Seq2Seq, batch: Batch, micro_batches: int) -> dict[str, Tensor]:
    """The gradients that a run on `batch` hands to the optimizer."""
    config = TrainingConfig(max_grad_norm=0.0, micro_batches=micro_batches, label_smoothing=0.1, max_steps=1)

    def data(epoch: int, start: int) -> tuple[int, Iterator[Batch]]:
        return 1, iter([batch])

    def never(*_: object) -> Any:
        raise AssertionError("the run ends before")

    def capture(*_: object) -> None:
        raise Captured

    output = RunOutput(Path(), NullLog(), "tokenizer")
    trainer = Trainer(network, config, torch.float32, data, Callbacks(never, never), output)
    trainer.optimizer.register_step_pre_hook(capture)
    network.zero_grad()
    with pytest.raises(Captured):
        trainer.fit()
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


@EXAMPLES
@given(networks, seeds, st.integers(1, 6), st.integers(2, 7))
def test_micro_batches_have_the_gradient_of_the_whole_batch(network: Seq2Seq, seed: int, rows: int, parts: int) -> None:
    batch = make_batch(*random_batch(seed, rows, src_vocab_of(network)))
    whole = gradients_of_update(network, batch, 1)
    cut = gradients_of_update(network, batch, parts)
    # An independent road to the same gradient: the mean over all tokens of torch's own loss.
    logits, targets, _ = network(batch)
    mean = nn.functional.cross_entropy(logits, targets, label_smoothing=0.1)
    expected = torch.autograd.grad(mean, list(network.parameters()), allow_unused=True)
    for (name, _), gradient in zip(network.named_parameters(), expected, strict=True):
        wanted = torch.zeros(()) if gradient is None else gradient
        torch.testing.assert_close(whole.get(name, torch.zeros(())), wanted, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(cut.get(name, torch.zeros(())), wanted, rtol=1e-9, atol=1e-12)


@EXAMPLES
@given(model_configs(), seeds, seeds)
def test_tied_matrices_are_one_parameter_with_the_gradients_of_all_its_uses(
    config: ModelConfig, seed: int, data_seed: int
) -> None:
    tied = make_network(config, seed)
    free = Seq2Seq(dataclasses.replace(config, tie_embeddings=TieName.none), src_vocab_of(tied), 12).double()
    free.load_state_dict(tied.state_dict())
    batch = make_batch(*random_batch(data_seed, 3, src_vocab_of(tied)))
    for network in (tied, free):
        nn.functional.cross_entropy(*network(batch)[:2]).backward()
    uses = {"tgt_embedding.weight"} | tied.tied_names()
    shared = {id(dict(tied.named_parameters(remove_duplicate=False))[name]) for name in uses}
    assert len(shared) == 1
    assert len(uses) == {TieName.none: 1, TieName.two_way: 2, TieName.three_way: 3}[config.tie_embeddings]
    gradients = {name: parameter.grad for name, parameter in free.named_parameters()}
    total = sum(gradients[name] for name in uses)  # type: ignore[misc]
    torch.testing.assert_close(tied.tgt_embedding.weight.grad, total, **CLOSE)


@FEWER
@given(networks, seeds, st.integers(1, 4))
def test_the_fused_decoder_has_the_gradient_of_the_loop_of_steps(network: Seq2Seq, seed: int, rows: int) -> None:
    """`step` multiplies out every layer's gates by hand; `forward` leaves the upper layers to the fused kernel."""
    batch = make_batch(*random_batch(seed, rows, src_vocab_of(network)))
    logits, _, _ = network(batch)
    memory, state = network.encode(batch.src_ids, batch.src_lengths)
    steps = []
    for last_tokens in batch.tgt_in.split(1, dim=1):
        said, state, _ = network.step(last_tokens, state, memory)
        steps.append(said)
    by_hand = torch.cat(steps, dim=1)[batch.tgt_out != PAD_ID]
    weights = torch.randn_like(logits)
    found, expected = (
        torch.autograd.grad((values * weights).sum(), list(network.parameters()), allow_unused=True)
        for values in (logits, by_hand)
    )
    for (name, _), one, other in zip(network.named_parameters(), found, expected, strict=True):
        assert (one is None) == (other is None), name
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10, msg=name)


# --- dropout ---------------------------------------------------------------------------------------------------------


@EXAMPLES
@given(model_configs(), seeds)
@torch.no_grad()
def test_dropout_does_nothing_in_evaluation(config: ModelConfig, seed: int) -> None:
    plain = make_network(config, seed).train()
    half = dataclasses.replace(config, dropout=DropoutConfig(*[0.5] * 7, variational=seed % 2 == 0))
    dropping = make_network(half, seed).eval()
    dropping.load_state_dict(plain.state_dict())  # first values may depend on dropout
    batch = make_batch(*random_batch(seed, 3, src_vocab_of(plain)))
    assert torch.equal(dropping(batch)[0], plain(batch)[0])


# --- size and first values -------------------------------------------------------------------------------------------


@EXAMPLES
@given(networks)
def test_parameter_counts(network: Seq2Seq) -> None:
    """Every part by a formula of its own, and together what torch counts."""
    c, src_vocab, tgt_vocab = network.config, src_vocab_of(network), 12
    emb, hidden, enc = c.emb_size, c.hidden_size, c.encoder_size
    tables = {TieName.none: src_vocab + tgt_vocab, TieName.two_way: src_vocab + tgt_vocab, TieName.three_way: tgt_vocab}
    matrix = tgt_vocab * emb if c.tie_embeddings is TieName.none else 0

    gates = {CellName.rnn: 1, CellName.gru: 3}.get(c.cell, 4)
    states = 2 if c.cell in (CellName.lstm, CellName.peephole_lstm) else 1

    def layer(inputs: int, units: int, biases: int) -> int:
        peepholes = (4 if c.peephole_candidate else 3) * units if c.cell is CellName.peephole_lstm else 0
        return gates * units * (inputs + units + biases) + peepholes + (2 * gates * units if c.layer_norm else 0)

    attention = {
        AttentionName.additive: c.attention_size * (hidden + 2 * enc + 2 + c.coverage)
        + c.attention_heads * c.attention_weight_norm,
        AttentionName.general: hidden * 2 * enc,
    }
    expected = {
        "embeddings": tables[c.tie_embeddings] * emb,
        "encoder": 2 * (layer(emb, enc, 2) + (c.encoder_layers - 1) * layer(2 * enc, enc, 2)),
        "attention": attention.get(c.attention, 0),
        "decoder": layer(emb + 2 * enc + (emb if c.input_feeding else 0), hidden, 1)
        + (c.decoder_layers - 1) * layer(hidden + 2 * enc, hidden, 2)
        + states * c.decoder_layers * hidden * (2 * enc + 1),
        "readout": emb * (emb + hidden + 2 * enc + 1) + matrix + tgt_vocab,
    }
    assert network.parameter_counts() == expected
    assert sum(expected.values()) == sum(parameter.numel() for parameter in network.parameters())


def cells_of(network: Seq2Seq) -> list[tuple[Cell, Tensor]]:
    """Every cell with the sum of the biases that go into its gates."""
    found = [(network.decoder.bottom.cell, network.decoder.bottom.word_gates.bias)]
    for layer in [module for module in network.modules() if isinstance(module, RecurrentLayer)]:
        for direction in range(len(layer.cells)):
            found.append((layer.cell(direction), sum(layer.weights(direction)[2:])))
    return found


@EXAMPLES
@given(model_configs(), seeds, st.sampled_from([1.0, 0.0, 2.5]))
@torch.no_grad()
def test_forget_gates_start_open_and_recurrent_gates_orthogonal(
    config: ModelConfig, seed: int, forget_bias: float
) -> None:
    config = dataclasses.replace(config, initialisation=InitialisationConfig(forget_bias=forget_bias))
    network = make_network(config, seed, spread=False)
    cells = cells_of(network)
    assert len(cells) == 2 * config.encoder_layers + config.decoder_layers
    for cell, bias in cells:
        open_gate = torch.zeros(GATES[config.cell], cell.size, dtype=torch.float64)
        if config.cell in (CellName.lstm, CellName.peephole_lstm):
            open_gate[1] = forget_bias
        gates = bias.view_as(open_gate)
        if config.layer_norm:  # what is added before the mean is taken away would have no effect
            assert not gates.any()
            assert (cell.gain == 1).all()
            gates = cell.shift
        assert torch.equal(gates, open_gate)
        if config.cell is CellName.peephole_lstm:
            assert not cell.peephole.any()
    gate_biases = ("word_gates.bias", "bias_ih_l0", "bias_ih_l0_reverse")
    others = [p for name, p in network.named_parameters() if ".bias" in name and not name.endswith(gate_biases)]
    assert not any(bias.any() for bias in others)
    recurrent = [p for name, p in network.named_parameters() if "weight_hh" in name]
    assert len(recurrent) == 2 * config.encoder_layers + config.decoder_layers - 1
    for matrix in [*recurrent, network.decoder.bottom.recurrent.weight[:, -config.hidden_size :]]:
        for gate in matrix.chunk(GATES[config.cell]):
            torch.testing.assert_close(gate @ gate.T, torch.eye(len(gate), dtype=gate.dtype), rtol=0, atol=1e-5)
    assert not network.src_embedding.weight[PAD_ID].any()
    assert not network.tgt_embedding.weight[PAD_ID].any()


def assert_drawn(kind: MatrixInit, matrix: Tensor, uniform_range: float, name: str) -> None:
    """That a matrix has the values of its kind; with bounds that a random one of this size keeps."""
    if kind is MatrixInit.orthogonal:
        wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
        torch.testing.assert_close(wide @ wide.T, torch.eye(len(wide)), rtol=0, atol=1e-5, msg=name)
        return
    bound = math.sqrt(6 / sum(matrix.shape)) if kind is MatrixInit.xavier else uniform_range
    number = matrix.numel()
    assert (1 - 10 / number) * bound < matrix.abs().max() <= bound, name
    error = math.sqrt(0.2 / number)  # of the estimate of a uniform distribution's deviation, relative
    assert matrix.std().item() == pytest.approx(bound / math.sqrt(3), rel=5 * error), name


@pytest.mark.parametrize("cell", [CellName.lstm, CellName.gru])
@pytest.mark.parametrize("tie", [TieName.none, TieName.three_way])
@pytest.mark.parametrize(
    ("recurrent", "matrices"),
    [
        (MatrixInit.orthogonal, MatrixInit.xavier),
        (MatrixInit.uniform, MatrixInit.orthogonal),
        (MatrixInit.xavier, MatrixInit.uniform),
        (MatrixInit.uniform, MatrixInit.uniform),
    ],
)
@torch.no_grad()
def test_matrices_start_as_configured_by_gate_and_word_vectors_have_unit_length(
    recurrent: MatrixInit, matrices: MatrixInit, tie: TieName, cell: CellName
) -> None:
    emb, hidden, attention, uniform_range = 40, 60, 50, 0.3
    initialisation = InitialisationConfig(recurrent, matrices, uniform_range)
    depth = {"encoder_layers": 2, "decoder_layers": 2}
    parts = {"tie_embeddings": tie, "cell": cell, "input_feeding": True, "coverage": True}
    config = ModelConfig(emb, hidden, 30, attention, **depth, **parts, initialisation=initialisation)
    torch.manual_seed(1)
    network = Seq2Seq(config, 300, 300)
    decoder = network.decoder
    gates = {
        "words": decoder.bottom.word_gates.weight,
        "readout gates": decoder.bottom.readout_gates.weight,
        "context": decoder.bottom.recurrent.weight[:, :-hidden],
        **{name: p for name, p in network.named_parameters() if "weight_ih" in name},
    }
    whole = {
        "bridge": decoder.bridge.weight,
        "readout": decoder.readout.weight,
        "query": decoder.bottom.attention.query.weight,
        "key": decoder.bottom.attention.key.weight,
        "energy": decoder.bottom.attention.energy.weight,
        "coverage": decoder.bottom.attention.coverage.weight,
        **{f"{name} {k}": gate for name, matrix in gates.items() for k, gate in enumerate(matrix.chunk(GATES[cell]))},
    }
    if tie is TieName.none:
        whole["output"] = network.output.weight
    for name, matrix in whole.items():
        assert_drawn(matrices, matrix, uniform_range, name)
    from_states = {name: p for name, p in network.named_parameters() if "weight_hh" in name}
    from_states["bottom"] = decoder.bottom.recurrent.weight[:, -hidden:]
    for name, matrix in from_states.items():
        for gate in matrix.chunk(GATES[cell]):
            assert_drawn(recurrent, gate, uniform_range, name)
    for table in (network.src_embedding, network.tgt_embedding):
        assert table.weight[4:].std().item() == pytest.approx(emb**-0.5, rel=0.03)
        assert table.weight[4:].abs().max() > 3 * emb**-0.5  # normal, not uniform of the same spread
