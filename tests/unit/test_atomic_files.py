"""A crash, a kill or a full disk during a write leaves the old file intact."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from seq2seq.data.files.cached_folders import write_folder
from seq2seq.errors import StorageError
from seq2seq.filesystem import temporary_files
from seq2seq.filesystem.atomic_files import new_folder, part_folder, storage_errors, sync_folder, write_atomically
from seq2seq.filesystem.file_locks import hold
from seq2seq.filesystem.temporary_files import IN_USE_NAME, remove_abandoned, temporary_name


def test_a_file_is_created_with_its_folder_and_replaced_later(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file"
    for content in ("one", "two"):
        write_atomically(path, lambda temporary: temporary.write_text(content))  # noqa: B023
        assert path.read_text() == content
        assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_the_old_file_exists_until_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def write(temporary: Path) -> None:
        temporary.write_text("half")
        assert path.read_text() == "old"

    write_atomically(path, write)
    assert path.read_text() == "half"


@pytest.mark.skipif(sys.platform == "win32", reason="asks the descriptor for its mode")
def test_files_are_synced_by_descriptors_that_may_write_and_protected_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows refuses to sync a file that is open for reading, and to open a protected file for writing."""
    import fcntl

    synced = []

    def fsync(handle: int) -> None:
        if stat.S_ISREG(os.fstat(handle).st_mode):
            writable = fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
            synced.append((writable, bool(os.fstat(handle).st_mode & 0o200)))

    monkeypatch.setattr(os, "fsync", fsync)
    write_folder(tmp_path / "folder", lambda folder: (folder / "a").write_text("b"))
    assert synced == [(True, True)] * 2  # with the checksums
    assert not any(file.stat().st_mode & 0o222 for file in (tmp_path / "folder").iterdir())


DIE_WHILE_WRITING = """
    import os, sys
    from pathlib import Path
    from seq2seq.filesystem.atomic_files import write_atomically

    write_atomically(Path(sys.argv[1]), lambda temporary: (temporary.write_text("half"), os._exit(9)))
"""


def test_the_next_write_removes_the_temporary_file_of_a_killed_process(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    subprocess.run([sys.executable, "-c", textwrap.dedent(DIE_WHILE_WRITING), str(path)], check=False)
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2
    write_atomically(path, lambda temporary: temporary.write_text("new"))
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


DIE_IN_A_FOLDER = """
    import os, sys
    from pathlib import Path
    from seq2seq.filesystem.atomic_files import part_folder

    with part_folder(Path(sys.argv[1])) as folder:
        (folder / "half").touch()
        os._exit(9)
"""


def test_leftovers_are_removed_if_their_process_has_ended_or_is_unknown_for_a_day(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", textwrap.dedent(DIE_IN_A_FOLDER), str(tmp_path)], check=False)
    (killed,) = tmp_path.iterdir()
    elsewhere = killed.with_name(re.sub(r"-[0-9a-f]{8}\.tmp$", "-00000000.tmp", killed.name))  # another machine's
    shutil.copytree(killed, elsewhere)
    foreign = [tmp_path / ".name.1.tmp", tmp_path / "name.tmp"]  # of other programs
    for path in foreign:
        path.touch()
        os.utime(path, (0, 0))
    with part_folder(tmp_path) as own:
        assert not killed.exists()
        assert {*tmp_path.iterdir()} == {own, elsewhere, *foreign}
        for path in (own, elsewhere, *elsewhere.iterdir()):
            os.utime(path, (0, 0))
        remove_abandoned(tmp_path)
        assert {*tmp_path.iterdir()} == {own, *foreign}
    assert {*tmp_path.iterdir()} == {*foreign}
    remove_abandoned(tmp_path / "missing")


def test_a_folder_that_a_process_elsewhere_holds_is_not_removed(tmp_path: Path) -> None:
    folder = tmp_path / f".part-{'0' * 32}.1-00000000.tmp"
    (folder / "inner").mkdir(parents=True)
    release = hold(folder / IN_USE_NAME)
    for path in (folder, *folder.iterdir()):
        os.utime(path, (1, 1))
    remove_abandoned(tmp_path)
    assert folder.is_dir()
    release()
    (folder / "inner" / "new").touch()  # written there now
    remove_abandoned(tmp_path)
    assert folder.is_dir()
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (1, 1))
    remove_abandoned(tmp_path)
    assert not folder.exists()


def test_the_new_name_is_synced_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced, fsync = [], os.fsync

    def record(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            synced.append((os.fstat(handle).st_ino, sorted(path.name for path in tmp_path.iterdir())))
        fsync(handle)

    def refuse(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "fsync", record)
    write_atomically(tmp_path / "file", lambda temporary: temporary.write_text("new"))
    assert synced[-1] == (tmp_path.stat().st_ino, ["file"])
    with new_folder(tmp_path / "folder") as folder:
        (folder / "content").touch()
    assert synced[-1] == (tmp_path.stat().st_ino, ["file", "folder"])
    with monkeypatch.context() as windows:
        windows.setattr(os, "open", refuse)
        sync_folder(tmp_path)


class Interrupted(BaseException):
    """Like KeyboardInterrupt, not an Exception."""


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyError, Interrupted])
def test_a_failing_writer_leaves_the_old_file_unchanged_and_its_error_is_raised(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def write(temporary: Path) -> None:
        temporary.write_text("half")
        raise error

    with pytest.raises(error):
        write_atomically(path, write)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"


def test_an_error_of_the_system_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "below", tmp_path / ("n" * 300)):
        with pytest.raises(StorageError, match="cannot write") as caught:
            write_atomically(path, lambda temporary: temporary.write_text("new"))
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


# Write a file twice, the second time without space for it: with torch.save, with safetensors and with Python.
FULL_DISK = """
    import gc, os, resource, signal, sys
    from pathlib import Path
    import torch
    from safetensors.torch import save_file
    from seq2seq.errors import StorageError
    from seq2seq.filesystem.atomic_files import write_atomically

    def with_torch(temporary, tensor):
        torch.save({"a": tensor}, temporary)

    def with_safetensors(temporary, tensor):
        save_file({"a": tensor}, temporary)

    def with_python(temporary, tensor):
        temporary.write_bytes(tensor.numpy().tobytes())

    folder, full = Path(sys.argv[1]), sys.argv[2]
    for write in (with_torch, with_safetensors, with_python):
        path = folder / write.__name__
        write_atomically(path, lambda temporary: write(temporary, torch.zeros(10)))
        before = path.read_bytes()
        if full == "limit":
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # exceeding the limit is then an error, not a kill
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        try:
            write_atomically(path, lambda temporary: write(temporary, torch.zeros(1_000_000)))
        except StorageError as error:
            message = str(error)
        assert "\\n" not in message and f"cannot write {path}: " in message and "unchanged" in message, message
        assert path.read_bytes() == before
        assert sorted(p.name for p in folder.iterdir() if p.name.startswith(".")) == []
        print(message)
        gc.collect()  # from Python 3.13 on, torch's writer is in a cycle, and holds the space of its removed file
"""


@pytest.fixture(params=["limit", "tmpfs"])
def full_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """Yield a folder with space for 100 kB and the reason: a limit of the process, or a file system of that size."""
    if request.param == "limit":
        yield tmp_path, "limit"
        return
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting needs root")
    try:
        yield tmp_path, "tmpfs"
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_FSIZE and tmpfs")
def test_a_full_disk_leaves_only_the_old_file(full_disk: tuple[Path, str]) -> None:
    folder, how = full_disk
    command = [sys.executable, "-c", textwrap.dedent(FULL_DISK), str(folder), how]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    by_torch, *_ = lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert "the disk is full, or" in by_torch


def test_a_file_keeps_its_mode_while_it_is_written_and_afterwards(tmp_path: Path) -> None:
    path, modes = tmp_path / "file", []

    def write(temporary: Path) -> None:
        modes.append(stat.S_IMODE(temporary.stat().st_mode))
        temporary.unlink()
        temporary.write_text("new")  # as safetensors does: another file

    for mode in (0o600, 0o640):
        path.write_text("secret")
        path.chmod(mode)
        write_atomically(path, write)
        modes.append(stat.S_IMODE(path.stat().st_mode))
    assert modes == [0o600, 0o600, 0o640, 0o640]


def test_every_name_that_a_file_may_have_can_be_written(tmp_path: Path) -> None:
    name = "x" * os.pathconf(tmp_path, "PC_NAME_MAX")
    write_atomically(tmp_path / name, lambda temporary: temporary.write_text("new"))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_two_writers_of_a_file_do_not_share_its_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "file"

    def write(temporary: Path) -> None:
        temporary.write_text("outer")
        write_atomically(path, lambda other: other.write_text("inner"))
        assert temporary.read_text() == "outer"

    write_atomically(path, write)
    assert path.read_text() == "outer"


def test_a_folder_is_searched_once_for_leftovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searched, scandir = [], os.scandir

    def record(path: Path) -> object:
        searched.append(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", record)
    for number in range(3):
        write_atomically(tmp_path / f"{number}", lambda temporary: temporary.touch())
    assert len(searched) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no boot id")
def test_machines_of_the_same_name_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    here = temporary_name().rpartition("-")[2]
    monkeypatch.setattr(Path, "read_text", lambda path, **_: "another machine" if path.name == "boot_id" else "")
    temporary_files._place.cache_clear()
    elsewhere = temporary_name().rpartition("-")[2]
    temporary_files._place.cache_clear()
    assert elsewhere != here


def test_a_locked_folder_is_not_removed_though_its_process_seems_to_have_ended(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    folder = tmp_path / temporary_name().replace(f".{os.getpid()}-", f".{ended.pid}-")
    folder.mkdir()
    release = hold(folder / IN_USE_NAME)
    remove_abandoned(tmp_path)
    assert folder.is_dir()
    release()
    remove_abandoned(tmp_path)
    assert not folder.exists()


def test_an_error_names_the_file_that_it_is_about(tmp_path: Path) -> None:
    path, missing = tmp_path / "file", tmp_path / "input"
    with pytest.raises(StorageError, match=f"^{missing}: No such file or directory; {path} is not written$"):
        write_atomically(path, lambda temporary: missing.read_text())
    with pytest.raises(StorageError, match=f"^{missing}: No such file"), new_folder(path):
        missing.read_text()
    with pytest.raises(BrokenPipeError), storage_errors(path):
        raise BrokenPipeError
    inner = StorageError("cannot write other: No space left on device; the old content is unchanged")
    with pytest.raises(StorageError) as caught, storage_errors(path):
        raise inner
    assert caught.value is inner
    assert not any(tmp_path.iterdir())
