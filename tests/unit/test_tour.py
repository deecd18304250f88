"""The tour: every block of Python runs and prints what the text says."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from scaling import LONG

ROOT = Path(__file__).resolve().parents[2]
TOUR = ROOT / "docs" / "explanation" / "tour.md"
SHOWN = "# > "  # begins a line that was printed
NO_PLOTS = importlib.util.find_spec("matplotlib") is None
CLOSE = 0.05  # of numbers: another CPU rounds otherwise


class Block(NamedTuple):
    line: int  # of the first line of code in the file, from 1
    code: str

    @property
    def shown(self) -> list[str]:
        """What the text says is printed."""
        return [line.removeprefix(SHOWN) for line in self.code.splitlines() if line.startswith(SHOWN)]

    @property
    def draws(self) -> bool:
        return "matplotlib" in self.code


def blocks(text: str) -> list[Block]:
    found = re.finditer(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [Block(text.count("\n", 0, match.start(1)) + 1, match[1]) for match in found]


def alike(said: str, shown: str) -> bool:
    """Tell whether two lines have the same words and nearly the same numbers.

    Numbers with an exponent are compared by their size alone: a network whose gradient explodes is chaotic, and
    rounding, which differs with the number of threads, changes every digit.
    """
    words, expected = said.split(), shown.split()
    return len(words) == len(expected) and all(map(_same, words, expected))


def _same(word: str, expected: str) -> bool:
    try:
        if "e" in expected:
            return abs(math.log10(float(word) / float(expected))) < 0.7
        return math.isclose(float(word), float(expected), rel_tol=CLOSE)
    except ValueError:
        return word == expected


def run(block: Block, namespace: dict[str, Any]) -> str:
    """Run a block and return what it prints; a traceback names the line of the tour."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(compile("\n" * (block.line - 1) + block.code, str(TOUR), "exec"), namespace)
    return said.getvalue()


def test_every_block_runs_and_prints_what_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the figure is saved here
    namespace: dict[str, Any] = {"__name__": "tour"}
    found = blocks(TOUR.read_text(encoding="utf-8"))
    assert len(found) > 10
    for block in found:
        if block.draws:  # needs the extra `plots`, and later blocks do not need it
            continue
        said = run(block, namespace).splitlines()
        assert len(said) == len(block.shown), f"line {block.line}: {said}"
        for line, shown in zip(said, block.shown, strict=True):
            assert alike(line, shown), f"block at line {block.line}: prints {line!r}, not {shown!r}"


@pytest.mark.skipif(NO_PLOTS, reason="needs the extra `plots`")
@pytest.mark.filterwarnings("ignore")
def test_the_figure_can_be_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    found = blocks(TOUR.read_text(encoding="utf-8"))
    (number,) = (number for number, block in enumerate(found) if block.draws)
    namespace: dict[str, Any] = {"__name__": "tour"}
    for block in found[: number + 1]:
        run(block, namespace)
    assert (tmp_path / "vanishing.svg").stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.skipif(not LONG, reason="the blocks run above; make test-long runs them in a notebook, too")
@pytest.mark.filterwarnings("ignore")
def test_the_notebook_prints_what_is_shown(tmp_path: Path) -> None:
    import jupytext
    from nbclient import NotebookClient

    notebook = jupytext.read(TOUR)
    NotebookClient(notebook, resources={"metadata": {"path": tmp_path}}).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell, block in zip(cells, blocks(TOUR.read_text(encoding="utf-8")), strict=True):
        said = "".join(output.text for output in cell.outputs if output.output_type == "stream").splitlines()
        assert len(said) == len(block.shown), f"line {block.line}: {said}"
        for line, shown in zip(said, block.shown, strict=True):
            assert alike(line, shown), f"block at line {block.line}: prints {line!r}, not {shown!r}"


def test_pictures_and_files_that_the_tour_names_are_there() -> None:
    text = TOUR.read_text(encoding="utf-8")
    linked = re.findall(r"\]\(([\w./]+)\)", text)
    named = re.findall(r"`((?:seq2seq|tests|scripts)/[\w./]+\.\w+)`", text)
    assert linked
    assert named
    assert [name for name in linked if not (TOUR.parent / name).is_file()] == []
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_contents_lead_to_headings() -> None:
    text = TOUR.read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    linked = re.findall(r"\]\(#(.*?)\)", text)
    assert len(linked) == 11
    assert set(linked) <= anchors


@pytest.mark.parametrize(
    ("said", "shown", "same"),
    [
        ("rnn 1.00e-07", "rnn 2.00e-07", True),
        ("rnn 1.00e-07", "rnn 7.00e-07", False),
        ("lstm 526336", "lstm 526340", True),
        ("lstm 526336", "lstm 626336", False),
        ("rnn 1.0", "lstm 1.0", False),
        ("rnn", "rnn 1.0", False),
    ],
)
def test_numbers_may_differ_a_little(said: str, shown: str, same: bool) -> None:
    assert alike(said, shown) is same


def test_a_block_knows_its_line() -> None:
    (block,) = blocks("a\n\n```python\nx = 1\nprint(x)\n# > 1\n```\n")
    assert (block.line, block.shown) == (4, ["1"])
    with pytest.raises(ZeroDivisionError) as caught:
        run(Block(7, "1 / 0\n"), {})
    assert caught.traceback[-1].lineno == 6  # counted from 0
