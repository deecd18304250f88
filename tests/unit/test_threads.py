"""runtime.threads=auto follows the load of a simulated machine, and reads what a kernel reports."""

from __future__ import annotations

import itertools
import math
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from seq2seq import runtime
from seq2seq.config.field import check_ranges
from seq2seq.config.runtime import RuntimeConfig
from seq2seq.errors import ConfigError
from seq2seq.kernels import bindings
from seq2seq.runtime.control_groups import cores_allowed
from seq2seq.runtime.cpu_load import TICKS_PER_SEC, allowed_cores, idle_sec, waiting_sec
from seq2seq.runtime.threads import FollowedThreads, ThreadCount, most_threads, thread_share

STEP = 0.1


@pytest.fixture(autouse=True)
def _same_number_of_threads_after_the_test() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
    bindings.ask_for_threads(torch.get_num_threads)


class Machine:
    """A fair scheduler: threads that compute all the time share the cores equally."""

    def __init__(self, cores: int, *runs: ThreadCount, noise: float = 0.0) -> None:
        self.cores, self.runs, self.noise = cores, runs, noise
        self.random = random.Random(1)

    def load(self, busy: float) -> tuple[float, float]:
        """Return the share of the time that each thread waits, and how many cores are idle, beside busy threads."""
        running = busy + sum(run.count for run in self.runs)
        return max(0.0, 1 - self.cores / running), max(0.0, self.cores - running)

    def pass_time(self, sec: float, busy: float) -> list[int]:
        """Let time pass; return the threads of the first run at each sample."""
        counts = []
        for _ in range(round(sec / STEP)):
            share, idle = self.load(busy)
            for run in self.runs:
                waiting = share * run.count + self.noise * self.random.random()
                run.observe(STEP, waiting * STEP, idle * STEP)
            counts.append(self.runs[0].count)
        return counts


@pytest.mark.parametrize(("cores", "busy", "expected"), [(2, 1, 1), (2, 2, 1), (8, 1, 7), (8, 3, 5), (8, 20, 1)])
def test_a_run_leaves_the_cores_that_others_use(cores: int, busy: int, expected: int) -> None:
    machine = Machine(cores, ThreadCount(cores))
    machine.pass_time(2.0, busy)
    assert set(machine.pass_time(20.0, busy)) == {expected}


@pytest.mark.parametrize("cores", [2, 8])
def test_a_run_follows_others_that_come_and_go_within_a_second(cores: int) -> None:
    machine = Machine(cores, ThreadCount(cores))
    for busy in (0, 1, 2, 1, 0, 2, 0):
        machine.pass_time(1.0, busy)
        assert set(machine.pass_time(29.0, busy)) == {max(1, cores - busy)}


def test_an_idle_machine_with_short_disturbances_keeps_all_threads() -> None:
    machine = Machine(2, ThreadCount(2), noise=0.2)
    assert set(machine.pass_time(60.0, 0)) == {2}


def test_a_light_load_is_not_worth_a_thread() -> None:
    machine = Machine(2, ThreadCount(2))
    assert set(machine.pass_time(30.0, 0.4)) == {2}


def test_two_runs_share_the_machine() -> None:
    machine = Machine(8, ThreadCount(8), ThreadCount(8))
    machine.pass_time(10.0, 0)
    counts = machine.pass_time(60.0, 0)
    assert sum(run.count for run in machine.runs) <= 8
    assert sum(counts) / len(counts) >= 3


def test_a_core_that_is_lost_at_once_each_time_is_tried_less_and_less() -> None:
    count, tries = ThreadCount(2), []
    for sample in range(600):
        before = count.count
        waiting = STEP if before == 2 else 0.0  # whoever used the core sleeps only while this run does not use it
        count.observe(STEP, waiting, STEP * (before == 1))
        tries += [sample * STEP] if count.count > before else []
    gaps = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert gaps[0] < 1.2
    assert gaps[-1] == pytest.approx(max(gaps))
    assert 3.5 < gaps[-1] < 5


# --- what the kernel reports -----------------------------------------------------------------------------------------


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, math.inf),
        ({"proc/self/cgroup": "0::/job\n", "sys/fs/cgroup/job/cpu.max": "max 100000\n"}, math.inf),
        ({"proc/self/cgroup": "0::/job\n", "sys/fs/cgroup/job/cpu.max": "150000 100000\n"}, 1.5),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 0.5),
        (
            {
                "proc/self/cgroup": "0::/out/in\n",
                "sys/fs/cgroup/out/cpu.max": "200000 100000\n",
                "sys/fs/cgroup/out/in/cpu.max": "300000 100000\n",
            },
            2,
        ),
        (
            {
                "proc/self/cgroup": "3:cpuset:/\n2:cpu,cpuacct:/docker\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "400000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            4,
        ),
        (
            {
                "proc/self/cgroup": "2:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            math.inf,
        ),
    ],
)
def test_the_quota_of_a_container_is_read(tmp_path: Path, files: dict[str, str], cores: float) -> None:
    assert cores_allowed(write(tmp_path, files)) == cores


def test_the_times_of_threads_and_cores_are_summed(tmp_path: Path) -> None:
    stat = "cpu  9 9 9 9 9\ncpu0 1 2 3 100 50 0\ncpu1 1 2 3 300 0 0\ncpu12 0 0 0 1000 0 0\nintr 5\n"
    files = {
        "proc/stat": stat,
        "proc/self/task/1/schedstat": "5 1500000000 7\n",
        "proc/self/task/2/schedstat": "5 500000000 7\n",
        "proc/self/task/3/schedstat": "",  # a thread that has just ended
    }
    write(tmp_path, files)
    assert waiting_sec(tmp_path) == 2.0
    assert idle_sec({0, 1}, tmp_path) == 450 / TICKS_PER_SEC


def test_a_system_without_these_files_reports_nothing(tmp_path: Path) -> None:
    assert waiting_sec(tmp_path) is None
    assert idle_sec({0}, tmp_path) is None


def test_torch_gets_the_number_that_the_load_allows(tmp_path: Path) -> None:
    clock = [100.0]

    def machine(waiting: float, idle: float) -> None:
        core = min(allowed_cores())
        files = {
            "proc/self/task/1/schedstat": f"0 {int(waiting * 1e9)} 1\n",
            "proc/stat": f"cpu{core} 0 0 0 {int(idle * TICKS_PER_SEC)} 0\n",
        }
        write(tmp_path, files)

    machine(0, 0)
    follow = FollowedThreads(2, tmp_path, lambda: clock[0])
    assert follow() == 2
    clock[0] += 0.01
    machine(5, 0)
    assert follow() == 2  # not sampled yet
    clock[0] += 0.2
    assert (follow(), torch.get_num_threads()) == (1, 1)
    for sample in range(1, 10):
        clock[0] += STEP
        machine(5, STEP * sample)
        follow()
    assert (follow(), torch.get_num_threads()) == (2, 2)


def test_a_thread_that_another_one_has_sampled_before_does_not_sample(tmp_path: Path) -> None:
    clock = [1.0]
    follow = FollowedThreads(2, tmp_path, lambda: clock[0])

    class Lock:
        """Another thread is called between this one's look at the clock and its lock."""

        def __init__(self) -> None:
            self.lock, self.is_first = threading.Lock(), True

        def acquire(self, blocking: bool) -> bool:
            if self.is_first:
                self.is_first = False
                follow()
            return self.lock.acquire(blocking)

        def release(self) -> None:
            self.lock.release()

    follow._lock = Lock()  # type: ignore[assignment]
    clock[0] += 1.0
    assert follow() in (1, 2)


# --- the setting -----------------------------------------------------------------------------------------------------


def test_a_number_is_fixed_and_the_kernels_get_it() -> None:
    runtime.configure(RuntimeConfig(threads=3))
    assert (torch.get_num_threads(), bindings.threads()) == (3, 3)


def test_a_fixed_number_does_not_bound_a_later_run() -> None:
    most = most_threads()
    runtime.configure(RuntimeConfig(threads=1))
    runtime.configure(RuntimeConfig(threads="auto"))
    assert bindings.threads() == torch.get_num_threads() == most


@pytest.mark.parametrize(
    ("cores", "processes", "expected"), [(5.5, 1, 5), (5.5, 2, 2), (5.5, 6, 1), (0.5, 1, 1), (64, 4, 16)]
)
def test_ranks_share_the_cores(cores: float | int, processes: int, expected: int) -> None:
    assert thread_share(cores, processes) == expected


@pytest.mark.parametrize("value", ["all", "1x", "", 0, 1025])
def test_another_word_or_a_number_out_of_range_is_refused(value: int | str) -> None:
    with pytest.raises(ConfigError, match=r"^threads=.*1 ≤ threads ≤ 1024$"):
        check_ranges(RuntimeConfig(threads=value))
