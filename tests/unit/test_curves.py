"""Learning curves: the values read from a run's metrics and the lines drawn from them."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from seq2seq.curves import main
from seq2seq.pictures.run_metrics import METRICS, interpolate, read_run, run_names
from seq2seq.storage.run_folder import METRICS_NAME


def step(number: int, loss: float | None, **more: Any) -> dict[str, Any]:
    figures = {"loss": loss, "learning_rate": 0.001 * number, "grad_norm": 1.0}
    return {"event": "step", "step": number, "epoch": number / 8, "elapsed_sec": 6.0 * number, **figures, **more}


def validation(number: int, perplexity: float | None, bleu: float | None, **more: Any) -> dict[str, Any]:
    figures = {"best": True, "loss": 1.0, "perplexity": perplexity, "bleu": bleu}
    return {"event": "validation", "step": number, "elapsed_sec": 6.0 * number + 3, **figures, **more}


def write(folder: Path, *events: dict[str, Any], end: str = "") -> str:
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(event) + "\n" for event in events)
    (folder / METRICS_NAME).write_text(text + end, encoding="utf-8")
    return str(folder)


RUN = [step(2, 5.0), step(4, 3.0), validation(4, 9.0, 10.0), step(6, 2.0), validation(6, 8.0, 12.0), {"event": "end"}]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def points(folder: str, metric: str, axis: str = "steps") -> tuple[list[float], list[float]]:
    return read_run(Path(folder), "run").points(METRICS[metric], axis)


def drawn(name: str, picture: str = "curves.svg") -> list[tuple[str, float, float]]:
    """Return the SVG path of a metric and run: M starts a segment, L continues it; y grows downwards."""
    text = Path(picture).read_text(encoding="utf-8")
    path = re.search(rf'<g id="{name}">\s*<path d="([^"]*)"', text)
    assert path, name
    return [(sign, float(x), float(y)) for sign, x, y in re.findall(r"([ML]) (\S+) (\S+)", path[1])]


# --- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("axis", "steps", "validations"),
    [
        ("steps", [2, 4, 6], [4, 6]),
        ("epochs", [0.25, 0.5, 0.75], [0.5, 0.75]),
        ("minutes", [0.2, 0.4, 0.6], [0.45, 0.65]),
    ],
)
def test_values_are_at_their_updates_epochs_or_minutes(
    tmp_path: Path, axis: str, steps: list[float], validations: list[float]
) -> None:
    run = write(tmp_path / "run", *RUN)
    assert points(run, "loss", axis) == (pytest.approx(steps), [5, 3, 2])
    assert points(run, "bleu", axis) == (pytest.approx(validations), [10, 12])


def test_epochs_of_validations_are_interpolated(tmp_path: Path) -> None:
    run = write(
        tmp_path / "run", validation(1, 9, 1), step(2, 5, epoch=0.5), validation(3, 8, 2), step(4, 4, epoch=0.7),
        step(6, 3, epoch=None), validation(8, 7, 3),
    )  # fmt: skip
    assert points(run, "bleu", "epochs")[0] == pytest.approx([0.25, 0.6, 1.4])


def test_interpolation_needs_two_points() -> None:
    assert math.isnan(interpolate(3, [(0, 0.0)]))
    assert interpolate(0, [(0, 0.0), (4, 1.0)]) == 0.0
    assert interpolate(4, [(0, 0.0), (4, 1.0), (8, 9.0)]) == 1.0


def test_a_value_that_is_not_finite_is_a_gap(tmp_path: Path) -> None:
    run = write(tmp_path / "run", step(1, 3.0), step(2, None), step(3, math.inf), step(4, 1.0), validation(4, None, 2))
    positions, values = points(run, "loss")
    assert positions == [1, 2, 3, 4]
    assert [None if math.isnan(value) else value for value in values] == [3, None, None, 1]
    assert points(run, "perplexity") == ([], [])
    assert points(run, "chrf") == ([], [])


@pytest.mark.parametrize(
    "end", ['{"event": "st', json.dumps(step(8, 1.0)), '{"event": "step", "loss": 1}\n', "7\n\n[]\n"]
)
def test_incomplete_events_are_ignored(tmp_path: Path, end: str) -> None:
    run = write(tmp_path / "run", *RUN, end=end)
    assert points(run, "loss") == ([2, 4, 6], [5, 3, 2])


def test_a_new_attempt_in_the_same_folder_replaces_the_old_one(tmp_path: Path) -> None:
    run = write(tmp_path / "run", *RUN, step(2, 4.0), step(4, 1.0))
    assert points(run, "loss") == ([2, 4], [4, 1])
    assert points(run, "bleu") == ([], [])


def test_runs_have_the_names_of_their_folders_unless_two_are_equal(tmp_path: Path) -> None:
    assert run_names(["runs/a", "runs/b/", "."]) == ["a", "b", tmp_path.name]
    assert run_names(["x/a", "y/a"]) == ["x/a", "y/a"]


# --- drawing ---------------------------------------------------------------------------------------------------------


def test_the_lines_are_the_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [write(tmp_path / "a", *RUN), write(tmp_path / "b", step(2, 4.0), step(4, None), step(6, 2.0), step(8, 3.0))]
    assert main([*runs, "--metrics", "loss"]) == 0
    assert capsys.readouterr().out == "curves.svg\n"
    (_, x2, y5), (_, x4, y3), (_, x6, y2) = drawn("loss-0")
    assert x4 - x2 == pytest.approx(x6 - x4, abs=0.01)
    assert y3 - y5 == pytest.approx(2 * (y2 - y3), abs=0.01)
    (first, left, y4), (second, middle, low), (third, right, high) = drawn("loss-1")
    assert (first, second, third) == ("M", "M", "L")
    assert (left, middle, low) == (x2, x6, y2)
    assert (right - middle, low - high) == (pytest.approx(x4 - x2, abs=0.01), pytest.approx(y2 - y3, abs=0.01))
    assert y4 == pytest.approx((y5 + y3) / 2, abs=0.01)


def test_panels_are_the_requested_metrics_or_all_with_values(tmp_path: Path) -> None:
    run, other = write(tmp_path / "run", *RUN), write(tmp_path / "other", step(1, 2.0), step(2, 1.0))
    scored = write(tmp_path / "scored", *RUN, validation(8, 7, 13, chrf=40.0))
    shown = {
        (run,): ["loss", "perplexity", "bleu", "learning_rate", "grad_norm"],
        (other,): ["loss", "learning_rate", "grad_norm"],
        (run, scored): list(METRICS),
        (scored, other, "--metrics", "chrf,loss,chrf"): ["loss", "chrf"],
    }
    for arguments, names in shown.items():
        assert main([*arguments]) == 0
        text = Path("curves.svg").read_text(encoding="utf-8")
        assert [name for name in METRICS if f">{METRICS[name].title}<" in text] == sorted(
            names, key=list(METRICS).index
        )


def test_a_single_value_has_a_marker(tmp_path: Path) -> None:
    assert main([write(tmp_path / "run", step(1, 2.0), validation(1, 9.0, 1.0)), "--metrics", "perplexity"]) == 0
    group = Path("curves.svg").read_text(encoding="utf-8").partition('<g id="perplexity-0">')[2].partition("</g>")[0]
    assert "<use " in group


@pytest.mark.parametrize(
    ("values", "logarithmic"), [([1.0, 2.0, 4.0], False), ([1.0, 10.0, 100.0], True), ([0.0, 1.0, 2.0], False)]
)
def test_a_wide_range_has_a_logarithmic_axis(tmp_path: Path, values: list[float], logarithmic: bool) -> None:
    steps = [step(number, 1.0, grad_norm=value) for number, value in enumerate(values, start=1)]
    assert main([write(tmp_path / "run", *steps), "--metrics", "grad_norm"]) == 0
    (_, _, low), (_, _, middle), (_, _, high) = drawn("grad_norm-0")
    even = (low - middle) == pytest.approx(middle - high, abs=0.01)
    assert even == (logarithmic or values[0] == 0)


def test_labels_may_contain_any_character(tmp_path: Path) -> None:
    runs = [write(tmp_path / "a", *RUN), write(tmp_path / "b", *RUN)]
    names = ["_$x_$ <&", "雪 $\\frac$"]
    assert main([*runs, "--label", names[0], "--label", names[1], "--metrics", "loss"]) == 0
    text = Path("curves.svg").read_text(encoding="utf-8")
    assert ">_$x_$ &lt;&amp;<" in text
    assert f">{names[1]}<" in text
    assert main([runs[0], "--label", names[1], "--metrics", "loss"]) == 0
    assert f">{names[1]}<" in Path("curves.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(("ending", "magic"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("PDF", b"%PDF")])
def test_the_same_runs_give_the_same_file(tmp_path: Path, ending: str, magic: bytes) -> None:
    run = write(tmp_path / "run", *RUN)
    files = [tmp_path / f"1.{ending}", tmp_path / "new" / f"2.{ending}"]
    for file in files:
        assert main([run, run, "--output", str(file), "--metrics", "loss"]) == 0
    assert files[0].read_bytes().startswith(magic)
    assert files[0].read_bytes() == files[1].read_bytes()


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "nothing is not a run folder"),
        (["run", "empty"], "empty is not a run folder"),
        (["begun"], "begun: nothing to draw"),
        (["run", "--metrics", "loss,ter"], "--metrics ter: unknown; choose from loss, perplexity"),
        (["run", "--metrics", ""], "choose from loss"),
        (["run", "--metrics", "chrf,loss"], "--metrics chrf: no run has values"),
        (["run", "run", "--label", "one"], "--label: 1 names for 2 runs"),
        (["run", "--output", "curves.jpg"], "must end in .svg, .png, .pdf"),
        (["run", "--output", "run/metrics.jsonl/x.svg"], "cannot write"),
    ],
)
def test_errors_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    write(tmp_path / "run", *RUN)
    write(tmp_path / "begun")
    (tmp_path / "empty").mkdir()
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), err[:7]) == ("", 1, "error: ")
    assert message in err
    assert not Path("curves.svg").exists()


def test_without_matplotlib_the_error_names_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main([write(tmp_path / "run", *RUN)]) == 2
    assert capsys.readouterr().err == "error: drawing needs matplotlib: pip install 'attentional-lstm[plots]'\n"


def test_it_does_not_load_torch(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom seq2seq.curves import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: assert not {'torch', 'omegaconf', 'matplotlib' if '--help' in sys.argv else 'torch'} & {*sys.modules}"
    )
    for arguments in (["--help"], [write(tmp_path / "run", *RUN)]):
        subprocess.run([sys.executable, "-c", script, *arguments], check=True, capture_output=True)
