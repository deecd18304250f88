"""The figures of a validation: those of the text, not of how it is cut into batches."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from seq2seq.batch import make_batch
from seq2seq.data.corpus import ParallelText
from seq2seq.decoding.translator import Translator
from seq2seq.evaluation.metrics import bleu
from seq2seq.evaluation.validator import Validator
from tiny_model import SENTENCES, make_model

TEXT = ParallelText(SENTENCES, SENTENCES[::-1])


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Translator:
    model = make_model(tmp_path_factory.mktemp("cache"))
    return Translator(model.network, model.tokenizer)


def test_figures_of_the_whole_text(translator: Translator) -> None:
    tokenizer, network = translator.tokenizer, translator.network
    src, tgt = tokenizer.encode_src(TEXT.src), tokenizer.encode_tgt(TEXT.tgt)
    with torch.no_grad():
        sentences = [network.eval()(make_batch([s], [t]))[:2] for s, t in zip(src, tgt, strict=True)]
    logits, targets = (torch.cat(parts) for parts in zip(*sentences, strict=True))
    expected = cross_entropy(logits, targets).item()
    outputs = bleu(translator.translate(TEXT.src, beam_size=1), TEXT.tgt)
    for cut in (1, 2, 3):
        batches = [make_batch(src[i : i + cut], tgt[i : i + cut]) for i in range(0, len(src), cut)]
        network.train()  # as in the middle of training: dropout must be off, and on again after it
        found = Validator(translator, lambda: batches, TEXT, beam_size=1)()  # noqa: B023
        assert network.training
        assert found.loss == pytest.approx(expected, rel=1e-5)
        assert found.perplexity == pytest.approx(math.exp(expected), rel=1e-4)
        assert found.bleu == pytest.approx(outputs)


def test_a_loss_beyond_all_measure_is_an_infinite_perplexity(translator: Translator) -> None:
    output = translator.network.output
    with torch.no_grad():
        output.bias[4] += 1e5  # a piece that the text does not hold
        batch = make_batch([[5, 6]], [[7, 8]])
        found = Validator(translator, lambda: [batch], TEXT, beam_size=1)()
        output.bias[4] -= 1e5
    assert found.loss > 1000
    assert found.perplexity == math.inf
