"""The figures of a validation: those of the text, not of how it is cut into batches."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from seq2seq.config.model import AttentionName
from seq2seq.data.batch import make_batch
from seq2seq.data.corpus import ParallelText
from seq2seq.evaluation.metrics import bleu
from seq2seq.evaluation.validation import END, MAX_TOKENS, SAMPLES, Validator
from seq2seq.inference.translator import Translator
from seq2seq.training.records import Validation
from tiny_model import SENTENCES, make_model, make_network

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


def validate(translator: Translator, text: ParallelText) -> Validation:
    batch = make_batch([[5, 6]], [[7, 8]])
    return Validator(translator, lambda: [batch], text, beam_size=1)()


def test_the_first_translations_are_shown_with_what_they_translate(translator: Translator) -> None:
    lines = [f"{line} {n}" for n in range(3) for line in SENTENCES]
    found = validate(translator, ParallelText(lines, lines[::-1])).samples
    shown = [(one.source, one.translation, one.reference) for one in found]
    assert shown == list(zip(lines, translator.translate(lines, beam_size=1), lines[::-1], strict=True))[:SAMPLES]


def test_attention_is_that_of_the_first_translation(translator: Translator) -> None:
    """Where the network looked in the search, and not where it looks for the reference, in words on both sides."""
    tokenizer, network = translator.tokenizer, translator.network
    network.train()  # dropout must be off
    found = validate(translator, TEXT).attention
    network.eval()
    assert found is not None
    source = tokenizer.encode_src(TEXT.src[:1])[0]
    best = translator.translate_n_best(TEXT.src[:1], beam_size=1)[0][0]
    assert found.source == [*tokenizer.src_pieces(source), END]
    assert found.target == [*tokenizer.tgt_pieces(best.ids), END][:MAX_TOKENS]
    with torch.no_grad():
        (weights,) = network(make_batch([source], [best.ids]))[2]
    torch.testing.assert_close(torch.tensor(found.weights), weights[: len(found.target)], rtol=1e-4, atol=1e-5)


def test_what_does_not_fit_a_picture_is_left_out(translator: Translator) -> None:
    line = " ".join(SENTENCES * 2)
    whole = validate(translator, ParallelText([line], [line])).attention
    assert whole is not None
    assert len(whole.source) == MAX_TOKENS
    assert END not in whole.source
    assert {len(row) for row in whole.weights} == {MAX_TOKENS}
    assert len(whole.weights) == len(whole.target) <= MAX_TOKENS


@pytest.mark.parametrize("first", ["", "   ", "jugs and a box"])
def test_no_picture_of_nothing_or_of_a_line_in_parts(translator: Translator, first: str) -> None:
    text = ParallelText([first, *SENTENCES], ["a", *SENTENCES])
    found = validate(Translator(translator.network, translator.tokenizer, max_part_tokens=10), text)
    assert found.attention is None
    assert len(found.samples) == 4


def test_no_picture_of_a_network_without_attention(translator: Translator) -> None:
    network = make_network(translator.tokenizer.src_size, attention=AttentionName.none)
    found = validate(Translator(network, translator.tokenizer), TEXT)
    assert found.attention is None
    assert len(found.samples) == len(SENTENCES)
