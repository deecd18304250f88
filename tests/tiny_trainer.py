"""A trainer on random ids: the real loop, network, log and files, with a validation that the test defines."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

# seq2seq is imported inside the functions: jaxtyping's import hook must come first.
if TYPE_CHECKING:
    from seq2seq.data.batches.batch import Batch
    from seq2seq.model.network import Seq2Seq
    from seq2seq.training.callbacks import EpochData
    from seq2seq.training.distributed import ProcessGroup
    from seq2seq.training.minimum_risk import CandidateSearch
    from seq2seq.training.records import Validation
    from seq2seq.training.trainer import Trainer

VOCAB = 12


def random_ids(numbers: random.Random, rows: int, longest: int = 6, vocab: int = VOCAB) -> list[list[int]]:
    """Sentences of 1 to `longest` ordinary tokens."""
    return [[numbers.randrange(4, vocab) for _ in range(numbers.randint(1, longest))] for _ in range(rows)]


def random_data(batches: int, seed: int = 1, rows: int = 3) -> EpochData:
    """`batches` of `rows` sentences per epoch, different in every epoch."""
    from seq2seq.data.batches.batch import make_batch

    def data(epoch: int, start: int) -> tuple[int, Iterator[Batch]]:
        numbers = random.Random(f"{seed} {epoch}")
        epoch_batches = [make_batch(random_ids(numbers, rows), random_ids(numbers, rows)) for _ in range(batches)]
        return batches, iter(epoch_batches[start:])

    return data


@contextmanager
def tiny_trainer(
    folder: Path,
    data: EpochData,
    validate: Callable[[], Validation] | None = None,
    save_model: Callable[[Path], None] = Path.touch,
    dropout: float = 0.1,
    dtype: torch.dtype = torch.float32,
    group: ProcessGroup | None = None,
    make_search: Callable[[Seq2Seq], CandidateSearch] | None = None,
    device: str = "cpu",
    **settings: Any,
) -> Iterator[Trainer]:
    """A trainer of a small new network; `settings` are fields of TrainingConfig.

    `make_search` makes, from the network, the search of minimum-risk training.
    """
    from rich.console import Console

    from seq2seq.config.model import DropoutConfig, ModelConfig
    from seq2seq.config.training import TrainingConfig
    from seq2seq.model.network import Seq2Seq
    from seq2seq.training.callbacks import Callbacks, RunOutput
    from seq2seq.training.records import Validation
    from seq2seq.training.run_log import RunLog
    from seq2seq.training.trainer import Trainer

    rising = (Validation(loss=1.0, perplexity=2.7, bleu=float(n), chrf=float(n)) for n in itertools.count())
    folder.mkdir(parents=True, exist_ok=True)
    base = {"warmup_steps": 2, "learning_rate": 0.01, "log_every_steps": 1}
    settings = {**base, "max_minutes": None, "validate_every_steps": None, **settings}
    config = TrainingConfig(**settings)
    torch.manual_seed(config.seed)
    places = DropoutConfig(embedding=dropout, layers=dropout, context=dropout, readout=dropout)
    sizes = {"emb_size": 6, "hidden_size": 8, "attention_size": 4, "decoder_layers": 2}
    network = Seq2Seq(ModelConfig(**sizes, dropout=places), VOCAB, VOCAB).to(device)
    callbacks = Callbacks(validate or (lambda: next(rising)), save_model)
    if make_search:
        callbacks.find_candidates = make_search(network)
    with RunLog(folder, Console(stderr=True)) as log:
        yield Trainer(network, config, dtype, data, callbacks, RunOutput(folder, log, "tokenizer"), group)


def weights_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.network.state_dict().items()}


def same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    """The lines of one kind in metrics.jsonl."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line["event"] == kind]


def trained(folder: Path, stop_at: int | None = None, **settings: Any) -> Trainer:
    """A trainer that ran to the end; with `stop_at`, one stopped after that step, and this one resumed its run."""
    from seq2seq.training.trainer import Stopped

    if stop_at is not None:
        with tiny_trainer(folder, random_data(4), **settings) as trainer:

            def stop(*_: object) -> None:
                if trainer.progress.step == stop_at:
                    trainer.stop_signal = 15

            trainer.optimizer.register_step_pre_hook(stop)
            with pytest.raises(Stopped):
                trainer.fit()
    with tiny_trainer(folder, random_data(4), **settings) as trainer:
        if stop_at is not None:
            trainer.begin(resume=True)
        trainer.fit()
    return trainer
