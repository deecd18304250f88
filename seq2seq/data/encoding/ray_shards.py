"""Write shards on the machines of a Ray cluster; texts and shards are on a file system that all of them share.

Ray runs a shard again, elsewhere if necessary, if its process or machine ends.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence

from seq2seq.data.encoding.shards import ShardJob
from seq2seq.errors import StorageError, first_line


def write_shards(job: ShardJob, numbers: Sequence[int], done: Callable[[], None] = lambda: None) -> None:
    """Write the shards `numbers`, each as a task of one CPU; call `done` after each shard.

    Raises:
        ConfigError: Ray is not installed or does not start.
        StorageError: a shard cannot be written, or its process ended again and again.
    """
    from seq2seq.runtime.ray_cluster import RETRIES, cluster  # imports torch, which processes that encode do without

    with cluster() as ray:
        task = ray.remote(num_cpus=1, max_retries=RETRIES)(_write)
        shared = ray.put(pickle.dumps(job))  # as `shard_workers`; Ray pickles functions in its own way
        running = {task.remote(shared, number): number for number in numbers}
        while running:
            (ended,), _ = ray.wait(list(running), num_returns=1)
            number = running.pop(ended)
            try:
                error: StorageError | None = ray.get(ended)
            except ray.exceptions.RayTaskError:
                raise  # a bug, with the traceback of the worker
            except ray.exceptions.RayError as failure:
                raise StorageError(
                    f"shard {number}: its worker ended {RETRIES + 1} times, or cannot start: {first_line(failure)}; "
                    "start again, finished shards are kept"
                ) from failure
            if error is not None:
                raise error
            done()


def _write(pickled: bytes, number: int) -> StorageError | None:
    job: ShardJob = pickle.loads(pickled)
    job.encoder.tokenizer.threads = 1
    try:
        job.write(number)
    except StorageError as error:
        return error
    return None
