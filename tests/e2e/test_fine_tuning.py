"""`python -m seq2seq.train training.init_from=MODEL`: the initial weights, and a run that is killed and resumed."""

from __future__ import annotations

import functools
import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from forking import Result, call
from run_folder import BEST_NAME, TINY, Process, assert_same_run, model_of
from seq2seq.data.corpora.grammar import generate
from seq2seq.data.corpora.load import load_corpus
from seq2seq.inference.translator import Translator
from seq2seq.storage.model_file import load_model, read_config
from seq2seq.train import make_validator

pytestmark = pytest.mark.slow

STILL = ("training.learning_rate=0", "training.max_steps=2", "training.validate_every_steps=1")
"""A run that does not change its weights."""
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """The folder of a run on the grammar; tests must not change it."""
    folder = tmp_path_factory.mktemp("parent")
    status, _, err = Process(cache, folder, "hydra.run.dir=run").wait()
    assert status == 0, err
    return folder / "run"


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Settings for another text: other, shorter sentences in lower case."""
    path = tmp_path_factory.mktemp("text") / "own.tsv"
    pairs = [f"{src}\t{tgt}\n".lower() for src, tgt in generate(1500, seed=7) if len(src) < 50]
    path.write_text("".join(pairs[:320]), encoding="utf-8")
    return (
        "data.name=files",
        f"data.train.tsv={path}",
        "data.valid_pairs=5",
        "data.test_pairs=2",
        "training.max_steps=14",
    )


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path, text: tuple[str]) -> Callable[..., Result]:
    """The command on the other text, in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    return functools.partial(call, "seq2seq.train", tmp_path, *TINY, f"data.cache_dir={cache}", *text)


def test_keep_starts_with_the_weights_and_tokenizer_of_the_model(start: Callable[..., Result], parent: Path) -> None:
    done = start("hydra.run.dir=run", f"training.init_from={parent}", *STILL)
    assert done.status == 0
    assert f"using the tokenizer of {parent}; data.tokenizer is ignored" in done.err
    assert f"copied the weights of {parent}; common tokens: source 400 of 400, target 400 of 400" in done.err
    assert "vocabulary of" not in done.err  # none was trained
    tensors, given = model_of(Path("run"))[0], model_of(parent)[0]
    assert tensors.keys() == given.keys()  # the tokenizer's bytes are among them
    assert all(torch.equal(tensors[name], given[name]) for name in given)

    events = [json.loads(line) for line in Path("run/metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    validation = next(event for event in events if event["event"] == "validation")
    config = read_config(Path("run"))
    model = load_model(parent, CPU)
    translator = Translator(model.network, model.tokenizer, data=config.data)
    expected = make_validator(config, load_corpus(config.data), translator, "13a")()
    assert (validation["loss"], validation["bleu"]) == pytest.approx((expected.loss, expected.bleu), rel=1e-5)


def test_keep_with_other_ties_and_dropout_learns(start: Callable[..., Result], parent: Path) -> None:
    settings = ("model.tie_embeddings=none", "model.dropout.layers=0.3", "data.tokenizer.vocab_size=300")
    done = start("hydra.run.dir=run", f"training.init_from={parent / BEST_NAME}", *settings)
    assert done.status == 0
    model = load_model(Path("run"), CPU)
    assert model.tokenizer.to_bytes() == load_model(parent, CPU).tokenizer.to_bytes()
    assert not torch.equal(model.network.output.weight, model.network.tgt_embedding.weight)
    losses = [json.loads(line).get("loss") for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert losses[-2] < losses[0]  # the last line is the test's


def test_replace_copies_the_rows_of_common_tokens_only(start: Callable[..., Result], parent: Path) -> None:
    assert start("hydra.run.dir=new", *STILL).status == 0
    done = start("hydra.run.dir=run", f"training.init_from={parent}", "training.init_vocabulary=replace", *STILL)
    assert done.status == 0
    model, new, given = (load_model(Path(folder), CPU) for folder in ("run", "new", str(parent)))
    assert model.tokenizer.to_bytes() == new.tokenizer.to_bytes() != given.tokenizer.to_bytes()
    rows = {piece: row for row, piece in enumerate(given.tokenizer.tgt_pieces(range(400)))}
    pieces = model.tokenizer.tgt_pieces(range(400))
    known = [piece for piece in pieces if piece in rows]
    assert 270 < len(known) < 400  # more than special ids and bytes, but not all
    assert f"common tokens: source {len(known)} of 400, target {len(known)} of 400" in done.err

    weights, fresh, old = (one.network.state_dict() for one in (model, new, given))
    for name, tensor in weights.items():
        if "embedding" not in name and "output" not in name:
            assert torch.equal(tensor, old[name])
            continue
        for row, piece in enumerate(pieces):
            assert torch.equal(tensor[row], old[name][rows[piece]] if piece in rows else fresh[name][row])


def test_a_model_that_does_not_match_gives_a_one_line_error(start: Callable[..., Result], parent: Path) -> None:
    for settings, error in (
        (
            ("model.hidden_size=24",),
            f"training.init_from={parent}: model.hidden_size is 24, in the file 16; use the values of the file",
        ),
        (
            ("model.hidden_size=24", "training.init_vocabulary=replace"),
            f"training.init_from={parent}: model.hidden_size is 24, in the file 16; use the values of the file",
        ),
        (
            ("training.init_from=none",),
            f"training.init_from: no model at {Path.cwd()}/none (expected a file or a run folder)",
        ),
    ):
        done = start("hydra.run.dir=run", f"training.init_from={parent}", *settings)
        assert (done.status, done.out) == (2, "")
        assert done.err.splitlines()[-1] == f"error: {error}"
        assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("vocabulary", "updates", "settings"),
    [("keep", 5, []), ("keep", 11, ["training.minimum_risk.weight=0.5"]), ("replace", 5, [])],
)
def test_a_killed_and_resumed_run_equals_the_uninterrupted_one(
    tmp_path: Path, cache: Path, parent: Path, text: tuple[str, ...], vocabulary: str, updates: int, settings: list[str]
) -> None:
    """Also if the initial model is gone: the run's own best model, once there is one, has the same tokenizer."""
    given = tmp_path / "parent.safetensors"
    shutil.copy(parent / BEST_NAME, given)
    start = (f"training.init_from={given}", f"training.init_vocabulary={vocabulary}")
    command = (*text, *settings, "hydra.run.dir=run", *start)
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    calm.mkdir()
    killed.mkdir()
    status, out, err = Process(cache, calm, *command).wait()
    assert status == 0, err

    command = (*command, "training.resume=auto", "training.save_every_steps=1")
    process = Process(cache, killed, *command)
    process.wait_for(updates)
    process.child.kill()
    assert process.wait()[0] == -signal.SIGKILL

    given.unlink()
    if vocabulary == "keep" and not (killed / "run" / BEST_NAME).exists():
        status, _, err = Process(cache, killed, *command).wait()
        error = f"error: no model at {given} (expected a file or a run folder); its tokenizer is needed to resume: "
        assert (status, err.splitlines()[-1]) == (2, f"{error}set training.init_from=PATH to where the model is now")
        shutil.copy(parent / BEST_NAME, given)
    resumed = Process(cache, killed, *command).wait()
    assert resumed[:2] == (0, out), resumed[2]
    assert "resumed at step" in resumed[2]
    assert "common tokens" not in resumed[2]  # nothing was copied again
    assert_same_run(killed / "run", calm / "run")


def test_init_from_cannot_change_on_resume(start: Callable[..., Result], parent: Path, tmp_path: Path) -> None:
    assert start("hydra.run.dir=new", *STILL).status == 0
    assert start("hydra.run.dir=run", f"training.init_from={parent}", *STILL).status == 0
    resume = functools.partial(call, "seq2seq.train", tmp_path)
    for folder, change, error in (
        ("new", f"training.init_from={parent}", "training.init_from (was None)"),
        ("run", "training.init_from=null", f"training.init_from (was {parent})"),
        ("run", "training.init_vocabulary=replace", "training.init_vocabulary (was keep)"),
    ):
        done = resume(f"training.resume={folder}", change)
        assert done.status == 2
        assert "cannot change on resume" in done.err
        assert error in done.err
    shutil.copy(parent / BEST_NAME, tmp_path / "moved")
    assert resume("training.resume=run", "training.init_from=moved").status == 0
