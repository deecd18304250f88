"""`python -m seq2seq.analyse`: stdout, stderr and exit status."""

import contextlib
import dataclasses
import gc
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tiny_model import make_model

SOURCES, REFERENCES = ["two men sit", "a black dog"], ["deux hommes assis", "un chien noir"]
OUTPUTS = ["deux deux deux hommes assis", "un chien \x1b[2J\u202enoir"]
NOTHING = "nothing to analyse: give MODEL, MODEL --src FILE --ref FILE, or --src FILE --ref FILE --hyp FILE"
BOTH = "--src and --ref need each other: the text to translate and its reference translations"
HYP = "--hyp needs --src FILE and --ref FILE: the text that was translated and its references"


class Result(NamedTuple):
    """What a command printed."""

    out: str
    err: str


def analyse(*args: object, status: int = 0) -> Result:
    """Run the command in this process."""
    from seq2seq.analyse import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        exit_status = main([*map(str, args)])
    assert exit_status == status, err.getvalue()
    return Result(out.getvalue(), err.getvalue())


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working folder, with texts."""
    texts = {"src": SOURCES, "ref": REFERENCES, "A": OUTPUTS, "B": REFERENCES, "short": SOURCES[:1], "empty": []}
    for name, lines in texts.items():
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    (tmp_path / "hole").write_text("deux hommes assis\n\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def model(here: Path) -> str:
    from seq2seq.storage.model_file import save_model

    save_model(here / "model", make_model(here / "cache"))
    return "model"


@contextlib.contextmanager
def standard_input(name: str) -> Iterator[None]:
    """Let the process read a file as its standard input."""
    before = os.dup(0)
    with open(name, "rb") as file:
        os.dup2(file.fileno(), 0)
    try:
        yield
    finally:
        os.dup2(before, 0)
        os.close(before)


TEXT = ("--src", "src", "--ref", "ref")
ERRORS = {
    "nothing": ((), NOTHING),
    "text alone": (TEXT, NOTHING),
    "no sources": (("--hyp", "A", "--ref", "ref"), HYP),
    "no references": (("M", "--src", "src"), BOTH),
    "not parallel": ((*TEXT, "--hyp", "short"), "src has 2 lines but short has 1: they are not parallel"),
    "missing": ((*TEXT, "--hyp", "C"), "C: no such file or directory"),
    "empty": (("--src", "empty", "--ref", "empty", "--hyp", "empty"), "empty is empty: there are no"),
    "one is empty": (
        ("--src", "empty", "--ref", "short", "--hyp", "A"),
        "empty has 0 lines but short has 1: they are not parallel",
    ),
    "no reference": (("--src", "src", "--ref", "hole", "--hyp", "A"), "hole, line 2 is empty, but that line of src is"),
    "twice": ((*TEXT, "--hyp", "A", "--hyp", "./A"), "--hyp: A and ./A, the same file, are both given"),
    "same name": ((*TEXT, "--hyp", "x=A", "--hyp", "x=B"), "--hyp: two systems are named x"),
    "runs": ((*TEXT, "--hyp", "x=A,B"), "--hyp x=A,B: an analysis needs one file per system"),
    "no model": ((*TEXT, "--hyp", "A", "--beam-size", "3"), "--beam-size has no effect without MODEL"),
    "robustness": ((*TEXT, "--hyp", "A", "--robustness", "all"), "--robustness has no effect without MODEL"),
    "test set": (("M", *TEXT, "--test", "x"), "--test has no effect with --src"),
    "input": ((*TEXT, "--hyp", "A", "--output", "A"), "A is both input and output"),
    "folder": ((*TEXT, "--hyp", "A", "--output", "."), "--output . is a folder: name a file"),
    "no words": ((*TEXT, "--hyp", "A", "--train", "empty"), "--train empty has no words"),
    "no training text": ((*TEXT, "--hyp", "A", "--train", "C"), "C: no such file or directory"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_an_error_is_one_line(here: Path, case: str) -> None:
    arguments, message = ERRORS[case]
    result = analyse(*arguments, status=2)
    assert result.out == ""
    assert result.err.startswith(f"error: {message}"), result.err
    assert result.err.count("\n") == 1
    assert (here / "A").read_text("utf-8").splitlines()[0] == OUTPUTS[0]


def test_translations_in_files(here: Path) -> None:
    text = analyse(*TEXT, "--hyp", "first=A", "--hyp", "B", "--train", "ref").out
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert r"un chien \x1b[2J\u202enoir" in text
    for part in ("Word frequency in training", "repeated: words are repeated", "(deux × 3)", "B better than first"):
        assert part in text


def test_json_and_file(here: Path) -> None:
    printed = analyse(*TEXT, "--hyp", "A", "--json", "--examples", "0").out
    found = json.loads(printed)
    assert found["faults"]["repeated"] == {"A": [1]}
    assert found["examples"] == []
    assert analyse(*TEXT, "--hyp", "A", "--json", "--examples", "0", "--output", "out").out == ""
    assert (here / "out").read_text("utf-8") == printed


def test_of_several_references_the_first_is_used(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = analyse(*TEXT, "--hyp", "A").out
    assert analyse(*TEXT, "--ref", "B", "--hyp", "A").out == first
    assert "an analysis compares with one reference: ref, the first" in caplog.text


def test_models_and_files(here: Path, model: str) -> None:
    found = json.loads(
        analyse(f"M={model}", *TEXT, "--hyp", "A", "--robustness", "upper,typos", "--device", "cpu", "--json").out
    )
    sections = {section["title"]: section for section in found["sections"]}
    assert [row[0] for row in sections["Scores"]["rows"]] == ["M", "A"]
    assert [row[0] for row in sections["Robustness"]["rows"]] == ["clean", "upper (case ignored)", "typos"]
    assert sections["Robustness"]["columns"] == ["input", "M: BLEU", "lost", "chrF"]
    assert sum(row[1] for row in sections["Attention entropy: M"]["rows"]) <= len(SOURCES)
    assert found["faults"]["repeated"]["A"] == [1]


def model_of_corpus(folder: Path, corpus: dict[str, object]) -> str:
    """Write a random model that names a corpus in its folder."""
    from seq2seq.config.loading import to_config, to_dict
    from seq2seq.storage.model_file import save_model

    model = make_model(folder / "cache")
    plain = to_dict(model.config)
    plain["data"] |= {"name": "files", "src": "en", "tgt": "fr", **corpus}
    save_model(folder / "best.safetensors", dataclasses.replace(model, config=to_config(plain)))
    return str(folder)


def test_the_test_set_and_the_training_words_of_a_model(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    pairs = {name: {"src": str(here / "src"), "tgt": str(here / "ref")} for name in ("train", "valid", "test")}
    folder = model_of_corpus(here, pairs)
    found = json.loads(analyse(folder, "--device", "cpu", "--json").out)
    frequencies = next(part for part in found["sections"] if part["title"] == "Word frequency in training")
    assert sum(row[1] for row in frequencies["rows"]) == 6, "words of the references"
    with_file = json.loads(analyse(folder, "--device", "cpu", "--train", "ref", "--json").out)
    assert with_file == found
    assert analyse(folder, "--test", "x", status=2).err == "error: --test x: the test sets are test\n"
    pairs["train"] = {"src": str(here / "gone"), "tgt": str(here / "gone")}
    found = json.loads(analyse(model_of_corpus(here, pairs), "--device", "cpu", "--json").out)
    assert not any(part["title"] == "Word frequency in training" for part in found["sections"])
    assert "word frequencies are left out" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--train", "gone"), "gone: no such file or directory"),
        (("--train", "empty"), "--train empty has no words"),
        (("--train", "latin-1"), "latin-1, line 1: not UTF-8"),
        (("--output", "src/out"), "cannot write src/out: "),
    ],
)
def test_what_is_given_is_checked_before_the_translation(
    here: Path, model: str, options: tuple[str, ...], message: str
) -> None:
    """A weight file that cannot be loaded stands for the hours of a translation."""
    (here / "latin-1").write_bytes(b"\xe9t\xe9\n")
    content = (here / model).read_bytes()
    (here / model).write_bytes(content[:-10])
    result = analyse(model, *TEXT, *options, status=2)
    assert result.err.startswith(f"error: {message}"), result.err


@pytest.mark.parametrize("part", ["train", "valid", "test"])
def test_the_output_is_no_file_of_the_corpus_of_the_model(here: Path, part: str) -> None:
    pairs = {name: {"src": str(here / "src"), "tgt": str(here / "ref")} for name in ("train", "valid", "test")}
    text = "".join(f"{line}\n" for line in REFERENCES)
    (here / "own").write_text(text, encoding="utf-8")
    pairs[part]["tgt"] = str(here / "own")
    result = analyse(model_of_corpus(here, pairs), "--output", "own", status=2)
    assert result.err.startswith("error: own is both input and output"), result.err
    assert (here / "own").read_text("utf-8") == text


def test_the_entropy_of_attention_is_a_share_of_its_maximum() -> None:
    from seq2seq.evaluation.analysis.evidence import attention_entropy
    from seq2seq.inference.translation import Translation

    def entropy(*rows: list[float]) -> float:
        return attention_entropy(Translation("x", 0.0, 0.0, attention=list(rows)))

    assert entropy([0.25] * 4) == pytest.approx(1)
    assert entropy([1.0, 0.0, 0.0, 0.0], [0.1] * 4) == pytest.approx(0.5)
    assert entropy([0.2, 0.2, 0.0, 0.0]) == pytest.approx(0.5)
    assert entropy([1.0]) != entropy([1.0]), "one source word: not known"


def test_the_attention_of_a_line_is_dropped_when_its_entropy_is_known(
    here: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seq2seq.evaluation.analysis import evidence
    from seq2seq.inference.translation import Translation
    from seq2seq.inference.translator import Translator

    monkeypatch.setattr(evidence, "WINDOW", 1)
    in_memory: list[int] = []

    def count(_: int) -> None:
        in_memory.append(sum(type(value) is Translation for value in gc.get_objects()))

    found = evidence.examine(Translator.load(here / model, device="cpu"), ["pack my box"] * 4, advance=count)
    assert in_memory == in_memory[:1] * 4
    assert found.entropy is not None
    assert len(found.entropy) == len(found.outputs) == 4


def test_an_output_depends_on_its_source_as_much_as_log_p_falls_without_it(here: Path, model: str) -> None:
    from seq2seq.evaluation.analysis.evidence import source_dependence
    from seq2seq.inference.translator import Translator

    translator = Translator.load(here / model, device="cpu")
    sources, outputs = ["pack my box", "how vexingly quick"], ["my box", "quick"]

    def mean(source: str, output: str) -> float:
        (pair,) = translator.score([source], [output])
        return pair.log_prob / len(pair.token_log_probs)

    expected = [mean(s, o) - mean(other, o) for s, other, o in zip(sources, sources[::-1], outputs, strict=True)]
    assert source_dependence(translator, sources, outputs) == pytest.approx(expected, abs=1e-5)
    (alone,) = source_dependence(translator, sources[:1], outputs[:1])
    assert alone != alone, "there is no other source"


def test_a_line_in_capitals_is_examined_as_it_was_read(here: Path, model: str) -> None:
    from seq2seq.evaluation.analysis.evidence import examine
    from seq2seq.inference.translator import Translator

    translator = Translator.load(here / model, device="cpu")
    lines = ["Pack my box", "How vexingly quick"]
    natural, capitals = (examine(translator, sources) for sources in (lines, [line.upper() for line in lines]))
    assert capitals.outputs == [output.upper() for output in natural.outputs]
    assert capitals.dependence == pytest.approx(natural.dependence, abs=1e-5)


def test_standard_input_is_read_by_any_option_but_only_by_one(here: Path) -> None:
    plain = analyse(*TEXT, "--hyp", "A", "--train", "ref", "--json").out
    with standard_input("ref"):
        assert analyse(*TEXT, "--hyp", "A", "--train", "-", "--json").out == plain
    twice = "error: standard input (-) can be only one of the files: name a file for the others\n"
    assert analyse("--src", "src", "--ref", "-", "--hyp", "A", "--train", "-", status=2).err == twice

    import seq2seq.align
    import seq2seq.evaluate

    Path("links").write_text("0-0 1-1 2-2\n0-0 1-2 2-1\n", encoding="utf-8")
    text = ("--src", "src", "--tgt", "ref")
    for command, arguments in (
        (seq2seq.align.main, (*text, "--links", "-", "--gold", "-")),
        (seq2seq.align.main, (*text[:3], "-", "--links", "links", "--gold", "-")),
        (seq2seq.evaluate.main, ("--hyp", "-", "--ref", "ref", "--groups", "-")),
    ):
        with contextlib.redirect_stderr(io.StringIO()) as err:
            assert command(arguments) == 2
        assert err.getvalue() == twice
    for links, gold in (("-", "links"), ("links", "-")):
        out = io.StringIO()
        with standard_input("links"), contextlib.redirect_stdout(out):
            assert seq2seq.align.main((*text, "--links", links, "--gold", gold, "--json")) == 0
        assert json.loads(out.getvalue())["aer"] == 0
