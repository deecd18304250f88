"""A model that writes from right to left: trained, resumed, translated with, and reranked by; `tune_decoding`."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from forking import call
from run_folder import BEST_NAME, TINY
from seq2seq.config.decode import DecodeConfig, NormalizationName
from seq2seq.config.model import TargetOrderName
from seq2seq.evaluation.metrics import chrf
from seq2seq.inference.forced_scoring import perplexity
from seq2seq.inference.translator import Translator
from seq2seq.storage.model_file import read_config, save_model
from seq2seq.translate import main as translate
from seq2seq.tune_decoding import main as tune
from seq2seq.tune_decoding import parser
from tiny_model import SENTENCES, make_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run from right to left on a text of one's own, which stopped after 6 steps and went on."""
    place = tmp_path_factory.mktemp("right")
    lines = [f"the {size} {thing} sees {n}" for n in range(40) for size in ("big", "old") for thing in ("cat", "fox")]
    for name, some in (("train", lines), ("valid", lines[:12])):
        (place / name).write_text("".join(f"{line}\n" for line in some), encoding="utf-8")
    files = [f"data.{part}.{side}={part}" for part in ("train", "valid") for side in ("src", "tgt")]
    settings = ["data=files", "data.src=en", "data.tgt=fr", *files, "data.test_pairs=2", "data.tokenizer.vocab_size=30"]
    settings += ["data.cache_dir=cache", "data.tokenizer.byte_fallback=false", "training.report=false"]
    own = [setting for setting in TINY if not setting.startswith(("data", "training.max_steps"))]
    first = call(
        "seq2seq.train", place, *own, *settings, "model.target_order=right_to_left", "training.max_steps=6",
        "hydra.run.dir=run",
    )  # fmt: skip
    assert first.status == 0, first.err
    resumed = call("seq2seq.train", place, "training.resume=run", "training.max_steps=12")
    assert resumed.status == 0, resumed.err
    return place / "run"


def test_training_validates_what_the_model_file_scores(right: Path) -> None:
    """The perplexity of the validation is that of the translator, which turns the text round on its own."""
    assert read_config(right / BEST_NAME).model.target_order is TargetOrderName.right_to_left
    metrics = [json.loads(line) for line in (right / "metrics.jsonl").read_text("utf-8").splitlines()]
    best = [row for row in metrics if row["event"] == "validation" and row["best"]][-1]
    lines = (right.parent / "valid").read_text("utf-8").splitlines()
    translator = Translator.load(right, device="cpu", precision="fp32")
    assert perplexity(translator.score(lines, lines)) == pytest.approx(best["perplexity"], rel=1e-3)


def test_a_model_reranked_by_itself_keeps_its_order(right: Path) -> None:
    options: dict[str, Any] = {"device": "cpu", "precision": "fp32"}
    plain, own = Translator.load(right, **options), Translator.load(right, rerank=[right], **options)
    lines = ["the big cat sees 7", "the old fox"]
    for outputs, expected in zip(own.translate_n_best(lines, 3), plain.translate_n_best(lines, 3), strict=True):
        assert outputs[0].parts[0].score == pytest.approx(expected[0].score, abs=1e-5)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    model = make_model(tmp_path / "cache")
    decode = DecodeConfig(
        length_normalization=NormalizationName.none
    )  # the search finds the hypotheses that were tuned
    config = dataclasses.replace(model.config, decode=decode)
    save_model(tmp_path / "model.safetensors", dataclasses.replace(model, config=config))
    (tmp_path / "src").write_text("".join(f"{line}\n" for line in SENTENCES), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_tuning_finds_what_translate_then_does(place: Path, right: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["model.safetensors", "--rerank", str(right), "--src", "src", "--ref", "src", "--device", "cpu"]
    assert tune([*command, "--beam-sizes", "2,4", "--metric", "chrf", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["beam_size"] for row in found["results"]] in ([2, 4], [4, 2])
    best = found["results"][0]
    assert best["score"] == max(row["score"] for row in found["results"])
    assert all(row["score"] >= row["default_score"] for row in found["results"])
    assert 0 < best["p_value"] <= 1
    assert f"--rerank {right} --rerank-weights " in found["options"]
    assert translate(["model.safetensors", *shlex.split(found["options"]), "src", "--device", "cpu"]) == 0
    assert chrf(capsys.readouterr().out.split("\n")[:-1], SENTENCES) == pytest.approx(best["score"], abs=1e-3)


def test_help_of_tuning_lists_no_option_that_it_refuses() -> None:
    text = parser().format_help()
    assert "--rerank MODEL" in text
    assert "--rerank-weights" not in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--rerank-weights", "1"), "--rerank-weights has no effect"),
        (("--beam-sizes", "0"), "is not a list of numbers from 1 to 1000"),
        (("--beam-sizes", "5,x"), "is not a list of numbers"),
        (("--ref", "short"), "not parallel"),
        (("--src", "empty", "--ref", "empty"), "empty is empty"),
        (("--rerank", "missing"), "missing"),
    ],
)
def test_errors_are_one_line(
    place: Path, options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "short").write_text("one\n", encoding="utf-8")
    (place / "empty").write_text("", encoding="utf-8")
    given = dict(zip(options[::2], options[1::2], strict=True))
    command = {"--src": "src", "--ref": "src", "--device": "cpu"} | given
    assert tune(["model.safetensors", *(word for pair in command.items() for word in pair)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
