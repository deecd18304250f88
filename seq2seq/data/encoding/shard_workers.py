"""Write shards in several processes: `python -m seq2seq.data.encoding.shard_workers` is one of them.

Two threads of SentencePiece encode a tenth faster than one, because Python makes the lists of ids; two processes encode
twice as fast. They are not forked: a fork copies the threads and the memory of a process that trains.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from threading import Lock

from seq2seq.data.encoding.shards import ShardJob
from seq2seq.data.text.text_store import is_stored
from seq2seq.errors import StorageError

MOST_WORKERS = 8  # each takes about 100 MB


def write_shards(job: ShardJob, numbers: Sequence[int], cores: int, done: Callable[[], None] = lambda: None) -> None:
    """Write the shards `numbers`, those of a text on disk in `cores` processes; call `done` after each shard.

    Raises:
        StorageError: a shard cannot be written, or a process was killed.
    """
    workers = min(cores, len(numbers), MOST_WORKERS) if is_stored(job.text) else 1
    if workers < 2:
        for number in numbers:
            job.write(number)
            done()
        return
    remaining, lock = iter(numbers), Lock()

    def following() -> int | None:
        with lock:
            return next(remaining, None)

    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(_worker(job)) for _ in range(workers)]
        pool = stack.enter_context(ThreadPoolExecutor(workers))
        for process in processes:
            stack.callback(process.kill)
        waiting = [pool.submit(_feed, process, following, done) for process in processes]
        for future in wait(waiting, return_when=FIRST_EXCEPTION).done:  # a failed process ends all
            future.result()


@contextlib.contextmanager
def _worker(job: ShardJob) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process that has received `job`; it ends at the end of the block."""
    root = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "seq2seq.data.encoding.shard_workers"]
    environment = {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdin is not None
        try:
            with contextlib.suppress(BrokenPipeError):  # `_feed` reports it
                pickle.dump(job, process.stdin)
                process.stdin.flush()
            yield process
        finally:
            process.kill()
            with contextlib.suppress(BrokenPipeError):  # a request that it has not read is still in the buffer
                process.stdin.close()


def _feed(process: subprocess.Popen[bytes], following: Callable[[], int | None], done: Callable[[], None]) -> None:
    """Let the process write shards until there are no more.

    Raises:
        StorageError: as `write_shards`.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    while (number := following()) is not None:
        try:
            pickle.dump(number, process.stdin)
            process.stdin.flush()
            error: Exception | None = pickle.load(process.stdout)
        except Exception:  # unpickling what is no answer may raise anything
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1)  # for its status, if it has ended
            process.kill()
            raise StorageError(
                f"a process that encodes text ended with status {process.wait()}: start again, finished parts are kept"
            ) from None
        if error is not None:
            raise error
        done()


def main() -> None:
    """Read a job and numbers of shards from stdin and write these shards; answer with None or an exception."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
    job: ShardJob = pickle.load(requests)
    job.encoder.tokenizer.threads = 1
    with contextlib.suppress(EOFError):  # the parent has ended
        while True:
            number: int = pickle.load(requests)
            error: Exception | None = None
            try:
                job.write(number)
            except Exception as raised:
                error = raised
            pickle.dump(error, answers)
            answers.flush()


if __name__ == "__main__":
    main()
