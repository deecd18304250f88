"""The picture of an explanation: the words and values that it shows, and input that is none."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seq2seq.draw import main
from seq2seq.pictures.explanation import explanation_figure

FOUND: dict[str, Any] = {
    "source": {"words": ["two", "dogs", "$x$"]},
    "target": {"words": ["deux", "chiens"]},
    "occlusion": [[8.0, -1.0, 0.0], [0.5, 4.0, 0.0]],
    "saliency": [[3.0, 1.0, 0.0], [0.0, 0.0, 0.0]],
    "attention": [[0.75, 0.25, 0.0], [0.1, 0.8, 0.1]],
    "integrated_gradients": None,
}
SIGNED = {"attributions": [[1.0, 2.0, -3.0], [0.0, 1.0, 0.0]]}


def test_every_matrix_is_a_panel() -> None:
    panels = explanation_figure({**FOUND, "integrated_gradients": SIGNED}).axes
    assert [axes.get_xlabel() for axes in panels] == ["removed", "saliency", "attention", "integrated gradients"]
    shown = [axes.collections[0].get_array().reshape(2, 3) for axes in panels]
    shares = [[0.75, 0.25, 0.0], [0.0, 0.0, 0.0]]  # of the row
    for values, expected in zip(
        shown, [FOUND["occlusion"], shares, FOUND["attention"], SIGNED["attributions"]], strict=True
    ):
        np.testing.assert_array_equal(values, expected)
    assert [axes.collections[0].get_clim() for axes in panels] == [(-8, 8), (0, 1), (0, 1), (-3, 3)]
    assert panels[0].get_ylim() == (2, 0)  # the first word is the upper row
    assert len(explanation_figure({**FOUND, "attention": None}).axes) == 2


def test_right_to_left_sources_begin_on_the_right() -> None:
    figure = explanation_figure({**FOUND, "source": {"words": ["שני", "כלבים", "x"]}})
    assert all(axes.xaxis_inverted() for axes in figure.axes)


def test_the_command_draws_a_line_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = {**FOUND, "target": {"words": ["trois", "<b>"]}}
    (tmp_path / "found.json").write_text("".join(json.dumps(one) + "\n" for one in (FOUND, other)), encoding="utf-8")
    image = tmp_path / "image.svg"
    assert main(["explanation", str(tmp_path / "found.json"), "--line", "2", "--output", str(image)]) == 0
    assert capsys.readouterr().out == f"{image}\n"
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", image.read_text(encoding="utf-8"))
    assert {"two", "dogs", "$x$", "trois", "&lt;b&gt;"} <= set(texts)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "is not an explanation"),
        ("[1]", "is not an explanation"),
        ("x", "is not an explanation"),
        ('{"line": 1, "error": "the text is empty"}', "has no explanation: the text is empty"),
        (json.dumps({**FOUND, "occlusion": [["a"]]}), "is not an explanation"),
        (json.dumps({**FOUND, "occlusion": [[1.0], [2.0]]}), "is not an explanation"),
        (json.dumps({**FOUND, "source": {"words": []}}), "a picture needs 1 to"),
        ("", "the file has 0 lines"),
    ],
)
def test_what_is_no_explanation(content: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "found.json").write_text(content, encoding="utf-8")
    assert main(["explanation", str(tmp_path / "found.json"), "--output", str(tmp_path / "image.svg")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "image.svg").exists()
