"""Data-parallel training: the process group that torchrun starts; without torchrun, a single rank."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from seq2seq.errors import ConfigError, Seq2SeqError, first_line

TIMEOUT = timedelta(minutes=60)  # of a collective: rank 0 may validate while every other rank waits
PREPARATION = timedelta(days=14)  # of the wait for a rank that prepares the data; if it ends, all ranks notice at once
LOST_MARKERS = ("gloo", "Connection", "Broken pipe", "NCCL", "store", "Timed out")
"""Substrings of the errors that the backends raise when a rank is gone."""
T = TypeVar("T")


class RankLost(Seq2SeqError):
    """Another rank has ended, so that this one cannot go on."""


class ProcessGroup:
    """The ranks of a run. All ranks must call its methods in the same order, except `is_main` and `device`."""

    def __init__(self, rank: int = 0, size: int = 1, patient: dist.ProcessGroup | None = None) -> None:
        self.rank, self.size, self._patient = rank, size, patient

    @property
    def is_main(self) -> bool:
        """True for rank 0, which validates, logs and writes files."""
        return self.rank == 0

    @property
    def local_size(self) -> int:
        """Number of ranks on this machine."""
        return 1 if self.size == 1 else int(os.environ.get("LOCAL_WORLD_SIZE", self.size))

    def device(self, device: torch.device) -> torch.device:
        """Return the device of this rank: each rank of a machine gets its own GPU.

        Raises:
            ConfigError: there are more ranks on this machine than GPUs.
        """
        if self.size == 1 or device.type != "cuda":
            return device
        local_rank = int(os.environ.get("LOCAL_RANK", self.rank))
        if device.index is not None or local_rank >= torch.cuda.device_count():
            raise ConfigError(
                f"training.device={device}: local rank {local_rank} needs a GPU of its own; set training.device=cuda "
                f"and start at most {torch.cuda.device_count()} processes (--nproc-per-node)"
            )
        torch.cuda.set_device(local_rank)
        return torch.device("cuda", local_rank)

    def broadcast(self, value: T) -> T:
        """Return rank 0's `value`."""
        if self.size == 1:
            return value
        box = [value]
        with _raising_rank_lost():
            dist.broadcast_object_list(box, src=0)
        return box[0]

    def check_same(self, value: str, name: str) -> None:
        """Check that `value`, which the error calls `name`, is the same on every rank.

        Raises:
            ConfigError: this rank's value differs from rank 0's.
        """
        if self.broadcast(value) != value:
            raise ConfigError(f"rank {self.rank} has another {name} than rank 0: give every rank the same files")

    def all_gather(self, values: Sequence[float]) -> list[list[float]]:
        """Return the `values` of every rank, by rank."""
        if self.size == 1:
            return [list(values)]
        own = torch.tensor(values, dtype=torch.float64)
        rows = [torch.empty_like(own) for _ in range(self.size)]
        with _raising_rank_lost():
            dist.all_gather(rows, own)
        return [row.tolist() for row in rows]

    @contextlib.contextmanager
    def local_main_first(self) -> Iterator[None]:
        """Run the block on the first rank of each machine, then on its other ranks, which find its caches filled."""
        first = int(os.environ.get("LOCAL_RANK", 0)) == 0 or self.size == 1
        if not first:
            self._wait_for_preparation()
        yield
        if first:
            self._wait_for_preparation()

    def _wait_for_preparation(self) -> None:
        """Wait until every rank has called this."""
        if self._patient is not None:
            with _raising_rank_lost():
                dist.barrier(self._patient)

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return `module` such that backward averages its gradients over the ranks; rank 0's weights are broadcast."""
        if self.size == 1:
            return module
        with _raising_rank_lost():
            return DistributedDataParallel(module, gradient_as_bucket_view=True)

    def backward(self, loss: torch.Tensor) -> None:
        """Run backward; through a wrapped module it waits for the other ranks."""
        if self.size == 1:
            torch.autograd.backward(loss)
        else:
            with _raising_rank_lost():
                torch.autograd.backward(loss)


@contextlib.contextmanager
def joined_group() -> Iterator[ProcessGroup]:
    """Join the process group that torchrun describes in the environment, and leave it at the end of the block.

    Raises:
        RankLost: the other ranks cannot be reached.
    """
    size = int(os.environ.get("WORLD_SIZE", 1))
    if size == 1:
        yield ProcessGroup()
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    with _raising_rank_lost():
        dist.init_process_group(backend, timeout=TIMEOUT)
        patient = dist.new_group(backend="gloo", timeout=PREPARATION)
    try:
        yield ProcessGroup(dist.get_rank(), size, patient)
    finally:
        with contextlib.suppress(RuntimeError):
            dist.destroy_process_group()


@contextlib.contextmanager
def _raising_rank_lost() -> Iterator[None]:
    """Turn the backend's error for a rank that is gone into RankLost.

    Raises:
        RankLost: instead of RuntimeError.
    """
    try:
        yield
    except RuntimeError as error:  # gloo raises plain RuntimeError
        if not (isinstance(error, dist.DistError) or any(marker in str(error) for marker in LOST_MARKERS)):
            raise
        raise RankLost(
            f"another process of this run has ended or cannot be reached ({first_line(error)}); "
            "see its own message, then start all of them again with training.resume"
        ) from error
