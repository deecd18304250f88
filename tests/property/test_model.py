"""What holds for every network, whatever its sizes, depth, attention and tied matrices; in double precision."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rich.console import Console
from torch import Tensor, nn

from scaling import scaled
from seq2seq.batch import PAD_ID, Batch, make_batch
from seq2seq.config import TrainingConfig
from seq2seq.model.attention import FixedContext
from seq2seq.model.decoder import DecoderState
from seq2seq.model.network import Seq2Seq
from seq2seq.model_config import AttentionName, DropoutConfig, ModelConfig, TieName
from seq2seq.training.loggers import RunLog
from seq2seq.training.trainer import Trainer
from tiny_trainer import random_ids

EXAMPLES = settings(max_examples=scaled(40, 1000), deadline=None, derandomize=True)
FEWER = settings(EXAMPLES, max_examples=scaled(15, 300))
CLOSE = {"rtol": 0, "atol": 1e-9}
NO_DROPOUT = DropoutConfig(0.0, 0.0, 0.0, 0.0)

seeds = st.integers(0, 2**20)


@st.composite
def model_configs(draw: st.DrawFn, **fixed: Any) -> ModelConfig:
    sizes = st.integers(1, 6)
    drawn = {
        "emb_size": draw(sizes),
        "hidden_size": draw(sizes),
        "encoder_hidden_size": draw(st.none() | sizes),
        "attention_size": draw(sizes),
        "encoder_layers": draw(st.integers(1, 3)),
        "decoder_layers": draw(st.integers(1, 3)),
        "attention": draw(st.sampled_from(AttentionName)),
        "tie_embeddings": draw(st.sampled_from(TieName)),
        "dropout": NO_DROPOUT,
    }
    return ModelConfig(**{**drawn, **fixed})


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


@EXAMPLES
@given(networks, seeds, st.integers(1, 5))
@torch.no_grad()
def test_teacher_forcing_is_a_loop_of_steps(network: Seq2Seq, seed: int, rows: int) -> None:
    batch = make_batch(*random_batch(seed, rows, src_vocab_of(network)))
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
@given(networks, seeds, st.integers(2, 5))
@torch.no_grad()
def test_a_sentence_alone_is_the_sentence_in_a_padded_batch(network: Seq2Seq, seed: int, rows: int) -> None:
    src, tgt = random_batch(seed, rows, src_vocab_of(network))
    network.eval()
    batch = make_batch(src, tgt)
    memory, state = network.encode(batch.src_ids, batch.src_lengths)
    together = per_sentence(network, batch)
    for row in range(rows):
        single = make_batch(src[row : row + 1], tgt[row : row + 1])
        own_memory, own_state = network.encode(single.src_ids, single.src_lengths)
        length = own_memory.mask.shape[1]
        torch.testing.assert_close(memory.states[row, :length], own_memory.states[0, :length], **CLOSE)
        torch.testing.assert_close(memory.keys[row, :length], own_memory.keys[0], **CLOSE)
        assert not memory.mask[row, length:].any()
        assert own_memory.mask.all()
        for value, own in zip(state, own_state, strict=True):
            torch.testing.assert_close(value[row], own[0], **CLOSE)
        torch.testing.assert_close(together[row], per_sentence(network, single)[0], **CLOSE)


@EXAMPLES
@given(networks, seeds, st.integers(2, 5))
@torch.no_grad()
def test_what_stands_in_the_padding_changes_nothing(network: Seq2Seq, seed: int, rows: int) -> None:
    batch = make_batch(*random_batch(seed, rows, src_vocab_of(network)))
    assume((batch.tgt_out == PAD_ID).any() or (batch.src_ids == PAD_ID).any())
    network.eval()
    others = [torch.randint_like(ids, 4, 10) for ids in (batch.src_ids, batch.tgt_in)]
    src_ids, tgt_in = (
        torch.where(i == PAD_ID, o, i) for i, o in zip((batch.src_ids, batch.tgt_in), others, strict=True)
    )
    noisy = dataclasses.replace(batch, src_ids=src_ids, tgt_in=tgt_in)
    torch.testing.assert_close(network(noisy)[0], network(batch)[0], **CLOSE)


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
    contexts, attn_weights, _ = attention(queries, memory, attention.nothing_received(memory))
    torch.testing.assert_close(contexts, summary[:, None].expand(-1, 4, -1), **CLOSE)
    assert torch.equal(attn_weights, torch.ones_like(attn_weights))


# --- gradients -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run_log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunLog]:
    with RunLog(tmp_path_factory.mktemp("log"), 10**9, Console(stderr=True)) as log:
        yield log


class Captured(Exception):
    """Ends a run where its first update would begin."""


def gradients_of_update(network: Seq2Seq, batch: Batch, run_log: RunLog, micro_batches: int) -> dict[str, Tensor]:
    """The gradients that a run on `batch` hands to the optimizer."""
    config = TrainingConfig(max_grad_norm=0.0, micro_batches=micro_batches, label_smoothing=0.1, max_steps=1)

    def data(epoch: int, start: int) -> tuple[int, Iterator[Batch]]:
        return 1, iter([batch])

    def never(*_: object) -> Any:
        raise AssertionError("the run ends before")

    def capture(*_: object) -> None:
        raise Captured

    trainer = Trainer(network, config, torch.float32, data, never, never, run_log, Path(), "pieces")
    trainer.optimizer.register_step_pre_hook(capture)
    network.zero_grad()
    with pytest.raises(Captured):
        trainer.fit()
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


@EXAMPLES
@given(networks, seeds, st.integers(1, 6), st.integers(2, 7))
def test_micro_batches_have_the_gradient_of_the_whole_batch(
    run_log: RunLog, network: Seq2Seq, seed: int, rows: int, parts: int
) -> None:
    batch = make_batch(*random_batch(seed, rows, src_vocab_of(network)))
    whole = gradients_of_update(network, batch, run_log, 1)
    cut = gradients_of_update(network, batch, run_log, parts)
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
    half = dataclasses.replace(config, dropout=DropoutConfig(0.5, 0.5, 0.5, 0.5))
    dropping = make_network(half, seed).eval()
    batch = make_batch(*random_batch(seed, 3, src_vocab_of(plain)))
    assert torch.equal(dropping(batch)[0], plain(batch)[0])


@pytest.mark.parametrize(
    ("place", "encoder_layers", "decoder_layers"),
    [("embedding", 1, 1), ("layers", 2, 1), ("layers", 1, 2), ("context", 1, 1), ("readout", 1, 1)],
)
@torch.no_grad()
def test_every_dropout_is_at_work_in_training(place: str, encoder_layers: int, decoder_layers: int) -> None:
    dropout = dataclasses.replace(NO_DROPOUT, **{place: 0.5})
    network = make_network(ModelConfig(6, 6, 6, 6, encoder_layers, decoder_layers, dropout=dropout), 1)
    batch = make_batch(*random_batch(1, 3, 12))
    once, again = (network.train()(batch)[0] for _ in range(2))
    assert not torch.equal(once, again)


# --- size and first values -------------------------------------------------------------------------------------------


@EXAMPLES
@given(networks)
def test_parameter_counts(network: Seq2Seq) -> None:
    """Every part by a formula of its own, and together what torch counts."""
    c, src_vocab, tgt_vocab = network.config, src_vocab_of(network), 12
    emb, hidden, enc = c.emb_size, c.hidden_size, c.encoder_size
    tables = {TieName.none: src_vocab + tgt_vocab, TieName.two_way: src_vocab + tgt_vocab, TieName.three_way: tgt_vocab}
    matrix = tgt_vocab * emb if c.tie_embeddings is TieName.none else 0

    def lstm(inputs: int, units: int, biases: int) -> int:
        return 4 * units * (inputs + units + biases)

    expected = {
        "embeddings": tables[c.tie_embeddings] * emb,
        "encoder": 2 * (lstm(emb, enc, 2) + (c.encoder_layers - 1) * lstm(2 * enc, enc, 2)),
        "attention": c.attention_size * (hidden + 2 * enc + 2) if c.attention is AttentionName.additive else 0,
        "decoder": lstm(emb + 2 * enc, hidden, 1)
        + (c.decoder_layers - 1) * lstm(hidden + 2 * enc, hidden, 2)
        + 2 * c.decoder_layers * hidden * (2 * enc + 1),
        "readout": emb * (emb + hidden + 2 * enc + 1) + matrix + tgt_vocab,
    }
    assert network.parameter_counts() == expected
    assert sum(expected.values()) == sum(parameter.numel() for parameter in network.parameters())


def biases_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: parameter for name, parameter in network.named_parameters() if ".bias" in name}


@EXAMPLES
@given(model_configs(), seeds)
@torch.no_grad()
def test_forget_gates_start_open_and_recurrent_gates_orthogonal(config: ModelConfig, seed: int) -> None:
    network = make_network(config, seed, spread=False)
    biases = biases_of(network)
    for name in [name for name in biases if "word_gates" in name or "bias_ih" in name]:
        other = biases.pop(name.replace("bias_ih", "bias_hh")) if "bias_ih" in name else torch.zeros(())
        i, f, g, o = (biases.pop(name) + other).chunk(4)
        assert (f == 1).all()
        assert not torch.cat([i, g, o]).any()
    assert not any(bias.any() for bias in biases.values())
    recurrent = [p for name, p in network.named_parameters() if "weight_hh" in name]
    assert len(recurrent) == 2 * config.encoder_layers + config.decoder_layers - 1
    for matrix in [*recurrent, network.decoder.bottom.recurrent.weight[:, -config.hidden_size :]]:
        for gate in matrix.chunk(4):
            torch.testing.assert_close(gate @ gate.T, torch.eye(len(gate), dtype=gate.dtype), rtol=0, atol=1e-5)
    assert not network.src_embedding.weight[PAD_ID].any()
    assert not network.tgt_embedding.weight[PAD_ID].any()


@pytest.mark.parametrize("tie", TieName)
@torch.no_grad()
def test_matrices_are_xavier_by_gate_and_word_vectors_have_unit_length(tie: TieName) -> None:
    emb, hidden, attention = 40, 60, 50
    config = ModelConfig(emb, hidden, 30, attention, encoder_layers=2, decoder_layers=2, tie_embeddings=tie)
    torch.manual_seed(1)
    network = Seq2Seq(config, 300, 300)
    decoder = network.decoder
    gates = {
        "words": decoder.bottom.word_gates.weight,
        "context": decoder.bottom.recurrent.weight[:, :-hidden],
        **{name: p for name, p in network.named_parameters() if "weight_ih" in name},
    }
    matrices = {
        "bridge": decoder.bridge.weight,
        "readout": decoder.readout.weight,
        "query": decoder.bottom.attention.query.weight,
        "key": decoder.bottom.attention.key.weight,
        **{f"{name} {k}": gate for name, matrix in gates.items() for k, gate in enumerate(matrix.chunk(4))},
    }
    if tie is TieName.none:
        matrices["output"] = network.output.weight
    for name, matrix in matrices.items():
        bound = math.sqrt(6 / sum(matrix.shape))
        assert 0.98 * bound < matrix.abs().max() <= bound, name
        assert matrix.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05), name
    for table in (network.src_embedding, network.tgt_embedding):
        assert table.weight[4:].std().item() == pytest.approx(emb**-0.5, rel=0.03)
        assert table.weight[4:].abs().max() > 3 * emb**-0.5  # normal, not uniform of the same spread
