"""Compare systems: sacreBLEU's paired tests and confidence intervals, and a t-test over the runs of a system.

Koehn 2004 introduced paired bootstrap resampling for BLEU; Riezler and Maxwell 2005 recommend approximate
randomisation. Both ask whether two outputs differ by more than the choice of sentences explains. They know one run of
each system, but runs of one configuration differ, too (Clark et al. 2011): with several runs of both systems, Welch's
t-test compares the scores of the runs.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any, cast

from sacrebleu.metrics.base import Metric

from seq2seq.data.text.bleu_tokenizer import DEFAULT
from seq2seq.errors import DataError
from seq2seq.evaluation.comparison import ALPHA, Comparison, Figure, System, mean_figures, rejected, values
from seq2seq.evaluation.metrics import Scorer, Scores
from seq2seq.evaluation.resampling import interval, paired_tests
from seq2seq.evaluation.t_test import standard_deviation, welch_p_value

log = logging.getLogger(__name__)

BOOTSTRAP = 1000
RANDOMIZATION = 10_000
SEED_VARIABLE = "SACREBLEU_SEED"
SEED = 12345

Lines = Sequence[str]


def compare(
    references: Lines | Sequence[Lines],
    systems: Mapping[str, Lines | Sequence[Lines]],
    *,
    tokenize: str = DEFAULT,
    ignore_case: bool = False,
    bootstrap: int = BOOTSTRAP,
    randomization: int = RANDOMIZATION,
    seed: int | None = None,
    groups: Sequence[str] | None = None,
    known: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> Comparison:
    """Score systems and compare each of them with the first one, the baseline.

    Args:
        references: lines, or several lists of lines.
        systems: by name, the lines of the output, or of the outputs of several runs.
        tokenize: of BLEU (see `score`).
        ignore_case: score lower-cased text.
        bootstrap: resamples of the confidence intervals and of paired bootstrap resampling.
        randomization: trials of paired approximate randomisation.
        seed: at least 1; default: SACREBLEU_SEED, else 12345.
        groups: a label for each sentence, by which the sentences are scored, too.
        known: further fields of `Scores` (perplexity, comet) by system, one mapping per run.

    Raises:
        ConfigError: the package of the tokenizer is not installed.
        DataError: there is nothing to score, or the numbers of lines differ.
    """
    texts = _lists(references)
    if groups is not None and len(groups) != len(texts[0]):
        raise DataError(f"{len(groups)} groups but {len(texts[0])} references: give one group per sentence")
    outputs = {name: _lists(lines) for name, lines in systems.items()}
    scorer = Scorer(*texts, tokenize=tokenize, ignore_case=ignore_case)
    for metric in scorer.metrics.values():
        _remember_statistics(metric)
    scores = {name: [scorer(lines) for lines in runs] for name, runs in outputs.items()}
    used = str(seed or os.environ.get(SEED_VARIABLE, SEED)).lower()
    number = None if used == "none" else int(used)
    tests = {name: _tests(metric, outputs, bootstrap, randomization, number) for name, metric in scorer.metrics.items()}
    given = known or {}
    for name, runs in scores.items():
        fields = given.get(name) or [{}] * len(runs)
        scores[name] = [dataclasses.replace(run, **own) for run, own in zip(runs, fields, strict=True)]
    baseline = next(iter(scores.values()))
    compared = [
        System(name, runs, _figures(runs, baseline, {metric: test.get(name, {}) for metric, test in tests.items()}))
        for name, runs in scores.items()
    ]
    by_group = {} if groups is None else _by_group(groups, scorer, outputs)
    return Comparison(_with_verdicts(compared, bootstrap, randomization), bootstrap, randomization, used, by_group)


def _lists(lines: Lines | Sequence[Lines]) -> list[Lines]:
    return [cast(Lines, lines)] if not lines or isinstance(lines[0], str) else [*lines]


def _remember_statistics(metric: Metric) -> None:
    """Count the n-grams and edits of an output once, not for its score and again for each test."""
    count = metric._extract_corpus_statistics
    counted: dict[int, Any] = {}

    def remembered(hypotheses: Lines, references: Sequence[Lines] | None) -> Any:
        key = id(hypotheses)  # `compare` holds the outputs as long as the metric
        if key not in counted:
            counted[key] = count(hypotheses, references)
        return counted[key]

    vars(metric)["_extract_corpus_statistics"] = remembered


def _tests(
    metric: Metric, outputs: Mapping[str, list[Lines]], bootstrap: int, randomization: int, seed: int | None
) -> dict[str, dict[str, float]]:
    """Return the fields of `Figure` that come from resampling, of the systems with one run."""
    counted = {
        name: metric._extract_corpus_statistics(runs[0], None) for name, runs in outputs.items() if len(runs) == 1
    }
    if next(iter(outputs)) in counted and len(counted) > 1:
        tests = paired_tests(metric, [*counted.values()], bootstrap, randomization, seed)
        return dict(zip(counted, tests, strict=True))
    # Without a baseline of one run there is no pair: each system is tested alone, which gives its interval.
    return {name: interval(metric, statistics, bootstrap, seed) for name, statistics in counted.items()}


def _figures(
    runs: Sequence[Scores], baseline: Sequence[Scores], tests: Mapping[str, Mapping[str, Any]]
) -> dict[str, Figure]:
    figures = {}
    others = mean_figures(baseline)
    for name, mean in mean_figures(runs).items():
        fields = dict(tests.get(name, {}))
        each = [values(run)[name] for run in runs]
        if len(each) > 1:
            fields["deviation"] = standard_deviation(each)
        if runs is not baseline and name in others:
            fields["difference"] = mean - others[name]
            fields["p_runs"] = welch_p_value(each, [values(run)[name] for run in baseline]) if name in tests else None
        figures[name] = Figure(mean, **fields)
    return figures


def _with_verdicts(systems: Sequence[System], bootstrap: int, randomization: int) -> list[System]:
    """Set `significant` of every tested number; the correction is for all of them together."""
    tested = {
        (system.name, name): figure.p_value
        for system in systems
        for name, figure in system.figures.items()
        if figure.p_value is not None
    }
    resampled = any(figure.p_bootstrap is not None for system in systems for figure in system.figures.values())
    for option, trials, count in (
        ("--bootstrap", "bootstrap resamples", bootstrap),
        ("--randomization", "trials of randomisation", randomization),
    ):
        if resampled and len(tested) > ALPHA * (count + 1):
            log.warning(
                "%d scores are compared: with %d %s no difference can be significant; use at least %d (%s)",
                len(tested), count, trials, round(len(tested) / ALPHA), option,
            )  # fmt: skip
    verdicts = dict(zip(tested, rejected([*tested.values()]), strict=True))
    return [
        dataclasses.replace(
            system,
            figures={
                name: dataclasses.replace(figure, significant=verdicts.get((system.name, name)))
                for name, figure in system.figures.items()
            },
        )
        for system in systems
    ]


def _by_group(
    groups: Sequence[str], scorer: Scorer, outputs: Mapping[str, list[Lines]]
) -> dict[str, dict[str, list[Scores]]]:
    """Return the scores of each group of sentences, in the order in which the groups occur."""
    rows: dict[str, list[int]] = {}
    for i, group in enumerate(groups):
        rows.setdefault(group, []).append(i)
    return {
        group: {name: [scorer(lines, chosen) for lines in runs] for name, runs in outputs.items()}
        for group, chosen in rows.items()
    }
