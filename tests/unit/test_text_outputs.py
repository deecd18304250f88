"""Text files that appear together: after an error two sides are still line-aligned, and it names its own file."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from seq2seq.cli.data.app import main
from seq2seq.cli.text_outputs import write_texts
from seq2seq.errors import StorageError


@pytest.fixture
def sides(tmp_path: Path) -> list[str]:
    names = [str(tmp_path / name) for name in ("o.src", "o.tgt")]
    for name in names:
        Path(name).write_text("old\n")
    return names


def contents(names: Sequence[str]) -> list[str]:
    return [Path(name).read_text() for name in names]


def write_two(files: Sequence[Any]) -> None:
    for file in files:
        file.write("new\nlines\n")


def test_all_files_are_on_the_disk_before_the_first_is_renamed(
    sides: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def recorded(name: str) -> Callable[..., None]:
        call = getattr(os, name)

        def record(*arguments: object) -> None:
            calls.append(name)
            call(*arguments)

        return record

    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, recorded(name))
    write_texts(sides, write_two)
    assert calls[:4] == ["fsync", "fsync", "replace", "replace"]
    assert contents(sides) == ["new\nlines\n"] * 2


def test_a_rename_that_fails_tells_which_files_are_new(sides: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    replace = os.replace

    def fail_for_the_second(source: Path, target: Path) -> None:
        if target.name == "o.tgt":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail_for_the_second)
    with pytest.raises(StorageError) as caught:
        write_texts(sides, write_two)
    message = (
        f"cannot write {sides[1]}: No space left on device; {sides[0]}: replaced already, so run the command again"
    )
    assert str(caught.value) == message
    assert sorted(path.name for path in Path(sides[0]).parent.iterdir()) == ["o.src", "o.tgt"]


@pytest.fixture
def _small_disk() -> Iterator[None]:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # Python ignores SIGXFSZ
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("_small_disk")
@pytest.mark.parametrize("number", [0, 1])
def test_a_full_disk_leaves_both_files_and_names_the_one_that_it_met(sides: list[str], number: int) -> None:
    with pytest.raises(StorageError, match=rf"^cannot write {sides[number]}: File too large; the old content is unch"):
        write_texts(sides, lambda files: files[number].write("x" * 200_000))
    assert contents(sides) == ["old\n"] * 2
    assert sorted(path.name for path in Path(sides[0]).parent.iterdir()) == ["o.src", "o.tgt"]


def test_an_error_of_the_work_is_not_blamed_on_an_output(sides: list[str], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_texts(sides, lambda files: (tmp_path / "missing").read_text())
    assert contents(sides) == ["old\n"] * 2


class ClosedPipe(io.StringIO):
    """A standard output whose reader has ended."""

    def write(self, text: str, /) -> int:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def test_a_reader_that_ends_early_is_no_error_of_another_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pairs.tsv").write_text("a b c\td e f\n" * 3)
    monkeypatch.setattr(sys, "stdout", ClosedPipe())
    arguments = ["clean", str(tmp_path / "pairs.tsv"), "--preset", "harmless", "--rejects", str(tmp_path / "rejects")]
    assert main(arguments) == 141
    assert capsys.readouterr().err == ""
    assert not (tmp_path / "rejects").exists()
