"""`python -m seq2seq.evaluate`: stdout, stderr and exit status."""

import contextlib
import dataclasses
import gzip
import io
import json
import os
import re
import shlex
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
TWO_HYPOTHESES = "--hyp scores existing translations: give it with --ref only, without MODEL and --src"


def evaluate(*args: object, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command in this process: a new one takes seconds to import torch."""
    from seq2seq.evaluate import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        exit_status = main([*map(str, args)])
    assert exit_status == status, err.getvalue()
    return subprocess.CompletedProcess(args, exit_status, out.getvalue(), err.getvalue())


def scores(*args: object) -> dict[str, Any]:
    """Run with --json and return the object on stdout."""
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
    """Write a model with random weights whose config has `data`."""
    from seq2seq.config.loading import to_config, to_dict
    from seq2seq.storage.model_file import save_model

    model = make_model(path.parent / "cache")
    plain = to_dict(model.config)
    plain["data"] |= data
    save_model(path, dataclasses.replace(model, config=to_config(plain)))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a test set in two files."""
    folder = tmp_path_factory.mktemp("text")
    write(folder / "test.src", LINES)
    write(folder / "test.tgt", [" ".join(reversed(line.split())) for line in LINES])
    return folder


@pytest.fixture(scope="module")
def model(files: Path) -> Path:
    test = {"src": str(files / "test.src"), "tgt": str(files / "test.tgt")}
    return save_random_model(files / "best.safetensors", {"name": "files", "src": "en", "tgt": "de", "test": test})


def test_json_is_one_line_with_known_scores(fox: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "seq2seq.evaluate", *fox, "--json"]
    process = subprocess.run(command, capture_output=True, encoding="utf-8", env={**os.environ, "PYTHONUTF8": "1"})
    assert process.returncode == 0
    # chrF was also computed from its formula, without sacreBLEU.
    bleu, chrf, ter = (
        f"nrefs:1|{how}|version:{sacrebleu.__version__}"
        for how in (
            "case:mixed|eff:no|tok:13a|smooth:exp",
            "case:mixed|eff:yes|nc:6|nw:0|space:no",
            "case:lc|tok:tercom|norm:no|punct:yes|asian:no",
        )
    )
    assert process.stdout == (
        f'{{"test": {{"bleu": 37.71, "bleu_signature": "{bleu}", "chrf": 71.24, "chrf_signature": "{chrf}", '
        f'"ter": 22.22, "ter_signature": "{ter}", "bleu_tok_lc": 37.71, '
        f'"bleu_tok_lc_signature": "{bleu.replace("mixed", "lc")}", "exact_match": 0.0, "length_ratio": 0.889, '
        f'"sentences": 1}}}}\n'
    )
    assert process.stderr == ""


def test_table_is_aligned_text_without_a_terminal(fox: tuple[str, ...]) -> None:
    head, row, empty, *signatures = evaluate(*fox).stdout.splitlines()
    assert row.split() == ["test", "37.71", "71.24", "22.22", "37.71", "0.00", "0.889", "1"]
    assert [len(head), head.index("BLEU") + 4] == [len(row), row.index("37.71") + 5]
    assert empty == ""
    assert [line.split(": ")[0] for line in signatures] == ["BLEU", "chrF", "TER", "BLEU tok lc"]


def test_lines_end_at_newline_only_and_gz_is_read(tmp_path: Path) -> None:
    lines = ["one two\u2028three four", "five six seven eight\u0085", "", "nine ten eleven twelve"]
    (tmp_path / "hyp.gz").write_bytes(gzip.compress(("\n".join(lines) + "\n").encode()))
    test = scores("--hyp", tmp_path / "hyp.gz", "--ref", write(tmp_path / "ref", lines))["test"]
    assert (test["sentences"], test["bleu"], test["ter"]) == (4, 100, 0)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("", NOTHING),
        ("--src a --ref b", NOTHING),
        ("m --hyp a --ref b", TWO_HYPOTHESES),
        ("--hyp a", "--hyp needs --ref FILE, the reference translations"),
        ("m --src a", "--src and --ref need each other: the text to translate and its reference translations"),
        ("m --ref a", "--src and --ref need each other: the text to translate and its reference translations"),
        ("--hyp a --ref b --beam-size 3", "--beam-size has no effect with --hyp"),
        ("--hyp a --ref b --weights 1", "--weights has no effect with --hyp"),
        ("--hyp a --ref b --never-emit x", "--never-emit has no effect with --hyp"),
        ("m --search sample --beam-size 2", "--beam-size needs --search beam, not sample"),
        (
            "m --length-normalization none --length-penalty 1",
            "--length-penalty has no effect with --length-normalization none",
        ),
        ("m --top-p 0", "decode.top_p=0.0 is out of range: 1e-06 ≤ top_p ≤ 1"),
        ("m,", "m,: an empty model name; write MODEL,MODEL"),
        ("--hyp a --ref b --output c", "--output has no effect with --hyp"),
        ("m --src a --ref b --data-root c", "--data-root has no effect with --src"),
        ("m --threads 0", "argument --threads: 0 is not at least 1 (see seq2seq-evaluate --help)"),
        ("--hyp no-such-file --ref b", "no-such-file: no such file or directory"),
        ("no-such-model", "no model at no-such-model (expected a file or a run folder)"),
    ],
)
def test_user_error_is_one_line_and_status_2(args: str, message: str) -> None:
    process = evaluate(*args.split(), status=2)
    assert (process.stdout, process.stderr) == ("", f"error: {message}\n")


@pytest.mark.parametrize("args", ["m --src a --src b", "m --beam-size 1 --beam-size 2", "m --json --json"])
def test_an_option_that_cannot_repeat_is_refused(args: str) -> None:
    process = evaluate(*args.split(), status=2)
    assert process.stderr.endswith("is given twice: give it once (see seq2seq-evaluate --help)\n")


def test_several_references_and_standard_input(fox: tuple[str, ...], tmp_path: Path) -> None:
    second = str(write(tmp_path / "second", [FOX]))
    test = scores(*fox, "--ref", second)["test"]
    assert (test["bleu"], test["ter"]) == (100, 0)
    assert "nrefs:2" in test["bleu_signature"]
    command = [sys.executable, "-m", "seq2seq.evaluate", "--hyp", "-", *fox[2:], "--ref", second, "--json"]
    process = subprocess.run(command, input=f"{FOX}\n", capture_output=True, encoding="utf-8")
    assert json.loads(process.stdout)["test"] == test
    process = evaluate("--hyp", "-", "--ref", "-", status=2)
    assert process.stderr == "error: standard input (-) can be only one of the files: name a file for the others\n"
    short = write(tmp_path / "short", [])
    assert "has 1 lines but" in evaluate(*fox, "--ref", short, status=2).stderr


def test_the_tokenizer_of_bleu_can_be_chosen(tmp_path: Path) -> None:
    files = "--hyp", write(tmp_path / "hyp", ["狗看见房子。"]), "--ref", write(tmp_path / "ref", ["狗看见大房子。"])
    assert scores(*files)["test"]["bleu"] == 0
    test = scores(*files, "--tokenize", "zh")["test"]
    assert test["bleu"] > 30
    assert "tok:zh" in test["bleu_signature"]


@pytest.mark.slow
def test_the_tokenizer_is_that_of_the_models_target_language(tmp_path: Path, files: Path) -> None:
    arguments = ("--src", files / "test.src", "--ref", files / "test.tgt", "--beam-size", 1)
    model = save_random_model(tmp_path / "model", {"name": "files", "src": "en", "tgt": "th"})
    assert "tok:char" in scores(model, *arguments)["test"]["bleu_signature"]
    assert "tok:intl" in scores(model, *arguments, "--tokenize", "intl")["test"]["bleu_signature"]


@pytest.mark.slow
def test_a_test_set_drawn_from_changed_training_text_is_refused(tmp_path: Path) -> None:
    from seq2seq.data.corpora.load import load_corpus
    from seq2seq.storage.model_file import TrainingText, load_model, save_model
    from seq2seq.storage.provenance import text_fingerprint

    text = write(tmp_path / "text", [f"{line}\t{line} {i}" for i, line in enumerate(LINES)])
    corpus = {"name": "files", "src": "en", "tgt": "de", "train": {"tsv": str(text)}, "valid_pairs": 1, "test_pairs": 1}
    model = save_random_model(tmp_path / "a" / "model", corpus)
    loaded = load_model(model, torch.device("cpu"))
    held_out = load_corpus(loaded.config.data).held_out_texts()
    recorded = TrainingText(9, {name: text_fingerprint(text) for name, text in held_out.items()})
    older, model = tmp_path / "older", tmp_path / "elsewhere"  # the text lies in their folder
    save_model(older, loaded)
    save_model(model, dataclasses.replace(loaded, text=recorded))
    short = ("--beam-size", 1, "--max-length-ratio", 0, "--max-length-extra", 2)
    assert scores(model, *short)["test"]["sentences"] == 1
    write(text, [f"new {line}\t{line} {i}" for i, line in enumerate(LINES)])
    message = f"error: {model}: the test set drawn from the training text now is not the one that the model held out"
    assert evaluate(model, *short, status=2).stderr.splitlines()[-1].startswith(message)
    assert evaluate(f"{older},{model}", *short, status=2).stderr.splitlines()[-1].startswith(message)


def test_files_that_are_not_parallel(tmp_path: Path) -> None:
    three, two = write(tmp_path / "three", ["a"] * 3), write(tmp_path / "two", ["a"] * 2)
    process = evaluate("--hyp", three, "--ref", two, status=2)
    assert process.stderr == f"error: {three} has 3 lines but {two} has 2: they are not parallel\n"


def test_empty_files(tmp_path: Path) -> None:
    empty = write(tmp_path / "empty", [])
    process = evaluate("--hyp", empty, "--ref", empty, "--json", status=2)
    assert (process.stdout, process.stderr) == ("", "error: nothing to score: there are no hypotheses\n")


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"good\n\xff\n")
    process = evaluate("--hyp", tmp_path / "bad", "--ref", write(tmp_path / "ref", ["a", "b"]), status=2)
    assert process.stderr == f"error: {tmp_path / 'bad'}, line 2: not UTF-8 (byte 0xff at position 1)\n"


def test_help_and_scoring_files_do_not_load_torch(fox: tuple[str, ...]) -> None:
    script = (
        "import sys, seq2seq.evaluate\n"
        "try: seq2seq.evaluate.main(sys.argv[1:])\n"
        "finally: assert 'torch' not in sys.modules"
    )
    for args in (["--help"], [*fox]):
        subprocess.run([sys.executable, "-c", script, *args], check=True, capture_output=True)


@pytest.mark.slow
def test_own_text_is_translated_in_order_and_written_to_a_file(model: Path, files: Path, tmp_path: Path) -> None:
    from seq2seq.inference.forced_scoring import perplexity
    from seq2seq.inference.translator import Translator

    arguments = ("--src", files / "test.src", "--ref", files / "test.tgt", "--precision", "fp32", "--device", "cpu")
    process = evaluate(model, *arguments, "--beam-size", 2, "--output", tmp_path / "out", "--json")
    assert process.stderr.startswith("test: 40 sentences translated in ")
    hypotheses = (tmp_path / "out" / "test.hyp").read_text(encoding="utf-8").split("\n")[:-1]
    translator = Translator.load(model, device="cpu", precision="fp32")
    assert hypotheses == translator.translate(LINES, beam_size=2) != translator.translate(LINES)
    assert len(set(hypotheses)) > 10  # otherwise a wrong order could go unnoticed
    test = json.loads(process.stdout)["test"]
    pairs = translator.score(LINES, (files / "test.tgt").read_text(encoding="utf-8").split("\n")[:-1])
    assert test.pop("perplexity") == round(perplexity(pairs), 2)
    assert test == scores("--hyp", tmp_path / "out" / "test.hyp", "--ref", files / "test.tgt")["test"]


@pytest.mark.slow
def test_ensemble_and_search_options_agree_with_the_translator(model: Path, files: Path, tmp_path: Path) -> None:
    from seq2seq.config.decode import SearchName, UtilityName
    from seq2seq.inference.translator import Translator
    from seq2seq.storage.model_file import load_model, save_model

    loaded = load_model(model, torch.device("cpu"))
    second = tmp_path / "second"
    save_model(second, dataclasses.replace(loaded, network=make_network(loaded.tokenizer.src_size, seed=2)))
    arguments = ("--src", files / "test.src", "--ref", files / "test.tgt", "--precision", "fp32", "--device", "cpu")
    flags = ("--search", "mbr", "--samples", 3, "--mbr-utility", "bleu", "--temperature", 0.7)
    options = {"search": SearchName.mbr, "samples": 3, "mbr_utility": UtilityName.bleu, "temperature": 0.7}
    evaluate(
        f"{model},{second}", "--weights", "0.8,0.2", *arguments, *flags, "--max-length-ratio", 0.5, "--output", tmp_path
    )
    translator = Translator.load(model, second, device="cpu", precision="fp32", weights=[0.8, 0.2])
    expected = translator.translate(LINES, **options, max_length_ratio=0.5)
    assert (tmp_path / "test.hyp").read_text(encoding="utf-8").split("\n")[:-1] == expected
    message = "error: weights [1.0] are not 2 positive numbers, one for each model\n"
    assert evaluate(f"{model},{second}", "--weights", 1, *arguments, status=2).stderr == message
    message = "error: --seed needs --search sample or mbr, not beam\n"  # beam is the search in the model's config
    assert evaluate(model, "--seed", 1, *arguments, status=2).stderr == message


@pytest.mark.slow
def test_translations_that_equal_the_references_score_perfectly(model: Path, files: Path, tmp_path: Path) -> None:
    from seq2seq.inference.translator import Translator

    references = write(tmp_path / "ref", Translator.load(model, device="cpu", precision="fp32").translate(LINES))
    arguments = ("--src", files / "test.src", "--ref", references, "--precision", "fp32", "--device", "cpu")
    test = scores(model, *arguments)["test"]
    assert (test["chrf"], test["ter"]) == (100, 0)


@pytest.mark.slow
def test_run_folder_is_scored_on_the_test_set_of_its_config(model: Path, files: Path) -> None:
    arguments = ("--src", files / "test.src", "--ref", files / "test.tgt")
    assert scores(model.parent) == scores(model, *arguments)


@pytest.mark.slow
def test_data_root_names_the_corpus_folder(tmp_path: Path, corpora: Path) -> None:
    model = save_random_model(tmp_path / "model", {"name": "multi30k", "src": "en", "tgt": "de"})
    short = ("--beam-size", 1, "--max-length-ratio", 0, "--max-length-extra", 2)
    tests = scores(model, "--data-root", corpora / "multi30k", *short, "--cache-dir", tmp_path / "new")
    assert {name: test["sentences"] for name, test in tests.items()} == {"test_2016_flickr": 1000}
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (  # unset shell variables, not the config's test set
            ["--src", "", "--ref", ""],
            "argument --src: the path is empty: leave it out, or check the shell variable that it came from "
            "(see seq2seq-evaluate --help)",
        ),
        (["--data-root", "x"], "--data-root has no effect for a model trained on data=files"),
        (["--beam-size", "0"], "decode.beam_size=0 is out of range: 1 ≤ beam_size ≤ 1000"),
        (["--device", "abacus"], "device 'abacus' is unknown: use auto, cpu, cuda, cuda:N or mps"),
    ],
)
def test_invalid_option_is_one_line(model: Path, options: list[str], message: str) -> None:
    process = evaluate(model, *options, status=2)
    assert (process.stdout, process.stderr) == ("", f"error: {message}\n")


def test_output_folder_that_cannot_be_created(tmp_path: Path) -> None:
    file = write(tmp_path / "file", [])
    process = evaluate("no-such-model", "--output", file, status=2)
    assert process.stderr == f"error: --output {file}: File exists\n"


@pytest.mark.slow
def test_file_that_is_not_a_model(tmp_path: Path) -> None:
    text = write(tmp_path / "text", ["not a model"])
    process = evaluate(text, status=2)
    assert process.stderr.startswith(f"error: {text} is not a readable model file")
    assert process.stderr.count("\n") == 1


@pytest.fixture
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working folder with outputs a, b and c, references ref, and groups."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SACREBLEU_SEED", raising=False)
    write(tmp_path / "ref", LINES)
    for name, step in (("a", 2), ("b", 3), ("c", 9)):
        write(tmp_path / name, [line if i % step else line.upper() for i, line in enumerate(LINES)])
    write(tmp_path / "groups", ["x", "y"] * 20)
    write(tmp_path / "empty", [])
    write(tmp_path / "short", LINES[:-1])
    write(tmp_path / "blank", [*LINES[:7], " ", *LINES[8:]])
    write(tmp_path / "x=1", LINES)
    return tmp_path


QUICK = ("--bootstrap", "100", "--randomization", "100")


def test_several_systems_are_compared_with_the_first(texts: Path) -> None:
    args = ("--hyp", "a", "--hyp", "good=c", "--hyp", "x=1", "--hyp", "runs=b,short", "--ref", "ref")
    write(texts / "short", LINES)
    plain = scores(*args, *QUICK, "--seed", 3, "--groups", "groups")["test"]
    assert plain["baseline"] == "a"
    assert [(system["name"], system["runs"]) for system in plain["systems"]] == [
        ("a", 1), ("good", 1), ("x=1", 1), ("runs", 2)
    ]  # fmt: skip
    assert plain["signatures"]["tests"] == "bs:100|ar:100|seed:3"
    assert plain["systems"][1]["scores"]["bleu"]["difference"] > 0
    assert [group["group"] for group in plain["groups"]] == ["x", "y"]
    assert "differences from a" in evaluate(*args, *QUICK).stdout


def test_one_system_has_intervals(texts: Path) -> None:
    (system,) = scores("--hyp", "a", "--ref", "ref", "--confidence-intervals", "--bootstrap", 100)["test"]["systems"]
    assert system["scores"]["bleu"]["ci"] > 0
    assert "p_bootstrap" not in system["scores"]["bleu"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("--hyp a --hyp a --ref ref", "--hyp: a is given twice: give each file once"),
        ("--hyp a --hyp b=./a --ref ref", "--hyp: a and ./a, the same file, are both given: give each file once"),
        ("--hyp x=a,a --ref ref", "--hyp: a is given twice: give each file once"),
        ("--hyp n=a --hyp n=b --ref ref", "--hyp: two systems are named n: give each a name of its own, as NAME=FILE"),
        ("--hyp n=a,,b --ref ref", "--hyp n=a,,b: a name is empty; write NAME=FILE,FILE"),
        ("--hyp =a --ref ref", "=a: write NAME=FILE, a name and what it stands for"),
        ("--hyp n= --ref ref", "n=: write NAME=FILE, a name and what it stands for"),
        ("--hyp a --ref ref --ref ref", "--ref: ref is given twice: give each file once"),
        ("--hyp a --hyp short --ref ref", "a has 40 lines but short has 39: they are not parallel"),
        ("--hyp a --ref ref --ref short", "a has 40 lines but short has 39: they are not parallel"),
        ("--hyp a --ref empty", "a has 40 lines but empty has 0: they are not parallel"),
        (
            "--hyp a --ref blank",
            "blank, line 8 is empty, but that line of a is not: give every sentence a reference, or remove its line "
            "from all files",
        ),
        (
            "--hyp a --ref ref --groups short",
            "--groups short has 39 lines but test has 40 sentences: give one for each",
        ),
        ("--hyp a --ref ref --groups blank", "--groups blank, line 8 is blank: write the group of every sentence"),
        ("--hyp a --ref ref --groups none", "none: no such file or directory"),
        ("--hyp a --hyp b --ref ref --seed 0", "--seed 0: the seed of the significance tests is at least 1"),
        (
            "--hyp a --ref ref --bootstrap 100",
            "--bootstrap has no effect on the scores of one system: add --confidence-intervals",
        ),
        (
            "--hyp a --ref ref --confidence-intervals --randomization 100",
            "--randomization has no effect without a second system to compare with",
        ),
        (
            "--hyp a --ref ref --seed 1",
            "--seed has no effect with --hyp of one system: add --confidence-intervals",
        ),
        ("--hyp a --test-set wmt14", "--test-set wmt14 needs --langpair, for example --langpair en-de"),
        ("--hyp a --test-set wmt14 --ref ref", "--test-set has sources and references: leave out --src and --ref"),
        (
            "--hyp a --test-set wmt144 --langpair en-de",
            "--test-set: sacreBLEU has no test set wmt144: did you mean wmt14, wmt24, wmt21? sacrebleu --list "
            "names all",
        ),
        (
            "--hyp a --test-set wmt14,wmt14 --langpair en-de",
            "--test-set wmt14,wmt14: write different names, separated by commas: wmt14,wmt15",
        ),
        ("--hyp a --ref ref --langpair german", "--langpair german: write two language codes: en-de"),
        (
            "--hyp a --ref ref --tokenize moses",
            "--tokenize moses needs the target language: give --langpair, such as --langpair en-de",
        ),
        ("--hyp a --ref ref --comet c", "--comet compares with the sources, too: give --src FILE"),
        (
            "--hyp a --ref ref --src b --comet none",
            "--comet none: no such file: give the checkpoint (.ckpt) of a COMET model on disk",
        ),
        ("m --langpair en-de", "--langpair has no effect without --test-set: a model knows its languages"),
        ("m n --weights 1", "--weights has no effect on several systems: give one ensemble"),
        ("m --runs n", "--runs n: name the system: --runs NAME=RUN,RUN"),
        ("m --test-set wmt14 --data-root x", "--data-root has no effect with --test-set"),
    ],
)
def test_bad_input_is_one_line_and_status_2(texts: Path, args: str, message: str) -> None:
    process = evaluate(*args.split(), status=2)
    assert (process.stdout, process.stderr) == ("", f"error: {message}\n")


def test_a_seed_in_the_environment_that_is_none(texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACREBLEU_SEED", "nan")
    process = evaluate("--hyp", "a", "--hyp", "b", "--ref", "ref", status=2)
    expected = "error: SACREBLEU_SEED=nan is not a whole number of at least 1: unset it, or give --seed\n"
    assert process.stderr == expected


def test_a_hypothesis_that_is_its_reference_is_a_warning(texts: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "seq2seq.evaluate", "--hyp", "a", "--ref", "./a"], capture_output=True, encoding="utf-8"
    )
    expected = "warning: ./a is both hypothesis and reference: its scores are perfect by definition\n"
    assert (process.returncode, process.stderr) == (0, expected)


def test_comet_without_its_package_is_one_line(texts: Path) -> None:
    from seq2seq.evaluation import comet

    if comet.is_installed():
        pytest.skip("COMET is installed")
    process = evaluate("--hyp", "a", "--ref", "ref", "--src", "b", "--comet", "c", status=2)
    assert process.stderr.startswith("error: --comet needs the package unbabel-comet, which requires numpy < 2")
    assert process.stderr.count("\n") == 1


def test_comet_scores_each_run_with_source_and_reference(texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is not installed for the tests: a module with its interface counts equal words."""
    package = texts / "package"
    (package / "unbabel_comet-2.2.7.dist-info").mkdir(parents=True)
    (package / "unbabel_comet-2.2.7.dist-info" / "METADATA").write_text("Name: unbabel-comet\nVersion: 2.2.7\n")
    (package / "comet.py").write_text(
        "from types import SimpleNamespace\n"
        "def load_from_checkpoint(path): return SimpleNamespace(predict=predict)\n"
        "def predict(data, batch_size, gpus, progress_bar):\n"
        "    assert data[0]['src'] == 'source'\n"
        "    return SimpleNamespace(system_score=sum(row['mt'] == row['ref'] for row in data) / len(data))\n"
    )
    monkeypatch.syspath_prepend(package)
    write(texts / "src", ["source"] * 40)
    test = scores("--hyp", "a", "--ref", "ref", "--src", "src", "--comet", write(texts / "x.ckpt", []))["test"]
    del sys.modules["comet"]
    assert (test["comet"], test["exact_match"]) == (50.0, 50.0)
    assert test["comet_signature"] == "model:x|version:2.2.7"


def test_the_language_of_the_pair_names_the_tokenizer(tmp_path: Path) -> None:
    files = "--hyp", write(tmp_path / "hyp", ["狗看见房子。"]), "--ref", write(tmp_path / "ref", ["狗看见大房子。"])
    assert "tok:zh" in scores(*files, "--langpair", "en-zh")["test"]["bleu_signature"]


@pytest.mark.slow
def test_models_are_compared_and_their_runs_grouped(model: Path, files: Path, tmp_path: Path) -> None:
    from seq2seq.storage.model_file import load_model, save_model

    loaded = load_model(model, torch.device("cpu"))
    for name, seed in (("second", 2), ("third", 3)):
        network = make_network(loaded.tokenizer.src_size, seed=seed)
        save_model(tmp_path / name, dataclasses.replace(loaded, network=network))
    text = ("--src", files / "test.src", "--ref", files / "test.tgt", "--device", "cpu", "--precision", "fp32")
    arguments = (f"base={model}", "--runs", f"two={tmp_path}/second,{tmp_path}/third", *text)
    plain = scores(*arguments, "--bootstrap", 100, "--seed", 4, "--output", tmp_path / "out")["test"]
    assert [(system["name"], system["runs"]) for system in plain["systems"]] == [("base", 1), ("two", 2)]
    assert all(system["scores"]["perplexity"]["value"] > 1 for system in plain["systems"])
    outputs = tmp_path / "out"
    names = {path.name for path in outputs.iterdir()}
    assert names == {"base.test.hyp", "two.1.test.hyp", "two.2.test.hyp"}
    hypotheses = [f"base={outputs}/base.test.hyp", f"two={outputs}/two.1.test.hyp,{outputs}/two.2.test.hyp"]
    given = [option for value in hypotheses for option in ("--hyp", value)]
    same = scores(*given, "--ref", files / "test.tgt", "--bootstrap", 100, "--seed", 4)["test"]
    for system in (*plain["systems"], *same["systems"]):
        system["scores"].pop("perplexity", None)
        for run in system.get("scores_of_runs", ()):
            run.pop("perplexity", None)
    assert plain == same
    groups = write(tmp_path / "groups", ["x"])
    process = evaluate(model, *text, "--groups", groups, status=2)
    assert process.stderr.splitlines()[-1] == (
        f"error: --groups {groups} has 1 lines but test has 40 sentences: give one for each"
    )
    assert "translated" not in process.stderr


@pytest.mark.parametrize("page", ["evaluation", "comparing"])
def test_commands_of_the_guides_have_options_that_belong_together(page: str) -> None:
    from seq2seq.cli.evaluation.checks import check_options
    from seq2seq.evaluate import parser

    text = (Path(__file__).parents[2] / f"docs/guides/{page}.md").read_text(encoding="utf-8")
    commands = re.findall(r"^python -m seq2seq\.evaluate (.*)$", text.replace("\\\n", " "), re.MULTILINE)
    assert commands
    for command in commands:
        check_options(parser().parse_args(shlex.split(command, comments=True)))
