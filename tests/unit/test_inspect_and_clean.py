"""`python -m seq2seq.data inspect` and `clean`: reports, outputs, rejects, and what is refused."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from seq2seq.cli.data import clean
from seq2seq.cli.data.app import main
from seq2seq.data.text.inspection import Inspection, LeakCheck, report

PAIRS = [
    ("The old man is reading a newspaper.", "Der alte Mann liest gerade eine Zeitung."),
    ("Where does she live?", "Wo wohnt sie?"),
    ("", "Nichts."),
    ("Where does she live?", "Wo wohnt sie?"),
    ("This was not translated.", "This was not translated."),
    ("See https://example.org", "Siehe dort"),
    ("He comes from over there.", "Er kommt von drÃ¼ben."),
    ("Where does she live?", "Wo lebt sie?"),
    ("We saw it in 1995.", "Wir sahen es 2008."),
    ("\x1b[31mRed\u202e", "<script>alert('&')</script>"),
    ("A Russian sentence.", "Это по-русски."),
]
LANGUAGES = ("--src-lang", "en", "--tgt-lang", "de")


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    names = [str(tmp_path / name) for name in ("a.en", "a.de")]
    for name, side in zip(names, zip(*PAIRS, strict=True), strict=True):
        Path(name).write_text("".join(line + "\n" for line in side), encoding="utf-8", newline="\n")
    return names


def inspected(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    assert main(["inspect", *argv, "--json"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_inspect_finds_each_fault_with_its_line(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    result = inspected(capsys, *files, *LANGUAGES)
    assert result["pairs"] == len(PAIRS)
    found = {f["name"]: [e["line"] for e in f["examples"]] for f in result["findings"] if f["pairs"]}
    assert found == {
        "empty": [3],
        "control_characters": [10],
        "mojibake": [7],
        "identical": [5],
        "script": [11],
        "num_mismatch": [9],
        "url_mismatch": [6],
        "terminal_punctuation": [3],
        "deduplicate": [4],
        "deduplicate:by=src": [4, 8],
        "deduplicate:by=tgt": [4],
    }
    source = result["sides"]["source"]
    assert source["words"] == sum(len(src.split()) for src, _ in PAIRS)
    assert source["longest"][0]["line"] == 1
    assert sum(source["lengths"].values()) == len(PAIRS)
    assert result["most_repeated"] == [{"times": 2, "source": PAIRS[1][0], "target": PAIRS[1][1]}]


def test_inspect_counts_leaks_of_held_out_text(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "test.de").write_text("WO WOHNT SIE?\nNeu.\n\n")
    (tmp_path / "test.tsv").write_text("Where does she live?\tWo wohnt sie?\n")
    leaks = inspected(capsys, *files, "--against", str(tmp_path / "test.de"), str(tmp_path / "test.tsv"))["leaks"]
    assert [(leak["sentences"], leak["leaked"], leak["in_source"], leak["in_target"]) for leak in leaks] == [
        (2, 1, 0, 1),
        (2, 2, 1, 1),
    ]
    assert [example["line"] for example in leaks[0]["examples"]] == [2, 4]


def test_inspect_identifies_languages_of_a_sample_only_if_asked(
    files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert inspected(capsys, *files, *LANGUAGES)["languages"]["pairs"] == 0
    assert inspected(capsys, *files, *LANGUAGES, "--lang-id", "4")["languages"]["pairs"] == 4
    result = inspected(capsys, *files, *LANGUAGES, "--lang-id", "all")
    assert result["languages"]["pairs"] == len(PAIRS)
    found = next(f for f in result["findings"] if f["name"] == "lang_id")
    assert [example["line"] for example in found["examples"]] == [5, 6, 10]  # the others are German or too short
    assert "give --src-lang" in inspected(capsys, *files, "--lang-id")["notes"][-1]


def test_inspect_finds_characters_that_a_vocabulary_lacks(
    tmp_path: Path, files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["where does she live", "wo wohnt sie"] * 20),
        model_prefix=str(tmp_path / "m"),
        vocab_size=20,
        model_type="char",
        pad_id=0,
        unk_id=1,
        bos_id=2,
        eos_id=3,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    Path(files[0]).write_text("where\nwhere? Ω\n")
    Path(files[1]).write_text("wo\nwo\n")
    result = inspected(capsys, *files, "--model", str(tmp_path / "m.model"))
    assert result["missing_characters"] == {"?": 1, "Ω": 1}
    assert next(f for f in result["findings"] if f["name"] == "vocabulary")["examples"][0]["line"] == 2


def test_the_table_shows_hostile_text_and_obeys_none(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", *files, *LANGUAGES]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert r"\x1b[31mRed\u202e | <script>" in out
    assert "line 7: He comes" in out


class Page(HTMLParser):
    """Collects the tags of a page and checks that they are balanced."""

    VOID = ("meta",)

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_escapes_text_and_needs_no_network(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", *files, *LANGUAGES, "--html", str(tmp_path / "page.html"), "--lang-id", "5"]) == 0
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert page.open == []
    assert "script" not in page.tags
    assert {"svg", "rect", "bdi", "table"} <= set(page.tags)
    assert not {"src", "href", "onload"} & {name for name, _ in page.attributes}
    assert "prefers-color-scheme: dark" in text
    assert "\x1b" not in text
    assert re.search(r"<bdi>\\x1b\[31mRed\\u202e</bdi>", text)
    assert "<bdi>&lt;script&gt;alert(&#x27;&amp;&#x27;)&lt;/script&gt;</bdi>" in text


def test_clean_writes_what_it_keeps_and_counts_the_rest(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, rejects = tmp_path / "out.tsv.gz", tmp_path / "rejects.tsv"
    argv = ["clean", *files, *LANGUAGES, "--output", str(out), "--rejects", str(rejects), "--json"]
    assert main(argv) == 0
    result = json.loads(capsys.readouterr().out)
    kept = gzip.decompress(out.read_bytes()).decode().splitlines()
    assert kept == ["\t".join(PAIRS[i]) for i in (0, 1)] + [
        "He comes from over there.\tEr kommt von drüben.",
        *("\t".join(PAIRS[i]) for i in (7, 8)),
    ]
    rows = [line.split("\t") for line in rejects.read_text().splitlines()]
    assert [(reason.partition(":")[0], number) for reason, number, *_ in rows] == [
        ("empty", "3"),
        ("deduplicate", "4"),
        ("identical", "5"),
        ("url_mismatch", "6"),
        ("control_characters", "10"),
        ("script", "11"),
    ]
    assert result["input"] == len(PAIRS)
    assert result["kept"] == len(kept)
    assert result["input"] == result["kept"] + sum(f["removed"] for f in result["filters"])
    assert next(f for f in result["filters"] if f["filter"] == "mojibake")["changed"] == 1
    assert next(f for f in result["filters"] if f["filter"] == "empty")["examples"][0]["line"] == 3


def test_clean_writes_to_stdout_and_its_table_to_stderr(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path(files[0]).write_text("a\n\n")
    Path(files[1]).write_text("b\nc\n")
    assert main(["clean", *files, "--filter", "empty"]) == 0
    out, err = capsys.readouterr()
    assert out == "a\tb\n"
    assert "kept" in err


def test_clean_writes_two_files(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    src, tgt = tmp_path / "out.en", tmp_path / "out.de"
    only = ["--filter", "deduplicate", "--filter", "empty"]
    assert main(["clean", *files, *only, "--output-src", str(src), "--output-tgt", str(tgt)]) == 0
    table = capsys.readouterr().out
    assert re.search(r"^kept +9 +81.82%", table, re.MULTILINE)
    kept = [pair for i, pair in enumerate(PAIRS) if i not in (2, 3)]
    assert src.read_text().split("\n") == [*(pair[0] for pair in kept), ""]
    assert tgt.read_text().split("\n") == [*(pair[1] for pair in kept), ""]


def test_clean_says_what_it_left_out_for_want_of_languages(
    files: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["clean", *files, "--output", str(tmp_path / "out")]) == 0
    assert "the filter script needs the languages" in caplog.text
    assert main(["clean", *files, "--filter", "script", "--output", str(tmp_path / "out")]) == 2
    assert "--src-lang" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--filter", "nonsense"], "nonsense"),
        (["--preset", "nonsense"], "harmless, light, strict"),
        (["--filter", "length_ratio:max=0"], "1 ≤ max"),
        (["--without", "lang_id"], "not in use"),
        (["--output-src", "x"], "--output-tgt"),
        (["--output", "x", "--output-src", "y", "--output-tgt", "z"], "--output"),
        (["--json"], "--output FILE"),
        (["--output", "x", "--rejects", "x"], "x is named twice as output"),
        (["--examples", "-1"], "at least 0"),
    ],
)
def test_bad_options_of_clean_are_one_line(
    argv: list[str], words: str, files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["clean", *files, *argv]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert words in err


def test_an_output_may_not_be_an_input(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    before = Path(files[0]).read_bytes()
    assert main(["clean", *files, "--output", files[0]]) == 2
    assert "both input and output" in capsys.readouterr().err
    assert Path(files[0]).read_bytes() == before


def test_an_output_may_not_be_a_text_that_overrides_name_nor_a_model(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Path(files[0]).read_bytes()
    model = tmp_path / "best.safetensors"
    model.write_bytes((Path(__file__).parents[1] / "model_files" / "version_2.safetensors").read_bytes())
    filters = tmp_path / "filters"
    filters.write_text("empty\n")
    corpus = ["data=files", "data.src=en", "data.tgt=de", f"data.train.src={files[0]}", f"data.train.tgt={files[1]}"]
    for inputs, output, words in (
        (corpus, ["--output", files[0]], "both input and output"),
        (files, ["--output", str(tmp_path / "x"), "--rejects", str(model)], f"--rejects {model} is a model"),
        (files, ["--preset", str(filters), "--output", str(filters)], "both input and output"),
    ):
        assert main(["clean", *inputs, *output]) == 2
        assert words in capsys.readouterr().err
    for options in (["--html", files[0]], ["--against", str(model), "--html", str(model)]):
        assert main(["inspect", *files, *options]) == 2
        assert "both input and output" in capsys.readouterr().err
    assert main(["inspect", *files, "--html", str(tmp_path)]) == 2
    assert f"--html {tmp_path} is a folder" in capsys.readouterr().err
    page = str(Path(files[0], "page.html"))
    assert main(["inspect", *files, "--html", page]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"error: cannot write {page}")
    assert printed.out == ""
    assert Path(files[0]).read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.de", "a.en", "best.safetensors", "filters"]


def test_tabs_and_line_breaks_of_a_sentence_become_spaces_and_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a").write_text("x\ty\nz\n")
    (tmp_path / "b").write_text("1\n2\n")
    out = tmp_path / "out"
    assert main(["clean", str(tmp_path / "a"), str(tmp_path / "b"), "--filter", "empty", "--output", str(out)]) == 0
    assert out.read_text() == "x y\t1\nz\t2\n"
    assert "1 sentences had a tab" in capsys.readouterr().out


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_clean_that_is_killed_leaves_the_old_files(files: list[str], tmp_path: Path, end: signal.Signals) -> None:
    outputs = [tmp_path / name for name in ("out.en", "out.de", "rejects")]
    for output in outputs:
        output.write_text("old")
    names = ["--output-src", str(outputs[0]), "--output-tgt", str(outputs[1]), "--rejects", str(outputs[2])]
    process = os.fork()
    if not process:
        judge = clean._one_line

        def killed(line: str) -> str:
            if line == PAIRS[-3][0]:
                os.kill(os.getpid(), end)
            return judge(line)

        clean._one_line = killed  # the signal comes while the files are half written
        os._exit(main(["clean", *files, "--filter", "empty", *names]))
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == (-9 if end is signal.SIGKILL else 130)
    assert [output.read_text() for output in outputs] == ["old"] * 3
    assert main(["clean", *files, "--filter", "empty", *names]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.de", "a.en", "out.de", "out.en", "rejects"]


MIDDLE = ("2.38", "2.83", "3.36", "4.00", "4.76", "5.66", "6.73")


def test_quantiles_and_ratios() -> None:
    inspection = Inspection({})
    for words in (1, 1, 2, 8):
        inspection.add(("w " * words, "x"))
    side = inspection.sides[0]
    assert [side.quantile(share) for share in (0.0, 0.5, 0.75, 1.0)] == [1, 1, 2, 8]
    assert report(inspection, {}, None, [])["ratios"] == (
        {"1.00": 2, "1.19": 0, "1.41": 0, "1.68": 0, "2.00": 1} | dict.fromkeys(MIDDLE, 0) | {"8.00": 1}
    )


def test_no_pairs_is_no_error_of_arithmetic() -> None:
    inspection = Inspection({}, sample=3)
    inspection.finish()
    assert inspection.sides[0].quantile(0.5) == 0
    assert LeakCheck({"x": []}, 1).leaks["x"].leaked == 0
