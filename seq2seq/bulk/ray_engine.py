"""Translate blocks with actors of Ray: each process holds the model; a block whose process ends is translated again.

Ray starts a new process for one that was killed, on another machine if necessary. No text goes through Ray: a worker
reads its block from the input file and writes the output file, so both are on a file system that all machines share.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

from seq2seq.bulk.block_translator import BlockResult, BlockTranslator
from seq2seq.bulk.blocks import Block
from seq2seq.errors import ConfigError, Seq2SeqError, first_line
from seq2seq.runtime.ray_cluster import RETRIES


def translate_blocks(
    ray: Any, args: argparse.Namespace, models: Sequence[str], blocks: Sequence[Block]
) -> Iterator[BlockResult]:
    """Yield the result of each block as soon as it is translated, in any order.

    Args:
        ray: of `cluster`.
        args: the command line; `threads` is a number.
        models: absolute names of the model files.
        blocks: to translate.

    Raises:
        ConfigError: more actors than CPUs, or a worker that cannot load the model.
        Seq2SeqError: of a block; those in progress are finished by nobody.
    """
    gpus = 1 if (args.device or "").startswith("cuda") else 0
    count = min(_actors(ray, args, gpus), len(blocks))
    remote = ray.remote(num_cpus=args.threads, num_gpus=gpus, max_restarts=-1, max_task_retries=RETRIES)
    actors = [remote(BlockTranslator).remote(args, models) for _ in range(count)]
    queue = iter(blocks)
    running = {actor.translate.remote(block): (actor, block) for actor, block in zip(actors, queue, strict=False)}
    try:
        while running:
            (done,), _ = ray.wait(list(running), num_returns=1)
            actor, block = running.pop(done)
            yield _result(ray, done, block)
            if (following := next(queue, None)) is not None:
                running[actor.translate.remote(following)] = actor, following
    finally:
        for actor in actors:
            ray.kill(actor)


def _actors(ray: Any, args: argparse.Namespace, gpus: int) -> int:
    """Return the number of actors.

    Raises:
        ConfigError: the cluster has too few CPUs or GPUs: Ray would wait for them without end.
    """
    resources = ray.cluster_resources()
    fitting = int(resources.get("CPU", 0)) // args.threads
    if gpus:
        fitting = min(fitting, int(resources.get("GPU", 0)))
    if (args.actors or 1) > fitting:
        raise ConfigError(
            f"--actors {args.actors or 1} with --threads {args.threads}: Ray has CPUs{' and GPUs' * gpus} for {fitting}"
        )
    count: int = args.actors or fitting
    return count


def _result(ray: Any, done: Any, block: Block) -> BlockResult:
    try:
        result: BlockResult = ray.get(done)
    except ray.exceptions.RayTaskError:
        raise  # a bug, with the traceback of the worker
    except ray.exceptions.RayError as error:
        reason = first_line(error)
        raise Seq2SeqError(f"{block}: its worker ended {RETRIES + 1} times, or cannot start: {reason}") from error
    if result.error:
        raise result.error
    return result
