"""Where compiled libraries are kept, when they are trusted, and how a compiler is stopped."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from seq2seq.kernels import cache, compiler

NAME = "kernels-0123.so"
pytestmark = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="modes and owners of files")


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Let the user's cache and the temporary folders lie in `tmp_path`; return the cache folder of libraries."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    cache._log.cache_clear()
    yield tmp_path / "cache" / cache.FOLDER
    cache._log.cache_clear()


def temporary() -> Path:
    return Path(tempfile.gettempdir()) / f"{cache.FOLDER}-{os.geteuid()}"


def made(content: bytes = b"library") -> Path:
    """Return a library in the folder where it belongs."""
    library = cache.folder_for(NAME) / NAME
    cache.make(library, lambda path: path.write_bytes(content), wait_sec=5.0)
    return library


# --- the folder ------------------------------------------------------------------------------------------------------


def test_only_the_user_can_read_and_write_the_folder(places: Path) -> None:
    before = os.umask(0)
    try:
        library = made()
    finally:
        os.umask(before)
    assert library.parent == places
    assert places.stat().st_mode & 0o777 == 0o700
    assert cache.is_sound(library)  # it has no mode that others can write with


def test_a_folder_of_root_or_of_the_user_is_used(places: Path, caplog: pytest.LogCaptureFixture) -> None:
    places.mkdir(parents=True, mode=0o755)
    assert cache.folder_for(NAME) == places
    assert not caplog.messages


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777, 0o702])
def test_a_folder_that_others_can_write_is_not_used(places: Path, mode: int, caplog: pytest.LogCaptureFixture) -> None:
    made()
    places.chmod(mode)
    for _ in range(2):
        assert cache.folder_for(NAME) == temporary()
    assert caplog.messages == [
        f"the compiled kernels are kept in a temporary folder: {places} can be written by other users: delete it"
    ]


def test_a_link_to_a_folder_that_others_can_write_is_not_used(places: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir(mode=0o700)
    places.parent.mkdir()
    places.symlink_to(target)
    assert cache.folder_for(NAME) == target
    target.chmod(0o777)
    assert cache.folder_for(NAME) == temporary()
    target.rmdir()  # now the link leads nowhere
    places.unlink()
    places.symlink_to(places)
    assert cache.folder_for(NAME) == temporary()


def test_a_folder_that_others_can_replace_is_not_used(places: Path) -> None:
    made()
    places.parent.chmod(0o777)
    assert cache.folder_for(NAME) == temporary()
    places.parent.chmod(0o1777)  # as /tmp
    assert cache.folder_for(NAME) == places


@pytest.mark.parametrize("link", [False, True])
def test_a_folder_of_another_user_is_not_used(
    places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: bool
) -> None:
    """Somebody is there before the user, with a folder or with a link to one of the user's."""
    target = tmp_path / "target"
    target.mkdir()
    for place in (places, temporary()):
        place.parent.mkdir(exist_ok=True)
        place.symlink_to(target) if link else place.mkdir(mode=0o755)
        if os.geteuid() == 0:
            os.chown(place, 12345, 12345, follow_symlinks=False)
    if os.geteuid() != 0:
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    folder = cache.folder_for(NAME)
    assert folder not in (places, temporary(), target)
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("value", ["", "relative", "./cache"])
def test_a_cache_folder_that_is_not_absolute_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    assert cache.folder_for(NAME) == tmp_path / "home" / ".cache" / cache.FOLDER


def test_without_a_folder_that_can_be_written_a_temporary_one_keeps_the_library(places: Path) -> None:
    places.parent.write_text("in the way")
    assert made().parent == temporary()


# --- the library -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"libr", b"library\0", b"LIBRARY"])
def test_a_damaged_library_is_made_again(content: bytes) -> None:
    library = made()
    assert cache.is_sound(library)
    library.write_bytes(content)
    assert not cache.is_sound(library)
    assert made(b"second") == library
    assert library.read_bytes() == b"second"


@pytest.mark.parametrize("digest", [None, b"", b"\xff", b"0" * 64])
def test_a_library_without_its_digest_is_made_again(digest: bytes | None) -> None:
    library = made()
    beside = library.with_name(f"{NAME}.sha256")
    beside.unlink() if digest is None else beside.write_bytes(digest)
    assert not cache.is_sound(library)
    assert cache.is_sound(made())


@pytest.mark.parametrize("suffix", ["", ".sha256"])
def test_a_library_that_others_can_write_is_made_again(suffix: str) -> None:
    library = made()
    library.with_name(NAME + suffix).chmod(0o777)
    assert not cache.is_sound(library)
    assert cache.is_sound(made())


def test_a_library_that_is_there_needs_no_lock() -> None:
    """In a read-only cache no lock can be made."""
    library = made()
    (library.parent / cache.LOCK).unlink()
    before = sorted(library.parent.iterdir())
    assert cache.is_sound(cache.folder_for(NAME) / NAME)
    assert sorted(library.parent.iterdir()) == before


def test_a_lock_that_is_never_released_is_not_waited_for_without_end() -> None:
    library = cache.folder_for(NAME) / NAME
    with cache.filelock.FileLock(library.parent / cache.LOCK), pytest.raises(cache.LockedError, match=cache.LOCK):
        cache.make(library, lambda path: None, wait_sec=0.1)


def test_what_killed_compilations_left_is_removed_and_what_is_unused() -> None:
    folder = cache.folder_for(NAME)
    (folder / f"{cache.BUILD}left").mkdir()
    (folder / f"{cache.BUILD}left" / "file").write_text("")
    now = time.time()
    one, note = [f"kernels-1.so{ending}" for ending in ("", ".sha256", ".lock")], "kernels-3.so.failed"
    old = [folder / name for name in (*one, note, "mine.so")]
    used = folder / "kernels-2.so"
    for path in (*old, used):
        path.write_text("")
    for path in old:
        os.utime(path, (now - cache.UNUSED_SEC - 60,) * 2)
    os.utime(used, (now, now - cache.UNUSED_SEC - 60))
    made()
    left = {path.name for path in folder.iterdir()}
    assert left == {NAME, f"{NAME}.sha256", cache.LOCK, "kernels-2.so", "mine.so"}


def test_a_library_in_use_is_not_old() -> None:
    library = made()
    os.utime(library, (0, 0))
    assert cache.is_sound(library)
    assert time.time() - library.stat().st_atime < 60
    assert library.stat().st_mtime == 0


# --- the compiler ----------------------------------------------------------------------------------------------------


def script(folder: Path, body: str, name: str = "compiler") -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("interrupted", [False, True])
def test_nothing_is_left_of_a_compiler_that_hangs(tmp_path: Path, interrupted: bool) -> None:
    """Its child would run for a minute; neither SIGTERM nor SIGINT ends it."""
    pid = tmp_path / "pid"
    child = "sh -c 'trap \"\" TERM INT; echo $$ > {0}; sleep 60' & wait"
    command = [str(script(tmp_path, child.format(pid)))]
    began = time.monotonic()
    if interrupted:

        def interrupt() -> None:
            while not pid.exists() and time.monotonic() - began < 20:
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt if interrupted else compiler.CompilerHangs):
        compiler.run(command, tmp_path / "out", 30.0 if interrupted else 0.5)
    assert time.monotonic() - began < 20
    while is_running(int(pid.read_text())):
        assert time.monotonic() - began < 20
        time.sleep(0.01)


def test_a_process_that_stays_behind_a_compiler_is_not_waited_for(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    began = time.monotonic()
    compiler.run([str(script(tmp_path, f"sleep 60 & echo $! > {pid}; touch $2"))], tmp_path / "out", 30.0)
    os.kill(int(pid.read_text()), signal.SIGKILL)
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("echo one; echo 'warning: two' >&2; echo 'x.cpp: error: three' >&2; exit 1", "x.cpp: error: three"),
        ("echo 'no space left' >&2; exit 1", "no space left"),
        ("exit 3", "exit status 3"),
        ("kill -9 $$", "exit status -9"),
        ("exit 0", "it has written no library"),
    ],
)
def test_a_compiler_that_fails_names_its_first_error(tmp_path: Path, body: str, reason: str) -> None:
    command = str(script(tmp_path, body))
    with pytest.raises(compiler.CompilerError) as caught:
        compiler.run([command], tmp_path / "out", 30.0)
    assert str(caught.value) == f"{command} failed: {reason}"


def test_the_temporary_files_of_a_compiler_are_beside_its_output(tmp_path: Path) -> None:
    compiler.run([str(script(tmp_path, 'echo "$TMPDIR" > "$2"'))], tmp_path / "out", 30.0)
    assert (tmp_path / "out").read_text() == f"{tmp_path}\n"


def test_cxx_is_a_path_or_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spaced = tmp_path / "my tools"
    spaced.mkdir()
    path = script(spaced, "")
    monkeypatch.setenv("CXX", str(path))
    assert compiler.find() == [str(path)]
    monkeypatch.setenv("CXX", f"'{path}' -g")
    assert compiler.find() == [str(path), "-g"]
    monkeypatch.setenv("CXX", "ccache g++")
    assert compiler.find() == ["ccache", "g++"]
    monkeypatch.setenv("PATH", str(spaced))
    for empty in ("", "  "):
        monkeypatch.setenv("CXX", empty)
        with pytest.raises(compiler.CompilerError, match=r"there is no C\+\+ compiler"):
            compiler.find()
        path.rename(spaced / "g++")
        assert compiler.find() == [str(spaced / "g++")]
        (spaced / "g++").rename(path)
    monkeypatch.setenv("CXX", "g++ 'unclosed")
    with pytest.raises(compiler.CompilerError, match=r"CXX=g\+\+ 'unclosed is not a command"):
        compiler.find()
