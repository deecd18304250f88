"""The page of a run in a browser: words light up, charts name values, nothing in a sentence runs, and it fits a phone.

Skipped without Chromium: set CHROMIUM to its program, or put it on the PATH.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from browser import Browser, chromium
from report_run import make_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="no Chromium: set CHROMIUM to its program, or put it on the PATH"),
]
LIT = "[...document.querySelectorAll('.lit')]"
READOUT = "[...document.querySelectorAll('.sentence output')].map(o => o.textContent.trim()).filter(Boolean)"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with hostile sentences of two runs, an explanation, and wide tables."""
    from seq2seq.report import main

    folder = tmp_path_factory.mktemp("report")
    run, other = make_run(folder), make_run(folder, "another run with a long name " * 3)
    options = ("--device", "cpu", "--beam-size", "1", "--max-length-ratio", "0.5", "--max-length-extra", "5")
    text = ("--src", str(folder / "src"), "--ref", str(folder / "ref"))
    assert main([str(run), "--against", str(other), *text, "--explain", "2", *options]) == 0
    return run / "report.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(str(chromium()), tmp_path_factory.mktemp("profile")) as opened:
        yield opened
        assert opened.errors == []


@pytest.fixture
def opened(browser: Browser, page: Path) -> Browser:
    browser.open(page)
    return browser


def test_nothing_in_a_sentence_runs(opened: Browser) -> None:
    assert opened.value("document.title") == "run: en → fr"
    assert opened.value("document.querySelectorAll('img, iframe, object, script[src], link').length") == 0
    assert opened.value("document.body.textContent.includes('<script>document.title')")


def test_the_policy_blocks_what_is_added_later(opened: Browser) -> None:
    opened.value("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"document.title=1\">')")
    opened.value(
        "const s = document.createElement('script'); s.textContent = 'document.title = 2'; document.body.append(s)"
    )
    assert opened.value("document.title") == "run: en → fr"
    opened.errors.clear()  # the violations


def test_a_target_word_lights_up_its_source_words(opened: Browser) -> None:
    opened.point_at(".attends .w[data-a*=':']")
    assert opened.value(f"{LIT}.length") > 0
    assert opened.value(
        f"{LIT}.every(w => w.closest('.src') && w.closest('.sentence') === {LIT}[0].closest('.sentence'))"
    )
    weights = opened.value(f"{LIT}.map(w => Number(getComputedStyle(w).getPropertyValue('--weight')))")
    assert all(0 < weight <= 1 for weight in weights)
    (said,) = opened.value(READOUT)
    assert "%" in said
    assert opened.value(f"{LIT}.every(w => getComputedStyle(w).backgroundColor !== 'rgba(0, 0, 0, 0)')")


def test_a_source_word_lights_up_the_words_that_attend_to_it(opened: Browser) -> None:
    opened.value("window.word = document.querySelector('.attends .w[data-a*=\":\"]')")
    opened.value("window.place = Number(word.dataset.a.split(':')[0])")
    opened.value("word.closest('.sentence').querySelectorAll('.src .w')[place].id = 'source'")
    opened.point_at("#source")
    assert opened.value("word.classList.contains('lit')")


def test_words_are_reached_with_the_keyboard(opened: Browser) -> None:
    opened.value("document.querySelector('.attends').closest('.sentence').querySelector('.attends .w').focus()")
    before = opened.value("document.activeElement.textContent")
    assert before
    opened.press("End")
    assert opened.value("!document.activeElement.nextElementSibling && document.activeElement.classList.contains('w')")
    opened.press("Home")
    assert opened.value("document.activeElement.textContent") == before
    assert opened.value("document.activeElement.classList.contains('chosen')")
    assert opened.value(READOUT)


def test_arrows_follow_the_direction_of_the_text(opened: Browser) -> None:
    opened.value(
        "document.body.insertAdjacentHTML('afterbegin', '<article class=sentence><bdi id=rtl class=attends>"
        "<span class=w role=button tabindex=0>مرحبا</span> <span class=w role=button tabindex=-1>بالعالم</span></bdi>"
        "<output></output></article>'); document.querySelector('#rtl .w').focus()"
    )
    opened.press("ArrowRight")
    assert opened.value("document.activeElement.textContent") == "مرحبا"
    opened.press("ArrowLeft")
    assert opened.value("document.activeElement.textContent") == "بالعالم"


def test_a_chart_names_the_value_that_is_pointed_at(opened: Browser) -> None:
    readout = "document.querySelector('.chart output').textContent.trim()"
    assert opened.value(readout) == ""
    opened.point_at(".chart svg")
    assert "updates" in opened.value(readout)
    opened.value("document.querySelector('.chart svg').focus()")
    first = opened.value(readout)
    for _ in range(9):
        opened.press("ArrowLeft")
    assert "updates 1: 6" in opened.value(readout)
    opened.press("ArrowRight")
    assert opened.value(readout) != first or "updates 3" in first


@pytest.mark.parametrize("width", [360, 390, 1400])
def test_the_page_never_scrolls_sideways(browser: Browser, page: Path, width: int) -> None:
    browser.open(page, width)
    browser.value("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.value("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    scrolls = browser.value("[...document.querySelectorAll('.wide')].some(w => w.scrollWidth > w.clientWidth)")
    assert scrolls or width > 1000  # wide tables scroll by themselves


CONTRAST = """
(() => {
  const parse = (c) => c.match(/[\\d.]+/g).map(Number);
  const linear = (v) => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = (c) => c.slice(0, 3).map((v) => linear(v / 255))
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const over = (top, under) => top.slice(0, 3).map((v, i) => v * (top[3] ?? 1) + under[i] * (1 - (top[3] ?? 1)));
  const back = (e) => e ? over(parse(getComputedStyle(e).backgroundColor), back(e.parentElement)) : [255, 255, 255];
  let lowest = 99;
  for (const e of document.querySelectorAll('h1, p, td, th, dt, bdi, span, a, summary, figcaption, code, .h9, .lit')) {
    if (!e.textContent.trim()) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(back(e))];
    lowest = Math.min(lowest, (Math.max(a, b) + .05) / (Math.min(a, b) + .05));
  }
  return lowest;
})()
"""


@pytest.mark.parametrize("dark", [False, True])
def test_text_has_contrast(browser: Browser, page: Path, dark: bool) -> None:
    """4.5 is the least of WCAG 2, level AA, also on the words that are lit and the darkest cells."""
    browser.open(page, dark=dark)
    browser.point_at(".attends .w[data-a*=':']")
    browser.value(f"{LIT}.forEach(w => w.style.setProperty('--weight', 1))")
    assert browser.value(CONTRAST) >= 4.5
    background = "rgb(22, 25, 29)" if dark else "rgb(255, 255, 255)"
    assert browser.value("getComputedStyle(document.body).backgroundColor") == background
