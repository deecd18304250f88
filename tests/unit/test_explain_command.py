"""`python -m seq2seq.explain` in this process: what it prints and writes, and errors of one line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from seq2seq import explain
from seq2seq.cli.explanation_text import aligned, bars
from seq2seq.inference.explanation import explain as explain_text
from seq2seq.inference.translator import Translator
from seq2seq.storage.model_file import save_model
from tiny_model import make_model

TEXT, OUTPUT = "pack my box", "how lazy"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    save_model(folder / "model.safetensors", make_model(folder / "cache"))
    return str(folder / "model.safetensors")


@pytest.fixture
def run(model: str, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the command; return its status and what it printed."""

    def run(*arguments: str) -> tuple[int, str, str]:
        status = explain.main([model, "--device", "cpu", *arguments])
        return status, *capsys.readouterr()

    return run


def test_the_text_names_what_moved_each_word(run: Any, model: str) -> None:
    status, out, err = run("--text", TEXT, "--tgt", OUTPUT, "--integrated-gradients", "4")
    assert (status, err) == (0, "")
    found = explain_text(Translator.load(model, device="cpu", precision="fp32"), TEXT, OUTPUT)
    head, words, layers = (block.splitlines() for block in out.split("\n\n"))
    assert [line.split()[1:] for line in head[:2]] == [TEXT.split(), OUTPUT.split()]
    columns = [row.split("  ") for row in (re.sub(" {2,}", "  ", line) for line in words)]
    assert columns[0] == ["word", "p", "removed", "saliency", "attention", "integrated gradients"]
    for row, name, falls in zip(columns[1:3], OUTPUT.split(), found.occlusion, strict=True):
        most = max(range(3), key=lambda i: abs(falls[i]))
        assert row[0] == name
        assert row[2].startswith(f"{TEXT.split()[most]} {falls[most]:.2f}")
    assert "wrong by at most" in words[-1]
    assert [line.split()[0] for line in layers[1:4]] == ["encoder.1.forward", "encoder.1.backward", "decoder.1"]
    means = found.layers[-1].gates["forget"].mean
    assert f"{sum(means) / len(means):.2f} (" in layers[3]


def test_json_has_all_figures(run: Any, model: str, tmp_path: Path) -> None:
    output = tmp_path / "found.json"
    status, out, err = run("--text", TEXT, "--json", "--output", str(output))
    assert (status, err) == (0, "")
    found = explain_text(Translator.load(model, device="cpu", precision="fp32"), TEXT)
    assert json.loads(out) == found.to_dict()
    assert output.read_text(encoding="utf-8") == out


def test_each_line_of_a_file_is_explained(run: Any, tmp_path: Path) -> None:
    (tmp_path / "input").write_text(f"{TEXT}\n\nhow\n{'x' * 300}\n", encoding="utf-8")
    status, out, err = run("--input", str(tmp_path / "input"), "--json")
    records = [json.loads(line) for line in out.splitlines()]
    assert (status, [record["line"] for record in records]) == (0, [1, 2, 3, 4])
    assert [record.get("error", "")[:12] for record in records] == ["", "the text is ", "", "the text has"]
    assert [line[:16] for line in err.splitlines()] == ["warning: line 2:", "warning: line 4:"]
    status, out, err = run("--input", str(tmp_path / "input"))
    assert [line.split() for line in out.splitlines() if line.startswith("line")] == [["line", "1"], ["line", "3"]]


def test_a_page_shows_all_sentences(run: Any, tmp_path: Path) -> None:
    (tmp_path / "input").write_text("pack <b>\nhow\n", encoding="utf-8")
    status, _, err = run("--input", str(tmp_path / "input"), "--output", str(tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert (status, err) == (0, "")
    assert page.count('class="heat"') == 6  # three matrices of two sentences
    assert "pack &lt;b&gt;" in page
    assert "<b>" not in page


def test_a_page_is_bounded_and_says_so(model: str) -> None:
    translator = Translator.load(model, device="cpu", precision="fp32")
    record = explain.Record(1, explain_text(translator, TEXT, OUTPUT, integrated_steps=2))
    page = explain._page(record for _ in range(explain.MAX_SHOWN + 3))
    assert page.count("<h3>") == explain.MAX_SHOWN
    assert page.count('class="heat"') == 4 * explain.MAX_SHOWN  # with integrated gradients
    assert "The first 100 of 103 sentences" in page
    assert "The matrices have" not in page
    long = explain.Record(1, explain_text(translator, "a " * 43, OUTPUT))
    assert "The matrices have the first 40 of the 43 source words." in explain._page([long])


def test_hostile_text_is_not_obeyed(run: Any) -> None:
    status, out, _ = run("--text", "pa\x1b[31m\u202eck\u200b \x9b2J", "--tgt", "how\x1b]0;x\x07")
    assert status == 0
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u202e]", out)
    assert r"pa\x1b[31m\u202eck\u200b" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give either --text TEXT or --input FILE"),
        (("--text", "a", "--input", "x"), "give either --text TEXT or --input FILE"),
        (("--input", "no/such", "--tgt", "a"), "--tgt is the translation of --text"),
        (("--input", "no/such"), "cannot read no/such"),
        (("--text", ""), "the text is empty"),
        (("--text", "a", "--tgt", ""), "the given translation is empty"),
        (("--text", "x" * 300), ": explain one sentence at a time"),
        (("--text", "a", "--tgt-lang", "de"), "--tgt-lang de is not a language of the model"),
        (("--text", "a", "--output", "x.txt"), "end the name in .json or .html"),
        (("--text", "a", "--integrated-gradients", "0"), "0 is not at least 1"),
        (("--text", "a", "--text", "b"), "--text is given twice"),
    ],
)
def test_errors_are_one_line(arguments: tuple[str, ...], message: str, run: Any) -> None:
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1


def test_the_output_is_not_the_model(run: Any, model: str, tmp_path: Path) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(model)
    status, _, err = run("--text", "a", "--output", str(link))
    assert status == 2
    assert "input and output" in err


def test_bars_and_columns() -> None:
    assert bars([1.0, 0.316, 0.1, 1e-3, 1e-9, 0.0, 1.0]) == "█▇▆▂▁▁█"
    assert bars([0.0, 0.0]) == "▁▁"
    assert aligned([["你好", "a"], ["b", "c"]]) == "你好  a\nb     c\n"  # a wide character takes two cells


def test_an_output_that_cannot_be_written_is_an_error_before_the_model_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert explain.main(["no-model", "--text", TEXT, "--output", str(tmp_path / "file" / "page.html")]) == 2
    assert capsys.readouterr().err.startswith(f"error: cannot write {tmp_path / 'file' / 'page.html'}")
