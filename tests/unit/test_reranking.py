"""Reranking: scores equal direct forced scoring, and the order is that of their weighted sum."""

from __future__ import annotations

import argparse
import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from seq2seq import evaluate
from seq2seq.cli.process_options import load_translator
from seq2seq.config.data import DataConfig, DataName, MixConfig
from seq2seq.config.decode import DecodeConfig, NormalizationName
from seq2seq.config.model import TargetOrderName
from seq2seq.config.text_files import FilesConfig
from seq2seq.data.batches.batch import Batch
from seq2seq.data.corpus import ParallelText
from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.errors import ConfigError, NotFiniteError
from seq2seq.inference.forced_alignment import align_pairs
from seq2seq.inference.forced_scoring import MAX_BATCH_TOKENS
from seq2seq.inference.reranking import Reranker, RerankModel
from seq2seq.inference.translator import Translator
from seq2seq.model.network import Seq2Seq
from seq2seq.search.length_penalty import length_penalty
from seq2seq.storage.model_file import Model, save_model
from tiny_model import SENTENCES, make_model, make_network

LP = length_penalty(NormalizationName.gnmt, 1.0)
BACKWARD = DataConfig(src="fr", tgt="en")


def right_to_left(network: Seq2Seq) -> Seq2Seq:
    config = dataclasses.replace(network.config, target_order=TargetOrderName.right_to_left)
    other = Seq2Seq(config, network.src_embedding.num_embeddings, network.tgt_embedding.num_embeddings)
    other.load_state_dict(network.state_dict())
    return other.eval()


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return make_model(tmp_path)


@pytest.fixture
def others(model: Model, tmp_path: Path) -> dict[str, Translator]:
    """A model of the same direction and another vocabulary, one from right to left, one of the opposite direction."""
    pieces = dataclasses.replace(model.config.data.tokenizer, vocab_size=29)
    tokenizer = Tokenizer.train(ParallelText(SENTENCES[:2], SENTENCES[:2]), pieces, tmp_path)
    network = make_network(model.tokenizer.src_size, seed=3)
    return {
        "forward": Translator(make_network(tokenizer.src_size, seed=2).eval(), tokenizer, data=model.config.data),
        "right": Translator(right_to_left(network), model.tokenizer, data=model.config.data),
        "reverse": Translator(network.eval(), model.tokenizer, data=dataclasses.replace(BACKWARD)),
    }


def reranked(model: Model, others: dict[str, Translator], weights: dict[str, float]) -> Translator:
    assert model.config.data.src == "en"
    rerankers = [Reranker(name, others[name], "en", name == "reverse", weight) for name, weight in weights.items()]
    return Translator(model.network, model.tokenizer, data=model.config.data, rerankers=rerankers)


def test_scores_are_those_of_forced_scoring(model: Model, others: dict[str, Translator]) -> None:
    weights = {"forward": 0.5, "right": 2.0, "reverse": 0.25}
    rows = reranked(model, others, weights).translate_n_best(SENTENCES, 4, beam_size=4)
    plain = Translator(model.network, model.tokenizer, data=model.config.data).translate_n_best(
        SENTENCES, 4, beam_size=4
    )
    for source, outputs, unranked in zip(SENTENCES, rows, plain, strict=True):
        before = {tuple(output.ids): output.score for output in unranked}
        assert {tuple(output.ids) for output in outputs} == before.keys()
        for output in outputs:
            (forward,) = others["forward"].score([source], [output.text])
            (right,) = others["right"].score([source], [output.text])
            (reverse,) = others["reverse"].score([output.text], [source])
            expected = [before[tuple(output.ids)]]
            expected += [pair.log_prob / LP(len(pair.token_log_probs)) for pair in (forward, right, reverse)]
            assert [part.score for part in output.parts] == pytest.approx(expected, rel=1e-5)
            assert [part.model for part in output.parts] == ["search", "forward", "right", "reverse"]
            assert output.score == pytest.approx(sum(p.weight * p.score for p in output.parts))
        assert [output.score for output in outputs] == sorted((o.score for o in outputs), reverse=True)


def test_weights_of_zero_change_nothing(model: Model, others: dict[str, Translator]) -> None:
    plain = Translator(model.network, model.tokenizer, data=model.config.data)
    zero = reranked(model, others, {"forward": 0.0, "right": 0.0, "reverse": 0.0})
    assert zero.translate_n_best(SENTENCES, 3) == plain.translate_n_best(SENTENCES, 3)


def test_a_large_weight_gives_the_order_of_the_reranker(model: Model, others: dict[str, Translator]) -> None:
    rows = reranked(model, others, {"right": 1e6}).translate_n_best(SENTENCES, 5, beam_size=5)
    moved = 0
    for source, outputs in zip(SENTENCES, rows, strict=True):
        scores = [pair.log_prob for pair in others["right"].score([source] * 5, [output.text for output in outputs])]
        lengths = [len(pair.token_log_probs) for pair in others["right"].score([source] * 5, [o.text for o in outputs])]
        values = [score / LP(length) for score, length in zip(scores, lengths, strict=True)]
        assert values == sorted(values, reverse=True)
        moved += outputs[0].parts[0].score != max(output.parts[0].score for output in outputs)
    assert moved, "no reranker moved any output: the test shows nothing"


def test_the_best_of_the_whole_beam_is_found_with_one_output(model: Model, others: dict[str, Translator]) -> None:
    translator = reranked(model, others, {"right": 3.0, "reverse": 1.0})
    best = [outputs[0] for outputs in translator.translate_n_best(SENTENCES, 5, beam_size=5)]
    only = translator.translate_n_best(SENTENCES, 1, beam_size=5, alignments=True)
    assert [row[0].text for row in only] == [output.text for output in best]
    assert all(len(row) == 1 and row[0].alignment is not None for row in only)


PARTS = ["pack my box. ", "with five dozen jugs. ", "how vexing"]


def in_parts(translator: Translator) -> Translator:
    """Return a translator that splits a line of `PARTS` into them."""
    made = Translator(
        translator.network, translator.tokenizer, data=translator.data, max_part_tokens=22,
        rerankers=translator.rerankers,
    )  # fmt: skip
    parts = made._encoder.encode(["".join(PARTS)], [""], [()], None)[0]
    assert [part.text for part in parts] == PARTS
    return made


@pytest.mark.parametrize("scored", [None, 20, 1])
def test_lines_in_parts_sum_up_their_scores(
    model: Model, others: dict[str, Translator], scored: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each part is reranked as a line of its own; a part that a model cannot score has no share of the sum."""
    if scored is not None:
        monkeypatch.setattr("seq2seq.inference.forced_scoring.MAX_PART_TOKENS", scored)
    translator = reranked(model, others, {"right": 2.0, "reverse": 0.5})
    short: dict[str, Any] = {"max_length_ratio": 0.5, "max_length_extra": 2}  # than 20 tokens, as are two of the parts
    (output,) = in_parts(translator).translate_n_best(["".join(PARTS)], **short)[0]
    alone = [row[0] for row in translator.translate_n_best(PARTS, **short)]
    assert output.ids == [token for one in alone for token in one.ids]
    assert output.score == pytest.approx(sum(one.score for one in alone))
    assert [part.model for part in output.parts] == ["search", "right", "reverse"]
    known = [[one.parts[k].score for one in alone if not math.isnan(one.parts[k].score)] for k in range(3)]
    expected = [sum(values) if values else math.nan for values in known]
    assert [part.score for part in output.parts] == pytest.approx(expected, nan_ok=True)
    assert [len(values) for values in known] == {None: [3, 3, 3], 20: [3, 2, 2], 1: [3, 0, 0]}[scored]
    total = sum(part.weight * part.score for part in output.parts if not math.isnan(part.score))
    assert output.score == pytest.approx(total)


@pytest.mark.parametrize("line", ["", "   ", "\u00a0"])
def test_a_blank_line_stays_blank(model: Model, others: dict[str, Translator], line: str) -> None:
    assert reranked(model, others, {"right": 1.0, "reverse": 1.0}).translate([line]) == [""]


def test_a_model_that_cannot_score_an_output_does_not_count(
    model: Model, others: dict[str, Translator], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seq2seq.inference.forced_scoring.MAX_PART_TOKENS", 1)
    plain = Translator(model.network, model.tokenizer, data=model.config.data)
    rows = reranked(model, others, {"right": 5.0}).translate_n_best(SENTENCES, 3)
    assert [[(o.text, o.score) for o in row] for row in rows] == [
        [(o.text, o.score) for o in row] for row in plain.translate_n_best(SENTENCES, 3)
    ]


def test_another_search_is_refused(model: Model, others: dict[str, Translator]) -> None:
    translator = reranked(model, others, {"right": 1.0})
    for search in ("sample", "mbr"):
        with pytest.raises(ConfigError, match=f"reranking needs search=beam.*not {search}"):
            translator.translate(SENTENCES, search=search)


def test_languages_tell_the_direction(model: Model, others: dict[str, Translator]) -> None:
    (auto,) = RerankModel.of_each(["other"], None, None)
    assert not auto.reranker(others["right"], model.config.data).reverse
    assert auto.reranker(others["reverse"], model.config.data).reverse
    assert auto.reranker(others["reverse"], DataConfig(src="eng_Latn", tgt="fr_CA")).reverse
    with pytest.raises(ConfigError, match="other translates fr to en: it cannot rerank translations from de to it"):
        auto.reranker(others["reverse"], DataConfig(src="de", tgt="it"))
    two = dataclasses.replace(model.config.data, mix={"second": MixConfig(src="de")})
    with pytest.raises(ConfigError, match="other translates fr to en: it cannot rerank translations from de/en to fr"):
        auto.reranker(others["reverse"], two)
    assert not auto.reranker(others["right"], model.config.data).reverse
    (told,) = RerankModel.of_each(["other"], [0.5], ["reverse"])
    assert told.reranker(others["right"], model.config.data) == Reranker("other", others["right"], "en", True, 0.5)


@pytest.mark.parametrize(
    ("weights", "roles", "message"),
    [
        ([1.0, 2.0], None, "2 weights for 1 rerankers"),
        ([-1.0], None, "rerank weight -1 is out of range"),
        ([float("nan")], None, "rerank weight nan is out of range"),
        (None, ["backward"], "rerank_as='backward' is unknown: use auto, forward, reverse"),
        (None, [], "0 roles"),
    ],
)
def test_wrong_settings_are_refused(weights: list[float] | None, roles: list[str] | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RerankModel.of_each(["other"], weights, roles)


def test_files_are_loaded_with_their_rerankers(model: Model, others: dict[str, Translator], tmp_path: Path) -> None:
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    save_model(first, model)
    config = dataclasses.replace(model.config, model=others["right"].network.config)
    save_model(second, Model(others["right"].network, model.tokenizer, config))
    loaded = Translator.load(
        first, device="cpu", precision="int8", rerank=[second, [second, second]], rerank_weights=[1.0, 2.0]
    )
    names = [(part.model, part.weight) for part in loaded.translate_n_best(SENTENCES[:1])[0][0].parts]
    assert names == [("search", 1.0), (str(second), 1.0), (f"{second},{second}", 2.0)]
    assert loaded.rerankers[0].translator.network.config.target_order is TargetOrderName.right_to_left
    with pytest.raises(ConfigError, match="--rerank"):
        Translator.load(first, second, device="cpu")


def test_a_single_model_is_a_list_of_one(model: Model, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_model(file, model)
    paths: list[str | Path] = [file, str(file)]
    for path in paths:
        loaded = Translator.load(file, device="cpu", rerank=path, rerank_weights=0.5, rerank_as="forward")
        assert [(one.name, one.weight, one.reverse) for one in loaded.rerankers] == [(str(file), 0.5, False)]


@pytest.fixture
def tagged(model: Model, tmp_path: Path) -> Translator:
    """A model from French to English and German, which a tag chooses."""
    second = MixConfig(tgt="de", tag="<de>")
    data = dataclasses.replace(model.config.data, src="fr", tgt="en", tag="<en>", mix={"second": second})
    pieces = dataclasses.replace(data.vocabulary, vocab_size=33)
    tokenizer = Tokenizer.train(ParallelText(SENTENCES, SENTENCES), pieces, tmp_path / "tagged")
    return Translator(make_network(tokenizer.src_size, seed=4).eval(), tokenizer, data=data)


def test_a_reverse_model_scores_with_the_tag_of_the_source_language(model: Model, tagged: Translator) -> None:
    (auto,) = RerankModel.of_each("other", None, None)
    for language in ("en", "de"):
        one = auto.reranker(tagged, dataclasses.replace(model.config.data, src=language))
        assert one.reverse
        expected = tagged.score(["x"], ["how quick"], tgt_lang=language)
        assert one.scores(["how quick"], ["x"], "fr", 100) == expected
    assert tagged.score(["x"], ["how quick"], tgt_lang="en") != tagged.score(["x"], ["how quick"], tgt_lang="de")


@pytest.mark.parametrize("role", ["auto", "reverse"])
def test_a_reverse_model_with_tags_needs_one_source_language(model: Model, tagged: Translator, role: str) -> None:
    (reverse,) = RerankModel.of_each("other", None, role)
    two = dataclasses.replace(model.config.data, mix={"second": MixConfig(src="de")})
    with pytest.raises(ConfigError, match=r"^other scores a source line with the tag .* may be de/en and is not known"):
        reverse.reranker(tagged, two)


def test_errors_of_a_reranker_name_it(model: Model, others: dict[str, Translator], tagged: Translator) -> None:
    translator = reranked(model, others, {"right": 1.0, "reverse": 1.0})
    with torch.no_grad():
        others["reverse"].network.output.weight.fill_(math.nan)
    with pytest.raises(NotFiniteError, match=r"^reverse: .*NaN"):
        translator.translate(SENTENCES)
    (told,) = RerankModel.of_each("other", None, "reverse")
    with pytest.raises(ConfigError, match=r"^other: .*en, de"):
        told.reranker(tagged, dataclasses.replace(model.config.data, src="it"))
    forward = Reranker("other", tagged, "en")
    with pytest.raises(ConfigError, match=r"^other: .*fr is not a language of the model"):
        Translator(model.network, model.tokenizer, data=model.config.data, rerankers=[forward]).tag()


def test_models_that_form_no_ensemble_are_named(model: Model, others: dict[str, Translator], tmp_path: Path) -> None:
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    save_model(first, model)
    config = dataclasses.replace(model.config, model=others["right"].network.config)
    save_model(second, Model(others["right"].network, model.tokenizer, config))
    with pytest.raises(ConfigError, match=f"^{first},{second}: models that write"):
        Translator.load(first, device="cpu", rerank=[[first, second]])


def forced_sizes(translator: Translator) -> list[int]:
    """Return a list that grows by the rows times the longest side of each batch that is forced on the network."""
    sizes: list[int] = []

    def note(module: torch.nn.Module, arguments: tuple[Any, ...]) -> None:
        batch: Batch = arguments[0]
        sizes.append(len(batch.src_ids) * max(batch.src_ids.shape[1], batch.tgt_in.shape[1]))

    translator.network.register_forward_pre_hook(note)
    return sizes


def test_the_batches_of_a_reranker_are_those_of_the_call(model: Model, others: dict[str, Translator]) -> None:
    translator = reranked(model, others, {"right": 1.0})
    others["right"].decode = DecodeConfig(batch_tokens=1_000_000)
    sizes = forced_sizes(others["right"])
    for given, most in ((4096, MAX_BATCH_TOKENS), (1_000_000, MAX_BATCH_TOKENS), (2000, 2000)):
        translator.translate(SENTENCES * 20, batch_tokens=given)
        assert most / 2 < max(sizes) <= most
        sizes.clear()


def test_scoring_is_bounded_and_follows_the_setting_of_the_command(model: Model, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    config = dataclasses.replace(model.config, decode=DecodeConfig(batch_tokens=1_000_000))
    save_model(file, dataclasses.replace(model, config=config))
    for given, most in ((None, MAX_BATCH_TOKENS), (2000, 2000)):
        args = argparse.Namespace(device="cpu", precision="fp32", threads=1, batch_tokens=given)
        translator = load_translator(args, [str(file)])
        sizes = forced_sizes(translator)
        translator.score(SENTENCES * 80, SENTENCES * 80)
        align_pairs(translator, SENTENCES * 80, SENTENCES * 80)
        assert most / 2 < max(sizes) <= most


def test_evaluate_overwrites_no_file_that_it_reads(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    texts = [tmp_path / "out" / "test.hyp", tmp_path / "ref"]
    for text in texts:
        text.write_text("how\n" * 9)
    data = dataclasses.replace(
        model.config.data, name=DataName.files, test=FilesConfig(src=str(texts[0]), tgt=str(texts[1])),
    )  # fmt: skip
    model = dataclasses.replace(model, config=dataclasses.replace(model.config, data=data))
    save_model(tmp_path / "model.safetensors", model)
    assert evaluate.main(["model.safetensors", "--output", "out", "--device", "cpu"]) == 2
    assert "out/test.hyp is both input and output" in capsys.readouterr().err
    assert texts[0].read_text() == "how\n" * 9
    other = tmp_path / "out" / "own.hyp"
    save_model(other, model)
    command = ["model.safetensors", "--rerank", str(other), "--src", "ref", "--ref", "ref", "--device", "cpu"]
    (tmp_path / "out" / "test.hyp").unlink()
    (tmp_path / "out" / "test.hyp").symlink_to(other)
    assert evaluate.main([*command, "--output", "out"]) == 2
    assert "out/test.hyp is both input and output" in capsys.readouterr().err
