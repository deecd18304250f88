"""The table at the end of a search: the best trials, the number of each outcome, the importance of each key."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.config.training import MonitorName
from seq2seq.evaluation.report import print_table
from seq2seq.experiments.formatting import format_number, metric_title, short_keys
from seq2seq.experiments.search_space import Point, Space
from seq2seq.experiments.study import ERROR, finished_trials, trial_folder

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

MAX_ROWS = 10
MIN_TRIALS_FOR_IMPORTANCE = 12  # complete trials; the estimate from fewer is noise


def ranked_trials(study: Study) -> list[FrozenTrial]:
    """Return the complete trials, the best first; of equal scores the earlier first."""
    from optuna.study import StudyDirection
    from optuna.trial import TrialState

    sign = 1 if study.direction is StudyDirection.MINIMIZE else -1
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(complete, key=lambda trial: (sign * trial.values[0], trial.number))


def report(study: Study, folder: Path, monitor: MonitorName, space: Space, baseline: Point | None) -> None:
    """Write the best trials, outcomes, failures, the baseline's score and importances to standard output."""
    ranked = ranked_trials(study)
    if ranked:
        sys.stdout.write("\n")
        _print_best(ranked[:MAX_ROWS], monitor, space)
    _print_outcomes(study, folder)
    baseline_trial = next((trial for trial in ranked if trial.params == baseline), None)
    if baseline_trial is not None:
        score, best = (format_score(trial.values[0], monitor) for trial in (baseline_trial, ranked[0]))
        sys.stdout.write(f"With the settings as given ({trial_folder(baseline_trial)}): {score}; best: {best}\n")
    if len(ranked) >= MIN_TRIALS_FOR_IMPORTANCE and len(space) > 1:
        names = short_keys(space)
        shares = ", ".join(f"{names[key]} {share:.2f}" for key, share in _importances(study).items())
        sys.stdout.write(f"Share of the variance among trials: {shares}\n")


def format_point(point: Point) -> str:
    """Return a point on one line, with short keys and rounded values."""
    names = short_keys(point)
    return "  ".join(f"{names[key]} {_format_value(value)}" for key, value in point.items())


def format_score(score: float, monitor: MonitorName) -> str:
    """Return a score after the name of its metric: `BLEU 13.28`."""
    return f"{metric_title(monitor.name)} {_format_number(score, monitor)}"


def _print_best(trials: Sequence[FrozenTrial], monitor: MonitorName, space: Space) -> None:
    head = ["trial", metric_title(f"validation_{monitor.name}"), *short_keys(space).values()]
    body = [
        [
            trial_folder(trial),
            _format_number(trial.values[0], monitor),
            *(_format_value(trial.params.get(key)) for key in space),
        ]
        for trial in trials
    ]
    print_table(head, body)


def _print_outcomes(study: Study, folder: Path) -> None:
    """Print the number of complete, pruned and failed trials, and the errors of the failed ones."""
    from optuna.trial import TrialState

    trials = finished_trials(study)
    counts = {state: sum(trial.state is state for trial in trials) for state in TrialState}
    sys.stdout.write(
        f"\n{len(trials)} trials in {folder}: {counts[TrialState.COMPLETE]} complete, "
        f"{counts[TrialState.PRUNED]} pruned, {counts[TrialState.FAIL]} failed\n"
    )
    for trial in trials:
        if ERROR in trial.user_attrs:
            sys.stdout.write(f"  {trial_folder(trial)} failed: {trial.user_attrs[ERROR]}\n")


def _importances(study: Study) -> dict[str, float]:
    """Return key -> share of the variance among good trials (PED-ANOVA, Watanabe et al. 2023), the largest first."""
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


def _format_number(score: float, monitor: MonitorName) -> str:
    return format_number(score, digits=4 if monitor is MonitorName.loss else 2)


def _format_value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
