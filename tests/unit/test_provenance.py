"""The provenance record has the right facts, grows with the run and never stops it."""

from __future__ import annotations

import copy
import json
import logging
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import numpy
import pytest
import torch

from seq2seq.data.corpus import Corpus, ParallelText
from seq2seq.errors import ConfigError
from seq2seq.storage import provenance
from seq2seq.storage.provenance import code_state, fingerprint, make_facts, record
from seq2seq.version import __version__

NOT_KNOWN = {"commit": None, "dirty": None}


def make_corpus() -> Corpus:
    train = ParallelText(["a cat", "größe", ""], ["un chat", "𝔘 \u2028 x", "b\nc"])
    tests = {"flickr": ParallelText(["t"], ["u"]), "coco": ParallelText(["v"], ["w"])}
    return Corpus(train, ParallelText(["one", "two"], ["un", "deux"]), tests)


def slow_fingerprint(corpus: Corpus) -> str:
    """Hash, for each list of lines, their number, their lengths in characters and their UTF-8."""
    content = b""
    names = sorted(corpus.tests)
    texts = [corpus.train, corpus.valid, *(corpus.tests[name] for name in names)]
    for lines in (["train", "valid", *names], *(side for text in texts for side in (text.src, text.tgt))):
        content += len(lines).to_bytes(8, "little")
        for start in range(0, len(lines), 2**16):
            chunk = lines[start : start + 2**16]
            content += b"".join(len(line).to_bytes(8, "little") for line in chunk) + "".join(chunk).encode()
    return blake2b(content, digest_size=16).hexdigest()


def test_the_fingerprint_is_a_hash_of_the_texts_only() -> None:
    corpus = make_corpus()
    assert fingerprint(corpus) == slow_fingerprint(corpus)
    other = Corpus(corpus.train, corpus.valid, dict(reversed(corpus.tests.items())), tokenizer_text=corpus.valid)
    assert fingerprint(other) == fingerprint(corpus)
    corpus.train = ParallelText([f"line {i}" for i in range(2**16 + 2)], ["x"] * (2**16 + 2))
    assert fingerprint(corpus) == slow_fingerprint(corpus)


def move_a_letter(corpus: Corpus) -> None:
    corpus.train.src[:2] = ["a ca", "tgröße"]


def move_a_line_feed(corpus: Corpus) -> None:
    corpus.train.tgt[1:] = ["𝔘 \u2028 x\nb", "c"]


def swap_lines(corpus: Corpus) -> None:
    corpus.valid = ParallelText(corpus.valid.src[::-1], corpus.valid.tgt[::-1])


def swap_sides(corpus: Corpus) -> None:
    corpus.valid = corpus.valid.swapped()


def swap_tests(corpus: Corpus) -> None:
    corpus.tests = dict(zip(corpus.tests, reversed(corpus.tests.values()), strict=True))


def rename_a_test(corpus: Corpus) -> None:
    corpus.tests = {"flicks" if name == "flickr" else name: text for name, text in corpus.tests.items()}


def move_a_pair(corpus: Corpus) -> None:
    """From the end of the training text to the beginning of the validation text."""
    for ends, begins in ((corpus.train.src, corpus.valid.src), (corpus.train.tgt, corpus.valid.tgt)):
        begins.insert(0, ends.pop())


@pytest.mark.parametrize(
    "change",
    [move_a_letter, move_a_line_feed, swap_lines, swap_sides, swap_tests, rename_a_test, move_a_pair],
    ids=lambda change: change.__name__,
)
def test_different_texts_have_different_fingerprints(change: Callable[[Corpus], None]) -> None:
    corpus = make_corpus()
    changed = copy.deepcopy(corpus)
    change(changed)
    assert fingerprint(changed) != fingerprint(corpus)


def test_facts_describe_this_process() -> None:
    facts = make_facts(3, torch.device("cpu"), torch.bfloat16, 2, "hash", 40)
    assert json.loads(json.dumps(facts)) == facts
    given = {key: facts[key] for key in ("seed", "device", "precision", "ranks", "data", "step")}
    assert given == {
        "seed": 3, "device": "cpu", "precision": "bfloat16", "ranks": 2, "data": "hash", "step": 40,
    }  # fmt: skip
    assert shlex.split(facts["command"]) == sys.orig_argv
    assert facts["versions"]["seq2seq"] == __version__
    assert facts["versions"]["numpy"] == numpy.__version__
    assert None not in facts["versions"].values()
    assert facts["platform"]["torch_threads"] == torch.get_num_threads()
    assert facts["platform"]["cpu"]


def test_disabled_kernels_are_recorded() -> None:
    provenance.bindings.enable(False)
    try:
        assert make_facts(1, torch.device("cpu"), torch.float32, 1, "hash", 0)["kernels"] is False
    finally:
        provenance.bindings.enable(True)


def test_a_record_grows_with_each_part_of_a_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    parts = [{"step": 0, "data": "a"}, {"step": 4, "data": "a", "command": "tschüß \udcff"}]
    record(tmp_path, {"step": 0, "data": "of a run that was killed before it saved"}, resumes=False)
    record(tmp_path, parts[0], resumes=False)
    record(tmp_path, parts[1], resumes=True)
    path = tmp_path / "provenance.json"
    assert json.loads(path.read_text(encoding="utf-8")) == parts
    assert "tschüß" in path.read_text(encoding="utf-8")
    assert not caplog.records
    assert list(tmp_path.iterdir()) == [path]


def test_another_held_out_set_is_refused_on_resume(tmp_path: Path) -> None:
    provenance.check_held_out(tmp_path, {"test": "a"})  # no record
    record(tmp_path, {"step": 0, "data": "x"}, resumes=False)
    provenance.check_held_out(tmp_path, {"test": "a"})  # of an older version
    record(tmp_path, {"step": 0, "data": "x", "held_out": {"test": "a", "valid": "b"}}, resumes=False)
    provenance.check_held_out(tmp_path, {"test": "a", "valid": "b"})
    provenance.check_held_out(tmp_path, {"valid": "b"})
    with pytest.raises(ConfigError, match="the valid pairs held out of the training text are not those"):
        provenance.check_held_out(tmp_path, {"test": "a", "valid": "c"})
    with pytest.raises(ConfigError, match=r"the web.valid pairs held out of the training text are not those"):
        provenance.check_held_out(tmp_path, {"test": "a", "web.valid": "c"})  # a corpus that the run did not know
    record(tmp_path, {"step": 0, "data": "x", "held_out": {}}, resumes=False)
    with pytest.raises(ConfigError, match="the test pairs held out"):
        provenance.check_held_out(tmp_path, {"test": "a"})
    lines = ["a", "b"]
    texts = ParallelText(lines, ["x", "y"]), ParallelText(lines, ["y", "x"]), ParallelText(["x", "y"], lines)
    assert len({provenance.text_fingerprint(text) for text in texts}) == 3


def test_changed_data_on_resume_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for step, data in enumerate("aba"):
        caplog.clear()
        record(tmp_path, {"step": step, "data": data}, resumes=step > 0)
        warnings = [entry.getMessage() for entry in caplog.records if entry.levelno == logging.WARNING]
        assert len(warnings) == (data == "b")
    assert len(json.loads((tmp_path / "provenance.json").read_text())) == 3


@pytest.mark.parametrize("content", [b"", b'[{"step": 0', b"{}", b"[1]", b"\xff[]", b'[[["step", 0]]]', b"[" * 100_000])
def test_a_damaged_record_is_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes) -> None:
    (tmp_path / "provenance.json").write_bytes(content)
    assert provenance.read_parts(tmp_path) == []
    record(tmp_path, {"step": 4, "data": "a"}, resumes=True)
    (warning,) = caplog.records
    assert "provenance.json is damaged" in warning.getMessage()
    assert json.loads((tmp_path / "provenance.json").read_text()) == [{"step": 4, "data": "a"}]


def test_a_run_without_a_record_gets_one_on_resume(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    record(tmp_path, {"step": 4, "data": "a"}, resumes=True)
    assert not caplog.records
    assert len(json.loads((tmp_path / "provenance.json").read_text())) == 1


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_and_uncommitted_changes_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        who = ("-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false")
        done = subprocess.run(["git", *who, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    package, installed = tmp_path / "package", tmp_path / ".venv" / "package"
    for folder in (package, installed):
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
    (tmp_path / ".gitignore").write_text(".venv\n*.log\n")
    assert code_state(package) == NOT_KNOWN  # no checkout
    git("init")
    assert code_state(package) == NOT_KNOWN  # no commit
    git("add", "-A")
    git("commit", "-m", "first")
    clean = {"commit": git("rev-parse", "HEAD"), "dirty": False}
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))  # as in a hook of another checkout
    assert code_state(package) == clean
    assert code_state(installed) == NOT_KNOWN  # in a virtual environment inside the checkout of another project
    (tmp_path / "notes").touch()
    (package / "run.log").touch()
    assert code_state(package) == clean  # neither file is code
    (package / "__init__.py").write_text("1")
    assert code_state(package) == {**clean, "dirty": True}
    (package / "__init__.py").write_text("")
    (package / "new.py").touch()
    assert code_state(package) == {**clean, "dirty": True}


@pytest.mark.parametrize("program", [None, "#!/bin/sh\nexec sleep 60\n", "#!/bin/sh\nexit 1\n", "no program\n"])
def test_a_run_does_not_need_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str | None) -> None:
    """git is not installed, hangs, fails or is broken."""
    if program:
        (tmp_path / "git").write_text(program)
        (tmp_path / "git").chmod(0o755)
        if "sleep" in program:
            (tmp_path / "sleep").symlink_to(shutil.which("sleep") or "")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(provenance, "GIT_SEC", 0.2)
    assert code_state(Path(provenance.__file__).parent) == NOT_KNOWN
