"""One rank of a distributed run of the tiny trainer, which tests/e2e/test_distributed.py starts.

    tiny_rank FOLDER UPDATES ROWS MICRO_BATCHES [WEIGHT]

Each batch has ROWS rows; WEIGHT is that of minimum-risk training. Each rank writes its final
weights to FOLDER/RANK/weights.pt.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from seq2seq.config.decode import DecodeConfig
from seq2seq.config.training import MinimumRiskConfig
from seq2seq.evaluation.candidates import CandidateFinder
from seq2seq.training.distributed import joined_group
from tiny_model import make_model
from tiny_trainer import random_data, tiny_trainer, weights_of


def main() -> None:
    """Train."""
    folder = Path(sys.argv[1])
    updates, rows, micro_batches = map(int, sys.argv[2:5])
    risk = MinimumRiskConfig(weight=float(sys.argv[5]) if sys.argv[5:] else 0.0, samples=4)
    with joined_group() as group:
        own, data = folder / str(group.rank), random_data(4, rows=rows)
        tokenizer = make_model(own).tokenizer
        settings = {"max_steps": updates, "micro_batches": micro_batches, "minimum_risk": risk, "group": group}
        with tiny_trainer(
            own, data, make_search=lambda network: CandidateFinder(network, tokenizer, risk, DecodeConfig()), **settings
        ) as trainer:
            trainer.fit()
        torch.save(weights_of(trainer), own / "weights.pt")
