"""What a user can get wrong before and during training: exit status 2 and one line that says what to change."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from launching import Launched, Launcher
from seq2seq.train import train
from seq2seq.training.checkpoint import LAST_NAME

TINY = (
    "data=files", "data.src=en", "data.tgt=de", "data.train.src=src", "data.train.tgt=tgt", "data.cache_dir=cache",
    "data.tokenizer.vocab_size=48", "data.tokenizer.byte_fallback=false",
    "model.hidden_size=4", "model.emb_size=4", "model.attention_size=4", "model.dropout.layers=0.1",
    "training.max_minutes=null", "training.max_steps=2", "training.device=cpu", "training.precision=fp32",
    "training.warmup_steps=0", "training.validate_sentences=1",
    "decode.max_length_ratio=0.1", "decode.max_length_extra=2",  # nothing is learned: translations end at the limit
    "runtime.allocator=default",
)  # fmt: skip
SRC = [f"the {size} {thing} {verb}" for size in ("big", "old") for thing in ("cat", "dog") for verb in ("runs", "eats")]
TGT = [line.upper() for line in SRC]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a small corpus."""
    monkeypatch.chdir(tmp_path)
    for name, lines in (("src", SRC * 5), ("tgt", TGT * 5)):
        (tmp_path / name).write_text("".join(f"{line} {n}\n" for n, line in enumerate(lines)), encoding="utf-8")
    return tmp_path


@pytest.fixture
def start(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Launcher:
    return Launcher(monkeypatch, capsys, train, (*TINY, "hydra.run.dir=run"))


def assert_told(done: Launched, *fragments: str) -> None:
    """One line beginning with "error: " is the last on stderr; all before it is the log of the run."""
    assert done.status == 2
    assert done.out == ""
    *log, line = done.err.splitlines()
    assert line.startswith("error: ")
    for fragment in fragments:
        assert fragment in line
    assert not any(word in "\n".join(log) for word in ("Traceback", "error", "Error", "HYDRA_FULL_ERROR"))


def test_the_corpus_of_these_tests_is_good(start: Launcher) -> None:
    done = start()
    assert done.status == 0, done.err
    assert Path("run/best.safetensors").is_file()


# --- the text --------------------------------------------------------------------------------------------------------


def write(name: str, content: bytes) -> None:
    Path(name).write_bytes(content)


def shorten_tgt() -> None:
    write("tgt", b"".join(Path("tgt").read_bytes().splitlines(keepends=True)[:-3]))


@pytest.mark.parametrize(
    ("damage", "overrides", "fragments"),
    [
        (lambda: os.remove("src"), [], ["/src: no such file"]),
        (lambda: None, ["data.train.tgt=folder/other"], ["folder/other: no such file"]),
        (lambda: None, ["data.train.src=."], [": is a directory"]),
        (shorten_tgt, [], ["/src has 40 lines but ", "/tgt has 37: they are not parallel"]),
        (lambda: [write("src", b""), write("tgt", b"")], [], ["data.train: no text in ", "/src, ", "/tgt"]),
        (lambda: [write("src", b"\n \n"), write("tgt", b"a\nb\n")], [], ["data.train: no text in ", "/src, ", "/tgt"]),
        (lambda: [write("src", b"a\n\n"), write("tgt", b"\nb\n")], [], ["all 2 have a blank side"]),
        (lambda: [write("src", b"a\nb\n"), write("tgt", b"c\nd\n")], [], ["too few", "data.valid and data.test"]),
        (lambda: write("src", b"a\nb\nc \xff d\n"), [], ["/src, line 3: not valid UTF-8 (byte 0xff)"]),
        (
            lambda: write("src.gz", gzip.compress(Path("src").read_bytes())[:-9]),
            ["data.train.src=src.gz"],
            ["/src.gz: truncated or corrupt gzip file"],
        ),
        (lambda: write("src.gz", b"plain"), ["data.train.src=src.gz"], ["/src.gz: truncated or corrupt gzip file"]),
        (lambda: None, ["data.train.tgt=null"], ["data.train: give either data.train.src and data.train.tgt"]),
        (lambda: None, ["data.train.tsv=src"], ["data.train: give either data.train.src and data.train.tgt"]),
        (lambda: None, ["data.train={src: null, tgt: null, tsv: src}"], ["/src, line 1: no tab"]),
        (lambda: None, ["data.valid.src=src"], ["data.valid: give either data.valid.src and data.valid.tgt"]),
        (lambda: write("one", b"x\n"), ["data.test={src: src, tgt: one}"], ["/src has 40 lines but ", "/one has 1"]),
        (lambda: None, ["data.max_length=2"], ["are longer than 2 pieces", "data.max_length"]),
        (lambda: None, ["data.tokenizer.vocab_size=100000"], ["data.tokenizer.vocab_size=100000", "at most"]),
        (lambda: None, ["data.tokenizer.vocab_size=9"], ["data.tokenizer.vocab_size=9", "at least"]),
        (lambda: None, ["data.tokenizer.src_model=none.model"], ["/none.model: No such file"]),
        (lambda: None, ["data.tokenizer.src_model=src"], ["/src: not a SentencePiece model"]),
        (lambda: None, ["training.device=cuda:99"], ["cuda:99", "not there"]),
        (lambda: None, ["training.device=abacus"], ["abacus", "auto, cpu, cuda"]),
        (
            lambda: None,
            ["training.learning_rate=1e38", "training.warmup_steps=0", "training.max_steps=50"],
            ["diverged"],
        ),
        (lambda: None, ["hydra.run.dir=src/run"], ["src/run: Not a directory"]),
        (lambda: None, ["data.cache_dir=src/cache"], ["src/cache", "Not a directory"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_one_line_says_what_is_wrong(
    start: Launcher, damage: object, overrides: list[str], fragments: list[str]
) -> None:
    damage()  # type: ignore[operator]
    assert_told(start(*overrides), *fragments)


@pytest.mark.skipif(torch.cuda.is_available(), reason="it is there")
def test_a_gpu_that_is_not_there(start: Launcher) -> None:
    assert_told(start("training.device=cuda"), "device 'cuda' is not there: 0 CUDA devices found")


def test_a_network_that_memory_does_not_hold(start: Launcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine of any size, also one that does not say how large it is."""
    monkeypatch.setattr("seq2seq.train.available_bytes", lambda: 2**30)
    assert_told(start("model.hidden_size=65536"), " weights, ", "1.00 GiB are available: lower model.hidden_size")


def test_the_largest_vocabulary_that_is_named_can_be_had(start: Launcher) -> None:
    line = start("data.tokenizer.vocab_size=100000").err.splitlines()[-1]
    most = int(line.rpartition("at most ")[2])
    assert_told(start(f"data.tokenizer.vocab_size={most + 1}"), f"at most {most}")
    assert start(f"data.tokenizer.vocab_size={most}").status == 0


@pytest.mark.slow
def test_the_command_itself_ends_with_one_line_and_status_2(here: Path) -> None:
    package = str(Path(sys.modules["seq2seq"].__file__ or "").parents[1])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    for overrides, message in (
        (["training.learnin_rate=1"], "unknown key 'training.learnin_rate'; did you mean 'training.learning_rate'?"),
        ([*TINY, "data.train.src=none"], f"{here}/none: no such file or directory"),
    ):
        command = [sys.executable, "-m", "seq2seq.train", *overrides]
        done = subprocess.run(command, cwd=here, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {message}\n")


# --- going on with a run ---------------------------------------------------------------------------------------------


@pytest.fixture
def trained(start: Launcher) -> Launcher:
    """A run in the folder `run`, and the command without that folder: `training.resume=run` names it."""
    assert start().status == 0
    return Launcher(start.patch, start.capture, train, TINY[-1:])


@pytest.mark.slow
def test_what_the_weights_were_made_with_cannot_change(trained: Launcher) -> None:
    for override, told in (
        ("model.hidden_size=8", "model.hidden_size (was 4)"),
        ("model.dropout.layers=0.5", "model.dropout.layers (was 0.1)"),
        ("model.dropout={layers: 0.5}", "model.dropout.layers (was 0.1)"),
        ("model.attention=none", "model.attention (was additive)"),
        ("data.tokenizer.vocab_size=50", "data.tokenizer.vocab_size (was 48)"),
        ("data.tokenizer={type: bpe}", "data.tokenizer.type (was unigram)"),
    ):
        assert_told(trained("training.resume=run", override), "cannot change on resume", told)
    both = trained("training.resume=run", "model.hidden_size=8", "training.seed=3", "data.tokenizer.type=bpe")
    assert_told(both, "model.hidden_size (was 4), data.tokenizer.type (was unigram)")
    for group in ("model=large", "data=grammar", "experiment=multi30k_en_de"):
        assert_told(trained("training.resume=run", group), f"{group} cannot change on resume")


def test_the_same_command_again_changes_nothing(trained: Launcher) -> None:
    """With its choices of groups: that is what a queue does that starts a killed job anew."""
    ((before, _),) = trained("training.resume=run").jobs
    again = trained(*TINY, "hydra.run.dir=run", "training.resume=auto")
    assert again.status == 0
    assert again.jobs[0][0] == before
    longer = trained(*TINY, "hydra.run.dir=run", "training.resume=auto", "training.max_steps=3")
    assert longer.jobs[0][0].training.max_steps == 3


def test_everything_else_can_and_is_logged(trained: Launcher) -> None:
    ((before, _),) = trained("hydra.run.dir=run", "training.resume=auto").jobs
    overrides = ["training.max_steps=3", "decode.beam_size=2", "model.hidden_size=4", "training.log_every_steps=1"]
    done = trained("training.resume=run", *overrides)
    assert done.status == 0
    ((config, run),) = done.jobs
    assert run.resumes
    assert (config.training.max_steps, config.decode.beam_size, config.model) == (3, 2, before.model)
    assert config.data == before.data  # from the run's own config: here no data was named
    log = Path("run/train.log").read_text(encoding="utf-8")
    for override in overrides:
        assert f"override on resume: {override}" in log
    assert sorted(os.listdir()) == ["cache", "run", "src", "tgt"]


def test_auto_starts_a_new_run_where_there_is_none(trained: Launcher) -> None:
    shutil.rmtree("run")
    done = trained(*TINY, "training.resume=auto", "hydra.run.dir=run")
    assert done.status == 0
    assert not done.jobs[0][1].resumes
    again = trained(*TINY[-1:], "training.resume=auto", "hydra.run.dir=run")
    assert again.status == 0
    assert again.jobs[0][1].resumes


def test_a_run_folder_of_any_name(trained: Launcher) -> None:
    for name in ("it's", "a run, №1 = (x)", 'the "best"', "2024", "null run"):
        os.rename("run", name)
        quoted = name.replace("'", "\\'")
        done = trained(f"training.resume='{quoted}'")
        assert done.status == 0, done.err
        assert done.jobs[0][1].folder == Path(name)
        os.rename(name, "run")


@pytest.mark.slow
def test_a_run_that_cannot_be_resumed(trained: Launcher) -> None:
    for arguments in (["training.resume=nowhere"], ["+training.resume=nowhere"], ["training.resume="]):
        assert_told(trained(*arguments), "there is no last.pt in that folder")
    swept = trained("training.resume=run", "training.seed=1,2", "hydra.sweep.dir=sweep", "-m")
    assert swept.status == 2
    assert swept.err.count("training.resume=run: name the run on the command line, one run at a time") == 2
    content, config = Path("run", LAST_NAME).read_bytes(), Path("run/config.yaml").read_bytes()
    state = torch.load(Path("run", LAST_NAME), weights_only=True)
    for damaged, message in (
        (content[: len(content) // 2], "not a readable checkpoint"),
        (b"", "not a readable checkpoint"),
        (b"garbage", "not a readable checkpoint"),
    ):
        write(f"run/{LAST_NAME}", damaged)
        assert_told(trained("training.resume=run"), f"run/{LAST_NAME}", message)
    torch.save({**state, "format_version": 9}, Path("run", LAST_NAME))
    assert_told(trained("training.resume=run"), f"run/{LAST_NAME} has format version 9; this program reads 2")
    torch.save({**state, "network": {}}, Path("run", LAST_NAME))
    assert_told(trained("training.resume=run"), f"run/{LAST_NAME} does not fit this run")
    write(f"run/{LAST_NAME}", content)
    for damaged in (
        b"data: [",
        b"\xff\xfe",
        b"[1, 2]",
        b"data: 3",
        b"modle: {}",
        config[: len(config) // 2 - 3] + b": :",
    ):
        write("run/config.yaml", damaged)
        assert_told(trained("training.resume=run"), "run/config.yaml")
    os.remove("run/config.yaml")
    assert_told(trained("training.resume=run"), "run/config.yaml")


def test_a_new_run_does_not_overwrite_another(trained: Launcher) -> None:
    for name in ("best.safetensors", LAST_NAME):
        content = Path("run", name).read_bytes()
        assert_told(trained(*TINY, "hydra.run.dir=run"), "run already holds a run", "training.resume=run")
        assert Path("run", name).read_bytes() == content
        os.remove(Path("run", name))  # either of the two is enough
        assert_told(trained(*TINY, "hydra.run.dir=run"), "run already holds a run")
        write(f"run/{name}", content)


def test_a_run_is_resumed_from_any_folder_but_not_with_another_text(trained: Launcher, here: Path) -> None:
    os.mkdir("elsewhere")
    trained.patch.chdir("elsewhere")
    assert trained("training.resume=../run", "training.max_steps=3").status == 0
    trained.patch.chdir(here)
    write("src", Path("src").read_bytes().replace(b"cat", b"cow"))  # which makes another tokenizer of the same size
    assert_told(
        trained("training.resume=run", "training.max_steps=4"), f"run/{LAST_NAME} was made with another tokenizer"
    )
