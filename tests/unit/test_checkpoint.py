"""last.pt: what it restores, and a one-line error for each way it can be unusable."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from run_folder import same
from seq2seq.errors import ModelFileError, StorageError
from seq2seq.storage.run_folder import PREVIOUS_NAME
from seq2seq.training.checkpoint import TrainingState, read_checkpoint, restore, save_checkpoint
from seq2seq.training.ema import MovingAverage
from seq2seq.training.progress import Progress
from seq2seq.training.records import Window

PROGRESS = Progress(
    step=7, epoch=2, position=3, elapsed_sec=1.5, best=(31.25, -2.5), stale_validations=1, plateau_stale=2,
    plateau_scale=0.25, skipped=4, validated_step=6, kept=[(6, 31.25, -2.5)], window=Window(nll=2.5, steps=1), splits=2,
)  # fmt: skip


def make(seed: int, size: int = 3, updates: int = 0, progress: Progress | None = None) -> TrainingState:
    torch.manual_seed(seed)
    network = nn.Linear(size, 2)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    for _ in range(updates):
        network(torch.randn(4, size)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return TrainingState(network, optimizer, None, progress or Progress())


def save(path: Path, state: TrainingState) -> None:
    save_checkpoint(path, state, "tokenizer")


def load(path: Path, state: TrainingState, tokenizer_fingerprint: str = "tokenizer") -> Progress:
    restore(path, read_checkpoint(path.parent, tokenizer_fingerprint), state)
    return state.progress


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "last.pt"
    save(path, make(1, updates=3, progress=PROGRESS))
    return path


def test_everything_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    state = make(1, updates=3, progress=PROGRESS)
    save(path, state)
    other = make(2, updates=1)
    assert load(path, other) == PROGRESS
    for one in (state, other):
        one.network(torch.ones(1, 3)).sum().backward()
        one.optimizer.step()
    for name, value in state.network.state_dict().items():
        assert torch.equal(other.network.state_dict()[name], value)


def test_the_average_comes_back(tmp_path: Path) -> None:
    state, other = make(1, updates=3), make(2)
    average, restored = (MovingAverage(one.network, 0.9) for one in (state, other))
    with torch.no_grad():
        for weight in state.network.parameters():
            weight += 1
    average.update(5)
    path = tmp_path / "last.pt"
    save(path, replace(state, average=average))
    load(path, replace(other, average=restored))
    assert all(torch.equal(*pair) for pair in zip(restored.average, average.average, strict=True))
    assert not torch.equal(restored.average[0], next(state.network.parameters()))


def test_the_checkpoint_before_the_last_is_kept_and_nothing_else(saved: Path) -> None:
    for step in (8, 9):
        save(saved, make(1, progress=Progress(step=step)))
    assert {path.name for path in saved.parent.iterdir()} == {"last.pt", PREVIOUS_NAME}
    assert load(saved, make(1)).step == 9
    saved.write_bytes(b"")
    assert load(saved, make(1)).step == 8


@pytest.mark.parametrize("left", [0.0, 0.5, 0.99])
def test_a_damaged_checkpoint_is_replaced_by_the_previous_one(
    saved: Path, left: float, caplog: pytest.LogCaptureFixture
) -> None:
    save(saved, make(2, progress=Progress(step=8)))
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * left)])
    assert load(saved, make(3)) == PROGRESS
    assert "not a readable checkpoint" in caplog.text
    assert load(saved, make(3)) == PROGRESS  # it is the last one now
    assert [path.name for path in saved.parent.iterdir()] == ["last.pt"]


def test_a_changed_byte_is_noticed_wherever_it_is(saved: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(saved, make(2, updates=3, progress=Progress(step=8)))
    last, previous = saved.read_bytes(), saved.with_name(PREVIOUS_NAME).read_bytes()
    noticed, numbers = 0, range(0, len(last), len(last) // 60)
    for place in numbers:
        saved.write_bytes(last[:place] + bytes([last[place] ^ 0x55]) + last[place + 1 :])
        saved.with_name(PREVIOUS_NAME).write_bytes(previous)
        state = make(3)
        step = load(saved, state).step
        expected = make({7: 1, 8: 2}[step], updates=3)
        for part in ("network", "optimizer"):
            assert same(state.state_dict()[part], expected.state_dict()[part])
        noticed += step == 7
    assert noticed > len(numbers) / 3  # the other bytes are padding and times
    assert len(caplog.messages) == noticed


def test_two_damaged_checkpoints_are_one_error(saved: Path) -> None:
    save(saved, make(2, progress=Progress(step=8)))
    for path in (saved, saved.with_name(PREVIOUS_NAME)):
        path.write_bytes(path.read_bytes()[:-100])
    assert_refused(saved, r"neither is previous\.pt: start a new run")


def test_a_run_folder_that_was_deleted_is_not_created_again(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="the run folder no longer exists"):
        save(tmp_path / "run" / "last.pt", make(1))
    assert not (tmp_path / "run").exists()


class Unsavable(nn.Linear):
    def get_extra_state(self) -> object:
        return lambda: None  # pickle cannot


def test_a_save_that_fails_leaves_the_older_checkpoint(saved: Path) -> None:
    network = Unsavable(3, 2)
    with pytest.raises(AttributeError, match="local object 'Unsavable"):
        save(saved, TrainingState(network, torch.optim.Adam(network.parameters()), None, Progress(step=8)))
    assert [path.name for path in saved.parent.iterdir()] == ["last.pt"]
    assert load(saved, make(2)) == PROGRESS


class Harmful:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return open, (str(self.mark), "w")


def test_code_in_the_file_is_not_run(tmp_path: Path) -> None:
    path, mark = tmp_path / "last.pt", tmp_path / "mark"
    torch.save({"format_version": 2, "network": Harmful(mark)}, path)
    with pytest.raises(ModelFileError, match="not a readable checkpoint"):
        load(path, make(1))
    path.write_bytes(pickle.dumps(Harmful(mark)))
    with pytest.raises(ModelFileError, match="not a readable checkpoint"):
        load(path, make(1))
    assert not mark.exists()


@pytest.mark.parametrize("content", [b"", b"x", b"PK\x03\x04", b"\x80\x02}q\x00.", b"garbage " * 1000])
def test_a_file_that_is_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "last.pt"
    path.write_bytes(content)
    assert_refused(path, "not a readable checkpoint")


@pytest.mark.parametrize("value", [[1, 2], {}, None, torch.zeros(3)])
def test_another_programs_checkpoint(tmp_path: Path, value: object) -> None:
    torch.save(value, tmp_path / "last.pt")
    assert_refused(tmp_path / "last.pt", "not a readable checkpoint")


@pytest.mark.parametrize("share", [0.02, 0.5, 0.9, 0.999])
def test_a_checkpoint_cut_short(saved: Path, share: float) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * share)])
    assert_refused(saved, "not a readable checkpoint")


def test_a_missing_checkpoint(tmp_path: Path) -> None:
    assert_refused(tmp_path / "last.pt", "no checkpoint at")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 1}, "has format version 1; this program reads 2"),
        ({"network": {}}, "does not fit this run"),
        ({"network": None}, "does not fit this run"),
        ({"optimizer": {"state": {}, "param_groups": []}}, "does not fit this run"),
        ({"optimizer": None}, "does not fit this run"),
        ({"progress": {"stride": 1}}, "does not fit this run"),
    ],
    ids=str,
)
def test_a_checkpoint_with_a_part_replaced(saved: Path, change: dict[str, object], message: str) -> None:
    torch.save({**torch.load(saved, weights_only=True), **change}, saved)
    assert_refused(saved, message)


@pytest.mark.parametrize("part", ["network", "optimizer", "progress"])
def test_a_checkpoint_with_a_part_missing(saved: Path, part: str) -> None:
    state = torch.load(saved, weights_only=True)
    del state[part]
    torch.save(state, saved)
    assert_refused(saved, f"does not fit this run: .*{part}")


def test_a_checkpoint_of_another_model(saved: Path) -> None:
    with pytest.raises(ModelFileError, match="does not fit this run"):
        load(saved, make(1, size=4))


def assert_refused(path: Path, message: str) -> None:
    with pytest.raises(ModelFileError, match=message) as caught:
        load(path, make(1))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_of_another_tokenizer(saved: Path) -> None:
    """The same ids would be other tokens."""
    with pytest.raises(ModelFileError, match="another tokenizer"):
        load(saved, make(1), "another tokenizer")


def test_hyper_parameters_of_the_optimizer_may_change_on_resume(saved: Path) -> None:
    network = make(1).network
    optimizer = torch.optim.Adam(network.parameters(), betas=(0.9, 0.5), weight_decay=0.1)
    load(saved, TrainingState(network, optimizer, None, Progress()))
    assert (optimizer.param_groups[0]["betas"], optimizer.param_groups[0]["weight_decay"]) == ((0.9, 0.5), 0.1)
    assert optimizer.state
