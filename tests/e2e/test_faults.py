"""A run that is killed again and again, whose disk is full, whose files are cut short, ends as if nothing had been."""

from __future__ import annotations

import functools
import random
import resource
import signal
import time
from pathlib import Path

import pytest

from killed_saving import die_in_save
from run_folder import LAST_NAME, Process, assert_same_run, state_of
from scaling import LONG, scaled

pytestmark = pytest.mark.slow

STEPS = scaled(40, 240)
AUTO = ("hydra.run.dir=run", "training.resume=auto")
# Everything that draws random numbers, keeps a state of its own or writes files.
EVERYTHING = (
    "data.sampling.src=0.3",
    "data.sampling.tgt=0.3",
    "data.augment.preset=student",
    "data.augment.upper=0.3",
    "model.dropout.recurrent=0.2",
    "model.dropout.src_words=0.1",
    "training.scheduled_sampling.schedule=linear",
    "training.ema=0.9",
    "training.keep_best=2",
    "training.keep_last=1",
    "training.schedule=plateau",
    "training.plateau_patience=1",
    "training.validate_every_steps=5",
)
RUNS = {
    "fp32, bounded by updates": ("training.precision=fp32", f"training.max_steps={STEPS}"),
    "bf16, bounded by epochs": (
        "training.precision=bf16",
        "training.max_steps=null",
        f"training.max_epochs={STEPS // 10}",
    ),
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def of_runs(*names: str) -> pytest.MarkDecorator:
    """Damaged files are the same in both runs: one suffices, except in `make test-long`."""
    chosen = [name for name in RUNS if LONG or name.startswith(names)]
    return pytest.mark.parametrize("whole", chosen, ids=lambda name: name.partition(",")[0], indirect=True)


@pytest.fixture(scope="module")
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, cache: Path) -> tuple[Path, ...]:
    """The folder of a run that nothing disturbed, and its settings behind it."""
    settings = (*EVERYTHING, *RUNS[request.param])
    folder = tmp_path_factory.mktemp("whole")
    status, _, err = Process(cache, folder, "hydra.run.dir=run", *settings, fresh=True).wait()
    assert status == 0, err
    return folder / "run", *settings


@of_runs("fp32", "bf16")
def test_killed_at_random_moments(tmp_path: Path, cache: Path, whole: tuple[Path, ...]) -> None:
    """At the start, in an update, in a validation; every third time inside a save, of whatever file."""
    expected, *settings = whole
    command = (*AUTO, *settings, "training.save_every_steps=1")
    numbers, kills, run = random.Random(1), scaled(3, 30), tmp_path / "run"
    inside_a_save = resumed = 0
    for kill in range(kills):
        saving = kill % 3 == 1
        save, share = numbers.randint(1, 20), numbers.choice([0, 0.5, 1])
        prepare = functools.partial(die_in_save, save, share) if saving else None
        process = Process(cache, tmp_path, *command, prepare=prepare)
        if not saving:
            process.wait_for(numbers.randint(0, 5))
            time.sleep(numbers.random() / 20)
            process.child.send_signal(signal.SIGKILL)
        status, _, err = process.wait()
        assert status == -signal.SIGKILL, err
        left = any(run.rglob(".*.tmp"))
        assert left or not saving
        inside_a_save += left
        resumed += "resumed at step" in err
    status, _, err = Process(cache, tmp_path, *command).wait()
    assert status == 0, err
    assert "resumed at step" in err
    print(f"{kills} kills, {inside_a_save} inside a save, {resumed} of parts that were resumed")
    assert_same_run(run, expected)
    assert not any(run.rglob(".*.tmp"))


@of_runs("fp32")
def test_a_full_disk_ends_the_run_in_one_line_and_costs_nothing(
    tmp_path: Path, cache: Path, whole: tuple[Path, ...]
) -> None:
    """No file may grow beyond a limit: the disk refuses a checkpoint."""
    expected, *settings = whole
    command = (*AUTO, *settings)
    process = Process(cache, tmp_path, *command)
    process.wait_for(5)
    process.child.send_signal(signal.SIGTERM)
    assert process.wait()[0] == 143
    before = (tmp_path / "run" / LAST_NAME).read_bytes()

    process = Process(cache, tmp_path, *command, "training.save_every_steps=1")
    process.wait_for(1)
    resource.prlimit(process.child.pid, resource.RLIMIT_FSIZE, (len(before) // 2, len(before) // 2))
    status, out, err = process.wait()
    assert (status, out) == (2, "")
    assert err.splitlines()[-1].startswith("error: cannot write run/")
    assert "Traceback" not in err
    assert state_of(tmp_path / "run")["progress"]["step"] >= 5

    status, _, err = Process(cache, tmp_path, *command, "training.save_every_steps=null").wait()
    assert status == 0, err
    assert_same_run(tmp_path / "run", expected)


@of_runs("bf16")
def test_a_checkpoint_with_changed_bytes(tmp_path: Path, cache: Path, whole: tuple[Path, ...]) -> None:
    """torch.load alone would read it, and the next save would replace the intact previous.pt with it."""
    expected, *settings = whole
    command = (*AUTO, *settings, "training.save_every_steps=3")
    process = Process(cache, tmp_path, *command)
    process.wait_for(14)
    process.child.send_signal(signal.SIGKILL)
    process.wait()
    last = tmp_path / "run" / LAST_NAME
    content = last.read_bytes()
    middle = len(content) // 2
    last.write_bytes(content[:middle] + bytes(2000) + content[middle + 2000 :])
    status, _, err = Process(cache, tmp_path, *command).wait()
    assert status == 0, err
    assert err.count("has changed since it was saved; resuming from previous.pt") == 1
    assert_same_run(tmp_path / "run", expected)


@of_runs("fp32")
def test_files_that_were_cut_short(tmp_path: Path, cache: Path, whole: tuple[Path, ...]) -> None:
    """The last checkpoint is damaged, the one before it serves; so is the end of the log."""
    expected, *settings = whole
    command = (*AUTO, *settings, "training.save_every_steps=3")
    process = Process(cache, tmp_path, *command)
    process.wait_for(14)
    process.child.send_signal(signal.SIGKILL)
    process.wait()
    run = tmp_path / "run"
    for name, share in ((LAST_NAME, 0.7), ("metrics.jsonl", 0.99)):
        content = (run / name).read_bytes()
        (run / name).write_bytes(content[: int(len(content) * share)])
    status, _, err = Process(cache, tmp_path, *command).wait()
    assert status == 0, err
    assert "last.pt is not a readable checkpoint" in err
    assert_same_run(run, expected)
