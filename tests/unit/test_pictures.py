"""Pictures: every label is inside, in the right order, and in a font that has it; the same picture is the same file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from seq2seq.errors import ConfigError, DataError
from seq2seq.evaluation.reliability import Reliability, reliability
from seq2seq.pictures import fonts
from seq2seq.pictures.attention import MAX_WORDS, alignment_figure, attention_figure
from seq2seq.pictures.figure import save
from seq2seq.pictures.learning_curves import curves_figure
from seq2seq.pictures.reliability import reliability_figure
from seq2seq.pictures.run_metrics import Curves

pytest.importorskip("matplotlib", reason="needs the extra `plots`")

HEBREW, ARABIC = ["הכלב", "רודף", "אחרי", "הכדור."], ["الكلب", "يطارد", "الكرة،"]
MISSING = "\U00010600"  # a sign of Linear A
HAN = "\u65e5"


def even(rows: int, columns: int) -> list[list[float]]:
    return [[1 / max(1, columns)] * columns for _ in range(rows)]


def attention(source: list[str], target: list[str]) -> Any:
    return attention_figure(source, target, even(len(target), len(source)))


def svg(figure: Any, tmp_path: Path) -> str:
    save(figure, tmp_path / "picture.svg")
    return (tmp_path / "picture.svg").read_text(encoding="utf-8")


def texts(content: str) -> list[str]:
    return re.findall(r">([^<>]+)</text>", content)


@pytest.fixture
def no_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install no font but the one in Matplotlib."""
    from matplotlib import font_manager

    monkeypatch.setattr(font_manager, "findSystemFonts", list)
    fonts._cover.cache_clear()


# --- labels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (["a"], ["b"]),
        (["Donaudampfschifffahrtsgesellschaftskapitän"] * 3, ["unquestionably-long-hyphenated-compound"] * 2),
        (["short", "x" * 300], ["y" * 300]),
        ([f"word{i}" for i in range(60)], [f"translation{i}" for i in range(60)]),
        (list("abc"), ["z"] * 70),
        (HEBREW, ARABIC),
    ],
    ids=["one word", "long words", "endless words", "60 words", "70 rows", "right to left"],
)
def test_every_label_is_inside_the_picture(source: list[str], target: list[str]) -> None:
    for figure in (attention(source, target), alignment_figure(source, target, [(0, 0)], [(0, 0)], [])):
        box = figure.get_tightbbox()
        width, height = figure.get_size_inches()
        assert 0 < box.x0 < box.x1 < width
        assert 0 < box.y0 < box.y1 < height


def test_cells_are_squares_whose_size_depends_on_their_number() -> None:
    sizes = []
    for words in (5, 60):
        figure = attention(["a"] * words, ["b", "c"])
        box = figure.axes[0].get_window_extent()
        assert box.width / words == pytest.approx(box.height / 2)
        sizes.append(box.width / words)
    assert sizes[1] < 0.7 * sizes[0]


def test_labels_are_text_whatever_they_contain(tmp_path: Path) -> None:
    shown = texts(svg(attention(["$x_1$", "<b>&", "\\frac", "a\tb", "\x1b[31m"], ["$5", "\ue000"]), tmp_path))
    for label in ("$x_1$", "&lt;b&gt;&amp;", "\\frac", "a b", "\\x1b[31m", "$5", "\\ue000"):
        assert label in shown


def test_weights_are_written_from_a_tenth(tmp_path: Path) -> None:
    shown = texts(svg(attention_figure(["a", "b", "c"], ["d"], [[0.04, 0.25, 1.0]]), tmp_path))
    assert [text for text in shown if re.fullmatch(r"[.0-9]+", text)] == [".2", "1.0"]


def test_a_picture_needs_words_and_not_too_many() -> None:
    for source, target in ([], ["a"]), (["a"], []), (["a"] * (MAX_WORDS + 1), ["b"]):
        with pytest.raises(DataError):
            attention(source, target)


# --- scripts ---------------------------------------------------------------------------------------------------------


def columns(figure: Any) -> list[str]:
    """Return the labels of the columns from left to right."""
    labels = figure.axes[0].get_xticklabels()
    return [label.get_text() for label in sorted(labels, key=lambda label: label.get_window_extent().x0)]


def test_columns_run_in_the_direction_of_the_source() -> None:
    assert columns(attention(HEBREW, ["a"])) == HEBREW[::-1]
    assert columns(attention(["(1)", *ARABIC], ["a"])) == [*ARABIC[::-1], "(1)"]
    assert columns(attention(["The", "dog", *HEBREW], HEBREW)) == ["The", "dog", *HEBREW]


def test_a_right_to_left_text_keeps_its_full_stop_in_an_svg(tmp_path: Path) -> None:
    """Letters stay in logical order, between marks: without them a viewer shows the full stop on the right."""
    shown = texts(svg(attention(HEBREW, ["ball."]), tmp_path))
    assert "\u200fהכדור.\u200f" in shown
    assert "ball." in shown


@pytest.mark.parametrize("ending", ["png", "pdf"])
def test_right_to_left_text_is_drawn_or_refused(tmp_path: Path, ending: str) -> None:
    if fonts.needs_shaping(ARABIC[0]):
        with pytest.raises(ConfigError, match=r"write an \.svg"):
            save(attention(ARABIC, ["a"]), tmp_path / f"x.{ending}")
    else:
        save(attention(ARABIC, ["a"]), tmp_path / f"x.{ending}")


def test_joined_letters_are_narrower_than_single_ones() -> None:
    """Arabic letters in a word have other forms than alone."""
    if fonts.needs_shaping(ARABIC[0]):
        pytest.skip("this Matplotlib does not join letters")
    joined, *single = attention([ARABIC[1]], [ARABIC[1], *ARABIC[1]]).axes[0].get_yticklabels()
    assert joined.get_window_extent().width < 0.9 * sum(label.get_window_extent().width for label in single)


# --- fonts -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_fonts")
def test_a_missing_font_is_an_error_that_names_characters_and_package(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    figure = attention([HAN, "\u672c"], ["a", "\U0001f9e0", MISSING])
    for ending in ("png", "pdf"):
        with pytest.raises(ConfigError) as caught:
            save(figure, tmp_path / f"x.{ending}")
        message = str(caught.value)
        for part in (f"{HAN} (U+65E5)", "U+672C", "U+1F9E0", "fonts-noto-cjk", "fonts-symbola", "fonts-noto-core"):
            assert part in message
        assert "\n" not in message
    assert not list(tmp_path.iterdir())
    assert f">{HAN}<" in svg(figure, tmp_path)  # the viewer chooses the font
    assert "U+65E5" in caplog.text


@pytest.mark.usefixtures("no_fonts")
def test_many_missing_characters_are_counted() -> None:
    message = fonts.describe_missing(map(chr, range(0x4E00, 0x4E64)))
    assert "and 92 more characters" in message
    assert len(message) < 400


def make_font(path: Path, family: str, characters: str) -> Path:
    """Write a font in which each of the characters is a square."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    pen = TTGlyphPen(None)
    for step, corner in enumerate([(0, 0), (0, 800), (800, 800), (800, 0)]):
        (pen.lineTo if step else pen.moveTo)(corner)
    pen.closePath()
    square, names = pen.glyph(), [".notdef", *(f"g{ord(c):x}" for c in characters)]
    font = FontBuilder(1000)
    font.setupGlyphOrder(names)
    font.setupCharacterMap({ord(c): f"g{ord(c):x}" for c in characters})
    font.setupGlyf(dict.fromkeys(names, square))
    font.setupHorizontalMetrics(dict.fromkeys(names, (1000, 0)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": family, "styleName": "Regular"})
    font.setupOS2(sTypoAscender=800, usWinAscent=800, usWinDescent=200)
    font.setupPost()
    font.save(path)
    return path


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_installed_fonts_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few of them: one that has two characters comes before two that have one each. A damaged file is skipped."""
    from matplotlib import font_manager

    (tmp_path / "damaged.ttf").write_bytes(b"OTTO")
    files = [str(tmp_path / "damaged.ttf")] + [
        str(make_font(tmp_path / f"{name}.ttf", name, characters))
        for name, characters in (("One", HAN), ("Two", MISSING), ("Both", HAN + MISSING))
    ]
    known = list(font_manager.fontManager.ttflist)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: files)
    fonts._cover.cache_clear()
    try:
        assert fonts.choose_fonts(f"a{HAN}{MISSING}\u200d\ufe0f ") == ([fonts.BASE_FAMILY, "Both", "sans-serif"], set())
        save(attention([HAN], [MISSING]), tmp_path / "x.png")
    finally:
        font_manager.fontManager.ttflist[:] = known
        fonts._cover.cache_clear()


# --- other pictures --------------------------------------------------------------------------------------------------


def test_links_are_told_apart_by_the_gold_alignment() -> None:
    """Dots are right links, crosses wrong ones, squares the gold links."""
    links = [(0, 0), (1, 1), (2, 0)]
    figure = alignment_figure(["a", "b", "c"], ["d", "e"], links, sure=[(0, 0), (2, 1)], possible=[(0, 0), (1, 1)])
    marks = {mark.get_label(): mark.get_offsets().tolist() for mark in figure.axes[0].collections[1:]}
    assert marks == {
        "not in gold": [[2.5, 0.5]],
        "linked": [[0.5, 0.5], [1.5, 1.5]],
        "possible": [[1.5, 1.5]],
        "sure": [[0.5, 0.5], [2.5, 1.5]],
    }
    (legend,) = (child for child in figure.axes[0].get_children() if type(child).__name__ == "Legend")
    assert {text.get_text() for text in legend.get_texts()} == set(marks)
    alone = alignment_figure(["a", "b", "c"], ["d", "e"], links)
    assert [len(mark.get_offsets()) for mark in alone.axes[0].collections[1:]] == [0, 3, 0, 0]


def test_a_link_out_of_range_is_refused() -> None:
    with pytest.raises(DataError, match="link 1-0: the pair has 1 and 1 words"):
        alignment_figure(["a"], ["b"], [(1, 0)])


def test_reliability_is_drawn_as_it_is(tmp_path: Path) -> None:
    figure = reliability_figure(reliability([0.25, 0.25, 0.95, 0.85], [True, False, True, False], 2), title="words")
    upper, lower = figure.axes
    assert [patch.get_height() for patch in upper.patches] == [0.5, 0.5]
    assert [patch.get_height() for patch in lower.patches] == [2, 2]
    points = next(line for line in upper.lines if line.get_gid() == "bins")
    assert points.get_xdata() == pytest.approx([0.25, 0.9])
    assert upper.get_title() == "words\nECE 0.325, 4 probabilities"  # (0.25 + 0.4) / 2
    with pytest.raises(DataError):
        reliability_figure(Reliability([]))


def test_a_long_legend_stands_below_the_curves() -> None:
    for count, below in ((4, False), (12, True)):
        runs = [
            Curves(f"point_{i} hidden_size=512 learning_rate=0.001 {'x' * 500}", {"step": [{"step": 1, "loss": 1.0}]})
            for i in range(count)
        ]
        figure = curves_figure(runs, ["loss"])
        figure.draw_without_rendering()
        legend = figure.legends[0].get_window_extent()
        assert (legend.y1 < figure.axes[0].get_window_extent().y0) == below
        assert all(text.get_text().startswith("point_") for text in figure.legends[0].get_texts())


@pytest.mark.parametrize(("ending", "magic"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("PDF", b"%PDF")])
def test_the_same_picture_is_the_same_file(tmp_path: Path, ending: str, magic: bytes) -> None:
    pictures: list[Any] = [
        lambda: attention(["a", "<b>"], ["c"]),
        lambda: alignment_figure(["a"], ["b"], [(0, 0)], [(0, 0)], []),
        lambda: reliability_figure(reliability([0.5], [True])),
    ]
    for draw in pictures:
        files = [tmp_path / f"1.{ending}", tmp_path / f"2.{ending}"]
        for file in files:
            save(draw(), file)
        save(figure := draw(), files[1])
        save(figure, files[1])  # saving does not change it
        assert files[0].read_bytes().startswith(magic)
        assert files[0].read_bytes() == files[1].read_bytes()


def test_an_unknown_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"must end in .svg, .png, .pdf"):
        save(attention(["a"], ["b"]), tmp_path / "x.jpg")
