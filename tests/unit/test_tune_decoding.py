"""Tuning of the decoding: its figures are those of translations with the settings that it found."""

from __future__ import annotations

import dataclasses
import json
import logging
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seq2seq import translate, tune_decoding
from seq2seq.config.data import MixConfig
from seq2seq.config.decode import DecodeConfig, NormalizationName
from seq2seq.data.corpus import ParallelText
from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.errors import DataError
from seq2seq.evaluation.decoding_tuning import lists, model_scores, tune
from seq2seq.evaluation.metrics import bleu_metric, chrf
from seq2seq.inference.reranking import Reranker
from seq2seq.inference.translator import Translator
from seq2seq.search.length_penalty import length_penalty
from seq2seq.storage.model_file import Model, save_model
from tiny_model import SENTENCES, make_model, make_network

LINES = [*SENTENCES, "A QUICK FOX", "", "jugs", "lazy dog", "box with jugs", "pack dogs"]
REFERENCES = ["quick brown jugs", "fox over lazy", "vex", "FOX", "", "dozen liquor", "a dog", "my box", "dog packs"]


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return make_model(tmp_path)


@pytest.mark.parametrize(
    "decode", [{}, {"repetition_penalty": 1.7}, {"coverage_penalty": 0.4, "repetition_penalty": 2.0}]
)
def test_the_scores_of_another_length_penalty_are_those_of_the_equation(model: Model, decode: dict[str, Any]) -> None:
    """log p, in which each token that the output has already counts `repetition_penalty` times, over the penalty."""
    settings = DecodeConfig(**decode)
    translator = Translator(model.network, model.tokenizer, settings, data=model.config.data)
    rows = translator.translate_n_best(LINES, 4, beam_size=4)
    found = lists(
        rows, model_scores(LINES, rows, "fr", [], 4096), bleu_metric([REFERENCES], "13a", force=True), settings
    )
    own, other = (length_penalty(NormalizationName.gnmt, alpha) for alpha in (1.0, 0.3))
    for i, outputs in enumerate(rows):
        for k, output in enumerate(outputs):
            if not output.token_log_probs:
                continue
            ids, factor = [*output.ids, 3], settings.repetition_penalty
            total = sum(
                value * (factor if token in ids[:at] else 1)
                for at, (token, value) in enumerate(zip(ids, output.token_log_probs, strict=True))
            )
            coverage = output.score - total / own(len(ids))
            assert coverage < -1e-2 if settings.coverage_penalty else abs(coverage) < 1e-3
            assert found.scores(other)[i, k, 0] == pytest.approx(total / other(len(ids)) + coverage, abs=1e-3)


@pytest.mark.parametrize("repetition_penalty", [1.0, 1.5])
def test_the_score_is_that_of_translations_with_the_weights(model: Model, repetition_penalty: float) -> None:
    decode = DecodeConfig(length_normalization=NormalizationName.none, repetition_penalty=repetition_penalty)
    other = Translator(make_network(model.tokenizer.src_size, seed=5).eval(), model.tokenizer, data=model.config.data)
    translator = Translator(
        model.network, model.tokenizer, decode, data=model.config.data, rerankers=[Reranker("other", other, "en")]
    )
    (best,) = tune(translator, LINES, REFERENCES, [6], "chrf")
    assert best.score > best.default_score
    (weight,) = best.weights
    translator.rerankers = [Reranker("other", other, "en", weight=weight)]
    assert chrf(translator.translate(LINES, beam_size=6), REFERENCES) == pytest.approx(best.score)
    translator.rerankers = []
    assert chrf(translator.translate(LINES, beam_size=6), REFERENCES) == pytest.approx(best.default_score)


def test_lines_in_parts_are_left_out_with_a_warning(model: Model, caplog: pytest.LogCaptureFixture) -> None:
    translator = Translator(model.network, model.tokenizer, data=model.config.data, max_part_tokens=20)
    whole = [i for i, line in enumerate(LINES) if len(line) < 20]
    with caplog.at_level(logging.WARNING):
        (found,) = tune(translator, LINES, REFERENCES, [3])
    assert caplog.messages[-1].startswith(f"{len(LINES) - len(whole)} of {len(LINES)} lines are left out: ")
    assert found.sentences == len(whole)
    assert tune(translator, [LINES[i] for i in whole], [REFERENCES[i] for i in whole], [3]) == [found]
    with pytest.raises(DataError, match="every line has more than 20 tokens"):
        tune(translator, SENTENCES[:2], REFERENCES[:2], [3])


def test_weights_and_their_text_are_short_and_exact() -> None:
    for value in (0.0, 1.0, 0.25, 1e-7, 0.1234567890123, 12.0):
        assert float(tune_decoding.number(value)) == value
    assert tune_decoding.number(1.0) == "1"


def test_the_printed_options_translate_as_tuned(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An ensemble with weights and two target languages, reranked; every option is needed."""
    monkeypatch.chdir(tmp_path)
    data = dataclasses.replace(
        model.config.data, tag="<fr>", mix={"german": MixConfig(tgt="de", tag="<de>")}
    )  # fmt: skip
    tokenizer = Tokenizer.train(
        ParallelText(SENTENCES, SENTENCES), dataclasses.replace(data.vocabulary, vocab_size=33), tmp_path / "cache"
    )
    decode = DecodeConfig(length_normalization=NormalizationName.none)
    for seed, name in enumerate(("a b", "second", "other"), start=1):
        config = dataclasses.replace(model.config, data=data, decode=decode)
        save_model(Path(f"{name}.safetensors"), Model(make_network(tokenizer.src_size, seed).eval(), tokenizer, config))
    translator = Translator.load(
        "a b.safetensors", "second.safetensors", device="cpu", precision="fp32", weights=[0.8, 0.2],
        rerank="other.safetensors", rerank_weights=0.7,
    )  # fmt: skip
    references = translator.translate(LINES, beam_size=6, tgt_lang="de")
    for name, lines in (("src", LINES), ("ref", references)):
        Path(name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    models = "a b.safetensors,second.safetensors"
    given = ["--rerank", "other.safetensors", "--weights", "0.8,0.2", "--tgt-lang", "de", "--precision", "fp32"]
    command = [models, *given, "--src", "src", "--ref", "ref", "--device", "cpu"]
    assert tune_decoding.main([*command, "--beam-sizes", "2,6", "--metric", "chrf", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    options = shlex.split(found["options"])
    assert translate.main([models, *options, "src", "--device", "cpu"]) == 0
    best = found["results"][0]
    assert best["score"] > 99 > best["default_score"]
    outputs = capsys.readouterr().out.split("\n")[:-1]
    assert chrf(outputs, references) == pytest.approx(best["score"], abs=1e-3)
    assert found["sentences"] == len(LINES)
    for name in ("--weights", "--tgt-lang"):
        at = options.index(name)
        assert translate.main([models, *options[:at], *options[at + 2 :], "src", "--device", "cpu"]) in (0, 2)
        assert capsys.readouterr().out.split("\n")[:-1] != outputs


def test_the_point_of_an_interval_is_short_and_inside() -> None:
    from seq2seq.evaluation.decoding_search import _inside

    assert _inside(0.0, 0.2) == 0.1
    draw = np.random.default_rng(1)
    for low, width in zip(draw.uniform(0, 9, 200), 10.0 ** draw.uniform(-14, 0, 200), strict=True):
        assert low < _inside(low, low + width) < low + width
