"""`python -m seq2seq.score`: log-probabilities of given translations."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import pytest
import torch

from seq2seq.data.batches.batch import make_batch
from seq2seq.inference import forced_scoring
from seq2seq.inference.forced_scoring import PairScore
from seq2seq.score import main, output_line
from seq2seq.storage.model_file import load_model, save_model
from tiny_model import SENTENCES, make_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_model(folder / "best.safetensors", make_model(folder))
    return folder


def write(path: Path, lines: list[str]) -> str:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


def run(model: Path | str, src: str, tgt: str, *options: str) -> int:
    return main([str(model), "--src", src, "--tgt", tgt, "--device", "cpu", "--precision", "fp32", *options])


def test_log_probability_equals_teacher_forcing(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    targets = [*reversed(SENTENCES)]
    assert run(model, write(tmp_path / "src", SENTENCES), write(tmp_path / "tgt", targets)) == 0
    loaded = load_model(model, torch.device("cpu"))
    ids = zip(loaded.tokenizer.encode_src(SENTENCES), loaded.tokenizer.encode_tgt(targets), strict=True)
    for line, (src, tgt) in zip(capsys.readouterr().out.splitlines(), ids, strict=True):
        logits, expected, _ = loaded.network(make_batch([src], [tgt]))
        losses = torch.nn.functional.cross_entropy(logits, expected, reduction="none")
        total, mean = map(float, line.split("\t"))
        assert total == pytest.approx(-losses.sum().item(), abs=2e-3)
        assert mean == pytest.approx(-losses.mean().item(), abs=2e-4)


def test_jsonl_and_perplexity_are_consistent(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources, targets = [*SENTENCES, "", "a fox"], [*reversed(SENTENCES), "dog", ""]
    src, tgt = write(tmp_path / "src", sources), write(tmp_path / "tgt", targets)
    assert run(model, src, tgt, "--format", "jsonl") == 0
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert len(rows) == 5
    for row, target in zip(rows, targets, strict=True):
        assert "".join(row["pieces"]).replace("▁", " ") == f" {target}</s>".removeprefix("" if target else " ")
        assert len(row["pieces"]) == len(row["token_log_probs"])
        assert row["log_prob"] == pytest.approx(sum(row["token_log_probs"]))
        assert row["mean_log_prob"] == pytest.approx(row["log_prob"] / len(row["pieces"]))
    log_probs = [log_prob for row in rows for log_prob in row["token_log_probs"]]
    expected = math.exp(-sum(log_probs) / len(log_probs))
    assert err == f"perplexity {expected:.4f} over {len(log_probs)} pieces of 5 pairs\n"


def test_pair_has_the_same_score_alone_and_in_a_batch(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    src, tgt = write(tmp_path / "src", SENTENCES * 9), write(tmp_path / "tgt", [*reversed(SENTENCES)] * 9)
    assert run(model, src, tgt, "--batch-tokens", "1") == 0
    alone = capsys.readouterr()
    assert run(model, src, tgt) == 0
    assert capsys.readouterr() == alone


def test_too_long_pair_has_no_score(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forced_scoring, "MAX_PART_TOKENS", 20)
    src, tgt = write(tmp_path / "src", ["a fox", "a fox"]), write(tmp_path / "tgt", ["dog", "dog " * 9])
    assert run(model, src, tgt) == 0
    out, err = capsys.readouterr()
    scored, too_long = out.splitlines()
    assert not math.isnan(float(scored.split("\t")[0]))
    assert too_long == "nan\tnan"
    assert "of 2 pairs" in err
    assert run(model, src, tgt, "--format", "jsonl") == 0
    row = json.loads(capsys.readouterr().out.splitlines()[1])
    assert (row["log_prob"], row["mean_log_prob"], row["token_log_probs"]) == (None, None, [])


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_weights_that_are_not_finite_are_refused(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], value: float
) -> None:
    loaded = load_model(model, torch.device("cpu"))
    with torch.no_grad():
        loaded.network.output.bias[5] = value
    save_model(tmp_path / "damaged", loaded)
    assert run(tmp_path / "damaged", write(tmp_path / "src", ["a"]), write(tmp_path / "tgt", ["b"])) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "has weights that are not finite (output.bias)" in err


def test_json_has_no_infinity() -> None:
    line = output_line(PairScore(["a", "</s>"], [-math.inf, -0.5]), "jsonl")
    assert json.loads(line, parse_constant=pytest.fail) == {
        "log_prob": None,
        "mean_log_prob": None,
        "pieces": ["a", "</s>"],
        "token_log_probs": [None, -0.5],
    }


def test_ensemble_and_gzip_file(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    src = str(tmp_path / "src.gz")
    Path(src).write_bytes(gzip.compress(b"a fox\n"))
    tgt = write(tmp_path / "tgt", ["dog"])
    assert run(model, src, tgt) == 0
    alone = capsys.readouterr().out
    assert run(f"{model},{model}", src, tgt, "--weights", "2,1") == 0
    assert float(capsys.readouterr().out.split()[0]) == pytest.approx(float(alone.split()[0]), abs=2e-4)


@pytest.mark.parametrize(
    ("tgt", "options", "message"),
    [
        (["one", "two"], [], "1 lines but"),
        (["one"], ["--batch-tokens", "0"], "batch_tokens=0 is out of range"),
        (["one"], ["--threads", "0"], "--threads: 0 is not at least 1"),
        (["one"], ["--weights", "1,2"], "weights"),
    ],
)
def test_user_errors_are_one_line(
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    tgt: list[str],
    options: list[str],
    message: str,
) -> None:
    assert run(model, write(tmp_path / "src", ["a fox"]), write(tmp_path / "tgt", tgt), *options) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), err[:7]) == ("", 1, "error: ")
    assert message in err


def test_missing_file_is_named_in_the_error(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(model, str(tmp_path / "nothing"), write(tmp_path / "tgt", ["x"])) == 2
    assert "nothing" in capsys.readouterr().err
    assert run(tmp_path / "no_model", write(tmp_path / "src", ["x"]), write(tmp_path / "tgt", ["x"])) == 2
    assert "no_model" in capsys.readouterr().err


@pytest.mark.parametrize(("log_prob", "expected"), [(-1.0, math.e), (-1e6, math.inf), (math.nan, math.nan)])
def test_the_perplexity_of_a_model_that_is_no_number_is_none(log_prob: float, expected: float) -> None:
    pair = PairScore(["a", "</s>"], [log_prob] * 2)
    assert forced_scoring.perplexity([pair]) == pytest.approx(expected, nan_ok=True)
