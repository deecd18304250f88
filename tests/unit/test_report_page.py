"""The page of a run: complete, bounded, the same for the same run, and harmless whatever the sentences are."""

from __future__ import annotations

import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from sacrebleu.metrics import CHRF

from report_run import HOSTILE, make_run
from seq2seq.data.text.visible import visible
from seq2seq.report import main
from seq2seq.reporting.charts import MAX_POINTS, Line, Scale, lines, thin
from seq2seq.reporting.report_page import page
from seq2seq.reporting.sentence_part import MAX_CHARACTERS, MAX_WORDS, words
from seq2seq.reporting.sentences import choose, links

FAST = ("--device", "cpu", "--beam-size", "1", "--max-length-ratio", "0.2", "--max-length-extra", "5")


class Parsed(HTMLParser):
    """Elements, attributes and text of a page."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: dict[str, list[str]] = {"src": [], "bdi": [], "script": [], "style": [], "h2": []}
        self._src = False
        self.feed(content)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attributes]
        if tag not in ("meta", "br"):
            self.open.append(tag)
        if tag == "dd" and ("class", "src") in attributes:
            self._src = True
            self.texts["src"].append("")
        elif tag in self.texts:
            self.texts[tag].append("")

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attributes]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self._src = self._src and tag != "dd"

    def handle_data(self, data: str) -> None:
        if self._src:
            self.texts["src"][-1] += data
        elif self.open and self.open[-1] in self.texts:
            self.texts[self.open[-1]][-1] += data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    make_run(folder)
    make_run(folder, "other <b>")
    return folder


@pytest.fixture(scope="module")
def result(folder: Path) -> dict[str, Any]:
    """What the page of two runs shows."""
    import contextlib
    import io

    text = ("--src", str(folder / "src"), "--ref", str(folder / "ref"))
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        against = ("--against", str(folder / "other <b>"), "--explain", "1", "--sentences", "12")
        assert main([str(folder / "run"), *text, *against, *FAST, "--json"]) == 0
    loaded: dict[str, Any] = json.loads(out.getvalue())
    return loaded


def test_hostile_sentences_are_shown_and_not_obeyed(result: dict[str, Any]) -> None:
    content = page(result)
    parsed = Parsed(content)
    assert parsed.open == []
    assert sorted(parsed.texts["src"]) == sorted(
        visible(line[:MAX_CHARACTERS], MAX_CHARACTERS) + "…" * (len(line) > MAX_CHARACTERS) for line in HOSTILE
    )
    assert parsed.tags.count("script") == 1
    assert not set(parsed.tags) & {"img", "link", "iframe", "object", "base", "form", "b", "i"}
    names = {name for name, _ in parsed.attributes}
    assert not {name for name in names if name.startswith("on")} | names & {"src", "style", "srcset", "action"}
    assert all(value.startswith("#") for name, value in parsed.attributes if name == "href")
    assert not re.search("[\0\x1b\x85\u2028\u2029\u202a-\u202e\u2066-\u2069\u200e\u200f]", content.split("<script>")[0])
    assert "http" not in re.sub("http-equiv|http://www.w3.org", "", content)


def test_the_policy_allows_the_page_s_own_style_and_script_alone(result: dict[str, Any]) -> None:
    import base64
    import hashlib

    parsed = Parsed(page(result))
    (policy,) = (value for name, value in parsed.attributes if name == "content" and "default-src" in value)
    assert policy.startswith("default-src 'none';")
    for kind in ("style", "script"):
        (content,) = parsed.texts[kind]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy


def test_every_part_is_there(result: dict[str, Any]) -> None:
    titles = Parsed(page(result)).texts["h2"]
    assert titles[:4] == ["Scores", "Comparison", "Learning curves", "What was trained"]
    assert {"Sentences", "Worst cases", "Where it fails", "Explanations", "Reproduce"} <= set(titles)
    content = page(result)
    for shown in ("1,234,567", "0123abc, with changes", "a processor | of many, 2 threads", "nrefs:1|case:mixed"):
        assert shown in content
    assert "2026-01-02T03:04:05" in content
    assert content.count('<figure class="chart">') >= 6
    assert "prefers-color-scheme: dark" in content


def test_a_sentence_is_scored_once(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And once more for the score of the whole set, which may ignore case."""
    scored: Counter[str] = Counter()
    count = CHRF._compute_segment_statistics

    def counting(metric: CHRF, hypothesis: str, references: dict[str, Any]) -> list[int]:
        scored[hypothesis] += 1
        return count(metric, hypothesis, references)

    monkeypatch.setattr(CHRF, "_compute_segment_statistics", counting)
    text = ("--src", str(folder / "src"), "--ref", str(folder / "ref"))
    assert main([str(folder / "run"), *text, *FAST, "--explain", "1", "--json"]) == 0
    capsys.readouterr()
    assert sum(scored.values()) == 2 * len(HOSTILE)


def test_the_same_run_gives_the_same_page(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = [str(folder / "run"), "--src", str(folder / "src"), "--ref", str(folder / "ref"), *FAST, "--output"]
    pages = []
    for name in ("a.html", "b.html"):
        assert main([*argv, str(folder / name)]) == 0
        pages.append((folder / name).read_bytes())
    assert pages[0] == pages[1]
    assert capsys.readouterr().out == f"{folder / 'a.html'}\n{folder / 'b.html'}\n"


def test_without_a_test_set_the_recorded_scores_are_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The corpus of the model cannot be had, which is a warning; the scores are those of metrics.jsonl."""
    empty = folder / "empty"
    empty.mkdir(exist_ok=True)
    (folder / "run" / "config.yaml").touch()
    import seq2seq.cli.model_corpus as corpora
    from seq2seq.errors import DownloadError

    def unreachable(*_: object) -> None:
        raise DownloadError("there is no network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpora, "corpus_config", unreachable)
        assert main([str(folder / "run"), "--output", str(folder / "c.html"), "--device", "cpu"]) == 0
    content = (folder / "c.html").read_text(encoding="utf-8")
    assert "12.25" in content
    assert "&lt;i&gt;test&lt;/i&gt;" in content
    assert "Nothing was translated: there is no network" in content
    assert "Worst cases" not in content


def test_what_is_missing_is_noted(folder: Path) -> None:
    alone = folder / "alone.safetensors"
    alone.write_bytes((folder / "run" / "best.safetensors").read_bytes())
    damaged = make_run(folder, "damaged")
    (damaged / "provenance.json").write_text('[{"versions": 5, "platform": [], "code": "x", "pairs": 3}]')
    (damaged / "metrics.jsonl").unlink()
    text = ("--src", str(folder / "src"), "--ref", str(folder / "ref"), *FAST)
    for run, note in ((alone, "is not in its run folder"), (damaged, "There are no learning curves")):
        assert main([str(run), *text, "--output", str(folder / "d.html")]) == 0
        content = (folder / "d.html").read_text(encoding="utf-8")
        assert note in content
        assert "Learning curves</a>" not in content


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing"], "no model at"),
        (["run", "--src", "src"], "--src and --ref need each other"),
        (["run", "--against", "run/best.safetensors"], "the same model is given twice"),
        (["run", "--card", "--sentences", "3"], "--sentences has no effect with --card"),
        (["run", "--json", "--output", "x"], "--json prints on standard output"),
        (["run", "--output", "run/best.safetensors"], "is both input and output"),
        (["run", "--output", "src", "--src", "src", "--ref", "ref"], "is both input and output"),
        (["run", "--output", "file/page.html", "--src", "src", "--ref", "ref"], "cannot write file/page.html"),
        (["run", "--src", "src", "--ref", "short"], "they are not parallel"),
        (["run", "--sentences", "2001"], "is more than 2000"),
    ],
)
def test_errors_are_one_line(
    folder: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    (folder / "file").touch()
    (folder / "short").write_text("one\n")
    assert main([*arguments, "--device", "cpu"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_runs_of_other_languages_are_not_compared(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import dataclasses

    from seq2seq.storage.model_file import save_model
    from tiny_model import make_model

    model = make_model(folder / "cache")
    data = dataclasses.replace(model.config.data, tgt="de")
    german = dataclasses.replace(model, config=dataclasses.replace(model.config, data=data))
    save_model(folder / "german.safetensors", german)
    text = ("--src", str(folder / "src"), "--ref", str(folder / "ref"))
    assert main([str(folder / "run"), "--against", str(folder / "german.safetensors"), *text, "--device", "cpu"]) == 2
    assert "translates en → de, but" in capsys.readouterr().err


def test_a_page_that_cannot_be_written_does_not_fail_the_run(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The end of a training: the card is there, the page is a folder, and a warning says so."""
    from seq2seq.inference.translator import Translator
    from seq2seq.reporting.finished_run import document_run
    from seq2seq.storage.model_file import read_card, read_config

    run = make_run(folder, "finished")
    (run / "report.html").mkdir()
    translator, config = Translator.load(run, device="cpu"), read_config(run)
    assert document_run(run, translator, config, [], []) is None
    assert "report.html is not complete" in caplog.text
    assert f"python -m seq2seq.report {run}" in caplog.text
    assert read_card(run) == (run / "model-card.md").read_text(encoding="utf-8")
    (run / "report.html").rmdir()
    assert document_run(run, translator, config, [], []) == run / "report.html"


def test_what_cannot_be_compared_does_not_fail_the_run(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The end of a training computes intervals for the report alone, and goes on without them."""
    import dataclasses

    from seq2seq.inference.translation import Translation
    from seq2seq.inference.translator import Translator
    from seq2seq.reporting.finished_run import document_run
    from seq2seq.reporting.sentences import TestText
    from seq2seq.storage.model_file import read_config

    run = make_run(folder, "compared")
    translator, config = Translator.load(run, device="cpu"), read_config(run)
    none: list[Translation] = []  # of one sentence
    tests = [(TestText("test", ["a"], ["a"], "fr", "13a"), none)]
    assert document_run(run, translator, config, tests, []) is None
    assert "report.html is not complete (DataError: " in caplog.text
    caplog.clear()
    silent = dataclasses.replace(config, training=dataclasses.replace(config.training, report=False))
    assert document_run(run, translator, silent, tests, []) is None
    assert caplog.text == ""


def test_lines_of_a_large_test_set_are_read_at_equal_distances(folder: Path) -> None:
    from seq2seq.inference.translation import Translation
    from seq2seq.inference.translator import Translator
    from seq2seq.reporting.gather import about_test
    from seq2seq.reporting.sentences import TestText, compared

    lines = [f"the quick fox {number}" for number in range(9)]
    outputs = [Translation(line if number % 2 else "", -1.0, -1.0) for number, line in enumerate(lines)]
    test = compared(TestText("test", lines, lines, "fr", "13a"), {"run": outputs})
    assert test.comparison.sentences == 9
    found = about_test(test, Translator.load(folder / "run", device="cpu"), 4, max_lines=4)
    assert (found["sentences"], found["sentences_read"]) == (9, 4)
    assert {row["line"] for row in found["spread"] + found["worst"]} == {1, 3, 5, 7}
    shown = [row for group in found["analysis"]["examples"] for row in group["rows"]]
    assert all(lines[row["line"] - 1] == row["src"] for row in shown + found["spread"] + found["worst"])
    faults = [lines for by_system in found["analysis"]["faults"].values() for lines in by_system.values() if lines]
    assert [1, 3, 5, 7] in faults
    (table,) = (section for section in found["analysis"]["sections"] if section["title"] == "Faults")
    assert "1, 3, 5, 7" in [row[2] for row in table["rows"]]


def test_each_of_many_test_sets_has_a_sentence(folder: Path) -> None:
    from seq2seq.inference.translation import Translation
    from seq2seq.inference.translator import Translator
    from seq2seq.reporting.gather import gather
    from seq2seq.reporting.run_facts import read_facts
    from seq2seq.reporting.sentences import TestText, compared
    from seq2seq.storage.model_file import read_config

    run = folder / "run"
    translator = Translator.load(run, device="cpu")
    facts = read_facts("run", run, read_config(run), translator.network, translator.tokenizer)
    outputs = {"run": [Translation("", -1.0, -1.0)]}
    tests = [compared(TestText(name, ["the fox"], ["the fox"], "fr", "13a"), outputs) for name in ("a", "b", "c")]
    for sentences, shown in ((2, 1), (0, 0)):
        found = gather([facts], translator, tests, sentences=sentences)["tests"]
        assert [len(test["spread"] + test["worst"]) for test in found] == [shown] * 3


# --- parts -----------------------------------------------------------------------------------------------------------


def test_choose_takes_the_worst_and_spreads_the_others() -> None:
    assert choose([50.0, 10.0, 90.0, 10.0, 70.0, 60.0, 80.0, 5.0], 4) == ([0, 4], [7, 1])
    assert choose([3.0, 2.0, 1.0], 100) == ([0, 1], [2])
    assert choose([], 4) == ([], [])
    assert choose([1.0, 2.0], 0) == ([], [])


def test_links_are_percents_of_the_most_attended_words() -> None:
    assert links([[0.004, 0.5, 0.25], [0.0, 0.0, 0.0]]) == [[[1, 50], [2, 25]], []]


def test_a_nul_is_shown() -> None:
    assert words("a\0b", "") == "<bdi>a\\x00b</bdi>"


def test_words_carry_their_data_and_long_texts_are_cut() -> None:
    assert words("a <b>", "", [{"a": "0:100"}, {"p": "0.25"}]) == (
        '<bdi><span class="w" role="button" tabindex="0" data-a="0:100">a</span> '
        '<span class="w c0" role="button" tabindex="-1" data-p="0.25">&lt;b&gt;</span></bdi>'
    )
    for data in ([], [{"a": ""}]):
        cut = words("w " * (MAX_WORDS + 5), "", data)
        assert cut.count("w") - cut.count('"w"') == MAX_WORDS
        assert cut.endswith("…</bdi>")
        assert len(words("w" * 100_000, "", data)) < MAX_CHARACTERS + 200


def test_a_long_line_keeps_its_ends_and_extremes() -> None:
    ys = [float(x % 7) for x in range(10_000)]
    ys[5003], ys[77] = 100.0, float("nan")
    thinned = thin(Line("run", [float(x) for x in range(10_000)], ys))
    assert len(thinned.xs) <= MAX_POINTS + 2
    assert (thinned.xs[0], thinned.xs[-1]) == (0, 9_999)
    assert 100.0 in thinned.ys


def test_a_scale_places_values_and_names_round_ones() -> None:
    assert Scale(0.0, 10.0, 0.0, 100.0).ticks() == [0, 2, 4, 6, 8, 10]
    assert Scale(0.0, 10.0, 100.0, 0.0)(2.5) == 75
    assert Scale(1.0, 100.0, 0.0, 1.0, logarithmic=True)(10.0) == pytest.approx(0.5)
    assert Scale(1.0, 100.0, 0.0, 1.0, logarithmic=True).ticks() == [1, 2, 5, 10, 20, 50, 100][::2]
    assert Scale(3.0, 3.0, 0.0, 1.0)(3.0) == 0.5


@pytest.mark.parametrize("ys", [[1.0], [0.0, 0.0], [float("nan"), 2.0], [-1e300, 1e300], [1e-12, 1.0]])
def test_any_values_can_be_drawn(ys: list[float]) -> None:
    drawn = lines("a & b", "x", [Line("<run>", [float(x) for x in range(len(ys))], ys)], logarithmic=True)
    assert "nan" not in drawn
    assert "inf" not in drawn
    assert "&lt;run&gt;" in drawn
