"""One model of two tiny languages, a copy and a reversal of the source: the tag alone decides between them."""

from __future__ import annotations

import io
import json
import random
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from seq2seq import backtranslate, distill, evaluate, score, shortlist, translate
from seq2seq.bulk.block_translator import BlockTranslator
from seq2seq.bulk.blocks import find_files, list_blocks
from seq2seq.data.corpus import ParallelText
from seq2seq.inference.alignment import pharaoh
from seq2seq.inference.translator import Translator
from seq2seq.storage.metrics_file import EventKind, read_events
from seq2seq.train import Run, train

pytestmark = pytest.mark.slow

LETTERS = "abcdef"
Lines = list[tuple[str, str]]


def rows(seed: int, count: int, change: Callable[[list[str]], Sequence[str]]) -> Lines:
    rng = random.Random(seed)
    sources = [rng.choices(LETTERS, k=rng.randint(2, 4)) for _ in range(count)]
    return [(" ".join(words), " ".join(change(words))) for words in sources]


def copied(words: list[str]) -> list[str]:
    return words


def reversed_(words: list[str]) -> list[str]:
    return words[::-1]


def write(path: Path, pairs: Lines) -> str:
    path.write_text("".join(f"{src}\t{tgt}\n" for src, tgt in pairs))
    return str(path)


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("text")
    files = []
    for key, change, seed in (("data", copied, 1), ("data.mix.back", reversed_, 2)):
        for part, count in (("train", 500), ("valid", 30), ("test", 30)):
            path = write(folder / f"{key}.{part}", rows(seed + count, count, change))
            files.append(f"{key}.{part}.tsv={path}")
    return [
        "data=files", "data.src=xx", "data.tgt=same", "data.tag=<2same>", *files,
        "data.mix.back.tgt=back", "data.mix.back.tag=<2back>", f"data.cache_dir={folder}",
        "data.tokenizer.vocab_size=18", "data.tokenizer.byte_fallback=false",
        "model.emb_size=32", "model.hidden_size=64", "model.attention_size=32",
        "model.dropout={embedding:0,layers:0,context:0,readout:0}",
        "training.max_minutes=null", "training.batch_tokens=256", "training.learning_rate=0.01",
        "training.warmup_steps=20", "training.label_smoothing=0", "training.log_every_steps=20",
        "training.precision=fp32", "training.device=cpu", "runtime.allocator=default",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, arguments: list[str]) -> Run:
    folder = tmp_path_factory.mktemp("run") / "run"
    return train([*arguments, "training.max_steps=200", "training.validate_every_steps=100"], folder)


@pytest.fixture(scope="module")
def translator(run: Run) -> Translator:
    return run.translator(device="cpu")


SOURCES = [src for src, _ in rows(99, 60, copied) if src != " ".join(reversed(src.split()))]


def test_the_tag_decides_the_output(translator: Translator, run: Run) -> None:
    for language, change in (("same", copied), ("back", reversed_)):
        expected = [" ".join(change(line.split())) for line in SOURCES]
        outputs = translator.translate(SOURCES, tgt_lang=language)
        assert sum(map(str.__eq__, outputs, expected)) > 0.8 * len(SOURCES)
        other = translator.score(SOURCES, [" ".join(reversed(line.split())) for line in expected], tgt_lang=language)
        own = translator.score(SOURCES, expected, tgt_lang=language)
        assert sum(pair.log_prob for pair in own) > sum(pair.log_prob for pair in other)
    mixed = translator.translate(SOURCES[:2], tgt_lang=["same", "back"])
    assert mixed == [translator.translate([line], tgt_lang=lang)[0] for line, lang in zip(SOURCES, ("same", "back"))]  # noqa: B905
    assert run.scores.keys() == {"test", "back.test"}
    assert min(scores.chrf.value for scores in run.scores.values()) > 70


def test_confidence_is_calibrated_with_the_validation_text_of_every_corpus(translator: Translator) -> None:
    assert translator.calibration is not None
    assert translator.calibration.pairs == 60
    for row in translator.translate_n_best(SOURCES[:3], tgt_lang="back", confidence=True):
        assert row[0].confidence is not None
        assert len(row[0].confidence.words) == len(row[0].text.split())


def test_the_log_shows_every_corpus(run: Run) -> None:
    events = list(read_events(run.folder / "metrics.jsonl"))
    shares = [event["token_shares"] for event in events if event["event"] == EventKind.step]
    assert all(share["main"] == pytest.approx(0.5, abs=0.1) for share in shares)
    assert all(sum(share.values()) == pytest.approx(1, abs=1e-3) for share in shares)
    for event in (event for event in events if event["event"] == EventKind.step):
        mean = sum(share * event["corpus_loss"][name] for name, share in event["token_shares"].items())
        assert mean == pytest.approx(event["loss"], abs=1e-3)
    assert "training loss of each corpus" in (run.folder / "report.html").read_text(encoding="utf-8")
    validations = [event for event in events if event["event"] == EventKind.validation]
    assert [list(event["corpora"]) for event in validations] == [["back"], ["back"]]
    assert validations[1]["corpora"]["back"]["loss"] < validations[0]["corpora"]["back"]["loss"]
    text = (run.folder / "train.log").read_text()
    assert re.search(r"back +500 +0 +- +50\.0% +1\.00x", text)
    assert "validation of back: perplexity" in text


def test_the_tag_is_not_a_word_of_the_source(translator: Translator) -> None:
    for line in SOURCES[:5]:
        ((output,),) = translator.translate_n_best([line], tgt_lang="back", alignments=True)
        size = len(line.split())
        assert output.attention is not None
        assert {len(row) for row in output.attention} == {size}
        assert all(0 <= src < size for src, _ in output.alignment or ())
    long = " ".join(SOURCES)  # is split; every part gets the tag
    assert translator.translate([long], tgt_lang="same")[0] != translator.translate([long], tgt_lang="back")[0]
    assert translator.translate(["", " "], tgt_lang="back") == ["", ""]


def command(
    capfd: pytest.CaptureFixture[str], main: Callable[[list[str]], int], *arguments: str
) -> tuple[int, str, str]:
    capfd.readouterr()
    status = main(list(arguments))
    return status, *capfd.readouterr()


def test_translate_takes_the_language(
    run: Run, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, text = str(run.folder), f"--text={SOURCES[0]}"
    outputs = {
        language: command(capfd, translate.main, model, text, "--tgt-lang", language) for language in ("same", "back")
    }
    assert [status for status, _, _ in outputs.values()] == [0, 0]
    assert outputs["same"][1] != outputs["back"][1]
    status, out, err = command(capfd, translate.main, model, text)
    assert (status, out) == (2, "")
    assert re.fullmatch(r".*--tgt-lang is missing: its target languages are same, back .*\n", err)
    status, _, err = command(capfd, translate.main, model, text, "--tgt-lang", "de")
    assert status == 2
    assert "--tgt-lang de is not a language of the model: its target languages are same, back" in err
    status, out, _ = command(capfd, translate.main, model, model, text, "--tgt-lang", "back")  # an ensemble
    assert out == outputs["back"][1]
    requests = [{"src": SOURCES[0], "tgt_lang": "back"}, {"src": SOURCES[0]}, {"src": "a", "tgt_lang": 3}]
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    (Path(run.folder) / "lines.jsonl").write_text(lines)
    status, out, _ = command(
        capfd, translate.main, model, str(run.folder / "lines.jsonl"), "--format", "jsonl", "--alignments"
    )
    first, second, third = map(json.loads, out.splitlines())
    assert status == 0
    assert first["text"] + "\n" == outputs["back"][1]
    assert "--tgt-lang is missing" in second["error"]
    assert third["error"] == '"tgt_lang" must be a string'


def test_score_and_evaluate_take_the_language(run: Run, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    model, text = str(run.folder), ParallelText.from_pairs(rows(7, 20, reversed_))
    for name, lines in (("src", text.src), ("tgt", text.tgt)):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
    files = "--src", str(tmp_path / "src"), "--tgt", str(tmp_path / "tgt")
    perplexities = []
    for language in ("back", "same"):
        status, _, err = command(capfd, score.main, model, *files, "--tgt-lang", language)
        assert status == 0
        perplexities.append(float(re.findall(r"perplexity ([\d.]+)", err)[0]))
    assert perplexities[0] < perplexities[1]
    assert command(capfd, score.main, model, *files)[0] == 2
    status, out, _ = command(capfd, evaluate.main, model, "--json")
    assert status == 0
    results = json.loads(out)
    assert {name: result["chrf"] for name, result in results.items()} == {
        name: pytest.approx(scores.chrf.value, abs=0.01) for name, scores in run.scores.items()
    }
    status, out, _ = command(capfd, evaluate.main, model, "--json", "--tgt-lang", "back")
    assert list(json.loads(out)) == ["back.test"]
    given = "--src", str(tmp_path / "src"), "--ref", str(tmp_path / "tgt"), "--json"
    assert command(capfd, evaluate.main, model, *given)[0] == 2
    status, out, _ = command(capfd, evaluate.main, model, *given, "--tgt-lang", "back")
    assert json.loads(out)["test"]["chrf"] > 70


def write_lines(path: Path, lines: Sequence[str]) -> str:
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def test_every_sentence_of_a_line_gets_the_tag(
    run: Run, translator: Translator, capfd: pytest.CaptureFixture[str]
) -> None:
    sentences = ["a b c!", "d e", ""]
    outputs = []
    for language in ("same", "back"):
        options = ["--tgt-lang", language, "--split-sentences", "--alignments", "--device", "cpu"]
        status, out, _ = command(capfd, translate.main, str(run.folder), f"--text={' '.join(sentences)}", *options)
        assert status == 0
        first, second, _ = (
            row[0] for row in translator.translate_n_best(sentences, tgt_lang=language, alignments=True)
        )
        words = len(first.text.split())
        links = [*(first.alignment or ()), *((src + 3, tgt + words) for src, tgt in second.alignment or ())]
        assert out == f"{pharaoh(links)}\t{first.text} {second.text} \n"
        outputs.append(out)
    assert outputs[0] != outputs[1]


def test_synthetic_pairs_are_in_the_language(
    run: Run, translator: Translator, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    model, lines = str(run.folder), SOURCES[:8]
    text, out = write_lines(tmp_path / "text", lines), tmp_path / "pairs.tsv"
    reference = write_lines(tmp_path / "reference", lines)
    every = ["--max-ratio", "1000", "--max-pieces", "1000", "--device", "cpu", "--output", str(out)]
    expected = translator.translate(lines, tgt_lang="back")
    back = ["--tgt-lang", "back", "--forward-model", model]
    status, _, err = command(
        capfd, backtranslate.main, model, text, *every, "--no-tag", *back, "--forward-tgt-lang", "same"
    )
    assert status == 0, err
    assert out.read_text() == "".join(f"{src}\t{tgt}\n" for src, tgt in zip(expected, lines, strict=True))
    out.unlink()
    status, _, err = command(capfd, distill.main, model, text, reference, *every, "--tgt-lang", "back")
    assert status == 0, err
    assert out.read_text() == "".join(f"{src}\t{tgt}\n" for src, tgt in zip(lines, expected, strict=True))
    out.unlink()
    for main, arguments in (
        (backtranslate.main, [text]),
        (backtranslate.main, [text, *back]),  # the forward model has several, too
        (distill.main, [text, reference]),
    ):
        status, _, err = command(capfd, main, model, *arguments, *every)
        assert status == 2
        assert "tgt-lang is missing" in err
        assert not out.exists()


def test_a_shortlist_of_all_languages_serves_each(
    run: Run, translator: Translator, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pairs = ParallelText.from_pairs([*rows(3, 200, copied), *rows(4, 200, reversed_)])
    made, model = str(tmp_path / "made.safetensors"), str(run.folder)
    files = [
        "--src",
        write_lines(tmp_path / "src", pairs.src),
        "--tgt",
        write_lines(tmp_path / "tgt", pairs.tgt),
    ]
    assert command(capfd, shortlist.main, model, *files, "--output", made, "--best", "6", "--frequent", "1")[0] == 0
    text = write_lines(tmp_path / "text", SOURCES)
    for language in ("same", "back"):
        options = ["--tgt-lang", language, "--shortlist", made, "--device", "cpu"]
        status, out, _ = command(capfd, translate.main, model, text, *options)
        assert status == 0
        same = map(str.__eq__, out.split("\n")[:-1], translator.translate(SOURCES, tgt_lang=language))
        assert sum(same) > 0.9 * len(SOURCES)


def test_many_files_are_translated_into_the_language(
    run: Run,
    translator: Translator,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    text, out = write_lines(tmp_path / "text", SOURCES), tmp_path / "out"
    given = [str(run.folder), "--engine", "ray", "--input", text, "--output", str(out), "--device", "cpu"]
    args = translate.parser().parse_intermixed_args([*given, "--threads", "1", "--tgt-lang", "back"])
    (block,) = list_blocks(find_files(args.input), args.output, 10_000)
    monkeypatch.setitem(sys.modules, "ray", None)  # the command ends where it would start Ray
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    assert "--engine ray needs Ray" in command(capfd, translate.main, *given, "--tgt-lang", "back")[2]
    assert json.loads((out / "manifest.json").read_text())["options"]["tgt_lang"] == "back"
    for options, message in ((["--tgt-lang", "same"], "made with other options"), ([], "--tgt-lang is missing")):
        status, _, err = command(capfd, translate.main, *given, *options)
        assert status == 2
        assert message in err
    assert BlockTranslator(args, [str(run.folder)]).translate(block).lines == len(SOURCES)
    assert Path(block.output).read_text().split("\n")[:-1] == translator.translate(SOURCES, tgt_lang="back")


def test_a_resumed_run_equals_one_without_a_stop(tmp_path: Path, arguments: list[str]) -> None:
    settings = [*arguments, "training.schedule=constant", "data.mix.back.weight=3", "training.log_every_steps=1"]
    whole = train([*settings, "training.max_steps=9"], tmp_path / "whole").folder
    part = train([*settings, "training.max_steps=5"], tmp_path / "part").folder
    train([f"training.resume={part}", "training.max_steps=9"])
    states = [torch.load(folder / "last.pt", weights_only=True) for folder in (whole, part)]
    for name, tensor in states[0]["network"].items():
        assert torch.equal(tensor, states[1]["network"][name]), name
    steps = [
        [
            (event["step"], event["loss"], event["token_shares"])
            for event in read_events(folder / "metrics.jsonl")
            if event["event"] == EventKind.step
        ]
        for folder in (whole, part)
    ]
    assert steps[0] == steps[1]
    assert [step for step, _, _ in steps[0]] == list(range(1, 10))
