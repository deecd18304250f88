"""`torchrun -m seq2seq.train`: two ranks equal one, and stop and resume together."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from unittest import mock

import pytest
import torch

from forking import Child, Result
from run_folder import TINY, Process, assert_same_run, figures, model_of, same

pytestmark = pytest.mark.slow

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
AUGMENT = ("data.augment.preset=student", "data.augment.upper=0.3")  # both ranks edit the same pairs


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def torchrun(cache: Path, folder: Path, *arguments: str) -> Process:
    return Process(cache, folder, "hydra.run.dir=run", *AUGMENT, *arguments, launcher=TORCHRUN)


def ranks(module: str, folder: Path, *arguments: str, count: int = 2) -> list[Result]:
    """Run a module with the environment that torchrun gives each rank, in forks, which start at once."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    group |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    children = []
    for rank in map(str, range(count)):
        with mock.patch.dict(os.environ, group, RANK=rank, LOCAL_RANK=rank):
            children.append(Child(module, folder, *arguments))
    try:
        ends = [child.communicate() for child in children]
    finally:
        for child in children:
            child.kill()
    return [Result(child.returncode or 0, *end) for child, end in zip(children, ends, strict=True)]


def two_ranks(cache: Path, folder: Path, *arguments: str) -> str:
    """Train with two ranks to the end and return what the first one logs."""
    command = (*TINY, f"data.cache_dir={cache}", "hydra.run.dir=run", *AUGMENT, *arguments)
    results = ranks("seq2seq.train", folder, *command)
    assert [result.status for result in results] == [0, 0], results
    return results[0].err


def test_ranks_wait_for_the_preparation_longer_than_for_each_other(tmp_path: Path) -> None:
    results = ranks("waiting_rank", tmp_path)
    assert [(result.status, "WAITED" in result.out) for result in results] == [(0, True)] * 2, results


def rank_processes(launcher: int) -> dict[int, int]:
    """The process id of each rank that this torchrun has started."""
    pids = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                variables = (entry / "environ").read_bytes().split(b"\0")
            except OSError:  # the process has ended
                continue
            if parent == launcher:
                pids |= {int(v[5:]): int(entry.name) for v in variables if v.startswith(b"RANK=")}
    return pids


def assert_close_runs(folder: Path, other: Path) -> None:
    """Logged figures except times, and weights, are equal up to rounding."""
    for event, expected in zip(figures(folder), figures(other), strict=True):
        assert event.keys() == expected.keys()
        for key, value in expected.items():
            assert event[key] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-3))
    torch.testing.assert_close(model_of(folder)[0], model_of(other)[0], rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    folder = tmp_path_factory.mktemp("two")
    status, _, err = torchrun(cache, folder).wait()
    assert status == 0, err
    return folder / "run"


def test_two_ranks_equal_one_rank_with_two_micro_batches(tmp_path: Path, cache: Path, uninterrupted: Path) -> None:
    """Dropout included."""
    status, _, err = Process(cache, tmp_path, "hydra.run.dir=run", *AUGMENT, "training.micro_batches=2").wait()
    assert status == 0, err
    assert_close_runs(tmp_path / "run", uninterrupted)
    assert (uninterrupted / "train.log").read_text().count("step 24  validation") == 1  # one writer


def test_two_ranks_read_the_same_pairs_of_a_mix(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "web.tsv").write_text("".join(f"the dog {i}\tder Hund {i}\n" for i in range(50)))
    web = f"{{train: {{tsv: {tmp_path}/web.tsv}}, weight: 2, tag: '<web>'}}"
    settings = ("training.max_steps=5", f"data.mix.web={web}")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    two_ranks(cache, tmp_path / "two", *settings)
    one = Process(cache, tmp_path / "one", "hydra.run.dir=run", *AUGMENT, "training.micro_batches=2", *settings)
    status, _, err = one.wait()
    assert status == 0, err
    assert_close_runs(tmp_path / "one/run", tmp_path / "two/run")


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the ranks in /proc")
@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_rank_ends_the_others_and_the_run_can_be_resumed(
    tmp_path: Path, cache: Path, uninterrupted: Path, killed: int
) -> None:
    settings = ("training.resume=auto", "training.save_every_steps=2")
    process = torchrun(cache, tmp_path, *settings)
    process.wait_for(8)
    processes = rank_processes(process.child.pid)
    os.kill(processes[killed], signal.SIGKILL)
    status, out, err = process.wait()
    assert (status, out) == (1, "")
    assert "(SIGKILL)" in err
    assert not any(Path(f"/proc/{pid}").exists() for pid in processes.values())
    assert "resumed at step" in two_ranks(cache, tmp_path, *settings)
    assert_same_run(tmp_path / "run", uninterrupted)


def test_after_a_signal_the_run_can_be_resumed_with_another_number_of_ranks(
    tmp_path: Path, cache: Path, uninterrupted: Path
) -> None:
    process = torchrun(cache, tmp_path)
    process.wait_for(5)
    process.child.send_signal(signal.SIGTERM)
    status, _, err = process.wait()
    assert status != 0
    assert err.count("stopped by signal 15; last.pt is saved") == 1
    settings = ("training.resume=auto", "training.micro_batches=2")
    status, _, err = Process(cache, tmp_path, "hydra.run.dir=run", *AUGMENT, *settings).wait()
    assert status == 0, err
    assert "resumed at step" in err
    assert_close_runs(tmp_path / "run", uninterrupted)


def test_a_config_error_is_printed_once(tmp_path: Path, cache: Path) -> None:
    status, out, err = torchrun(cache, tmp_path, "model.hidden_sise=8").wait()
    assert (status, out) == (1, "")
    assert err.count("did you mean 'model.hidden_size'?") == 1


@pytest.mark.parametrize(("rows", "parts", "weight"), [(1, 1, 0.0), (3, 2, 0.5)])
def test_two_ranks_with_one_part_each_end_with_the_weights_of_one_rank(
    tmp_path: Path, rows: int, parts: int, weight: float
) -> None:
    """Also if a rank has no sentence and waits for the other; and with the candidates of minimum-risk training."""
    weights = {}
    for name, count in (("one", 1), ("two", 2)):
        micro_batches = parts if name == "one" else 1
        results = ranks("tiny_rank", tmp_path, name, "6", str(rows), str(micro_batches), str(weight), count=count)
        assert [result.status for result in results] == [0] * count, results
        weights[name] = [torch.load(path) for path in sorted((tmp_path / name).glob("*/weights.pt"))]
    assert [len(found) for found in weights.values()] == [1, 2]
    assert same(weights["two"][0], weights["two"][1])
    torch.testing.assert_close(weights["two"][0], weights["one"][0], rtol=1e-5, atol=1e-7)
