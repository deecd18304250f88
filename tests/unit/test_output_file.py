"""An output is refused if it is an input or a model; devices, pipes and links are not replaced."""

from __future__ import annotations

import contextlib
import os
import platform
import stat
from pathlib import Path
from typing import Any

import pytest

from seq2seq.cli.line_writer import output, part_name, written
from seq2seq.cli.output_file import check_output, check_outputs
from seq2seq.errors import ConfigError, DataError, StorageError
from seq2seq.filesystem.atomic_files import write_atomically
from seq2seq.filesystem.file_locks import LockedError

MODEL_FILES = Path(__file__).parents[1] / "model_files"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("kept")
    return tmp_path


def test_an_input_is_found_under_every_name(here: Path) -> None:
    Path("soft").symlink_to("file")
    Path("hard").hardlink_to("file")
    Path("folder").mkdir()
    for name in ("soft", "hard", "./file", "folder/../file", str(here / "file")):
        with pytest.raises(DataError, match=f"^{name} is both input and output: file is the same file$"):
            check_output(name, ["other", "file"])
    check_output("new", ["file", "new"])


def test_standard_streams_are_compared_by_inode(monkeypatch: pytest.MonkeyPatch) -> None:
    """`F < F`, `F >> F` and `< F >> F`."""
    with Path("file").open("ab+") as file:
        status, real = os.fstat(file.fileno()), os.fstat
        monkeypatch.setattr(os, "fstat", lambda number: status if number in (0, 1) else real(number))
        with pytest.raises(DataError, match=r"^file is both input and output: standard input is the same file$"):
            check_output("file", ["-"])
        with pytest.raises(DataError, match=r"^standard output is both input and output: file is the same file$"):
            check_output("-", ["file"])
        with pytest.raises(DataError, match=r"^standard output is both input and output$"):
            check_output("-", ["-"])


def test_the_model_in_a_run_folder_is_an_input() -> None:
    Path("run").mkdir()
    Path("run/best.safetensors").write_text("model")
    with pytest.raises(DataError, match="run is the same file"):
        check_output("run/best.safetensors", ["run"])


def test_models_and_checkpoints_are_not_overwritten() -> None:
    import torch

    torch.save({"step": 1}, "last.pt")
    for name in (str(MODEL_FILES / "version_1.safetensors"), str(MODEL_FILES / "version_2.safetensors"), "last.pt"):
        with pytest.raises(ConfigError, match="is a model or checkpoint"):
            check_output(name, [])
        with pytest.raises(ConfigError, match="--force"):
            check_output(name, [], force=False)
        check_output(name, [], force=True)
    check_output("file", [])


def test_a_link_stays_and_its_target_is_replaced(here: Path) -> None:
    Path("folder").mkdir()
    Path("folder/link").symlink_to("../file")
    Path("folder/new").symlink_to("../target")
    for link, target in (("folder/link", "file"), ("folder/new", "target")):
        write_atomically(Path(link), lambda file: file.write_text("first"))
        assert (Path(link).is_symlink(), Path(target).read_text()) == (True, "first")
        with output(link) as write:
            write("second")
        assert (Path(link).is_symlink(), Path(target).read_text()) == (True, "second")
    assert sorted(os.listdir()) == ["file", "folder", "target"]


def test_devices_and_pipes_are_written_to() -> None:
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_atomically(Path("pipe"), lambda file: file.write_text("one"))
    assert os.read(reader, 9) == b"one"
    with output("pipe") as write:
        write("two")
    assert os.read(reader, 9) == b"two"
    os.close(reader)
    for name in (os.devnull, "null"):
        if name == "null":
            Path(name).symlink_to(os.devnull)
        write_atomically(Path(name), lambda file: file.write_text("lost"))
        with output(name) as write:
            write("lost")
        assert stat.S_ISCHR(os.stat(name).st_mode)
    assert sorted(os.listdir()) == ["file", "null", "pipe"]


def test_standard_output_by_name_is_no_file_to_replace(capfd: pytest.CaptureFixture[str]) -> None:
    """pytest's standard output is a regular file, as after `> FILE`."""
    with output("/dev/stdout") as write:
        write("one\n")
    write_atomically(Path("/dev/stdout"), lambda file: file.write_text("two\n"))
    os.write(1, b"three\n")
    assert capfd.readouterr().out == "one\ntwo\nthree\n"


def test_folders_and_protected_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("folder").mkdir()
    with pytest.raises(StorageError, match="Is a directory"):
        write_atomically(Path("folder"), lambda file: file.write_text("new"))
    with pytest.raises(DataError, match="Is a directory"), output("folder"):
        pass
    with pytest.raises(ConfigError, match=r"^--output folder is a folder"):
        check_output("folder", [])
    with pytest.raises(ConfigError, match=r"^--rejects folder is a folder"):
        check_outputs({"--output": "new", "--rejects": "folder"}, [])
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everything
    with pytest.raises(StorageError, match="Permission denied"):
        write_atomically(Path("file"), lambda file: file.write_text("new"))
    with pytest.raises(DataError, match="Permission denied"), output("file"):
        pass
    assert Path("file").read_text() == "kept"


def test_two_outputs_may_not_be_one_file() -> None:
    Path("link").symlink_to("new")
    with pytest.raises(ConfigError, match=r"^link is named twice as output"):
        check_outputs({"--output-src": "new", "--output-tgt": "link"}, [])
    check_outputs({"--output-src": "new", "--output-tgt": "other"}, [])


def test_the_ending_of_a_compressed_file_is_refused_unless_it_is_written() -> None:
    for ending in (".gz", ".xz", ".bz2", ".ZST"):
        with pytest.raises(ConfigError, match=rf"^--output new{ending}: .* cannot be written: end the name without"):
            check_output(f"new{ending}", [])
    check_output("new.tsv.gz", [], compresses=(".gz",))
    with pytest.raises(ConfigError, match=r"end the name without this ending or in \.gz$"):
        check_output("new.xz", [], compresses=(".gz",))


def test_an_interrupted_output_keeps_the_old_file_and_resumes() -> None:
    interrupted("file", "one\ntwo\nthr")
    assert Path("file").read_text() == "kept"
    before = written("file", grouped=False)
    assert (before.lines, Path(part_name("file")).read_text()) == (2, "one\ntwo\nthr")
    with output("file", before) as write:
        write("three\n")
    assert Path("file").read_text() == "one\ntwo\nthree\n"
    assert os.listdir() == ["file"]


def test_nothing_is_left_by_an_output_that_never_began() -> None:
    def fails() -> None:
        with output("new"):
            raise DataError("before the first line")

    with pytest.raises(DataError):
        fails()
    assert os.listdir() == ["file"]


def test_an_empty_output_is_an_empty_file_with_the_mode_of_the_old_one() -> None:
    os.chmod("file", 0o640)
    with output("file"):
        pass
    assert (Path("file").read_bytes(), stat.S_IMODE(os.stat("file").st_mode)) == (b"", 0o640)


def interrupted(name: str, text: str, settings: dict[str, Any] | None = None) -> None:
    """Leave a part of an output that holds `text`."""
    with contextlib.suppress(KeyboardInterrupt), output(name, settings=settings) as write:
        write(text)
        raise KeyboardInterrupt


def test_a_second_command_with_the_same_output_is_refused() -> None:
    with output("new") as write:
        write("one\n")
        with pytest.raises(LockedError) as caught, output("./new"):
            pass
        assert str(caught.value) == (
            f"another command is writing ./new (process {os.getpid()} on {platform.node()}): wait until it ends, or "
            "name another output"
        )
        write("two\n")
    assert Path("new").read_text() == "one\ntwo\n"
    assert sorted(os.listdir()) == ["file", "new"]


def test_a_part_that_no_command_left_is_not_overwritten() -> None:
    Path("new.part").write_text("a download")
    message = r"/new\.part exists, and no command of this toolkit left it: rename it"
    with pytest.raises(DataError, match=message), output("new"):
        pass
    assert (Path("new.part").read_text(), sorted(os.listdir())) == ("a download", ["file", "new.part"])
    Path("new.part").unlink()
    interrupted("new", "one\n")
    with output("new") as write:
        write("two\n")
    assert Path("new").read_text() == "two\n"
    assert sorted(os.listdir()) == ["file", "new"]


def test_lines_of_other_settings_are_not_continued() -> None:
    interrupted("new", "one\n", {"models": ["a"], "format": "text"})
    before = written("new", grouped=False)
    others: list[tuple[dict[str, Any], str]] = [
        ({"models": ["b"], "format": "text"}, "models"),
        ({"models": ["a"], "scores": True}, "format, scores"),
    ]
    for settings, names in others:
        message = rf"/new\.part was made with other {names}: give the same again, or leave out --resume"
        with pytest.raises(ConfigError, match=message), output("new", before, settings):
            pass
        assert Path("new.part").read_text() == "one\n"
    Path("new.part.seq2seq.json").write_text("{")
    with (
        pytest.raises(DataError, match=r"/new\.part\.seq2seq\.json is damaged: leave out --resume"),
        output("new", before, {}),
    ):
        pass
    Path("new.part.seq2seq.json").unlink()  # as an older version left it
    with output("new", before, {"models": ["b"]}) as write:
        write("two\n")
    assert (Path("new").read_text(), sorted(os.listdir())) == ("one\ntwo\n", ["file", "new"])
