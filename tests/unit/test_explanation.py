"""Explanations: a network whose alignment is known, tokens merged to words, and every kind of model and text."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from moving_words import TASKS, sentence, trained_translator
from seq2seq.config.data import DataConfig, MixConfig
from seq2seq.config.model import AttentionName, CellName, ModelConfig
from seq2seq.config.tokenizer import PieceType, TokenizerConfig
from seq2seq.data.corpus import ParallelText
from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.errors import ConfigError, DataError, NotFiniteError
from seq2seq.inference.explanation import MAX_TOKENS, Explanation, explain
from seq2seq.inference.translator import Translator
from seq2seq.model.network import Seq2Seq
from seq2seq.storage.metrics_file import to_json
from seq2seq.storage.model_file import Model
from tiny_model import make_model, make_network

TEXT, OUTPUT = "pack my box", "how lazy dogs jump"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return make_model(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def translator(model: Model) -> Translator:
    return Translator(model.network, model.tokenizer, model.config.decode)


def shapes(explanation: Explanation) -> None:
    """Every matrix has a row per target word and a column per source word, every list a value per token."""
    rows, columns = len(explanation.target.words), len(explanation.source.words)
    integrated = explanation.integrated_gradients
    matrices = [explanation.occlusion, explanation.saliency, explanation.attention]
    for matrix in [*matrices, None if integrated is None else integrated.attributions]:
        assert matrix is None or [len(row) for row in matrix] == [columns] * rows
    tokens = {"source": len(explanation.source.tokens), "target": len(explanation.target.tokens)}
    for layer in explanation.layers:
        lists = [layer.hidden_norm, layer.gradient_norm, layer.cell_norm]
        lists += [values for gate in layer.gates.values() for values in (gate.mean, gate.closed, gate.open)]
        assert {len(values) for values in lists if values is not None} == {tokens[layer.side]}
    assert len(explanation.token_log_probs) == tokens["target"]


# --- a known alignment -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "least"),
    [
        # Both output words depend on one source word each, and on nothing else.
        ("ends", {"occlusion": 0.9, "attention": 0.9, "integrated": 0.85, "saliency": 0.8}),
        # To find the next word the decoder must also recognise the word before, which gradients show, too.
        ("reverse", {"occlusion": 0.9, "attention": 0.85, "integrated": 0.6, "saliency": 0.4}),
    ],
)
def test_all_methods_find_the_source_word_of_a_network_that_moves_words(
    task: str, least: dict[str, float], tmp_path: Path
) -> None:
    translator, numbers = trained_translator(task, tmp_path), random.Random(7)
    right: dict[str, list[bool]] = {name: [] for name in least}
    for _ in range(10):
        src = sentence(numbers)
        places = TASKS[task](list(range(len(src))))
        found = explain(translator, " ".join(src), " ".join(src[at] for at in places), integrated_steps=8)
        assert found.integrated_gradients is not None
        matrices = {"integrated": found.integrated_gradients.attributions, "attention": found.attention}
        matrices |= {"occlusion": found.occlusion, "saliency": found.saliency}
        for name, matrix in matrices.items():
            assert matrix is not None
            right[name] += [row.index(max(row)) == at for row, at in zip(matrix, places, strict=True)]
    shares = {name: sum(hits) / len(hits) for name, hits in right.items()}
    assert all(shares[name] >= least[name] for name in least), shares


# --- words -----------------------------------------------------------------------------------------------------------


def test_tokens_are_merged_to_words(translator: Translator) -> None:
    """A token is a character here; the same figures come from forced scoring, alignments and removal in the text."""
    found = explain(translator, TEXT, OUTPUT, integrated_steps=4)
    shapes(found)
    assert (found.source.words, found.target.words) == (TEXT.split(), OUTPUT.split())
    assert found.source.tokens == ["▁", *"pack▁my▁box", "</s>"]
    assert found.source.token_words == [0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, None]
    (score,) = translator.score([TEXT], [OUTPUT])
    assert found.token_log_probs == pytest.approx(score.token_log_probs, abs=1e-4)
    assert sum(found.word_log_probs) == pytest.approx(score.log_prob - score.token_log_probs[-1], abs=1e-4)
    starts = [0, 4, 9, 14, 19]  # of the words "▁how", "▁lazy", "▁dogs", "▁jump"
    for column, shorter in enumerate(("my box", "pack box", "pack my")):
        (without,) = translator.score([shorter], [OUTPUT])
        for row in range(4):
            tokens = slice(starts[row], starts[row + 1])
            fall = sum(score.token_log_probs[tokens]) - sum(without.token_log_probs[tokens])
            assert found.occlusion[row][column] == pytest.approx(fall, abs=1e-3)
    for row, outside in zip(found.attention or (), found.outside["attention"], strict=True):
        assert sum(row) + outside == pytest.approx(1, abs=1e-5)


def test_the_translation_and_its_attention_are_the_translators(translator: Translator) -> None:
    best = translator.translate_n_best([TEXT], alignments=True)[0][0]
    found = explain(translator, TEXT)
    assert (found.target.text, found.forced) == (best.text, False)
    assert found.token_log_probs == pytest.approx(best.token_log_probs, abs=1e-4)
    assert found.attention is not None
    assert best.attention is not None
    for row, expected in zip(found.attention, best.attention, strict=True):
        assert row == pytest.approx(expected, abs=1e-5)


def test_words_that_share_a_token_share_its_figures(tmp_path: Path) -> None:
    lines = ["你好 世界", "世界 你好"]
    pieces = TokenizerConfig(type=PieceType.word, vocab_size=6, byte_fallback=False, character_coverage=1.0)
    tokenizer = Tokenizer.train(ParallelText(lines, lines), pieces, tmp_path)
    found = explain(Translator(make_network(tokenizer.src_size).eval(), tokenizer), *lines, integrated_steps=3)
    shapes(found)
    assert (found.source.words, found.target.words) == (list("你好世界"), list("世界你好"))
    assert found.source.tokens == ["▁你好", "▁世界", "</s>"]
    for row in (*found.occlusion, *found.saliency, *(found.attention or ())):
        assert (row[0], row[2]) == (row[1], row[3])
    assert found.occlusion[0] == found.occlusion[1] != found.occlusion[2]
    assert found.attention is not None
    assert sum(found.attention[0]) + found.outside["attention"][0] == pytest.approx(1, abs=1e-5)
    assert found.word_log_probs[0] == found.word_log_probs[1] == pytest.approx(found.token_log_probs[0])


@pytest.mark.parametrize(
    ("source", "target"),
    [("pack\u2028my  box\n", "how\tlazy"), ("paçk ☃ my", "☃"), ("p\ud800k", "b\ud800x"), ("a", "a")],
)
def test_any_text_has_an_explanation_that_is_json(source: str, target: str, translator: Translator) -> None:
    for found in (explain(translator, source, target), explain(translator, source)):
        shapes(found)
        assert json.loads(to_json(found.to_dict())) == found.to_dict()


# --- models ----------------------------------------------------------------------------------------------------------

KINDS: list[dict[str, Any]] = [
    *({"cell": cell} for cell in CellName),
    {"attention": AttentionName.none}, {"input_feeding": True}, {"attention_heads": 2, "coverage": True},
    {"encoder_layers": 2, "decoder_layers": 3, "residual": True}, {"layer_norm": True},
]  # fmt: skip


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_every_kind_of_network(settings: dict[str, Any], model: Model) -> None:
    torch.manual_seed(1)
    config = ModelConfig(emb_size=6, hidden_size=8, attention_size=4, **settings)
    network = Seq2Seq(config, model.tokenizer.src_size, model.tokenizer.tgt_size)
    found = explain(Translator(network, model.tokenizer), TEXT, OUTPUT, integrated_steps=8)
    shapes(found)
    assert network.training  # as it was
    assert (found.attention is None) == ("attention" in settings) == ("attention" not in found.outside)
    assert found.cell == config.cell.value
    assert len(found.layers) == 2 * config.encoder_layers + config.decoder_layers
    integrated = found.integrated_gradients
    assert integrated is not None
    for row, outside, error, difference in zip(
        integrated.attributions, integrated.outside, integrated.errors(), integrated.difference, strict=True
    ):
        assert math.fsum(row) + outside == pytest.approx(difference + error, abs=1e-5)
        # At embeddings of zero layer normalisation divides by almost nothing: few points miss what happens there.
        assert "layer_norm" in settings or abs(error) < 0.01
    assert found.to_dict()["layers"][0]["name"] == "encoder.1.forward"


def test_of_an_ensemble_the_first_model_is_explained(model: Model) -> None:
    other = make_network(model.tokenizer.src_size, seed=2)
    both = Translator([model.network, other], model.tokenizer, model.config.decode)
    found, alone = explain(both, TEXT, OUTPUT), explain(Translator(model.network, model.tokenizer), TEXT, OUTPUT)
    assert (found.occlusion, alone.note) == (alone.occlusion, "")
    assert found.note == "the first of 2 models is explained"
    assert explain(both, TEXT).target.text == both.translate([TEXT])[0]


def test_tags_of_the_target_language_are_outside_the_words(tmp_path: Path) -> None:
    symbols = ["<2de>", "<2fr>"]
    pieces = TokenizerConfig(
        type=PieceType.char, vocab_size=20, byte_fallback=False, character_coverage=1.0, user_symbols=symbols
    )
    lines = ["pack my box", "how"]
    tokenizer = Tokenizer.train(ParallelText(lines, lines), pieces, tmp_path)
    data = DataConfig(src="en", tgt="de", tag="<2de>", mix={"other": MixConfig(tgt="fr", tag="<2fr>")})
    translator = Translator(make_network(tokenizer.src_size).eval(), tokenizer, data=data)
    found = explain(translator, "pack my", "how", tgt_lang="fr")
    shapes(found)
    assert found.source.tokens[0] == "<2fr>"
    assert found.source.token_words[:2] == [None, 0]
    other = explain(translator, "pack my", "how", tgt_lang="de")
    assert other.word_log_probs != found.word_log_probs
    with pytest.raises(ConfigError, match="tgt-lang is missing"):
        explain(translator, "pack my", "how")


# --- what cannot be explained ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("", None, "the text is empty"),
        (" \u3000\n", None, "the text is empty"),
        ("a", "", "the given translation is empty"),
        ("a", " ", "the given translation is empty"),
        ("a" * (MAX_TOKENS + 1), "a", f"the text has {MAX_TOKENS + 2} tokens, more than {MAX_TOKENS}"),
        ("a", "b" * 900, f"the translation has 901 tokens, more than {MAX_TOKENS}"),
    ],
)
def test_texts_that_cannot_be_explained(source: str, target: str | None, message: str, translator: Translator) -> None:
    with pytest.raises(DataError, match=message):
        explain(translator, source, target)


def test_a_text_that_would_be_translated_in_parts(model: Model) -> None:
    translator = Translator(model.network, model.tokenizer, max_part_tokens=5)
    with pytest.raises(DataError, match="more than 5: explain one sentence at a time"):
        explain(translator, TEXT)


def test_damaged_weights(model: Model) -> None:
    network = make_network(model.tokenizer.src_size).eval()
    with torch.no_grad():
        network.output.bias.fill_(math.nan)
    with pytest.raises(NotFiniteError):
        explain(Translator(network, model.tokenizer), TEXT, OUTPUT)
