"""A run with augmentation, variants of its test set and a vocabulary size of `auto`, stopped, resumed and scored."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import yaml

from run_folder import Process, assert_same_run

pytestmark = pytest.mark.slow

WORDS = ["black", "white", "quick", "light", "dogs", "cats", "sit", "near", "the", "river", "bank", "today"]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = random.Random(1)
    lines = [" ".join(rng.choices(WORDS, k=rng.randint(2, 7))) + "." for _ in range(200)]
    path = tmp_path_factory.mktemp("text") / "pairs.tsv"
    path.write_text("".join(f"{line}\t{line[::-1]}\n" for line in lines), encoding="utf-8")
    return path


def settings(text: Path, steps: int) -> tuple[str, ...]:
    return (
        *("data=files", "data.src=en", "data.tgt=xx", f"data.train.tsv={text}", "data.tokenizer.vocab_size=auto"),
        *("data.train_pairs=null", "data.augment.preset=student", "data.augment.punctuation=0.2"),
        *("data.robustness=[upper,typos]", f"training.max_steps={steps}", "training.schedule=constant"),
        *("training.validate_every_steps=4", "hydra.run.dir=run", "training.resume=auto"),
    )


def test_a_resumed_run_keeps_its_vocabulary_and_reads_the_same_edited_text(tmp_path: Path, text: Path) -> None:
    cache, runs = tmp_path / "cache", {}
    for name, stops in (("whole", [12]), ("parts", [4, 12])):
        folder = tmp_path / name
        folder.mkdir()
        for steps in stops:
            status, out, err = Process(cache, folder, *settings(text, steps)).wait()
            assert status == 0, err
        runs[name] = folder / "run"
    size = yaml.safe_load((runs["parts"] / "config.yaml").read_text())["data"]["tokenizer"]["vocab_size"]
    assert isinstance(size, int)
    assert f"data.tokenizer.vocab_size=auto: {size}, " in (runs["parts"] / "train.log").read_text()
    events = [json.loads(line) for line in (runs["whole"] / "metrics.jsonl").read_text().splitlines()]
    tests = {event["set"]: event for event in events if event["event"] == "test"}
    assert list(tests) == ["test", "test.upper", "test.typos"]
    assert "case:lc" in tests["test.upper"]["bleu_signature"]
    assert "case:mixed" in tests["test.typos"]["bleu_signature"]
    assert "BLEU lost" in out
    losses = {
        name: [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines() if '"step"' in line
               and json.loads(line)["event"] == "step"]
        for name, run in runs.items()
    }  # fmt: skip
    assert losses["whole"] == losses["parts"]
    # The size cannot change on resume, whatever it was before it became a number.
    status, _, err = Process(cache, tmp_path / "parts", *settings(text, 13), "data.tokenizer.vocab_size=9").wait()
    assert status == 2
    assert f"data.tokenizer.vocab_size (was {size})" in err


def test_a_run_that_is_killed_and_resumed_is_the_same(tmp_path: Path, text: Path) -> None:
    cache, runs = tmp_path / "cache", []
    for kill in (False, True):
        folder = tmp_path / str(kill)
        folder.mkdir()
        command = (*settings(text, 14), "training.save_every_steps=1")
        if kill:
            process = Process(cache, folder, *command)
            process.wait_for(6)
            process.child.kill()
            process.wait()
        status, _, err = Process(cache, folder, *command).wait()
        assert status == 0, err
        runs.append(folder / "run")
    assert_same_run(runs[1], runs[0])
