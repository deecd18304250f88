"""`python -m seq2seq.train` from start to end: stopped, killed, resumed, repeated."""

from __future__ import annotations

import dataclasses
import functools
import json
import random
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from forking import Result, call
from run_folder import BEST_NAME, FILES, STEPS, TINY, Process, assert_same_run, same, state_of
from scaling import scaled
from seq2seq.config.model import DropoutConfig
from seq2seq.data.batches.batch import make_batch
from seq2seq.data.corpora.load import load_corpus
from seq2seq.model.network import Seq2Seq
from seq2seq.storage.model_file import load_model, read_card, read_config

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path) -> Callable[..., Result]:
    """The command in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    return functools.partial(call, "seq2seq.train", tmp_path, *TINY, f"data.cache_dir={cache}")


@pytest.fixture
def resume(tmp_path: Path) -> Callable[..., Result]:
    """The command without settings: a resumed run reads them from its folder."""
    return functools.partial(call, "seq2seq.train", tmp_path)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> tuple[Path, str, str]:
    """The uninterrupted run: its folder, stdout and stderr."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    status, out, err = Process(cache, folder, "hydra.run.dir=run", fresh=True).wait()
    assert status == 0, err
    return folder / "run", out, err


def test_a_run_from_start_to_end(uninterrupted: tuple[Path, str, str]) -> None:
    folder, out, err = uninterrupted
    assert {path.name for path in folder.iterdir()} == FILES
    assert [path.name for path in folder.parent.iterdir()] == ["run"]
    events = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [e["step"] for e in events if e["event"] == "step"] == list(range(1, STEPS + 1))
    assert [e["step"] for e in events if e["event"] == "validation"] == [9, 18, STEPS]
    assert [(e["event"], e["set"]) for e in events if "step" not in e] == [("test", "test")]
    losses = [e["loss"] for e in events if e["event"] == "step"]
    assert sum(losses[-4:]) < sum(losses[:4])
    assert any(path.name.startswith("events.out") for path in (folder / "tensorboard").iterdir())
    assert out.splitlines()[-1] == "Report: run/report.html"
    assert read_card(folder) == (folder / "model-card.md").read_text(encoding="utf-8")
    # Results are on stdout, the log is on stderr and in train.log.
    assert "python -m seq2seq.translate run" in out
    assert re.search(r"^test +\d+\.\d\d", out, re.MULTILINE)
    logged = (folder / "train.log").read_text(encoding="utf-8")
    assert err.splitlines() == [line.split(" INFO ", 1)[1] for line in logged.splitlines()]


def test_start_line_says_why_kernels_are_off(start: Callable[..., Result]) -> None:
    run = start("hydra.run.dir=run", "runtime.kernels=plain", "training.max_steps=1")
    assert run.status == 0
    assert re.search(r"^device cpu, .*compiled kernels are off: runtime\.kernels=plain", run.err, re.MULTILINE)


def test_the_seed_determines_the_run(start: Callable[..., Result], uninterrupted: tuple[Path, str, str]) -> None:
    assert start("hydra.run.dir=run").status == 0
    assert_same_run(Path("run"), uninterrupted[0])
    assert start("hydra.run.dir=other", "training.seed=2").status == 0
    assert not same(state_of(Path("other"))["network"], state_of(Path("run"))["network"])


def test_bf16_without_compiler_or_avx512(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On such a CPU torch has no LSTM in bf16; training, validation and translation of the test set do without."""
    monkeypatch.setenv("CXX", "false")
    monkeypatch.setenv("DNNL_MAX_CPU_ISA", "AVX2")  # which any x86 CPU then pretends to be
    settings = ("training.precision=bf16", "training.max_steps=2")
    status, out, err = Process(cache, tmp_path, "hydra.run.dir=run", *settings, fresh=True).wait()
    assert status == 0, err
    assert "precision bfloat16" in err
    assert re.search(r"^test +\d+\.\d\d", out, re.MULTILINE)


def test_a_validation_uses_no_regularisation(start: Callable[..., Result]) -> None:
    places = ("embedding", "layers", "context", "readout", "recurrent", "src_words", "tgt_words")
    dropout = [f"model.dropout.{place}=0.4" for place in places] + ["model.dropout.variational=true"]
    text = ["data.sampling.src=0.3", "data.sampling.tgt=0.3", "training.scheduled_sampling.schedule=linear"]
    loss = [
        "training.label_smoothing=0.3",
        "training.r_drop=2",
        "training.optimizer=adamw",
        "training.weight_decay=0.1",
    ]
    done = start("hydra.run.dir=run", *dropout, *text, *loss, f"training.validate_every_steps={STEPS}")
    assert done.status == 0, done.err
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    (loss_logged,) = (line["loss"] for line in lines if line["event"] == "validation")

    model = load_model(Path("run"), torch.device("cpu"))
    plain = dataclasses.replace(model.network.config, dropout=DropoutConfig(0.0, 0.0, 0.0, 0.0))
    network = Seq2Seq(plain, model.tokenizer.src_size, model.tokenizer.tgt_size)
    network.load_state_dict(model.network.state_dict())
    valid = load_corpus(read_config(Path("run")).data).valid
    batch = make_batch(model.tokenizer.encode_src(valid.src), model.tokenizer.encode_tgt(valid.tgt))
    with torch.no_grad():
        logits, targets, _ = network.train()(batch)
    assert loss_logged == pytest.approx(torch.nn.functional.cross_entropy(logits, targets).item(), rel=1e-5)


@pytest.mark.parametrize("kills", [scaled(1, 5)])
def test_a_killed_and_resumed_run_equals_the_uninterrupted_one(
    tmp_path: Path, cache: Path, uninterrupted: tuple[Path, str, str], kills: int
) -> None:
    command = ["hydra.run.dir=run", "training.resume=auto", "training.save_every_steps=1"]
    numbers = random.Random(kills)
    for _ in range(kills):
        process = Process(cache, tmp_path, *command)
        process.wait_for(5 if kills == 1 else numbers.randint(2, 4))
        time.sleep(numbers.random() / 20)
        process.child.kill()
        assert process.wait()[0] == -signal.SIGKILL
    status, out, err = Process(cache, tmp_path, *command).wait()
    assert status == 0, err
    assert "resumed at step" in err
    assert out == uninterrupted[1]
    assert_same_run(tmp_path / "run", uninterrupted[0])
    lines = [(folder / "metrics.jsonl").read_text().count("\n") for folder in (tmp_path / "run", uninterrupted[0])]
    assert lines[0] == lines[1]  # nothing is logged twice


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_saves_and_stops_and_the_run_resumes_in_its_folder(
    tmp_path: Path,
    cache: Path,
    resume: Callable[..., Result],
    uninterrupted: tuple[Path, str, str],
    number: signal.Signals,
    status: int,
) -> None:
    process = Process(cache, tmp_path, "hydra.run.dir=run")
    process.wait_for(5)
    process.child.send_signal(number)
    exit_status, out, err = process.wait()
    assert (exit_status, out) == (status, "")
    assert err.splitlines()[-1] == f"stopped by signal {int(number)}; last.pt is saved"
    assert "Traceback" not in err
    step = state_of(tmp_path / "run")["progress"]["step"]
    assert 5 <= step < STEPS

    resumed = resume("training.resume=run", "training.save_every_steps=1")
    assert resumed.status == 0
    assert f"resumed at step {step}" in resumed.err
    assert "override on resume: training.save_every_steps=1" in resumed.err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]  # no second folder
    assert_same_run(tmp_path / "run", uninterrupted[0])
    assert (tmp_path / "run" / "train.log").read_text(encoding="utf-8").count("resumed at step") == 1
    started, went_on = json.loads((tmp_path / "run" / "provenance.json").read_text(encoding="utf-8"))
    assert (started["step"], went_on["step"]) == (0, step)
    assert started["data"] == went_on["data"]
    assert "hydra.run.dir=run" in started["command"]


def test_resuming_a_finished_run_tests_it_again_and_does_not_change_it(
    start: Callable[..., Result], resume: Callable[..., Result], uninterrupted: tuple[Path, str, str]
) -> None:
    start("hydra.run.dir=run")
    resumed = resume("training.resume=run")
    assert (resumed.status, resumed.out) == (0, uninterrupted[1])
    assert_same_run(Path("run"), uninterrupted[0])
    longer = resume("training.resume=run", f"training.max_steps={STEPS + 2}")
    assert longer.status == 0
    assert state_of(Path("run"))["progress"]["step"] == STEPS + 2


def test_a_sweep_continues_after_a_point_that_fails(tmp_path: Path, start: Callable[..., Result]) -> None:
    points = ["training.max_steps=2", "data.tokenizer.vocab_size=400,1000000", "training.seed=1,2"]
    done = start(*points, "hydra.sweep.dir=sweep", "-m")
    assert done.status == 2
    points = [f"vocab_size-{size}+seed-{seed}" for size in (400, 1000000) for seed in (1, 2)]
    assert {path.name for path in (tmp_path / "sweep").iterdir() if path.is_dir()} == set(points)
    assert re.findall(r" run folder (.+)", done.err) == [f"sweep/{point}" for point in points[:2]]
    for number, point in enumerate(points):
        folder = tmp_path / "sweep" / point
        assert (folder / BEST_NAME).exists() == (number < 2)
        assert (folder / "failed.txt").exists() == (number >= 2)
    error = (tmp_path / "sweep" / points[2] / "failed.txt").read_text(encoding="utf-8")
    assert error.startswith("error: data.tokenizer.vocab_size=1000000 is more than the training text allows: at most ")
    assert error in done.err
    assert done.err.splitlines()[-1] == (
        f"error: 2 of 4 points of the sweep failed: sweep/{points[2]}, sweep/{points[3]}"
    )
    assert "Traceback" not in done.err


def test_a_killed_sweep_resumes_and_gives_the_same_table(
    tmp_path: Path, cache: Path, start: Callable[..., Result]
) -> None:
    command = ["data.fold=1/2,2/2", "hydra.sweep.dir=sweep", "training.save_every_steps=1", "-m"]
    process = Process(cache, tmp_path, *command)
    process.metrics = tmp_path / "sweep" / "fold-2of2" / "metrics.jsonl"
    process.wait_for(5)
    process.child.kill()
    assert process.wait()[0] == -signal.SIGKILL
    done = start(*command)
    assert done.status == 0, done.err
    assert re.findall(r" run folder (.+)|(resumed) at step ", done.err) == [("sweep/fold-2of2", ""), ("", "resumed")]
    assert "sweep/fold-1of2: already finished, skipped" in done.err
    whole = start("hydra.sweep.dir=other", command[0], *command[2:])
    assert whole.status == 0, whole.err
    rows, other_rows = (
        [line.split("\t")[:-1] for line in Path(folder, "summary.tsv").read_text(encoding="utf-8").splitlines()]
        for folder in ("sweep", "other")
    )
    assert rows == other_rows  # but for the minutes
    assert sorted(row[1] for row in rows[1:]) == ["*", "1/2", "2/2"]
    assert " hydra.sweep.dir=other " in whole.out.splitlines()[-1]


def test_the_fold_of_a_run_cannot_change(start: Callable[..., Result], resume: Callable[..., Result]) -> None:
    assert start("hydra.run.dir=run", "training.max_steps=2", "data.fold=1/2").status == 0
    resumed = resume("training.resume=run", "data.fold=2/2")
    assert resumed.status == 2
    assert "cannot change on resume" in resumed.err
    assert "data.fold (was 1/2)" in resumed.err


def test_the_folder_of_another_run_is_not_overwritten(start: Callable[..., Result], tmp_path: Path) -> None:
    assert start("hydra.run.dir=run", "training.max_steps=2").status == 0
    before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    again = start("hydra.run.dir=run", "training.max_steps=3")
    assert again.status == 2
    assert again.err == (
        "error: run already holds a run: continue it with training.resume=run, or set another hydra.run.dir\n"
    )
    assert {path: path.read_bytes() for path in before} == before


def test_a_second_start_in_the_folder_of_a_live_run_is_refused(
    tmp_path: Path, cache: Path, uninterrupted: tuple[Path, str, str]
) -> None:
    command = ("hydra.run.dir=run", "training.resume=auto")
    first = Process(cache, tmp_path, *command)
    first.wait_for(1)
    first.child.send_signal(signal.SIGSTOP)
    status, out, err = Process(cache, tmp_path, *command).wait()
    first.child.send_signal(signal.SIGCONT)
    assert (status, out) == (2, "")
    assert err.startswith(f"error: another run is running in run (process {first.child.pid} on ")
    assert err.count("\n") == 1
    assert first.wait()[0] == 0
    assert_same_run(tmp_path / "run", uninterrupted[0])


def test_a_run_cannot_be_resumed_with_other_data(start: Callable[..., Result], resume: Callable[..., Result]) -> None:
    """The tokenizer of another text gives the ids another meaning."""
    assert start("hydra.run.dir=run", "training.max_steps=2").status == 0
    resumed = resume("training.resume=run", "data.train_pairs=200")
    assert resumed.status == 2
    assert "was made with another tokenizer" in resumed.err.splitlines()[-1]
