"""Schema of the hyper-parameter search."""

from __future__ import annotations

from dataclasses import dataclass

from seq2seq.config.field import MAX_MINUTES, field

MAX_TRIALS = 100_000


@dataclass
class TuneConfig:
    """The hyper-parameter search of `python -m seq2seq.tune`; other commands ignore it."""

    space: list[str] = field(
        list,
        "keys to search, as Hydra sweeps: KEY=choice(A,B), KEY=interval(0,0.5); sweeps of the command line are added",
    )
    trials: int = field(
        25, "total number of trials, earlier calls included", unit="trials", at_least=1, at_most=MAX_TRIALS
    )
    startup_trials: int = field(
        6,
        "trials drawn at random before the sampler's model is used and before any trial is pruned",
        at_least=1,
        at_most=MAX_TRIALS,
    )
    prune: bool = field(
        True, "stop a trial whose best score is below the median of earlier trials after the same number of validations"
    )
    max_minutes: float | None = field(
        None,
        "start no further trial after this much training, earlier calls included",
        unit="minutes",
        at_least=0,
        at_most=MAX_MINUTES,
    )
    folder: str | None = field(None, "folder of the study and its runs; null: runs/CORPUS/tune", unit="path")
    seed: int = field(1, "seed of the sampler", at_least=0, at_most=2**31 - 1)
