"""The table at the end of a search: the best trials, what has become of the others, what mattered."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.config.training import MonitorName
from seq2seq.evaluation.report import TITLES, print_table
from seq2seq.experiments.search_space import Point, Space
from seq2seq.experiments.study import ERROR, ended_trials, trial_folder
from seq2seq.experiments.sweep_points import short_keys

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

SHOWN = 10
FEW = 12  # complete trials say nothing about the importance of a key


def ranked(study: Study) -> list[FrozenTrial]:
    """Return the trials that came to their end, the best first; of equal ones the earlier."""
    from optuna.study import StudyDirection
    from optuna.trial import TrialState

    sign = 1 if study.direction is StudyDirection.MINIMIZE else -1
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(complete, key=lambda trial: (sign * trial.values[0], trial.number))


def report(study: Study, folder: Path, monitor: MonitorName, space: Space, own: Point | None) -> None:
    """Write to standard output the best trials, how many ended how, and what mattered."""
    from optuna.trial import TrialState

    best, ends = ranked(study), ended_trials(study)
    if best:
        sys.stdout.write("\n")
        _print_best(best[:SHOWN], monitor, space)
    counts = {state: sum(trial.state is state for trial in ends) for state in TrialState}
    sys.stdout.write(
        f"\n{len(ends)} trials in {folder}: {counts[TrialState.COMPLETE]} complete, "
        f"{counts[TrialState.PRUNED]} pruned, {counts[TrialState.FAIL]} failed\n"
    )
    for trial in ends:
        if ERROR in trial.user_attrs:
            sys.stdout.write(f"  {trial_folder(trial)} failed: {trial.user_attrs[ERROR]}\n")
    baseline = next((trial for trial in best if trial.params == own), None)
    if baseline is not None:
        given, reached = (shown_score(trial.values[0], monitor) for trial in (baseline, best[0]))
        sys.stdout.write(f"With the settings as given ({trial_folder(baseline)}): {given}; best: {reached}\n")
    if len(best) >= FEW and len(space) > 1:
        shares = _importances(study)
        names = short_keys(space)
        sys.stdout.write(
            "Share in the differences: " + ", ".join(f"{names[k]} {v:.2f}" for k, v in shares.items()) + "\n"
        )


def shown_point(point: Point) -> str:
    """Return a point in short, for the eye."""
    names = short_keys(point)
    return "  ".join(f"{names[key]} {_value(value)}" for key, value in point.items())


def shown_score(score: float, monitor: MonitorName) -> str:
    """Return a score with the name of its metric."""
    return f"{TITLES.get(monitor.name, monitor.name)} {_figure(score, monitor)}"


def _print_best(best: Sequence[FrozenTrial], monitor: MonitorName, space: Space) -> None:
    head = ["trial", f"validation {TITLES.get(monitor.name, monitor.name)}", *short_keys(space).values()]
    body = [
        [trial_folder(trial), _figure(trial.values[0], monitor), *(_value(trial.params.get(key)) for key in space)]
        for trial in best
    ]
    print_table(head, body)


def _importances(study: Study) -> dict[str, float]:
    """Return key -> share of the variance among good trials (PED-ANOVA, Watanabe et al. 2023), the largest first."""
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


def _figure(score: float, monitor: MonitorName) -> str:
    return f"{score:.{4 if monitor is MonitorName.loss else 2}f}"


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
