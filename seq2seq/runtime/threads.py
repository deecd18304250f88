"""The number of CPU threads: as many as other processes leave cores for, followed while running.

The threads of a matrix product wait for each other. Where one of them shares its core with another process, all wait
for it, in every product: two threads on two cores are then several times slower than one. So a thread is worth having
only on a core of its own.

Which threads wait for a core, and how long cores are idle, is known to the kernel (cpu_load.py). Sampling it takes less
than 0.1 ms, at most ten times a second.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from seq2seq.runtime.control_groups import cores_allowed
from seq2seq.runtime.cpu_load import allowed_cores, idle_sec, waiting_sec

SAMPLE_SEC = 0.1
AVERAGE_SEC = 0.4
"""Time constant of the averages of samples: a program that runs for an instant is no reason to give up a thread."""
FREE, MOST_FREE = 0.6, 0.9
PATIENCE_SEC, MAX_PATIENCE_SEC = 0.4, 4.0
"""How long to wait for an idle core; doubled, up to the maximum, each time the added thread was given up at once."""
AT_ONCE_SEC = 2.0
LOG_SEC = 60.0
log = logging.getLogger(__name__)


class ThreadCount:
    """Decides how many threads to use from samples of the load.

    A thread that shares its core with a busy process waits for half of the time, and so do all others, for longer than
    it: the run is about four times slower (measured with two threads; docs/explanation/performance.md). Without one of
    n threads it loses 1/n of its speed. So a thread is given up if its core is taken for more than about 1.4/n of the
    time, and added if a core is free for nearly all of the rest.

    Args:
        limit: most threads.
    """

    def __init__(self, limit: int) -> None:
        self.limit = self.count = limit
        self._waiting = self._idle = self._since_change = 0.0
        self._patience, self._added = PATIENCE_SEC, False

    def observe(self, elapsed: float, waiting: float, idle: float) -> int:
        """Return the number of threads to use.

        Args:
            elapsed: seconds since the last sample.
            waiting: for how long the threads have waited for a core meanwhile, summed, in seconds.
            idle: for how long cores were idle, summed, in seconds.
        """
        weight = 1 - math.exp(-elapsed / AVERAGE_SEC)
        self._waiting += weight * (waiting / elapsed - self._waiting)
        self._idle += weight * (idle / elapsed - self._idle)
        self._since_change += elapsed
        if self.count > 1 and self._waiting > max(0.1, 0.7 / self.count):
            at_once = self._added and self._since_change < AT_ONCE_SEC
            self._patience = min(2 * self._patience, MAX_PATIENCE_SEC) if at_once else PATIENCE_SEC
            self._change(self.count - max(1, round(self._waiting)))
        elif self.count < self.limit and self._since_change >= self._patience and self._idle >= self._enough():
            self._change(self.count + max(1, int(self._idle)))
        return self.count

    def _enough(self) -> float:
        """Return how many cores must be idle for one more thread."""
        return min(MOST_FREE, max(FREE, 1 - 1 / self.count))

    def _change(self, count: int) -> None:
        self._added = count > self.count
        self.count = min(self.limit, max(1, count))
        self._waiting = self._idle = self._since_change = 0.0


class FollowedThreads:
    """Sets torch's number of threads in the calling thread, and returns it; samples the load when that is due.

    Args:
        limit: most threads.
        root: folder with `proc`.
        clock: returns seconds.
    """

    def __init__(self, limit: int, root: Path = Path("/"), clock: Callable[[], float] = time.monotonic) -> None:
        self._root, self._clock, self._cores = root, clock, allowed_cores()
        self._sampled = clock()
        self._count = ThreadCount(limit)
        self._waiting, self._idle = waiting_sec(root) or 0.0, idle_sec(self._cores, root) or 0.0
        self._logged = -LOG_SEC
        self._lock = threading.Lock()  # a server translates in several threads

    def __call__(self) -> int:
        """Return the number of threads to use now."""
        if self._clock() - self._sampled >= SAMPLE_SEC and self._lock.acquire(blocking=False):
            try:
                self._sample()
            finally:
                self._lock.release()
        if torch.get_num_threads() != self._count.count:
            torch.set_num_threads(self._count.count)
        return self._count.count

    def _sample(self) -> None:
        now = self._clock()  # after the lock was taken: another thread may have sampled meanwhile
        before, elapsed = self._count.count, now - self._sampled
        if elapsed < SAMPLE_SEC:
            return
        waiting, idle = waiting_sec(self._root) or 0.0, idle_sec(self._cores, self._root) or 0.0
        # max: a thread that has ended takes its waiting time with it
        count = self._count.observe(elapsed, max(0.0, waiting - self._waiting), idle - self._idle)
        self._sampled, self._waiting, self._idle = now, waiting, idle
        if count != before and now - self._logged >= LOG_SEC:
            self._logged = now
            reason = "other processes use the cores" if count < before else "cores are idle"
            log.info("%d of %d threads: %s", count, self._count.limit, reason)


def most_threads(processes: int = 1) -> int:
    """Return the number of threads for each of `processes` when nothing else runs: at most torch's default.

    Bounded by the cores that this process may run on, and by the time that its control groups grant. A part of a core
    gives no thread.
    """
    return thread_share(min(_torch_default(), len(allowed_cores()), cores_allowed()), processes)


def thread_share(cores: float | int, processes: int) -> int:
    """Return the number of threads for each of `processes` that share the time of `cores`."""
    return max(1, int(cores) // processes)


@functools.cache
def _torch_default() -> int:
    """Return torch's number of threads before anything sets it: `OMP_NUM_THREADS`, or the physical cores."""
    return torch.get_num_threads()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Use one thread inside the block, for what would depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def thread_source(setting: int | str | None, processes: int = 1) -> Callable[[], int]:
    """Return the function that the kernels ask for the number of threads; sets torch's.

    Args:
        setting: `runtime.threads`.
        processes: of this run on this machine.
    """
    default = _torch_default()
    if setting != "auto":
        torch.set_num_threads(int(setting or default))
        return torch.get_num_threads
    limit = most_threads(processes)
    torch.set_num_threads(limit)
    return FollowedThreads(limit) if limit > 1 and waiting_sec() is not None else torch.get_num_threads
