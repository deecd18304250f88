"""`python -m seq2seq.curves` on a trained run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from forking import call
from run_folder import STEPS, Process

pytestmark = pytest.mark.slow


def test_every_logged_value_of_a_run_is_a_point_of_its_curve(tmp_path: Path) -> None:
    status, _, err = Process(tmp_path / "cache", tmp_path, "hydra.run.dir=run").wait()
    assert status == 0, err
    done = call("seq2seq.curves", tmp_path, "run", "--x", "epochs", "--output", "run/curves.svg")
    assert (done.status, done.out) == (0, "run/curves.svg\n"), done.err
    svg = (tmp_path / "run" / "curves.svg").read_text(encoding="utf-8")
    events = [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    counts = {name: sum(event["event"] == name for event in events) for name in ("step", "validation")}
    assert counts == {"step": STEPS, "validation": 3}
    fields = {"loss": "step", "perplexity": "validation", "bleu": "validation", "grad_norm": "step"}
    for field, event in fields.items():
        line = re.search(rf'<g id="{field}-0">(.*?)</g>\s*</g>', svg, re.DOTALL)
        assert line, field
        assert line[1].count("<use ") == counts[event]  # markers: the line omits collinear points
