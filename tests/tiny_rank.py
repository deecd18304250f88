"""One rank of a distributed run of the tiny trainer, which tests/e2e/test_distributed.py starts.

    tiny_rank FOLDER UPDATES ROWS MICRO_BATCHES

Each batch has ROWS rows. Each rank writes its final weights to FOLDER/RANK/weights.pt.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from seq2seq.training.distributed import joined_group
from tiny_trainer import random_data, tiny_trainer, weights_of


def main() -> None:
    """Train."""
    folder = Path(sys.argv[1])
    updates, rows, micro_batches = map(int, sys.argv[2:])
    with joined_group() as group:
        own, data = folder / str(group.rank), random_data(4, rows=rows)
        with tiny_trainer(own, data, max_steps=updates, micro_batches=micro_batches, group=group) as trainer:
            trainer.fit()
        torch.save(weights_of(trainer), own / "weights.pt")
