"""One process at a time in a run folder; a process that ended holds nothing."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from hydra_cli import Launcher
from seq2seq.errors import ConfigError, Seq2SeqError, StorageError
from seq2seq.filesystem import file_locks
from seq2seq.filesystem.file_locks import locked
from seq2seq.storage.run_lock import folder_held, unused_folder

KEY = "hydra.run.dir"
HOLD = """
    import os, signal, sys
    from pathlib import Path
    from seq2seq.storage.run_lock import folder_held

    with folder_held(Path(sys.argv[1]), "key"):
        print("held", flush=True)
        sys.stdin.read()
"""


def test_a_second_process_is_refused_at_once_and_the_folder_of_a_killed_one_is_free(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(HOLD), str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        holder = f"process {other.pid} on {platform.node()}"
        with pytest.raises(StorageError) as caught, folder_held(tmp_path, KEY):
            pass
        message = f"another run is running in {tmp_path} ({holder}): wait until it ends, or set another {KEY}"
        assert str(caught.value) == message
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]
    with folder_held(tmp_path, KEY), pytest.raises(StorageError, match=f"process {os.getpid()} "):  # noqa: SIM117
        with folder_held(tmp_path, KEY):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_start_that_is_refused_leaves_no_new_folder_and_keeps_an_old_one(tmp_path: Path) -> None:
    for name in ("new", "old", unused_folder(str(tmp_path / "default"))):
        folder = tmp_path / name
        if name == "old":
            folder.mkdir()
        with pytest.raises(ConfigError, match="refused"), folder_held(folder, KEY):
            raise ConfigError("refused")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    with folder_held(tmp_path / "new" / "er", KEY):
        (tmp_path / "new" / "er" / "file").touch()
    assert [path.name for path in (tmp_path / "new" / "er").iterdir()] == ["file"]


def test_a_file_system_without_locks_costs_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with folder_held(tmp_path, KEY):
        (record,) = caplog.records
    assert record.getMessage().startswith(f"cannot lock {tmp_path / 'lock'} (No locks available): ")


def test_what_is_no_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("file", "dangling", "file/below"):
        with pytest.raises(Seq2SeqError) as caught, folder_held(tmp_path / name, KEY):
            pass
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)
    (tmp_path / "real").mkdir()
    (tmp_path / "linked").symlink_to("real")
    with folder_held(tmp_path / "linked", KEY), pytest.raises(StorageError), folder_held(tmp_path / "real", KEY):
        pass


def test_default_folders_are_new(tmp_path: Path) -> None:
    path = str(tmp_path / "runs" / "now")
    assert [unused_folder(path) for _ in range(3)] == [path, f"{path}-2", f"{path}-3"]
    (tmp_path / "file").touch()
    assert unused_folder(str(tmp_path / "file" / "now")) == str(tmp_path / "file" / "now")


def test_a_lock_that_waits(tmp_path: Path) -> None:
    entered = []

    def enter() -> None:
        with locked(tmp_path / "lock", wait=True):
            entered.append(1)

    with locked(tmp_path / "lock", wait=True):
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join(0.2)
        assert not entered
    thread.join()
    assert entered
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [(f"{KEY}=run",), (f"{KEY}=run", "training.resume=auto")])
def test_a_second_start_changes_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    launch = Launcher(monkeypatch, capsys)
    with folder_held(tmp_path / "run", KEY):
        done = launch(*arguments, "hydra.output_subdir=.hydra", "hydra/job_logging=default")
        assert (done.status, done.jobs, done.out) == (2, [], "")
        assert done.err.startswith(f"error: another run is running in run (process {os.getpid()} on ")
        assert done.err.endswith(f"set another {KEY}\n")
        assert [path.name for path in (tmp_path / "run").iterdir()] == ["lock"]
    assert launch(*arguments).status == 0


def test_a_second_sweep_changes_nothing_and_a_point_in_use_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    launch = Launcher(monkeypatch, capsys, fixed=("-m", "hydra.sweep.dir=sweep", "training.seed=1,2"))
    with folder_held(tmp_path / "sweep", KEY):
        done = launch()
        assert (done.status, done.jobs) == (2, [])
        assert done.err.startswith("error: another sweep is running in sweep (process ")
        assert [path.name for path in (tmp_path / "sweep").iterdir()] == ["lock"]
    with folder_held(tmp_path / "sweep" / "seed-1", KEY):
        done = launch()
        assert (done.status, [config.training.seed for config, _ in done.jobs]) == (2, [2])
        assert done.err.startswith("error: another run is running in sweep/seed-1 (process ")
        assert [path.name for path in (tmp_path / "sweep" / "seed-1").iterdir()] == ["lock"]


def test_two_runs_of_one_second_have_two_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    launch = Launcher(monkeypatch, capsys, lambda config, run: (run.folder / "file").touch(), ("data=grammar",))
    launches = [launch("hydra.run.dir=${unused_folder:'runs/here'}") for _ in range(2)]
    assert [str(done.jobs[0][1].folder) for done in launches] == ["runs/here", "runs/here-2"]
    assert all(str(launch().jobs[0][1].folder).startswith("runs/grammar/") for _ in range(2))
    assert len(list((tmp_path / "runs" / "grammar").iterdir())) == 2


def test_an_error_without_a_lock_is_no_consequence_of_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    error = KeyError("own")
    with pytest.raises(KeyError), locked(tmp_path / "lock", wait=True):
        raise error
    assert error.__context__ is None


def test_a_long_wait_is_logged_with_the_process_that_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(file_locks, "WAIT_LOG_SEC", 0.05)

    def enter() -> None:
        with locked(tmp_path / "lock", wait=True):
            pass

    with locked(tmp_path / "lock", wait=True):
        thread = threading.Thread(target=enter)
        thread.start()
        while not caplog.records:
            thread.join(0.01)
            assert thread.is_alive()
    thread.join()
    (record,) = caplog.records
    holder = f"process {os.getpid()} on {platform.node()}"
    assert record.getMessage() == f"waiting for {holder}, which holds {tmp_path / 'lock'}"
