"""User errors before and during training: exit status 2 and one error line."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from forking import call
from hydra_cli import Launched, Launcher
from run_folder import environment
from seq2seq.config.tokenizer import TextNormalization
from seq2seq.storage.run_folder import LAST_NAME
from seq2seq.train import run_training

TINY = (
    "data=files", "data.src=en", "data.tgt=de", "data.train.src=src", "data.train.tgt=tgt", "data.cache_dir=cache",
    "data.tokenizer.vocab_size=48", "data.tokenizer.byte_fallback=false",
    "model.hidden_size=4", "model.emb_size=4", "model.attention_size=4", "model.dropout.layers=0.1",
    "training.max_minutes=null", "training.max_steps=2", "training.device=cpu", "training.precision=fp32",
    "training.warmup_steps=0", "training.validate_sentences=1", "training.calibrate_sentences=0",
    "training.report=false",
    "decode.max_length_ratio=0.1", "decode.max_length_extra=2",  # nothing is learned: translations end at the limit
    "runtime.allocator=default",
)  # fmt: skip
SRC = [f"the {size} {thing} {verb}" for size in ("big", "old") for thing in ("cat", "dog") for verb in ("runs", "eats")]
TGT = [line.upper() for line in SRC]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working folder, which has a small corpus."""
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path)
    return tmp_path


def write_corpus(folder: Path) -> None:
    for name, lines in (("src", SRC * 5), ("tgt", TGT * 5)):
        (folder / name).write_text("".join(f"{line} {n}\n" for n, line in enumerate(lines)), encoding="utf-8")


@pytest.fixture
def start(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Launcher:
    return Launcher(monkeypatch, capsys, run_training, (*TINY, "hydra.run.dir=run"))


def assert_error(result: Launched, *fragments: str) -> None:
    """Check for status 2 and, after the log on stderr, one error line with all `fragments`."""
    assert result.status == 2
    assert result.out == ""
    *log, line = result.err.splitlines()
    assert line.startswith("error: ")
    for fragment in fragments:
        assert fragment in line
    assert not any(word in "\n".join(log) for word in ("Traceback", "error", "Error", "HYDRA_FULL_ERROR"))


def test_corpus_of_these_tests_is_valid(start: Launcher) -> None:
    result = start()
    assert result.status == 0, result.err
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
        (lambda: write("src", b"a\nb\nc \xff d\n"), [], ["/src, line 3: not UTF-8 (byte 0xff at position 3)"]),
        (
            lambda: write("src.gz", gzip.compress(Path("src").read_bytes())[:-9]),
            ["data.train.src=src.gz"],
            ["/src.gz: truncated or corrupt gzip file"],
        ),
        (
            lambda: write("src.gz", b"BZh91AY&SY"),
            ["data.train.src=src.gz"],
            ["/src.gz: truncated or corrupt bzip2 file"],
        ),
        (lambda: write("src", b"a\nb\0\n"), [], ["/src, line 2: a NUL byte"]),
        (lambda: None, ["data.train.tgt=null"], ["data.train: give either data.train.src and data.train.tgt"]),
        (lambda: None, ["data.train.tsv=src"], ["data.train: give either data.train.src and data.train.tgt"]),
        (lambda: None, ["data.train={src: null, tgt: null, tsv: src}"], ["/src, line 1: no tab"]),
        (lambda: None, ["data.valid.src=src"], ["data.valid: give either data.valid.src and data.valid.tgt"]),
        (lambda: write("one", b"x\n"), ["data.test={src: src, tgt: one}"], ["/src has 40 lines but ", "/one has 1"]),
        (lambda: None, ["data.max_length=2"], ["are longer than 2 tokens", "data.max_length"]),
        (lambda: None, ["data.tokenizer.vocab_size=100000"], ["data.tokenizer.vocab_size=100000", "at most"]),
        (lambda: None, ["data.tokenizer.vocab_size=9"], ["data.tokenizer.vocab_size=9", "at least"]),
        (lambda: None, ["data.tokenizer.src_model=none.model"], ["/none.model: No such file"]),
        (lambda: None, ["data.tokenizer.src_model=src"], ["/src: not a SentencePiece model"]),
        (lambda: None, ["training.device=cuda:99"], ["cuda:99", "not available"]),
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
def test_invalid_data_or_setting_is_one_error_line(
    start: Launcher, damage: object, overrides: list[str], fragments: list[str]
) -> None:
    damage()  # type: ignore[operator]
    assert_error(start(*overrides), *fragments)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is available")
def test_missing_gpu(start: Launcher) -> None:
    assert_error(start("training.device=cuda"), "device 'cuda' is not available: 0 CUDA devices found")


def test_network_larger_than_memory(start: Launcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """The available memory is set, so that the test does not depend on the machine."""
    monkeypatch.setattr("seq2seq.train.available_bytes", lambda processes: 2**30)
    assert_error(start("model.hidden_size=65536"), " weights, ", "1.00 GiB are available: lower model.hidden_size")


def test_largest_vocabulary_in_the_error_can_be_trained(start: Launcher) -> None:
    line = start("data.tokenizer.vocab_size=100000").err.splitlines()[-1]
    largest = int(line.rpartition("at most ")[2])
    assert_error(start(f"data.tokenizer.vocab_size={largest + 1}"), f"at most {largest}")
    assert start(f"data.tokenizer.vocab_size={largest}").status == 0


@pytest.mark.slow
def test_command_exits_with_one_error_line_and_status_2(here: Path) -> None:
    for overrides, message in (
        (["training.learnin_rate=1"], "unknown key 'training.learnin_rate'; did you mean 'training.learning_rate'?"),
        ([*TINY, "data.train.src=none"], f"{here}/none: no such file or directory"),
    ):
        command = [sys.executable, "-m", "seq2seq.train", *overrides]
        result = subprocess.run(command, cwd=here, env=environment(), capture_output=True, text=True)
        assert (result.returncode, result.stdout, result.stderr) == (2, "", f"error: {message}\n")


# --- resuming --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A working folder in which the run has been trained, and a copy of it: paths of a run's config are absolute."""
    folder = tmp_path_factory.mktemp("finished")
    place, copy = folder / "place", folder / "copy"
    place.mkdir()
    write_corpus(place)
    result = call("seq2seq.train", place, *TINY, "hydra.run.dir=run")
    assert result.status == 0, result.err
    shutil.copytree(place, copy)
    return place, copy


@pytest.fixture
def trained(
    finished: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Launcher:
    """Go to a folder with a trained `run` and return a launcher without that folder, for `training.resume=run`."""
    place, copy = finished
    shutil.rmtree(place)
    shutil.copytree(copy, place)
    monkeypatch.chdir(place)
    return Launcher(monkeypatch, capsys, run_training, TINY[-1:])


@pytest.mark.slow
def test_settings_that_fix_the_weights_cannot_change_on_resume(trained: Launcher) -> None:
    for override, change in (
        ("model.hidden_size=8", "model.hidden_size (was 4)"),
        ("model.dropout.layers=0.5", "model.dropout.layers (was 0.1)"),
        ("model.dropout={layers: 0.5}", "model.dropout.layers (was 0.1)"),
        ("model.attention=none", "model.attention (was additive)"),
        ("data.tokenizer.vocab_size=50", "data.tokenizer.vocab_size (was 48)"),
        ("data.tokenizer={type: bpe}", "data.tokenizer.type (was unigram)"),
    ):
        assert_error(trained("training.resume=run", override), "cannot change on resume", change)
    both = trained("training.resume=run", "model.hidden_size=8", "training.seed=3", "data.tokenizer.type=bpe")
    assert_error(both, "data.tokenizer.type (was unigram), model.hidden_size (was 4)")
    for group in ("model=large", "data=grammar", "experiment=multi30k_en_de"):
        assert_error(trained("training.resume=run", group), f"{group} cannot change on resume")


def test_same_command_with_resume_auto_keeps_the_config(trained: Launcher) -> None:
    """A job queue repeats the command of a killed job, group options included."""
    ((before, _),) = trained("training.resume=run").jobs
    again = trained(*TINY, "hydra.run.dir=run", "training.resume=auto")
    assert again.status == 0
    assert again.jobs[0][0] == before
    longer = trained(*TINY, "hydra.run.dir=run", "training.resume=auto", "training.max_steps=3")
    assert longer.jobs[0][0].training.max_steps == 3


def test_a_run_of_an_older_version_is_resumed_with_its_tokenizer(start: Launcher) -> None:
    """Its config.yaml lacks two keys; its tokenizer, which is trained again, replaces characters."""
    older = ("data.tokenizer.normalization=nmt_nfkc", "data.tokenizer.max_line_bytes=4192")
    assert start(*older, "training.max_steps=1").status == 0
    config = Path("run/config.yaml")
    lines = config.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if not re.search("normalization: nmt_nfkc|max_line_bytes", line)]
    assert len(kept) == len(lines) - 2
    config.write_text("".join(kept), encoding="utf-8")
    result = start("training.resume=auto")
    assert result.status == 0, result.err
    ((settings, run),) = result.jobs
    assert (run.resumes, settings.data.tokenizer.normalization) == (True, TextNormalization.nmt_nfkc)
    changed = start("training.resume=auto", "data.tokenizer.normalization=identity")
    assert_error(changed, "cannot change on resume", "data.tokenizer.normalization (was nmt_nfkc)")


def test_other_settings_can_change_on_resume_and_are_logged(trained: Launcher) -> None:
    ((before, _),) = trained("hydra.run.dir=run", "training.resume=auto").jobs
    overrides = ["training.max_steps=3", "decode.beam_size=2", "model.hidden_size=4", "training.log_every_steps=1"]
    result = trained("training.resume=run", *overrides)
    assert result.status == 0
    ((config, run),) = result.jobs
    assert run.resumes
    assert (config.training.max_steps, config.decode.beam_size, config.model) == (3, 2, before.model)
    assert config.data == before.data  # from the run's config, since the command names no data
    log = Path("run/train.log").read_text(encoding="utf-8")
    for override in overrides:
        assert f"override on resume: {override}" in log
    assert sorted(os.listdir()) == ["cache", "run", "src", "tgt"]


def test_resume_auto_starts_a_new_run_if_there_is_none(trained: Launcher) -> None:
    shutil.rmtree("run")
    result = trained(*TINY, "training.resume=auto", "hydra.run.dir=run")
    assert result.status == 0
    assert not result.jobs[0][1].resumes
    again = trained(*TINY[-1:], "training.resume=auto", "hydra.run.dir=run")
    assert again.status == 0
    assert again.jobs[0][1].resumes


def test_run_folder_with_special_characters(trained: Launcher) -> None:
    for name in ("it's", "a run, №1 = (x)", 'the "best"', "2024", "null run"):
        os.rename("run", name)
        quoted = name.replace("'", "\\'")
        result = trained(f"training.resume='{quoted}'")
        assert result.status == 0, result.err
        assert result.jobs[0][1].folder == Path(name)
        os.rename(name, "run")


@pytest.mark.slow
def test_missing_or_damaged_checkpoint_or_config(trained: Launcher) -> None:
    for arguments in (["training.resume=nowhere"], ["+training.resume=nowhere"], ["training.resume="]):
        assert_error(trained(*arguments), "training.resume=", "no last.pt in that folder")
    swept = trained("training.resume=run", "training.seed=1,2", "hydra.sweep.dir=sweep", "-m")
    assert swept.status == 2
    assert swept.err.count("training.resume=run: no last.pt in sweep/") == 2
    assert swept.err.count("; name one run folder, not in a config file or a sweep\n") == 2
    content, config = Path("run", LAST_NAME).read_bytes(), Path("run/config.yaml").read_bytes()
    state = torch.load(Path("run", LAST_NAME), weights_only=True)
    for damaged, message in (
        (content[: len(content) // 2], "not a readable checkpoint"),
        (b"", "not a readable checkpoint"),
        (b"garbage", "not a readable checkpoint"),
    ):
        write(f"run/{LAST_NAME}", damaged)
        assert_error(trained("training.resume=run"), f"run/{LAST_NAME}", message)
    torch.save({**state, "format_version": 9}, Path("run", LAST_NAME))
    assert_error(trained("training.resume=run"), f"run/{LAST_NAME} has format version 9; this program reads 2")
    torch.save({**state, "network": {}}, Path("run", LAST_NAME))
    assert_error(trained("training.resume=run"), f"run/{LAST_NAME} does not fit this run")
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
        assert_error(trained("training.resume=run"), "run/config.yaml")
    os.remove("run/config.yaml")
    assert_error(trained("training.resume=run"), "run/config.yaml")


def test_new_run_does_not_overwrite_an_old_one(trained: Launcher) -> None:
    for name in ("best.safetensors", LAST_NAME):
        content = Path("run", name).read_bytes()
        assert_error(trained(*TINY, "hydra.run.dir=run"), "run already holds a run", "training.resume=run")
        assert Path("run", name).read_bytes() == content
        os.remove(Path("run", name))  # one of the two files makes it a run
        assert_error(trained(*TINY, "hydra.run.dir=run"), "run already holds a run")
        write(f"run/{name}", content)


def test_run_is_resumed_from_another_folder_but_not_with_another_text(trained: Launcher) -> None:
    here = Path.cwd()
    os.mkdir("elsewhere")
    trained.patch.chdir("elsewhere")
    assert trained("training.resume=../run", "training.max_steps=3").status == 0
    trained.patch.chdir(here)
    write("src", Path("src").read_bytes().replace(b"cat", b"cow"))  # changes the tokenizer but not its size
    assert_error(trained("training.resume=run", "training.max_steps=4"), "run cannot be resumed: the ", "held out")
