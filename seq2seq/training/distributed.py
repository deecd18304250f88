"""The processes that train one network together, as torchrun starts them; a run in one process is a single rank."""

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

from seq2seq.atomic_files import first_line
from seq2seq.errors import ConfigError, Seq2SeqError

PATIENCE = timedelta(minutes=60)  # for the slowest rank: one may prepare the data, or validate, while the others wait
LOST = ("gloo", "Connection", "Broken pipe", "NCCL", "store", "Timed out")
T = TypeVar("T")


class RankLost(Seq2SeqError):
    """Another process of the run has ended; this one cannot go on."""


class ProcessGroup:
    """What the processes of a run agree on. Every method but `main` is called by all of them, in the same order."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes files, validates and speaks."""
        return self.rank == 0

    @property
    def local_size(self) -> int:
        """How many of the processes share this machine."""
        return 1 if self.size == 1 else int(os.environ.get("LOCAL_WORLD_SIZE", self.size))

    def device(self, device: torch.device) -> torch.device:
        """Return the device of this process: of several GPUs on a machine, each has its own.

        Raises:
            ConfigError: there are more processes on this machine than GPUs.
        """
        if self.size == 1 or device.type != "cuda":
            return device
        local = int(os.environ.get("LOCAL_RANK", self.rank))
        if device.index is not None or local >= torch.cuda.device_count():
            raise ConfigError(
                f"training.device={device}: process {local} of this machine needs a GPU of its own; say cuda, and "
                f"start at most {torch.cuda.device_count()} processes (--nproc-per-node)"
            )
        torch.cuda.set_device(local)
        return torch.device("cuda", local)

    def broadcast(self, value: T) -> T:
        """Return the first rank's `value`."""
        if self.size == 1:
            return value
        box = [value]
        with _telling():
            dist.broadcast_object_list(box, src=0)
        return box[0]

    def check_same(self, value: str, what: str) -> None:
        """Make sure that all ranks work on the same.

        Raises:
            ConfigError: this one has another `value` than the first.
        """
        if self.broadcast(value) != value:
            raise ConfigError(f"process {self.rank} has another {what} than the first one: give all the same files")

    def all_gather(self, values: Sequence[float]) -> list[list[float]]:
        """Return the `values` of every rank."""
        if self.size == 1:
            return [list(values)]
        mine = torch.tensor(values, dtype=torch.float64)
        rows = [torch.empty_like(mine) for _ in range(self.size)]
        with _telling():
            dist.all_gather(rows, mine)
        return [row.tolist() for row in rows]

    @contextlib.contextmanager
    def local_main_first(self) -> Iterator[None]:
        """Let the first process of every machine run the block before its others, which then find what it has made."""
        first = int(os.environ.get("LOCAL_RANK", 0)) == 0 or self.size == 1
        if not first:
            self.all_gather([0.0])  # of nothing at all it would not wait
        yield
        if first:
            self.all_gather([0.0])

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return `module` so that its gradients are averaged over the ranks as they are made, weights made equal."""
        if self.size == 1:
            return module
        with _telling():
            return DistributedDataParallel(module, gradient_as_bucket_view=True)

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradient of `loss`; where the module is wrapped, this waits for the other ranks."""
        if self.size == 1:
            torch.autograd.backward(loss)
        else:
            with _telling():
                torch.autograd.backward(loss)


@contextlib.contextmanager
def joined_group() -> Iterator[ProcessGroup]:
    """Join the other processes, if torchrun has started any, and leave them at the end of the block.

    Raises:
        RankLost: they cannot be reached.
    """
    count = int(os.environ.get("WORLD_SIZE", 1))
    if count == 1:
        yield ProcessGroup()
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    with _telling():
        dist.init_process_group(backend, timeout=PATIENCE)
    try:
        yield ProcessGroup(dist.get_rank(), count)
    finally:
        with contextlib.suppress(RuntimeError):
            dist.destroy_process_group()


@contextlib.contextmanager
def _telling() -> Iterator[None]:
    """Turn what torch.distributed says when a process is gone into one line.

    Raises:
        RankLost: instead of RuntimeError.
    """
    try:
        yield
    except RuntimeError as error:  # gloo's errors have no type of their own
        if not (isinstance(error, dist.DistError) or any(word in str(error) for word in LOST)):
            raise
        raise RankLost(
            f"another process of this run has ended or cannot be reached ({first_line(error)}); "
            "see its own message, then start all of them again with training.resume"
        ) from error
