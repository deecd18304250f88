"""The figures and examples of a validation."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from seq2seq.config.decode import DecodeConfig, SearchName
from seq2seq.config.model import AttentionName
from seq2seq.data.batches.batch import make_batch
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


def test_the_figures_do_not_depend_on_the_batches(translator: Translator) -> None:
    tokenizer, network = translator.tokenizer, translator.network
    src, tgt = tokenizer.encode_src(TEXT.src), tokenizer.encode_tgt(TEXT.tgt)
    with torch.no_grad():
        sentences = [network.eval()(make_batch([s], [t]))[:2] for s, t in zip(src, tgt, strict=True)]
    logits, targets = (torch.cat(parts) for parts in zip(*sentences, strict=True))
    expected = cross_entropy(logits, targets).item()
    outputs = bleu(translator.translate(TEXT.src, beam_size=1), TEXT.tgt)
    for cut in (1, 2, 3):
        batches = [make_batch(src[i : i + cut], tgt[i : i + cut]) for i in range(0, len(src), cut)]
        network.train()  # dropout must be off during validation and on after it
        result = Validator(translator, lambda: batches, TEXT, beam_size=1)()  # noqa: B023
        assert network.training
        assert result.loss == pytest.approx(expected, rel=1e-5)
        assert result.perplexity == pytest.approx(math.exp(expected), rel=1e-4)
        assert result.bleu == pytest.approx(outputs)


@pytest.mark.parametrize("search", SearchName)
def test_the_search_is_greedy_whatever_the_config_says(translator: Translator, search: SearchName) -> None:
    batch = make_batch([[5, 6]], [[7, 8]])
    other = Translator(translator.network, translator.tokenizer, DecodeConfig(search=search))
    result = Validator(other, lambda: [batch], TEXT, beam_size=1, tokenize="char")()
    expected = translator.translate(TEXT.src, beam_size=1)
    assert [sample.translation for sample in result.samples] == expected
    assert result.bleu == bleu(expected, TEXT.tgt, tokenize="char") != bleu(expected, TEXT.tgt)
    assert "tok:char" in result.bleu_signature


def test_a_huge_loss_has_infinite_perplexity(translator: Translator) -> None:
    output = translator.network.output
    with torch.no_grad():
        output.bias[4] += 1e5  # a token that is not in the text
        batch = make_batch([[5, 6]], [[7, 8]])
        result = Validator(translator, lambda: [batch], TEXT, beam_size=1)()
        output.bias[4] -= 1e5
    assert result.loss > 1000
    assert result.perplexity == math.inf


def validate(translator: Translator, text: ParallelText) -> Validation:
    batch = make_batch([[5, 6]], [[7, 8]])
    return Validator(translator, lambda: [batch], text, beam_size=1)()


def test_samples_are_the_first_translations_with_source_and_reference(translator: Translator) -> None:
    lines = [f"{line} {n}" for n in range(3) for line in SENTENCES]
    samples = validate(translator, ParallelText(lines, lines[::-1])).samples
    shown = [(sample.source, sample.translation, sample.reference) for sample in samples]
    assert shown == list(zip(lines, translator.translate(lines, beam_size=1), lines[::-1], strict=True))[:SAMPLES]


def test_attention_is_of_the_first_translation(translator: Translator) -> None:
    """The weights of the translation, not of the reference, with tokens on both axes."""
    tokenizer, network = translator.tokenizer, translator.network
    network.train()  # dropout must be off
    attention = validate(translator, TEXT).attention
    network.eval()
    assert attention is not None
    source = tokenizer.encode_src(TEXT.src[:1])[0]
    best = translator.translate_n_best(TEXT.src[:1], beam_size=1)[0][0]
    assert attention.source == [*tokenizer.src_pieces(source), END]
    assert attention.target == [*tokenizer.tgt_pieces(best.ids), END][:MAX_TOKENS]
    with torch.no_grad():
        (weights,) = network(make_batch([source], [best.ids]))[2]
    torch.testing.assert_close(torch.tensor(attention.weights), weights[: len(attention.target)], rtol=1e-4, atol=1e-5)


def test_a_large_attention_image_is_cut(translator: Translator) -> None:
    line = " ".join(SENTENCES * 2)
    attention = validate(translator, ParallelText([line], [line])).attention
    assert attention is not None
    assert len(attention.source) == MAX_TOKENS
    assert END not in attention.source
    assert {len(row) for row in attention.weights} == {MAX_TOKENS}
    assert len(attention.weights) == len(attention.target) <= MAX_TOKENS


@pytest.mark.parametrize("first", ["", "   ", "jugs and a box"])
def test_no_attention_of_an_empty_line_or_of_a_line_in_parts(translator: Translator, first: str) -> None:
    text = ParallelText([first, *SENTENCES], ["a", *SENTENCES])
    result = validate(Translator(translator.network, translator.tokenizer, max_part_tokens=10), text)
    assert result.attention is None
    assert len(result.samples) == 4


def test_no_attention_of_a_network_without_attention(translator: Translator) -> None:
    network = make_network(translator.tokenizer.src_size, attention=AttentionName.none)
    result = validate(Translator(network, translator.tokenizer), TEXT)
    assert result.attention is None
    assert len(result.samples) == len(SENTENCES)
