"""In fp32, with a network of usual size: a translation does not depend on the rest of its batch."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.nn.functional import pad

from scaling import scaled
from seq2seq.config.decode import DecodeConfig
from seq2seq.config.model import AttentionName, ModelConfig
from seq2seq.inference.ensemble import Ensemble
from seq2seq.inference.vocabulary_shortlist import Shortlist
from seq2seq.kernels import bindings
from seq2seq.model.cpu import dispatch
from seq2seq.model.network import Seq2Seq
from seq2seq.search.batched_search import SearchInput, batches, search
from seq2seq.search.protocols import Hypothesis

VOCAB = 1000
TIE = 1e-4  # in float64: scores this close are equal, and rounding may select either output


@pytest.fixture(scope="module")
def network() -> Seq2Seq:
    torch.manual_seed(3)
    sizes = {"emb_size": 128, "hidden_size": 256, "attention_size": 128}
    network = Seq2Seq(ModelConfig(**sizes, encoder_layers=2, decoder_layers=2), VOCAB, VOCAB).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():  # peaked distributions
            parameter.mul_(1.0 if "bias" in name else 3.0)
        network.output.bias[3] = 2.0  # EOS
    return network


def random_sources(count: int) -> list[SearchInput]:
    """Mostly short, some long, many of one token; uniformly distributed, unlike text."""
    numbers = random.Random(11)
    lengths = [numbers.choice([1, 1, 2, 3, *range(4, 30), 90]) for _ in range(count)]
    return [SearchInput([numbers.randrange(4, VOCAB) for _ in range(length)], [], []) for length in lengths]


@torch.inference_mode()
def search_all(network: Seq2Seq, sources: list[SearchInput], decode: DecodeConfig) -> list[Hypothesis]:
    found: dict[int, Hypothesis] = {}
    for batch in batches([len(source.ids) + 1 for source in sources], decode.batch_tokens):
        rows = search(Ensemble([network]), [sources[i] for i in batch], decode)
        found |= {i: row[0] for i, row in zip(batch, rows, strict=True)}
    return [found[i] for i in range(len(sources))]


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Threads divide the rows of a product, and rounding depends on the number of rows per thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("sentences", [3, 7, 24])
@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize(
    "parts",
    [
        {"attention": AttentionName.additive},
        {"attention": AttentionName.general},
        {"attention": AttentionName.dot},
        {"coverage": True},
        {"coverage": True, "attention_heads": 4},
    ],
    ids=lambda parts: "-".join(map(str, parts.values())),
)
@torch.inference_mode()
def test_a_context_does_not_depend_on_padding(parts: dict[str, Any], kernels: bool, sentences: int) -> None:
    """To the last bit: sums over source positions have a fixed number of terms in every kind of attention."""
    torch.manual_seed(3)
    config = ModelConfig(emb_size=64, hidden_size=128, attention_size=64, **parts)
    network = Seq2Seq(config, VOCAB, VOCAB).eval()
    lengths = torch.arange(1, sentences + 1)
    states, queries = torch.randn(sentences, sentences, 128), torch.randn(sentences, 5, 128)
    words = torch.randint(4, VOCAB, (sentences, 5))
    found = []
    bindings.enable(kernels)
    try:
        step = dispatch.decoder_step(network, network.step)
        if kernels and step == network.step:
            pytest.skip("no C++ compiler, so no kernels")
        for longest in (sentences, sentences + 1, *(n for n in (16, 31) if n > sentences)):
            padded = pad(states, (0, 0, 0, longest - sentences))
            mask = torch.arange(longest) < lengths[:, None]
            memory = network.decoder.bottom.attention.memory(padded * mask[..., None], padded[:, 0], mask)
            start = network.decoder.initial_state(padded[:, 0], memory)
            state = type(start)(*(values.expand(-1, 5, -1, -1) for values in start))
            first, state, _ = step(words, state._replace(hidden=queries[:, :, None]), memory)
            found.append((first, step(words, state, memory)[0]))
    finally:
        bindings.enable(True)
    for one, other in itertools.pairwise(found):
        assert all(map(torch.equal, one, other))


@pytest.mark.slow
@pytest.mark.parametrize("beam_size", [1, 5])
def test_batch_size_and_order_change_nothing(network: Seq2Seq, beam_size: int) -> None:
    sources = random_sources(scaled(24, 1000))
    expected = search_all(network, sources, DecodeConfig(beam_size=beam_size, batch_tokens=1, max_length_ratio=1.0))
    assert len({tuple(one.tokens) for one in expected}) > len(sources) / 2
    order = random.Random(2).sample(range(len(sources)), len(sources))
    differing = []
    for batch_tokens in (100, 700, 4096):
        decode = DecodeConfig(beam_size=beam_size, batch_tokens=batch_tokens, max_length_ratio=1.0)
        in_order = search_all(network, sources, decode)
        shuffled = search_all(network, [sources[i] for i in order], decode)
        differing += [(i, one) for i, one in enumerate(in_order) if one.tokens != expected[i].tokens]
        differing += [(i, one) for i, one in zip(order, shuffled, strict=True) if one.tokens != expected[i].tokens]
    exact = Ensemble([network.double()])
    try:
        for i, one in differing:
            outputs = [expected[i].tokens, one.tokens]
            forced = exact.force_decode([sources[i].ids] * 2, outputs, torch.device("cpu"))
            first, second = (
                sum(f.token_log_probs) * 6 / (6 + len(tokens)) for f, tokens in zip(forced, outputs, strict=True)
            )
            assert first == pytest.approx(second, abs=TIE)
    finally:
        network.float()
    print(f"{len(differing)} of {6 * len(sources)} outputs differ, all of them ties")


@pytest.mark.parametrize("with_shortlist", [False, True])
@pytest.mark.parametrize(("threads", "int8"), [(1, False), (2, False), (1, True)])
@torch.inference_mode()
def test_scores_are_those_of_the_sentence_alone(
    network: Seq2Seq, threads: int, int8: bool, with_shortlist: bool
) -> None:
    """To the last bit, where products are summed up in a fixed order, or exactly."""
    if int8 and not bindings.has_int8_product():
        pytest.skip("no 8-bit products on this machine")
    if not dispatch.rounds_alone(network):
        pytest.skip("no compiled products on this machine")
    table = torch.randint(4, VOCAB, (VOCAB, 20), generator=torch.Generator().manual_seed(1))
    shortlist = Shortlist(table, torch.arange(4, 60)) if with_shortlist else None
    ensemble = Ensemble([network], int8=int8, shortlist=shortlist)
    sources = random_sources(5)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for decode in (
            DecodeConfig(beam_size=1),
            DecodeConfig(beam_size=5),
            DecodeConfig(beam_size=4, no_repeat_ngram=2),
        ):
            together = search(ensemble, sources, decode)
            alone = [search(ensemble, [source], decode)[0] for source in sources]
            assert together == alone
    finally:
        torch.set_num_threads(before)
    weights = [p for p in (*network.encoder.parameters(), *network.decoder.parameters()) if p.dim() == 2]
    assert len(ensemble._products[0]._made) <= len(weights)  # packed once, not at each call
