"""`experiment=debug_overfit`: reports how much of one batch the configuration memorises."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from forking import Result, call
from seq2seq import evaluate

pytestmark = pytest.mark.slow

PAIRS = 8
SMALL = (
    "experiment=debug_overfit", f"data.overfit_pairs={PAIRS}",
    "model.hidden_size=96", "model.emb_size=64", "model.attention_size=64",
    "training.learning_rate=0.01", "training.max_steps=60", "training.validate_every_steps=60",
    "training.precision=fp32", "training.device=cpu", "runtime.allocator=default", "hydra.run.dir=run",
)  # fmt: skip
GRAMMAR = ("data.train_pairs=1000", "data.valid_pairs=10", "data.test_pairs=10")


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """The command in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    return functools.partial(call, "seq2seq.train", tmp_path, *SMALL, f"data.cache_dir={tmp_path}/cache")


def test_a_network_that_learns_memorises_its_batch(
    start: Callable[..., Result], capsys: pytest.CaptureFixture[str]
) -> None:
    done = start(*GRAMMAR)
    assert done.status == 0
    assert f"memorised {PAIRS} of {PAIRS} sentences" in done.out.splitlines()
    assert f"train, validate and test on the first {PAIRS} training pairs only" in done.err
    steps = [json.loads(line) for line in Path("run/metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert all(event["step"] == event["epoch"] for event in steps if event["event"] == "step")  # one batch an epoch
    assert evaluate.main(["run", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["overfit"]
    assert (scores["bleu"], scores["sentences"]) == (pytest.approx(100), PAIRS)  # the same pairs


def test_a_network_that_did_not_learn_memorises_nothing(start: Callable[..., Result]) -> None:
    done = start(*GRAMMAR, "training.max_steps=1")
    assert done.status == 0
    assert f"memorised 0 of {PAIRS} sentences" in done.out.splitlines()


def test_own_files_and_text_that_the_tokenizer_normalises(start: Callable[..., Result], tmp_path: Path) -> None:
    """Double spaces and ligatures, which a translation never has, do not keep a line from being memorised."""
    words = ["ﬁve", "dozen  jugs", "pack", "my", "box", "with"]
    pairs = [f"{a} {b}\t{b} so {a}\n" for a, b in itertools.permutations(words, 2)]
    (tmp_path / "own.tsv").write_text("".join(pairs), encoding="utf-8")
    own = ("data=files", "data.src=en", "data.tgt=xx", "data.train.tsv=own.tsv", "data.tokenizer.vocab_size=287")
    done = start(*own)
    assert done.status == 0, done.err
    assert f"memorised {PAIRS} of {PAIRS} sentences" in done.out.splitlines()
