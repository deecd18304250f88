"""`python -m seq2seq.backtranslate` and `python -m seq2seq.distill`: pairs, filters, resume and errors."""

from __future__ import annotations

import dataclasses
import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seq2seq import backtranslate, distill
from seq2seq.cli.data.overrides import data_config
from seq2seq.config.data import DataName, MixConfig
from seq2seq.config.text_files import FilesConfig
from seq2seq.data.corpora.load import load_corpus
from seq2seq.data.corpus import ParallelText
from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.inference.translator import Translator
from seq2seq.storage.model_file import Model, save_model
from seq2seq.storage.run_folder import BEST_NAME
from tiny_model import SENTENCES, make_model, make_network

LINES = [*SENTENCES, "a fox", "", "x", "a\tlazy dog", "jugs", "five dozen", "over the box"]
SHORT = ["--precision", "fp32", "--device", "cpu", "--max-length-ratio", "0.3", "--max-length-extra", "4"]
FAST = [*SHORT, "--beam-size", "1"]
SETTINGS = {"max_length_ratio": 0.3, "max_length_extra": 4}
LENIENT = ["--max-ratio", "1000", "--max-pieces", "1000"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("run")
    save_model(made / BEST_NAME, make_model(made))
    return made


@pytest.fixture(scope="module")
def translator(folder: Path) -> Translator:
    return Translator.load(folder, precision="fp32", device="cpu")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    (tmp_path / "mono").write_text("".join(f"{line}\n" for line in LINES), encoding="utf-8")
    return tmp_path / "mono"


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def summary(main: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    """Run a command with --json, check that it succeeds, and return its summary."""
    status = main([*map(str, arguments), "--json"])
    out, err = capsys.readouterr()
    assert status == 0, err
    result: dict[str, Any] = json.loads(out)
    return result


def test_pairs_have_the_tagged_translation_as_source(
    folder: Path, text: Path, tmp_path: Path, translator: Translator, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["--output-src", tmp_path / "src", "--output-tgt", tmp_path / "tgt", "--rejects", tmp_path / "rejects"]
    result = summary(backtranslate.main, capsys, folder, text, *files, *FAST, *LENIENT)
    kept = [line for line in LINES if line]
    assert lines_of(tmp_path / "tgt") == kept
    assert lines_of(tmp_path / "src") == [
        f"<BT> {output}" for output in translator.translate(kept, beam_size=1, **SETTINGS)
    ]
    assert lines_of(tmp_path / "rejects") == ["blank\t5\t\t\t"]
    assert (result["lines"], result["pairs"], result["dropped"]["blank"]) == (len(LINES), len(kept), 1)
    assert result["mean_score"] < 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mono", "rejects", "src", "tgt"]


def test_columns_have_one_tab(folder: Path, text: Path, tmp_path: Path) -> None:
    status = backtranslate.main(
        [str(folder), str(text), "--output", str(tmp_path / "o.tsv"), "--no-tag", *FAST, *LENIENT]
    )
    assert status == 0
    rows = [line.split("\t") for line in lines_of(tmp_path / "o.tsv")]
    assert [row[1:] for row in rows] == [[line.replace("\t", " ")] for line in LINES if line]
    assert not any(row[0].startswith("<BT>") for row in rows)


def test_every_dropped_line_is_counted_by_its_reason(
    folder: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, rejects = tmp_path / "o.tsv", tmp_path / "rejects"
    arguments = [folder, text, "--output", out, "--rejects", rejects, *FAST, "--max-pieces", 20, "--max-ratio", 2.5]
    result = summary(backtranslate.main, capsys, *arguments, "--keep-best", 0.5)
    reasons = [line.split("\t")[0] for line in lines_of(rejects)]
    assert {name: count for name, count in result["dropped"].items() if count} == {r: reasons.count(r) for r in reasons}
    assert result["pairs"] == len(lines_of(out)) == len(LINES) - len(reasons)
    assert {"blank", "too_long", "not_best"} <= set(reasons)
    rows = {line.split("\t")[1]: float(line.split("\t")[2]) for line in lines_of(rejects) if "not_best" in line}
    assert result["mean_score"] > max(rows.values())  # those kept are better than every one that is not


def test_samples_are_a_function_of_seed_and_line(folder: Path, text: Path, tmp_path: Path) -> None:
    def pairs(name: str, *options: str) -> list[str]:
        arguments = [str(folder), str(text), "--output", str(tmp_path / name), *SHORT, *LENIENT, *options]
        assert backtranslate.main(arguments) == 0
        return lines_of(tmp_path / name)

    first = pairs("a", "--method", "sample", "--seed", "7")
    assert pairs("b", "--method", "sample", "--seed", "7") == first
    assert pairs("c", "--method", "sample", "--seed", "8") != first
    assert pairs("d", "--method", "top-k") == pairs("e", "--search", "sample", "--top-k", "10")


def test_resumed_pairs_equal_uninterrupted_ones(
    folder: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backtranslate, "WINDOW", 3)
    out = tmp_path / "o.tsv"
    arguments = [folder, text, "--output", out, *FAST, *LENIENT, "--keep-best", "0.7"]
    expected_summary = summary(backtranslate.main, capsys, *arguments)
    expected = out.read_bytes()
    work, kept = tmp_path / "o.tsv.candidates", tmp_path / "kept"
    monkeypatch.setattr("seq2seq.cli.synthesis._write_outputs", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert backtranslate.main([*map(str, arguments)]) == 130  # all is translated, nothing filtered
    assert out.read_bytes() == expected
    shutil.move(work, kept)
    monkeypatch.undo()
    monkeypatch.setattr(backtranslate, "WINDOW", 3)
    complete = kept.read_bytes()
    for cut in (10, len(complete) // 2, len(complete)):
        out.unlink(missing_ok=True)
        (tmp_path / "o.tsv.candidates.part").write_bytes(complete[:cut])
        assert summary(backtranslate.main, capsys, *arguments, "--resume") == expected_summary
        assert out.read_bytes() == expected
    shutil.move(kept, work)
    assert backtranslate.main([*map(str, arguments), "--beam-size", "2"]) == 2  # given twice
    changed = [str(argument) for argument in arguments if argument != "1"]
    changed.insert(changed.index("--beam-size") + 1, "2")
    capsys.readouterr()
    assert backtranslate.main([*changed, "--resume"]) == 2
    assert "was made with another model or other options" in capsys.readouterr().err
    text.write_text(text.read_text(encoding="utf-8") + "more\n", encoding="utf-8")
    assert backtranslate.main([*map(str, arguments), "--resume"]) == 2
    assert "or of another text" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give --output FILE, or --output-src FILE with --output-tgt FILE"),
        (["--output-src", "OUT"], "give --output FILE, or --output-src FILE with --output-tgt FILE"),
        (["--output", "-"], "- is not a file"),
        (["--output", "/dev/null"], "/dev/null is not a file"),
        (["--output", "OUT", "--rejects", "OUT/x"], "cannot write OUT/x: its folder does not exist"),
        (["--output-src", "OUT", "--output-tgt", "OUT"], "OUT is named twice as output"),
        (["--output", "OUT.xz"], "--output OUT.xz: .xz cannot be written"),
        (["--output", "OUT", "--rejects", "MONO"], "MONO is both input and output"),
        (["--output", "OUT", "--method", "sample", "--search", "sample"], "--method sample and --search sample"),
        (["--output", "OUT", "--method", "beam", "--top-k", "5"], "--top-k needs --search sample or mbr, not beam"),
        (["--output", "OUT", "--tag", "a b"], "'a b' is not one word"),
        (["--output", "OUT", "--keep-best", "80"], "'80' is not a number from 0 to 1"),
        (["--output", "OUT", "--min-log-prob", "nan"], "'nan' is not a number"),
        (["--output", "OUT", "--forward-model", "nowhere"], "no model at nowhere"),
        (["--output", "OUT", "--forward-tgt-lang", "de"], "--forward-tgt-lang needs --forward-model"),
        (["--output", "OUT", "--tgt-lang", "zz"], "--tgt-lang zz is not a language of the model"),
        (["--output", "OUT.candidates", "--rejects", "OUT.candidates.candidates"], "is the work file of this command"),
    ],
)
def test_user_error_is_one_line_and_leaves_no_file(
    options: list[str], message: str, folder: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def path(option: str) -> str:
        return option.replace("OUT", str(tmp_path / "out")).replace("MONO", str(text))

    assert backtranslate.main([str(folder), str(text), *map(path, options)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert path(message) in err
    assert [file.name for file in tmp_path.iterdir()] == ["mono"]


def test_distillation_pairs_the_source_with_the_teacher_s_translation(
    folder: Path, text: Path, tmp_path: Path, translator: Translator, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = tmp_path / "reference"
    reference.write_text("".join(f"{line[::-1]}\n" for line in LINES), encoding="utf-8")
    out = tmp_path / "o.tsv"
    result = summary(distill.main, capsys, folder, text, reference, "--output", out, *FAST, *LENIENT)
    kept = [line for line in LINES if line]
    outputs = translator.translate(kept, beam_size=1, **SETTINGS)
    assert lines_of(out) == [
        f"{src}\t{tgt}".replace("a\tlazy", "a lazy") for src, tgt in zip(kept, outputs, strict=True)
    ]
    assert result["dropped"]["blank"] == 1


def test_best_reference_takes_another_output_than_the_best(
    folder: Path, tmp_path: Path, translator: Translator, capsys: pytest.CaptureFixture[str]
) -> None:
    n_best = translator.translate_n_best(SENTENCES, 4, beam_size=4, **SETTINGS)
    references = [row[-1].text for row in n_best]
    for name, lines in (("src", SENTENCES), ("ref", references)):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    files = [tmp_path / "src", tmp_path / "ref", "--output-src", tmp_path / "s", "--output-tgt", tmp_path / "t"]
    summary(distill.main, capsys, folder, *files, *SHORT, *LENIENT, "--best-reference", 4, "--beam-size", 4)
    assert lines_of(tmp_path / "t") == references
    assert references != [row[0].text for row in n_best]


def test_without_inputs_the_teacher_s_training_text_is_translated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = make_model(tmp_path)
    for name, text in (("train", "a fox\tx\nthe box\ty\n"), ("held-out", "jugs\tz\n")):
        (tmp_path / f"{name}.tsv").write_text(text, encoding="utf-8")
    data = model.config.data
    data.name = DataName.files
    data.train.tsv = str(tmp_path / "train.tsv")
    data.valid.tsv = data.test.tsv = str(tmp_path / "held-out.tsv")
    save_model(tmp_path / "teacher.safetensors", model)
    results = []
    for inputs in ([], [tmp_path / "train.tsv"]):
        arguments = [tmp_path / "teacher.safetensors", *inputs, "--output", tmp_path / "o.tsv", *FAST, *LENIENT]
        results.append((summary(distill.main, capsys, *arguments), lines_of(tmp_path / "o.tsv")))
    assert results[0] == results[1]
    assert [line.split("\t")[0] for line in results[0][1]] == ["a fox", "the box"]
    for name in ("train.tsv", "teacher.safetensors"):
        assert distill.main([str(tmp_path / "teacher.safetensors"), "--output", str(tmp_path / name)]) == 2
        assert f"{name} is both input and output" in capsys.readouterr().err


def test_a_teacher_without_its_text_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = make_model(tmp_path)
    model.config.data.name = DataName.files
    save_model(tmp_path / "teacher.safetensors", model)
    assert distill.main([str(tmp_path / "teacher.safetensors"), "--output", str(tmp_path / "o.tsv")]) == 2
    assert "give files or overrides of the training text" in capsys.readouterr().err


@pytest.fixture
def multilingual(tmp_path: Path) -> Path:
    """A teacher of two target languages, fr in the main corpus and de in another, with their texts."""
    model = make_model(tmp_path)
    files = {}
    for name, source in (("fr", "a fox"), ("de", "the box"), ("held-out", "jugs")):
        (tmp_path / f"{name}.tsv").write_text(f"{source}\t{name}\n", encoding="utf-8")
        files[name] = FilesConfig(tsv=str(tmp_path / f"{name}.tsv"))
    data = dataclasses.replace(
        model.config.data,
        name=DataName.files,
        tag="<2fr>",
        train=files["fr"],
        valid=files["held-out"],
        test=files["held-out"],
        mix={"web": MixConfig(tgt="de", tag="<2de>", train=files["de"])},
    )
    data.tokenizer.vocab_size = 33
    tokenizer = Tokenizer.train(ParallelText(SENTENCES, SENTENCES), data.vocabulary, tmp_path)
    config = dataclasses.replace(model.config, data=data)
    save_model(tmp_path / "teacher.safetensors", Model(make_network(tokenizer.src_size).eval(), tokenizer, config))
    return tmp_path / "teacher.safetensors"


def test_a_target_language_chooses_its_corpora(
    multilingual: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = [tmp_path / name for name in ("src", "tgt")]
    for file in pair:
        file.write_text("how\n", encoding="utf-8")
    for options, sources in (
        ([], ["a fox"]),
        (["--tgt-lang", "fr"], ["a fox"]),
        (["--tgt-lang", "de"], ["the box"]),
        ([*pair, "--tgt-lang", "de"], ["how"]),
    ):
        summary(distill.main, capsys, multilingual, *options, "--output", tmp_path / "o.tsv.gz", *FAST, *LENIENT)
        lines = gzip.decompress((tmp_path / "o.tsv.gz").read_bytes()).decode().splitlines()
        assert [line.split("\t")[0] for line in lines] == sources
    for arguments, message in (
        (["--tgt-lang", "zz"], "--tgt-lang zz is not a language of the model: its target languages are fr, de"),
        ([*map(str, pair)], "--tgt-lang is missing"),
        (["--src-column", "1"], "--src-column needs files"),
    ):
        assert distill.main([str(multilingual), *arguments, "--output", str(tmp_path / "o.tsv")]) == 2
        assert message in capsys.readouterr().err


def test_overrides_are_what_a_training_run_reads(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [f"{a} {b}" for a in ("pack", "my", "box", "with") for b in ("five", "dozen", "jugs")]
    (tmp_path / "train.tsv").write_text("".join(f"{line}\t{line[::-1]}\n" for line in lines), encoding="utf-8")
    data = {"src": "en", "tgt": "fr", "train.tsv": tmp_path / "train.tsv", "cache_dir": tmp_path}
    overrides = ["data=files", *(f"data.{key}={value}" for key, value in data.items())]
    summary(distill.main, capsys, folder, *overrides, "--output", tmp_path / "o.tsv", *FAST, *LENIENT)
    given = [line.split("\t")[0] for line in lines_of(tmp_path / "o.tsv")]
    assert given == load_corpus(data_config(overrides)).train.src
    assert 0 < len(given) < len(lines)
