"""`seq2seq.draw` and `seq2seq.align`: what they draw and write is what the model attends to; errors are one line."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from pathlib import Path

import pytest

from seq2seq import align, draw
from seq2seq.cli.draw.attention import words
from seq2seq.config.model import AttentionName
from seq2seq.inference.alignment import pharaoh
from seq2seq.inference.forced_alignment import END, align_pairs, align_tokens
from seq2seq.inference.translator import Translator
from seq2seq.storage.model_file import save_model
from tiny_model import SENTENCES, make_model, make_network

pytest.importorskip("matplotlib", reason="needs the extra `plots`")

TARGETS = ["how quick", "a dog  jumps over it", "five"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    made = make_model(folder / "cache")
    save_model(folder / "model.safetensors", made)
    network = make_network(made.tokenizer.src_size, attention=AttentionName.none)
    config = dataclasses.replace(made.config, model=network.config)
    save_model(folder / "none.safetensors", dataclasses.replace(made, network=network, config=config))
    return folder / "model.safetensors"


@pytest.fixture(scope="module")
def translator(model: Path) -> Translator:
    return Translator.load(model, device="cpu", precision="fp32")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, lines in (("src", SENTENCES), ("tgt", TARGETS), ("short", TARGETS[:2]), ("gap", ["a", "", "b"])):
        Path(name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def labels(picture: str) -> list[str]:
    return re.findall(r">([^<>\n]+)</text>", Path(picture).read_text(encoding="utf-8"))


def draws(model: Path, *arguments: str) -> int:
    return draw.main(["attention", str(model), "--precision", "fp32", *arguments])  # that of `translator`


# --- attention -------------------------------------------------------------------------------------------------------


def test_a_translation_by_words(model: Path, translator: Translator, capsys: pytest.CaptureFixture[str]) -> None:
    best = translator.translate_n_best([SENTENCES[0]], alignments=True)[0][0]
    assert draws(model, "--text", SENTENCES[0], "--output", "x.svg") == 0
    assert capsys.readouterr().out == "x.svg\n"
    source, target, attention = words(SENTENCES[0]), words(best.text), best.attention
    assert attention is not None
    numbers = [f"{weight:.1f}".lstrip("0") for row in attention for weight in row if weight >= 0.1]
    assert labels("x.svg") == [*source, "source", *target, "translation", *numbers]


def test_a_given_translation_by_words_and_by_pieces(model: Path, translator: Translator) -> None:
    arguments = ("--text", SENTENCES[0], "--tgt-text", TARGETS[0])
    assert draws(model, *arguments, "--output", "words.svg") == 0
    assert labels("words.svg")[: 8 + 3] == [*SENTENCES[0].split(), "source", "how", "quick", "given translation"]
    assert draws(model, *arguments, "--pieces", "--output", "pieces.svg") == 0
    pieces = translator.tokenizer.tgt_pieces(translator.tokenizer.encode_tgt([TARGETS[0]])[0])
    shown = labels("pieces.svg")
    assert shown[shown.index("source") + 1 : shown.index("given translation")] == [*pieces, END]


def test_lines_of_a_file(model: Path) -> None:
    assert draws(model, "--src", "src", "--tgt", "tgt", "--lines", "3,1-1", "--output", "new/", "--format", "svg") == 0
    assert sorted(path.name for path in Path("new").iterdir()) == ["1.svg", "3.svg"]
    assert labels("new/3.svg")[:5] == ["how", "vexingly", "quick", "source", "five"]
    assert draws(model, "--input", "src", "--lines", "2", "--output", "two.svg") == 0
    assert labels("two.svg")[:9] == SENTENCES[1].split()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "either as --text TEXT or as --src FILE"),
        (["--text", "a", "--src", "src"], "either as --text TEXT or as --src FILE"),
        (["--text", "a", "--tgt", "tgt"], "--tgt needs --src"),
        (["--text", "a", "--lines", "1"], "--lines needs --src"),
        (["--src", "src", "--tgt-text", "b"], "--tgt-text needs --text"),
        (["--text", "a", "--text", "b", "--tgt-text", "c"], "1 translations for 2 times --text"),
        (["--text", "a", "--text", "b"], "one file for 2 pictures: name a folder"),
        (["--text", "a", "--format", "png"], "--format has no effect"),
        (["--text", " "], "--text:1: the sentence is empty"),
        (["--text", "a", "--tgt-text", ""], "--text:1: the translation is empty"),
        (["--src", "gap", "--lines", "2"], "gap:2: the sentence is empty"),
        (["--src", "gap", "--lines", "4"], "--lines 4: gap has 3 lines"),
        (["--src", "gap", "--lines", "3-1"], "'3-1' is not a line number"),
        (["--src", "src", "--tgt", "short"], "they are not parallel"),
        (["--src", "none"], "none"),
        (["--text", "dog " * 600], "translated in parts"),
        (["--text", "a", "--tgt-text", "dog " * 600], "too many tokens"),
        (["--text", "a", "--tgt-text", "a " * 260], "too many for a picture"),
        (["--text", "a", "--output", "x.jpg"], "must end in .svg, .png, .pdf"),
        (["--text", "a", "--output", "src/x.svg"], "cannot write"),
    ],
)
def test_errors_of_attention_are_one_line(
    model: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    output = [] if "--output" in arguments else ["--output", "x.svg"]
    assert draws(model, *arguments, *output) == 2
    out, err = capsys.readouterr()
    errors = [line for line in err.splitlines() if not line.startswith("warning: ")]
    assert (out, len(errors), errors[0][:7]) == ("", 1, "error: ")
    assert message in errors[0]
    assert not Path("x.svg").exists()


def test_a_model_without_attention_is_refused(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    none = str(model.with_name("none.safetensors"))
    assert draw.main(["attention", none, "--text", "a", "--output", "x.svg"]) == 2
    assert align.main([none, "--src", "src", "--tgt", "tgt"]) == 2
    assert capsys.readouterr().err.count("model.attention=none") == 2


def test_without_matplotlib_the_error_names_the_package(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert draws(model, "--text", "a", "--output", "x.svg") == 2
    assert capsys.readouterr().err == "error: drawing needs matplotlib: pip install 'attentional-lstm[plots]'\n"


# --- alignment -------------------------------------------------------------------------------------------------------


def test_the_models_own_translation_is_aligned_as_in_translate(translator: Translator) -> None:
    """Text, tokens and network are the same; tokens of one character give one segmentation."""
    best = [output for output, *_ in translator.translate_n_best(SENTENCES, alignments=True)]
    for output, pair in zip(best, align_pairs(translator, SENTENCES, [b.text for b in best]), strict=True):
        assert pair is not None
        assert pair.links == output.alignment
        assert pair.tgt == words(output.text)


def test_attention_of_tokens_is_whole(translator: Translator) -> None:
    ids = translator.tokenizer.encode_src(SENTENCES), translator.tokenizer.encode_tgt(TARGETS)
    for pair, source in zip(align_tokens(translator, *ids), SENTENCES, strict=True):
        assert pair is not None
        assert "".join(pair.src[:-1]).replace("▁", " ").strip() == source
        assert len(pair.attention) == len(pair.tgt)
        assert [sum(row) for row in pair.attention] == pytest.approx([1.0] * len(pair.tgt), rel=1e-5)


def test_a_text_without_words_has_no_links(translator: Translator) -> None:
    empty, *_ = align_pairs(translator, ["", "a", ""], ["", " ", "b"])
    assert empty is not None
    assert (empty.src, empty.tgt, empty.attention, empty.links) == ([], [], [], [])


def test_align_writes_links_and_their_error(
    model: Path, translator: Translator, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = (str(model), "--src", "src", "--tgt", "tgt", "--device", "cpu", "--precision", "fp32")
    assert align.main([*pairs]) == 0
    written = capsys.readouterr().out
    expected = [pharaoh(pair.links) for pair in align_pairs(translator, SENTENCES, TARGETS) if pair]
    assert written.splitlines() == expected
    assert align.main([*pairs, "--output", "links"]) == 0
    assert Path("links").read_text() == written
    one_based = [
        " ".join(f"{int(a) + 1}-{int(b) + 1}" for a, b in re.findall(r"(\d+)-(\d+)", line)) for line in expected
    ]
    Path("gold").write_text("".join(f"{line}\n" for line in one_based[:-1]) + "1-1\n")
    capsys.readouterr()
    options = ("--gold", "gold", "--one-based", "--json")
    assert align.main([*pairs, *options]) == 0
    assert align.main(["--links", "links", "--src", "src", "--tgt", "tgt", *options]) == 0
    of_model, of_file = map(json.loads, capsys.readouterr().out.splitlines())
    assert of_model == of_file
    Path("links").write_text("".join(f"{line}\n" for line in one_based))
    assert align.main(["--links", "links", "--links-one-based", "--src", "src", "--tgt", "tgt", *options]) == 0
    assert json.loads(capsys.readouterr().out) == of_model
    counts = [len(line.split()) for line in expected]
    right = sum(counts[:-1]) + ("0-0" in expected[-1].split())
    assert of_model["precision"] == pytest.approx(right / sum(counts))
    assert of_model["recall"] == pytest.approx(right / (sum(counts[:-1]) + 1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gold", "short"], "short has 2 lines for 3 sentence pairs"),
        (["--gold", "gap"], "gap:1: 'a' is no link"),
        (["--gold", "absent"], "absent"),
        (["--json"], "--json needs --gold"),
        (["--one-based"], "--one-based needs --gold"),
        (["--links-one-based"], "--links-one-based needs --links"),
        (["--links", "gap", "--gold", "gap"], "either MODEL"),
        (["--output", "src"], "src is both input and output"),
    ],
)
def test_errors_of_align_are_one_line(
    model: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert align.main([str(model), "--src", "src", "--tgt", "tgt", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), err[:7]) == ("", 1, "error: ")
    assert message in err


@pytest.mark.parametrize("name", ["threads", "device"])
def test_options_of_a_model_have_no_effect_on_given_links(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    files = ("--links", "gap", "--src", "src", "--tgt", "tgt", "--gold", "gap")
    assert align.main([*files, f"--{name}", "1"]) == 2
    assert f"--{name} has no effect with --links" in capsys.readouterr().err


def test_links_and_gold_are_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    Path("links").write_text("0-0 1-1\n\n0-0\n")
    Path("gold").write_text("0-0 1p1\n\n1-0\n")
    files = ("--src", "src", "--tgt", "tgt", "--links", "links", "--gold", "gold")
    assert draw.main(["alignment", *files, "--lines", "1,3", "--output", "."]) == 0
    assert capsys.readouterr().out == "./1.svg\n./3.svg\n"
    assert labels("3.svg")[:6] == ["how", "vexingly", "quick", "source", "five", "target"]
    zero_based = Path("1.svg").read_text()
    Path("links").write_text("1-1 2-2\n\n1-1\n")
    assert draw.main(["alignment", *files, "--links-one-based", "--lines", "1", "--output", "again.svg"]) == 0
    assert Path("again.svg").read_text() == zero_based
    assert draw.main(["alignment", *files[:6], "--one-based", "--output", "none.svg"]) == 2
    assert "--one-based needs --gold" in capsys.readouterr().err


# --- reliability -----------------------------------------------------------------------------------------------------

BIN = {"low": 0.0, "high": 1.0, "count": 4, "mean_probability": 0.5, "share_right": 0.25}
STORED = {"words": {"ece": 1, "bins": [BIN]}, "sentences": {"raw": {"bins": [BIN, BIN]}}}


@pytest.mark.parametrize(
    ("content", "options", "title"),
    [
        ("0.25 1\n0.25\t0\n\n0.5,true\n", [], "ECE 0.333, 3 probabilities"),
        (json.dumps(STORED["words"]), [], "ECE 0.250, 4 probabilities"),
        (json.dumps(STORED), ["--name", "raw", "--title", "a $ b"], "ECE 0.250, 8 probabilities"),
    ],
)
def test_reliability_of_text_and_json(content: str, options: list[str], title: str) -> None:
    Path("p").write_text(content)
    assert draw.main(["reliability", "p", *options, "--output", "x.svg"]) == 0
    assert title in labels("x.svg")


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("0.5 1\n1.5 1\n", [], "p:2: '1.5 1' is not a probability and an outcome"),
        ("0.5\n", [], "p:1: '0.5' is not"),
        ("", [], "there are no probabilities"),
        ("0.5 1\n", ["--name", "words"], "--name has no effect"),
        ("{", [], "p is not valid JSON"),
        ("{}", [], "p has 0 reliabilities"),
        (json.dumps(STORED), [], "choose one with --name words, sentences.raw"),
        (json.dumps(STORED), ["--name", "x"], "p has 0 reliabilities named x"),
        ('{"bins": [{"low": 1}]}', [], "the bins need the numbers"),
        (json.dumps({"bins": [{**BIN, "share_right": None}]}), [], "the bins need the numbers"),
        (json.dumps(STORED["words"]), ["--bins", "3"], "--bins has no effect"),
    ],
)
def test_errors_of_reliability_are_one_line(
    capsys: pytest.CaptureFixture[str], content: str, options: list[str], message: str
) -> None:
    Path("p").write_text(content)
    assert draw.main(["reliability", "p", *options, "--output", "x.svg"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), err[:7]) == ("", 1, "error: ")
    assert message in err
    assert not Path("x.svg").exists()
