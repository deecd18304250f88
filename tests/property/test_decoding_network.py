"""Beam search over the real network, in double precision: padding is invisible and scores are the model's own."""

from __future__ import annotations

import random

import pytest
import torch

from seq2seq.batch import make_batch
from seq2seq.config import AttentionName, DecodeConfig
from seq2seq.decoding.beam_search import length_penalty_of
from seq2seq.decoding.translator import Translator
from tiny_model import make_model, make_network

VOCAB = 31


def random_sources(count: int, longest: int) -> list[list[int]]:
    numbers = random.Random(5)
    return [[numbers.randrange(4, VOCAB) for _ in range(numbers.randint(1, longest))] for _ in range(count)]


@pytest.fixture(params=[(1, AttentionName.additive), (3, AttentionName.additive), (2, AttentionName.none)], ids=str)
def translator(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Translator:
    layers, attention = request.param
    network = make_network(VOCAB, seed=7, layers=layers, attention=attention).double().eval()
    return Translator(network, make_model(tmp_path_factory.getbasetemp()).tokenizer)


@torch.no_grad()
@pytest.mark.parametrize("beam_size", [1, 4])
def test_a_sentence_alone_equals_the_sentence_in_a_padded_batch(translator: Translator, beam_size: int) -> None:
    sources = random_sources(9, longest=12)
    decode = DecodeConfig(beam_size=beam_size)
    together = translator.search_batch(sources, beam_size, decode)
    alone = [translator.search_batch([source], beam_size, decode)[0] for source in sources]
    assert [[h.tokens for h in row] for row in together] == [[h.tokens for h in row] for row in alone]
    for row, expected in zip(together, alone, strict=True):
        assert [h.score for h in row] == pytest.approx([h.score for h in expected], abs=1e-9)


@torch.no_grad()
def test_a_score_is_what_teacher_forcing_gives(translator: Translator) -> None:
    sources = random_sources(6, longest=10)
    decode = DecodeConfig(beam_size=5, length_penalty=0.8)
    for source, hypotheses in zip(sources, translator.search_batch(sources, 5, decode), strict=True):
        for found in hypotheses:
            logits, targets, _ = translator.network(make_batch([source], [found.tokens]))
            log_prob = -torch.nn.functional.cross_entropy(logits, targets, reduction="sum").item()
            assert found.log_prob == pytest.approx(log_prob, abs=1e-9)
            assert found.score == pytest.approx(log_prob / length_penalty_of(len(targets), 0.8), abs=1e-9)


@torch.no_grad()
def test_hypotheses_are_different_and_a_wider_beam_finds_no_worse_sum(translator: Translator) -> None:
    sources = random_sources(9, longest=8)
    totals = []
    for beam_size in (1, 12):
        found = translator.search_batch(sources, beam_size, DecodeConfig(beam_size=beam_size, length_penalty=0.0))
        for row in found:
            assert len({tuple(h.tokens) for h in row}) == len(row) == beam_size
            assert [h.score for h in row] == sorted((h.score for h in row), reverse=True)
        totals.append(sum(row[0].score for row in found))
    assert totals[1] >= totals[0]
