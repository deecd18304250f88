"""Searches over the real network in float64: padding changes nothing, and scores are the model's log-probabilities."""

from __future__ import annotations

import dataclasses
import math
import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reference import beam as reference
from scaling import scaled
from seq2seq.config.decode import DecodeConfig, NormalizationName, SearchName
from seq2seq.config.model import AttentionName, CellName
from seq2seq.data.batches.batch import make_batch
from seq2seq.data.special_ids import BOS_ID, EOS_ID, PAD_ID, UNK_ID
from seq2seq.inference.ensemble import Ensemble
from seq2seq.inference.vocabulary_shortlist import Shortlist
from seq2seq.kernels import bindings
from seq2seq.model.cpu import dispatch
from seq2seq.model.network import Seq2Seq
from seq2seq.search.batched_search import SearchInput, search
from seq2seq.search.length_penalty import length_penalty
from seq2seq.search.protocols import Hypothesis
from tiny_model import make_network

VOCAB = 31
EXAMPLES = settings(max_examples=scaled(10, 100), deadline=None, derandomize=True)


def random_sources(count: int, longest: int, seed: int = 5, **more: list[Any]) -> list[SearchInput]:
    numbers = random.Random(seed)
    ids = [[numbers.randrange(4, VOCAB) for _ in range(numbers.randint(1, longest))] for _ in range(count)]
    prefixes, phrases = more.get("prefixes", [[]] * count), more.get("phrases", [[]] * count)
    return [SearchInput(*one) for one in zip(ids, prefixes, phrases, strict=True)]


def network_of(
    layers: int = 1, attention: AttentionName = AttentionName.additive, seed: int = 7, **parts: Any
) -> Seq2Seq:
    """The tiny network with random, large weights; `parts` are fields of its config."""
    tiny = make_network(VOCAB, seed=seed, layers=layers, attention=attention)
    if not parts:
        return tiny.double().eval()
    network = Seq2Seq(dataclasses.replace(tiny.config, **parts), VOCAB, VOCAB)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.normal_(std=0.4 if "embedding" in name or "output" in name else 1.0)
        network.output.bias[EOS_ID] = -3.0
    return network.double().eval()


NETWORKS: dict[str, dict[str, Any]] = {
    "1 layer": {},
    "3 layers": {"layers": 3},
    "no attention": {"layers": 2, "attention": AttentionName.none},
    "gru, 2 heads": {"layers": 2, "cell": CellName.gru, "attention_heads": 2, "residual": True},
    "rnn, dot": {"layers": 2, "cell": CellName.rnn, "attention": AttentionName.dot},
    "input feeding": {"layers": 2, "input_feeding": True},
    "all": {
        "layers": 2,
        "cell": CellName.peephole_lstm,
        "peephole_candidate": True,
        "attention_heads": 2,
        "coverage": True,
        "layer_norm": True,
        "residual": True,
        "input_feeding": True,
    },
}


@pytest.fixture(params=[name for name in NETWORKS if name != "1 layer"])
def ensemble(request: pytest.FixtureRequest) -> Ensemble:
    return Ensemble([network_of(**NETWORKS[request.param])])


OPTIONS: dict[str, dict[str, Any]] = {
    "greedy": {"beam_size": 1},
    "beam": {"beam_size": 4},
    "average": {"beam_size": 4, "length_normalization": NormalizationName.average, "length_penalty": 0.7},
    "processors": {"beam_size": 3, "no_repeat_ngram": 2, "repetition_penalty": 1.3, "min_length_ratio": 0.5},
    "samples": {"search": SearchName.sample, "temperature": 0.8, "top_k": 9, "top_p": 0.9},
}


@torch.no_grad()
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("parts", ["no attention", "gru, 2 heads", "all"])
def test_a_shortlist_equals_masking_the_other_tokens_of_each_sentence(
    options: dict[str, Any], kernels: bool, parts: str
) -> None:
    table = torch.zeros(VOCAB, 1, dtype=torch.long)
    table[4:, 0] = torch.arange(4, VOCAB) // 2 * 2  # every other token
    sources = random_sources(6, longest=9, prefixes=[[], [8, 13], *[[]] * 4], phrases=[[], [], [[11, 12]], [], [], []])
    if DecodeConfig(**options).search is SearchName.sample:
        sources = [SearchInput(source.ids, source.prefix, []) for source in sources]
    short = Ensemble([network_of(**NETWORKS[parts])], shortlist=Shortlist(table, torch.tensor([14])))
    required = [[*source.prefix, *(word for phrase in source.phrases for word in phrase)] for source in sources]
    words = short.shortlist.candidates([source.ids for source in sources], required).tokens
    assert all(5 < len(row[row >= 0]) < 20 for row in words)
    bindings.enable(kernels)
    try:
        found = search(short, sources, DecodeConfig(**options), n_best=1)
        expected = []
        for source, row in zip(sources, words, strict=True):
            network = network_of(**NETWORKS[parts])
            rest = torch.ones(VOCAB, dtype=torch.bool).index_fill(0, row[row >= 0], False)
            network.output.bias[rest] = -math.inf
            expected += search(Ensemble([network]), [source], DecodeConfig(**options), n_best=1)
    finally:
        bindings.enable(True)
    for (one,), (other,) in zip(found, expected, strict=True):
        assert one.tokens == other.tokens
        assert one.token_log_probs == pytest.approx(other.token_log_probs, abs=1e-9)


@torch.no_grad()
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_sentence_alone_equals_the_sentence_in_a_padded_batch(ensemble: Ensemble, options: dict[str, Any]) -> None:
    sources = random_sources(6, longest=12, prefixes=[[], [7, 9], *[[]] * 3, [4, 4, 5]])
    decode = DecodeConfig(**options)
    n_best = decode.beam_size if decode.search is SearchName.beam else 4
    together = search(ensemble, sources, decode, n_best=n_best)
    alone = [search(ensemble, [source], decode, n_best=n_best)[0] for source in sources]
    turned = search(ensemble, sources[::-1], decode, n_best=n_best)[::-1]
    for rows in (alone, turned):
        assert [[h.tokens for h in row] for row in together] == [[h.tokens for h in row] for row in rows]
        for row, expected in zip(together, rows, strict=True):
            assert [h.score for h in row] == pytest.approx([h.score for h in expected], abs=1e-9)


@torch.no_grad()
def test_a_sentence_alone_equals_the_sentence_in_a_batch_with_coverage_and_phrases() -> None:
    ensemble = Ensemble([network_of(2), network_of(1, seed=8)], [0.3, 0.7])
    sources = random_sources(7, longest=9, phrases=[[], [[5, 6]], [], [[9], [8, 8]], [], [[4]], []])
    decode = DecodeConfig(coverage_penalty=0.4)
    together = search(ensemble, sources, decode, n_best=3)
    alone = [search(ensemble, [source], decode, n_best=3)[0] for source in sources]
    assert [[h.tokens for h in row] for row in together] == [[h.tokens for h in row] for row in alone]
    assert all(contains(h.tokens, p) for s, row in zip(sources, alone, strict=True) for h in row for p in s.phrases)


def contains(tokens: list[int], phrase: list[int]) -> bool:
    return any(tokens[i : i + len(phrase)] == phrase for i in range(len(tokens)))


def rescored(network: Seq2Seq, source: SearchInput, found: Hypothesis) -> list[float]:
    logits, targets, _ = network(make_batch([source.ids], [found.tokens]))
    return (-torch.nn.functional.cross_entropy(logits, targets, reduction="none")).tolist()


@torch.no_grad()
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_log_probabilities_are_what_teacher_forcing_gives(ensemble: Ensemble, options: dict[str, Any]) -> None:
    sources = random_sources(6, longest=10, prefixes=[[8, 9, 9], *[[]] * 5])
    decode = DecodeConfig(**options)
    penalty = length_penalty(decode.length_normalization, decode.length_penalty)
    n_best = decode.beam_size if decode.search is SearchName.beam else 4
    for source, hypotheses in zip(sources, search(ensemble, sources, decode, n_best=n_best), strict=True):
        forced = ensemble.force_decode(
            [source.ids] * len(hypotheses), [h.tokens for h in hypotheses], torch.device("cpu")
        )
        for found, other in zip(hypotheses, forced, strict=True):
            expected = rescored(ensemble.networks[0], source, found)
            assert found.token_log_probs == pytest.approx(expected, abs=1e-9)
            assert other.token_log_probs == pytest.approx(expected, abs=1e-9)
            assert found.log_prob == pytest.approx(math.fsum(expected), abs=1e-9)
            if decode.repetition_penalty == 1:
                assert found.score == pytest.approx(found.log_prob / penalty(len(expected)), abs=1e-9)


# --- against the one-sentence definition -----------------------------------------------------------------------------


class Teacher:
    """The network evaluated token by token for one sentence, as the reference beam needs it."""

    def __init__(self, network: Seq2Seq, source: SearchInput) -> None:
        self.network, self.source = network, source
        self.known: dict[tuple[int, ...], tuple[list[float], np.ndarray]] = {}

    def ask(self, tokens: tuple[int, ...]) -> tuple[list[float], np.ndarray]:
        """Return log p of every next token, and the attention on each source position summed over the tokens."""
        if tokens not in self.known:
            memory, state = self.network.encode(
                torch.tensor([[*self.source.ids, EOS_ID]]), torch.tensor([len(self.source.ids) + 1])
            )
            coverage = np.zeros(len(self.source.ids) + 1)
            for token in (BOS_ID, *tokens):
                logits, state, attn_weights = self.network.step(torch.tensor([[token]]), state, memory)
                coverage = coverage + attn_weights[0, 0].numpy()
            self.known[tokens] = torch.log_softmax(logits[0, 0], dim=-1).tolist(), coverage
        return self.known[tokens]


@torch.no_grad()
@EXAMPLES
@given(
    seed=st.integers(0, 2**20),
    beam_size=st.integers(1, 6),
    n_best=st.integers(1, 6),
    kind=st.sampled_from(list(NormalizationName)),
    alpha=st.sampled_from([0.0, 0.6, 1.0, 2.0]),
    beta=st.sampled_from([0.0, 0.2, 2.0]),
    ngram=st.sampled_from([0, 1, 2, 3]),
    repetition=st.sampled_from([1.0, 1.5]),
    least=st.sampled_from([0.0, 0.7, 1.0]),
    prefix=st.lists(st.integers(4, VOCAB - 1), max_size=3),
)
@example(
    seed=1, beam_size=4, n_best=4, kind=NormalizationName.gnmt, alpha=1.0, beta=0.3, ngram=2, repetition=1.2, least=1.0,
    prefix=[5, 5],
)  # fmt: skip
def test_equals_the_reference_beam_with_every_option(
    seed: int,
    beam_size: int,
    n_best: int,
    kind: NormalizationName,
    alpha: float,
    beta: float,
    ngram: int,
    repetition: float,
    least: float,
    prefix: list[int],
) -> None:
    network = network_of(**NETWORKS[list(NETWORKS)[seed % len(NETWORKS)]], seed=seed)
    sources = random_sources(3, longest=5, seed=seed, prefixes=[[], prefix, []])
    n_best = min(n_best, beam_size)
    decode = DecodeConfig(
        beam_size=beam_size, length_normalization=kind, length_penalty=alpha, coverage_penalty=beta,
        no_repeat_ngram=ngram, repetition_penalty=repetition, min_length_ratio=least, max_length_ratio=1.0,
        max_length_extra=3,
    )  # fmt: skip
    found = search(Ensemble([network]), sources, decode, n_best=n_best)
    for source, hypotheses in zip(sources, found, strict=True):
        teacher = Teacher(network, source)
        expected = reference.beam_search(
            lambda tokens, ask=teacher.ask: ask(tokens)[0],
            source.max_length(decode),
            beam_size,
            n_best,
            reference.penalty(kind.name, alpha),
            (PAD_ID, UNK_ID, BOS_ID),
            processors=reference.Processors(source.min_length(decode), ngram, repetition, source.prefix),
            bonus=lambda tokens, ask=teacher.ask: beta * reference.coverage(ask(tokens)[1]),
        )
        assert [h.tokens for h in hypotheses] == [o.tokens for o in expected]
        assert [h.score for h in hypotheses] == pytest.approx([o.score for o in expected], abs=1e-9)


# --- prepared weights ------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_prepared_weights_are_not_reused_for_another_network() -> None:
    one, other = network_of(seed=1), network_of(seed=2)
    first = dispatch.decoder_step(one, one.step)
    words = torch.tensor([[BOS_ID]])
    memory, state = other.encode(torch.tensor([[5, 6, EOS_ID]]), torch.tensor([3]))
    logits, _, _ = dispatch.decoder_step(other, first)(words, state, memory)
    torch.testing.assert_close(logits, other.step(words, state, memory)[0], rtol=1e-9, atol=1e-9)


# --- ensembles -------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_an_ensemble_of_one_network_twice_is_that_network() -> None:
    sources, decode = random_sources(5, 8), DecodeConfig()
    alone = search(Ensemble([network_of()]), sources, decode, n_best=3)
    twice = search(Ensemble([network_of(), network_of()], [3.0, 1.0]), sources, decode, n_best=3)
    assert [[h.tokens for h in row] for row in alone] == [[h.tokens for h in row] for row in twice]
    for row, expected in zip(twice, alone, strict=True):
        assert [h.log_prob for h in row] == pytest.approx([h.log_prob for h in expected], abs=1e-9)


@torch.no_grad()
def test_an_ensemble_is_the_renormalised_weighted_mean_of_log_probabilities() -> None:
    one, two = network_of(seed=1), network_of(2, seed=2)
    (source,), target = random_sources(1, 6), [5, 9, 4]
    (forced,) = Ensemble([one, two], [1.0, 3.0]).force_decode([source.ids], [target], torch.device("cpu"))
    expected, attention = [], []
    for i, token in enumerate([*target, EOS_ID]):
        answers = [Teacher(network, source).ask(tuple(target[:i])) for network in (one, two)]
        mean = np.array(answers[0][0]) * 0.25 + np.array(answers[1][0]) * 0.75
        expected.append(mean[token] - np.log(np.exp(mean).sum()))
        attention.append(answers[0][1] * 0.25 + answers[1][1] * 0.75)
    assert forced.token_log_probs == pytest.approx(expected, abs=1e-9)
    assert np.allclose(forced.attn_weights.numpy().cumsum(axis=0), attention, atol=1e-9)


@torch.no_grad()
def test_hypotheses_are_different_and_a_wider_beam_finds_no_worse_sum(ensemble: Ensemble) -> None:
    sources = random_sources(9, longest=8)
    totals = []
    for beam_size in (1, 12):
        found = search(ensemble, sources, DecodeConfig(beam_size=beam_size, length_penalty=0.0), n_best=beam_size)
        for row in found:
            assert len({tuple(h.tokens) for h in row}) == len(row) == beam_size
            assert [h.score for h in row] == sorted((h.score for h in row), reverse=True)
        totals.append(sum(row[0].score for row in found))
    assert totals[1] >= totals[0]
