"""`calibrate`, `translate --confidence` with its result, and the calibration at the end of a training run."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from seq2seq import calibrate, translate
from seq2seq.config.training import TrainingConfig
from seq2seq.data.corpus import Corpus, ParallelText
from seq2seq.data.text.writing import words_of
from seq2seq.evaluation.run_calibration import calibrate_best_model
from seq2seq.inference.translator import Translator
from seq2seq.storage.model_file import Model, load_model, save_model
from seq2seq.storage.run_folder import BEST_NAME, CONFIG_NAME
from seq2seq.storage.run_lock import folder_held
from tiny_model import SENTENCES, make_model

CPU = torch.device("cpu")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return make_model(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def place(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current folder, with a model in a run folder and parallel text."""
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "run" / BEST_NAME, model)
    (tmp_path / "run" / CONFIG_NAME).touch()
    lines = [" ".join(line.split()[:count]) for line in SENTENCES for count in (1, 2, 3)]
    for name in ("src", "ref"):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in ["", *lines]), encoding="utf-8")
    return tmp_path


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    def call(main: Callable[[list[str]], int], *arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        status = main([*arguments, "--device", "cpu", "--precision", "fp32"])
        return status, *capfd.readouterr()

    return call


TEXT = ("--src", "src", "--ref", "ref")


def test_a_model_is_calibrated_checked_and_translates_with_confidence(
    place: Path, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    hint = "confidence: the model is not calibrated: run python -m seq2seq.calibrate MODEL --src FILE --ref FILE"
    for main, arguments in (
        (translate.main, ["run", "src", "--confidence"]),
        (calibrate.main, ["run", *TEXT, "--check"]),
    ):
        status, out, err = run(main, *arguments)
        assert (status, out) == (2, "")
        assert hint in err
    plain = run(translate.main, "run", "src")[1].splitlines()
    before = load_file("run/best.safetensors")

    status, out, err = run(calibrate.main, "run", *TEXT)
    assert status == 0, err
    assert out.startswith(f"run/{BEST_NAME}: confidence calibrated with 9 sentences\n")
    assert "only 9 sentences" in caplog.text
    after = load_file("run/best.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)
    calibration = load_model(Path("run"), CPU).calibration
    assert calibration is not None

    status, out, _ = run(translate.main, "run", "src", "--confidence", "--scores")
    rows = [line.split("\t") for line in out.splitlines()]
    assert [text for _, _, text in rows] == plain
    assert [len(confidence) for _, confidence, _ in rows] == [6] * 10  # 0.1234
    objects = "".join(json.dumps({"src": line}) + "\n" for line in Path("src").read_text("utf-8").splitlines())
    Path("lines").write_text(objects, encoding="utf-8")
    _, out, _ = run(translate.main, "run", "lines", "--confidence", "--format", "jsonl", "--n-best", "2")
    for line, (_, confidence, text) in zip(out.splitlines(), rows, strict=True):
        one = json.loads(line)
        assert (f"{one['confidence']:.4f}", one["text"]) == (confidence, text)
        for other in one["n_best"]:
            assert other["words"] == list(words_of(other["text"]))
            assert len(other["word_confidence"]) == len(other["words"])
    _, out, _ = run(translate.main, "run", "lines", "--format", "jsonl")
    assert "confidence" not in out

    status, out, _ = run(calibrate.main, "run", *TEXT, "--check")
    assert status == 0
    assert "expected calibration error of words" in out
    status, out, _ = run(calibrate.main, "run,run", *TEXT, "--check", "--json")
    found = json.loads(out)
    assert found["sentences"]["count"] == 10
    assert found["good_chrf"] == calibration.good_chrf


def test_another_output_leaves_the_model_as_it_is(place: Path, run: Run) -> None:
    before = Path("run/best.safetensors").read_bytes()
    status, out, _ = run(calibrate.main, "run", *TEXT, "--output", "new.safetensors", "--json")
    assert status == 0
    assert json.loads(out) == {
        "model": "new.safetensors", "sentences": 9, "sentence_error": None, "word_error": None
    }  # fmt: skip
    assert Path("run/best.safetensors").read_bytes() == before
    assert Translator.load("new.safetensors", device="cpu").calibration is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", *TEXT, "--check", "--output", "new"), "--output has no effect with --check"),
        (("run,run", *TEXT), "calibrate each of them"),
        (("run", *TEXT, "--weights", "1"), "--weights needs --check"),
        (("run", *TEXT, "--tgt-lang", "xx"), "--tgt-lang xx is not a language of the model"),
        (("run", *TEXT, "--output", "src"), "src is both input and output"),
        (("run", *TEXT, "--output", "run/best.safetensors"), "is both input and output"),
        (("run", "--src", "src", "--ref", "blank"), "they are not parallel"),
        (("run", "--src", "blank", "--ref", "blank"), "there are no sentences"),
        (("run", "--src", "empty", "--ref", "empty"), "there are no sentences"),
    ],
)
def test_user_errors_are_one_line(place: Path, run: Run, arguments: tuple[str, ...], message: str) -> None:
    (place / "blank").write_text(" \n\n", encoding="utf-8")
    (place / "empty").touch()
    before = Path("run/best.safetensors").read_bytes()
    status, out, err = run(calibrate.main, *arguments)
    assert (status, out) == (2, "")
    assert [line for line in err.splitlines() if message in line and line.startswith("error: ")], err
    assert Path("run/best.safetensors").read_bytes() == before


def test_a_run_that_trains_keeps_its_model(place: Path, run: Run) -> None:
    with folder_held(place / "run", "folder"):
        status, _, err = run(calibrate.main, "run", *TEXT)
    assert status == 2
    assert "another run is running in run" in err
    assert run(calibrate.main, "run", *TEXT)[0] == 0


# --- the end of training ---------------------------------------------------------------------------------------------


def corpus(lines: list[str]) -> Corpus:
    text = ParallelText(lines, lines)
    return Corpus(text, text, {"test": text})


@pytest.mark.parametrize(("limit", "pairs"), [(2000, 3), (2, 2)])
def test_training_calibrates_with_validation_text(
    model: Model, place: Path, caplog: pytest.LogCaptureFixture, limit: int, pairs: int
) -> None:
    training = TrainingConfig(max_epochs=1, calibrate_sentences=limit, device="cpu")
    config = dataclasses.replace(model.config, training=training)
    with caplog.at_level(logging.INFO):
        calibrate_best_model(place / "run", corpus(SENTENCES), config)
    assert f"confidence calibrated with only {pairs} validation sentences" in caplog.text
    calibration = load_model(place / "run", CPU).calibration
    assert calibration is not None
    assert calibration.pairs == pairs


@pytest.mark.parametrize(("folder", "lines"), [("run", [" "]), ("nothing", SENTENCES)])
def test_training_goes_on_without_calibration(
    model: Model, place: Path, caplog: pytest.LogCaptureFixture, folder: str, lines: list[str]
) -> None:
    calibrate_best_model(Path(folder), corpus(lines), model.config)
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert record.message.startswith("confidence is not calibrated (")
    assert record.message.endswith(f"run python -m seq2seq.calibrate {folder} --src FILE --ref FILE")
