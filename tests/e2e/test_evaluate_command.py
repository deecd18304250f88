"""The evaluate command as its users start it: what stands on stdout, on stderr, and in the exit status."""

import contextlib
import dataclasses
import gzip
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sacrebleu
import torch

from tiny_model import make_model, make_network

FOX, FOX_REFERENCE = "the quick brown fox jumps over the dog", "the quick brown fox jumped over the lazy dog"
WORDS = ["two", "men", "and", "a", "black", "dog", "sit", "on", "an", "old", "wooden", "bench", "near", "the", "river"]
LINES = [" ".join(WORDS[i % len(WORDS)] for i in range(start, start + 3 + start % 5)) for start in range(40)]
NOTHING = "nothing to evaluate: give MODEL, MODEL --src FILE --ref FILE, or --hyp FILE --ref FILE"
TWO_HYPOTHESES = "--hyp scores translations that exist: give it with --ref alone, without MODEL and --src"


def evaluate(*args: object, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command in this process: starting one that imports torch takes seconds."""
    from seq2seq.evaluate import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        found = main([*map(str, args)])
    assert found == status, err.getvalue()
    return subprocess.CompletedProcess(args, found, out.getvalue(), err.getvalue())


def scores(*args: object) -> dict[str, Any]:
    """Run with --json and return what the one line on stdout says."""
    line, end = evaluate(*args, "--json").stdout.split("\n")
    assert end == ""
    parsed = json.loads(line)
    assert isinstance(parsed, dict)
    return parsed


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
    return path


@pytest.fixture
def fox(tmp_path: Path) -> tuple[str, ...]:
    return "--hyp", str(write(tmp_path / "hyp", [FOX])), "--ref", str(write(tmp_path / "ref", [FOX_REFERENCE]))


def save_random_model(path: Path, data: dict[str, Any]) -> Path:
    """Write a model with random weights whose config says that it was trained on `data`."""
    from seq2seq.config import to_config, to_dict
    from seq2seq.model_file import save_model

    model = make_model(path.parent / "cache")
    plain = to_dict(model.config)
    plain["data"] |= data
    save_model(path, dataclasses.replace(model, config=to_config(plain)))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A test set in two files."""
    folder = tmp_path_factory.mktemp("text")
    write(folder / "test.src", LINES)
    write(folder / "test.tgt", [" ".join(reversed(line.split())) for line in LINES])
    return folder


@pytest.fixture(scope="module")
def model(files: Path) -> Path:
    test = {"src": str(files / "test.src"), "tgt": str(files / "test.tgt")}
    return save_random_model(files / "best.safetensors", {"name": "files", "src": "en", "tgt": "de", "test": test})


def test_json_is_exactly_one_line(fox: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "seq2seq.evaluate", *fox, "--json"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env={**os.environ, "PYTHONUTF8": "1"})
    assert done.returncode == 0
    # chrF, too, was worked out apart from sacreBLEU, from its formula.
    bleu, chrf, ter = (
        f"nrefs:1|{how}|version:{sacrebleu.__version__}"
        for how in (
            "case:mixed|eff:no|tok:13a|smooth:exp",
            "case:mixed|eff:yes|nc:6|nw:0|space:no",
            "case:lc|tok:tercom|norm:no|punct:yes|asian:no",
        )
    )
    assert done.stdout == (
        f'{{"test": {{"bleu": 37.71, "bleu_signature": "{bleu}", "chrf": 71.24, "chrf_signature": "{chrf}", '
        f'"ter": 22.22, "ter_signature": "{ter}", "bleu_tok_lc": 37.71, '
        f'"bleu_tok_lc_signature": "{bleu.replace("mixed", "lc")}", "sentences": 1}}}}\n'
    )
    assert done.stderr == ""


def test_without_a_terminal_the_table_is_aligned_text(fox: tuple[str, ...]) -> None:
    head, row, empty, *signatures = evaluate(*fox).stdout.splitlines()
    assert row.split() == ["test", "37.71", "71.24", "22.22", "37.71", "1"]
    assert [len(head), head.index("BLEU") + 4] == [len(row), row.index("37.71") + 5]
    assert empty == ""
    assert [line.split(": ")[0] for line in signatures] == ["BLEU", "chrF", "TER", "BLEU tok lc"]


def test_a_line_ends_at_newline_only_and_gz_is_read(tmp_path: Path) -> None:
    lines = ["one two\u2028three four", "five six seven eight\u0085", "", "nine ten eleven twelve"]
    (tmp_path / "hyp.gz").write_bytes(gzip.compress(("\n".join(lines) + "\n").encode()))
    found = scores("--hyp", tmp_path / "hyp.gz", "--ref", write(tmp_path / "ref", lines))["test"]
    assert (found["sentences"], found["bleu"], found["ter"]) == (4, 100, 0)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("", NOTHING),
        ("--src a --ref b", NOTHING),
        ("m --hyp a --ref b", TWO_HYPOTHESES),
        ("--hyp a", "--hyp needs --ref FILE, the reference translations"),
        ("m --src a", "--src and --ref go together: the text to translate and its reference translations"),
        ("m --ref a", "--src and --ref go together: the text to translate and its reference translations"),
        ("--hyp a --ref b --beam-size 3", "--beam-size has no meaning with --hyp"),
        ("--hyp a --ref b --weights 1", "--weights has no meaning with --hyp"),
        ("--hyp a --ref b --never-emit x", "--never-emit has no meaning with --hyp"),
        ("m --search sample --beam-size 2", "--beam-size needs --search beam, not sample"),
        (
            "m --length-normalization none --length-penalty 1",
            "--length-penalty has no meaning with --length-normalization none",
        ),
        ("m --top-p 0", "decode.top_p=0.0 is out of range: 1e-06 ≤ top_p ≤ 1"),
        ("m,", "m,: a model without a name"),
        ("--hyp a --ref b --output c", "--output has no meaning with --hyp"),
        ("m --src a --ref b --data-root c", "--data-root has no meaning with --src"),
        ("m --threads 0", "--threads 0 is not at least 1"),
        ("--hyp no-such-file --ref b", "no-such-file: no such file or directory"),
        ("no-such-model", "no model at no-such-model (expected a file or a run folder)"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(args: str, message: str) -> None:
    done = evaluate(*args.split(), status=2)
    assert (done.stdout, done.stderr) == ("", f"error: {message}\n")


def test_files_that_are_not_parallel_are_refused_with_both_counts(tmp_path: Path) -> None:
    three, two = write(tmp_path / "three", ["a"] * 3), write(tmp_path / "two", ["a"] * 2)
    done = evaluate("--hyp", three, "--ref", two, status=2)
    assert done.stderr == f"error: {three} has 3 lines but {two} has 2: they are not parallel\n"


def test_empty_files_are_refused(tmp_path: Path) -> None:
    empty = write(tmp_path / "empty", [])
    done = evaluate("--hyp", empty, "--ref", empty, "--json", status=2)
    assert (done.stdout, done.stderr) == ("", "error: nothing to score: there are no hypotheses\n")


def test_bytes_that_are_not_utf8_are_refused_with_their_line(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"good\n\xff\n")
    done = evaluate("--hyp", tmp_path / "bad", "--ref", write(tmp_path / "ref", ["a", "b"]), status=2)
    assert done.stderr == f"error: {tmp_path / 'bad'}, line 2: not valid UTF-8 (byte 0xff)\n"


def test_help_and_scoring_files_do_not_load_torch(fox: tuple[str, ...]) -> None:
    script = (
        "import sys, seq2seq.evaluate\n"
        "try: seq2seq.evaluate.main(sys.argv[1:])\n"
        "finally: assert 'torch' not in sys.modules"
    )
    for args in (["--help"], [*fox]):
        subprocess.run([sys.executable, "-c", script, *args], check=True, capture_output=True)


@pytest.mark.slow
def test_own_text_is_translated_in_order_and_written(model: Path, files: Path, tmp_path: Path) -> None:
    from seq2seq.decoding.translator import Translator

    given = ("--src", files / "test.src", "--ref", files / "test.tgt", "--precision", "fp32", "--device", "cpu")
    done = evaluate(model, *given, "--beam-size", 2, "--output", tmp_path / "out", "--json")
    assert done.stderr.startswith("test: 40 sentences translated in ")
    hypotheses = (tmp_path / "out" / "test.hyp").read_text(encoding="utf-8").split("\n")[:-1]
    translator = Translator.load(model, device="cpu", precision="fp32")
    assert hypotheses == translator.translate(LINES, beam_size=2) != translator.translate(LINES)
    assert len(set(hypotheses)) > 10  # else the order would not show
    assert json.loads(done.stdout) == scores("--hyp", tmp_path / "out" / "test.hyp", "--ref", files / "test.tgt")


@pytest.mark.slow
def test_several_models_and_any_search_are_what_the_translator_does(model: Path, files: Path, tmp_path: Path) -> None:
    from seq2seq.decode_config import SearchName, UtilityName
    from seq2seq.decoding.translator import Translator
    from seq2seq.model_file import load_model, save_model

    loaded = load_model(model, torch.device("cpu"))
    other = tmp_path / "other"
    save_model(other, dataclasses.replace(loaded, network=make_network(loaded.tokenizer.src_size, seed=2)))
    given = ("--src", files / "test.src", "--ref", files / "test.tgt", "--precision", "fp32", "--device", "cpu")
    flags = (
        "--search",
        "mbr",
        "--samples",
        3,
        "--mbr-utility",
        "bleu",
        "--temperature",
        0.7,
        "--max-length-ratio",
        0.5,
    )
    options = {"search": SearchName.mbr, "samples": 3, "mbr_utility": UtilityName.bleu, "temperature": 0.7}
    evaluate(f"{model},{other}", "--weights", "0.8,0.2", *given, *flags, "--output", tmp_path)
    translator = Translator.load(model, other, device="cpu", precision="fp32", weights=[0.8, 0.2])
    wanted = translator.translate(LINES, **options, max_length_ratio=0.5)
    assert (tmp_path / "test.hyp").read_text(encoding="utf-8").split("\n")[:-1] == wanted
    message = "error: weights [1.0] are not 2 positive numbers, one for each model\n"
    assert evaluate(f"{model},{other}", "--weights", 1, *given, status=2).stderr == message
    message = "error: --seed needs --search sample or mbr, not beam\n"  # the model's own search
    assert evaluate(model, "--seed", 1, *given, status=2).stderr == message


@pytest.mark.slow
def test_a_model_that_says_the_references_scores_perfectly(model: Path, files: Path, tmp_path: Path) -> None:
    from seq2seq.decoding.translator import Translator

    references = write(tmp_path / "ref", Translator.load(model, device="cpu", precision="fp32").translate(LINES))
    given = ("--src", files / "test.src", "--ref", references, "--precision", "fp32", "--device", "cpu")
    found = scores(model, *given)["test"]
    assert (found["chrf"], found["ter"]) == (100, 0)


@pytest.mark.slow
def test_a_run_folder_is_scored_on_the_test_set_of_its_own_config(model: Path, files: Path) -> None:
    given = ("--src", files / "test.src", "--ref", files / "test.tgt")
    assert scores(model.parent) == scores(model, *given)


@pytest.mark.slow
def test_every_test_set_of_the_corpus_is_scored_from_another_folder(tmp_path: Path, corpora: Path) -> None:
    model = save_random_model(tmp_path / "model", {"name": "multi30k", "src": "en", "tgt": "de"})
    short = ("--beam-size", 1, "--max-length-ratio", 0, "--max-length-extra", 2)
    found = scores(model, "--data-root", corpora / "multi30k", *short, "--cache-dir", tmp_path / "new")
    assert {name: one["sentences"] for name, one in found.items()} == {"test_2016_flickr": 1000}
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--src", "", "--ref", ""], ".: is a directory"),  # an unset variable of a shell, not the model's own test set
        (["--data-root", "x"], "--data-root has no meaning for a model trained on data=files"),
        (["--beam-size", "0"], "decode.beam_size=0 is out of range: 1 ≤ beam_size ≤ 1000"),
        (["--device", "abacus"], "device 'abacus' is unknown: use auto, cpu, cuda, cuda:N or mps"),
    ],
)
def test_a_mistake_in_an_option_is_one_line(model: Path, options: list[str], message: str) -> None:
    done = evaluate(model, *options, status=2)
    assert (done.stdout, done.stderr) == ("", f"error: {message}\n")


def test_a_folder_that_cannot_be_made_is_refused_before_the_work(tmp_path: Path) -> None:
    taken = write(tmp_path / "taken", [])
    done = evaluate("no-such-model", "--output", taken, status=2)
    assert done.stderr == f"error: --output {taken}: File exists\n"


@pytest.mark.slow
def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    text = write(tmp_path / "text", ["not a model"])
    done = evaluate(text, status=2)
    assert done.stderr.startswith(f"error: {text} is not a readable model file")
    assert done.stderr.count("\n") == 1
