"""One rank of a run of two processes, started by torchrun from tests/e2e/test_ranks.py: prints nothing, writes files.

    torchrun --nproc-per-node=2 tests/two_ranks.py FOLDER STEPS [KEY=VALUE]...

The first rank writes the weights it ends with into FOLDER/weights.pt. Settings are fields of TrainingConfig, in JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from seq2seq.training.ranks import joined
from tiny_trainer import random_data, tiny_trainer, weights_of


def main() -> None:
    folder, steps, *settings = sys.argv[1:]
    chosen = {key: json.loads(value) for key, _, value in (setting.partition("=") for setting in settings)}
    with joined() as ranks:
        own = Path(folder) / str(ranks.number)
        with tiny_trainer(own, random_data(4), max_steps=int(steps), ranks=ranks, **chosen) as trainer:
            trainer.fit()
        torch.save(weights_of(trainer), own / "weights.pt")


main()
