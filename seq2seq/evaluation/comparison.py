"""The result of comparing systems, and which differences are significant."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seq2seq.evaluation.metrics import Scores

ALPHA = 0.05
"""Probability of calling any difference of a comparison significant if no system differs from the baseline."""
LOWER_IS_BETTER = ("ter", "perplexity")


@dataclass(frozen=True)
class Figure:
    """One number of one system.

    Attributes:
        value: the score, or the mean over the runs.
        deviation: standard deviation over the runs, of a sample (n - 1); None for one run.
        mean: of the bootstrap resamples, near `value`.
        ci: half the width of the 95 % confidence interval around `mean`; None for several runs, and for numbers without
            a test.
        difference: from the baseline.
        p_bootstrap: of paired bootstrap resampling, one run against one run.
        p_randomization: of paired approximate randomisation, one run against one run.
        p_runs: of Welch's t-test, several runs against several runs.
        significant: whether the difference is; None if there is no test.
    """

    value: float
    deviation: float | None = None
    mean: float | None = None
    ci: float | None = None
    difference: float | None = None
    p_bootstrap: float | None = None
    p_randomization: float | None = None
    p_runs: float | None = None
    significant: bool | None = None

    @property
    def p_value(self) -> float | None:
        """Return the p-value that decides: the largest, so that every test has to agree; None without a test."""
        return max((p for p in (self.p_bootstrap, self.p_randomization, self.p_runs) if p is not None), default=None)

    def to_dict(self) -> dict[str, float | bool]:
        """Return what is known."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}


@dataclass(frozen=True)
class System:
    """The scores of each run, and every number with its tests, by name."""

    name: str
    runs: Sequence[Scores]
    figures: Mapping[str, Figure]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        figures = {name: figure.to_dict() for name, figure in self.figures.items()}
        plain = {"name": self.name, "runs": len(self.runs), "scores": figures}
        return plain if len(self.runs) == 1 else plain | {"scores_of_runs": [run.to_dict() for run in self.runs]}


@dataclass(frozen=True)
class Comparison:
    """Systems compared with the first one, the baseline.

    Attributes:
        systems: in the order given.
        bootstrap: number of resamples.
        randomization: number of trials.
        seed: of both.
        groups: the scores of each group of sentences, by system; of several runs, one each.
    """

    systems: Sequence[System]
    bootstrap: int
    randomization: int
    seed: str
    groups: Mapping[str, Mapping[str, Sequence[Scores]]]

    @property
    def baseline(self) -> System:
        """Return the first system."""
        return self.systems[0]

    @property
    def sentences(self) -> int:
        """Return the number of sentences."""
        return self.baseline.runs[0].sentences

    def signatures(self) -> dict[str, str]:
        """Return the signature of each metric, and of the tests that resample sentences, if any were made."""
        figures = [figure for system in self.systems for figure in system.figures.values()]
        made = {
            f"bs:{self.bootstrap}": any(figure.ci is not None for figure in figures),
            f"ar:{self.randomization}": any(figure.p_randomization is not None for figure in figures),
        }
        tests = [test for test, is_made in made.items() if is_made]
        signatures = {name: metric.signature for name, metric in self.baseline.runs[0].metrics().items()}
        return signatures | ({"tests": "|".join([*tests, f"seed:{self.seed}"])} if tests else {})

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: scores as floats, with all digits."""
        groups = [
            {
                "group": group,
                "sentences": next(iter(systems.values()))[0].sentences,
                "systems": {name: mean_figures(runs) for name, runs in systems.items()},
            }
            for group, systems in self.groups.items()
        ]
        return {
            "baseline": self.baseline.name,
            "sentences": self.sentences,
            "signatures": self.signatures(),
            "alpha": ALPHA,
            "systems": [system.to_dict() for system in self.systems],
        } | ({"groups": groups} if groups else {})


def values(scores: Scores) -> dict[str, float]:
    """Return every number of one run by name."""
    return {name: metric.value for name, metric in scores.metrics().items()} | scores.figures()


def mean_figures(runs: Sequence[Scores]) -> dict[str, float]:
    """Return the mean over runs of every number that all of them have."""
    each = [values(run) for run in runs]
    shared = [name for name in each[0] if all(name in run for run in each)]
    return {name: sum(run[name] for run in each) / len(each) for name in shared}


def is_better(name: str, difference: float) -> bool:
    """Return whether a difference from the baseline is an improvement."""
    return difference < 0 if name in LOWER_IS_BETTER else difference > 0


def rejected(p_values: Sequence[float], alpha: float = ALPHA) -> list[bool]:
    """Return which hypotheses are rejected by the step-down procedure of Holm 1979.

    The probability that any of them is true is at most `alpha`, however many are tested.
    """
    result = [False] * len(p_values)
    for place, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[i] > alpha / (len(p_values) - place):
            break
        result[i] = True
    return result
