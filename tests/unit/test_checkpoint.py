"""last.pt: what it restores, and one line for every way it can be unusable."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from seq2seq.errors import ModelFileError
from seq2seq.training.averaging import MovingAverage
from seq2seq.training.checkpoint import PREVIOUS_NAME, Progress, read_checkpoint, restore, save_checkpoint

State = tuple[nn.Module, torch.optim.Optimizer]

PROGRESS = Progress(
    step=7, epoch=2, position=3, elapsed_sec=1.5, best=(31.25, -2.5), stale_validations=1, plateau_stale=2,
    plateau_scale=0.25, skipped=4, validated_step=6,
)  # fmt: skip


def make(seed: int, size: int = 3, updates: int = 0) -> State:
    torch.manual_seed(seed)
    network = nn.Linear(size, 2)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    for _ in range(updates):
        network(torch.randn(4, size)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return network, optimizer


def save(path: Path, state: State, progress: Progress) -> None:
    save_checkpoint(path, *state, None, progress, "pieces")


def load(path: Path, state: State, pieces: str = "pieces") -> Progress:
    return restore(path, read_checkpoint(path.parent, pieces), *state, None)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "last.pt"
    save(path, make(1, updates=3), PROGRESS)
    return path


def test_everything_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    network, optimizer = make(1, updates=3)
    save(path, (network, optimizer), PROGRESS)
    other, other_optimizer = make(2, updates=1)
    assert load(path, (other, other_optimizer)) == PROGRESS
    for one, two in ((network, optimizer), (other, other_optimizer)):
        one(torch.ones(1, 3)).sum().backward()
        two.step()
    for name, value in network.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)


def test_the_average_comes_back(tmp_path: Path) -> None:
    network, optimizer = make(1, updates=3)
    average = MovingAverage(network, 0.9)
    with torch.no_grad():
        network.weight += 1
    average.update(5)
    save_checkpoint(tmp_path / "last.pt", network, optimizer, average, PROGRESS, "pieces")
    other, other_optimizer = make(2)
    loaded = MovingAverage(other, 0.9)
    path = tmp_path / "last.pt"
    restore(path, read_checkpoint(tmp_path, "pieces"), other, other_optimizer, loaded)
    assert all(torch.equal(*pair) for pair in zip(loaded.average, average.average, strict=True))
    assert not torch.equal(loaded.average[0], network.weight)


def test_the_checkpoint_before_the_last_is_kept_and_nothing_else(saved: Path) -> None:
    for step in (8, 9):
        save(saved, make(1), Progress(step=step))
    assert {path.name for path in saved.parent.iterdir()} == {"last.pt", PREVIOUS_NAME}
    assert load(saved, make(1)).step == 9
    saved.write_bytes(b"")
    assert load(saved, make(1)).step == 8


@pytest.mark.parametrize("left", [0.0, 0.5, 0.99])
def test_a_damaged_checkpoint_makes_way_for_the_one_before_it(
    saved: Path, left: float, caplog: pytest.LogCaptureFixture
) -> None:
    save(saved, make(2), Progress(step=8))
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * left)])
    assert load(saved, make(3)) == PROGRESS
    assert "not a readable checkpoint" in caplog.text
    assert load(saved, make(3)) == PROGRESS  # it is the last one now
    assert [path.name for path in saved.parent.iterdir()] == ["last.pt"]


class Unsavable(nn.Linear):
    def get_extra_state(self) -> object:
        return lambda: None  # pickle cannot


def test_a_save_that_fails_leaves_the_older_checkpoint(saved: Path) -> None:
    network = Unsavable(3, 2)
    with pytest.raises(AttributeError, match="local object 'Unsavable"):
        save(saved, (network, torch.optim.Adam(network.parameters())), Progress(step=8))
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
def test_a_checkpoint_with_a_part_exchanged(saved: Path, change: dict[str, object], message: str) -> None:
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
    """The ids the weights know would mean other pieces."""
    with pytest.raises(ModelFileError, match="another tokenizer"):
        load(saved, make(1), "other pieces")


def test_settings_may_change_on_resume(saved: Path) -> None:
    network, _ = make(1)
    optimizer = torch.optim.Adam(network.parameters(), betas=(0.9, 0.5), weight_decay=0.1)
    load(saved, (network, optimizer))
    assert (optimizer.param_groups[0]["betas"], optimizer.param_groups[0]["weight_decay"]) == ((0.9, 0.5), 0.1)
    assert optimizer.state
