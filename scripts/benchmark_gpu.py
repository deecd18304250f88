"""The benchmarks of one device, on random ids: a preset in several ways, or every preset of the table of GPUs."""

from __future__ import annotations

import sys
import time
from typing import Any

from benchmark_results import Results, spread
from benchmark_runs import Run


def on_device(run: Run, measurements: dict[str, tuple[str, dict[str, Any]]]) -> Results:
    """Measure one precision of one preset on the device, in each of several ways."""
    own = {"model": run.args.preset, "precision": run.args.precision}
    return measured_on_device(run, {name: (call, {**own, **rest}) for name, (call, rest) in measurements.items()})


def gpu(run: Run) -> Results:
    """Measure training and search of every preset and precision on one device, until --limit-sec is over."""
    work: dict[str, tuple[str, dict[str, Any]]] = {}
    for preset in run.args.presets:
        for precision in run.args.precisions:
            own = {"model": preset, "precision": precision}
            for batch_tokens in run.args.batch_tokens:
                name = f"train_{preset}_{precision}_{batch_tokens}"
                work[name] = "train_on_device", {**own, "batch_tokens": batch_tokens}
            for rows in run.args.rows:
                work[f"translate_{preset}_{precision}_{rows}"] = "translate_on_device", {**own, "rows": rows}
    return measured_on_device(run, work)


def measured_on_device(run: Run, work: dict[str, tuple[str, dict[str, Any]]]) -> Results:
    """Run the measurements one after the other; a measurement for which no time is left is named and left out."""
    results: Results = {}
    began = time.monotonic()
    for name, (call, arguments) in work.items():
        if time.monotonic() - began > run.args.limit_sec:
            print(f"no time left for {name} (--limit-sec)", file=sys.stderr)
            continue
        print(name, file=sys.stderr)
        measured = run.measure(call, **arguments)
        run.work |= measured.pop("work")
        results[name] = {key: spread([value]) for key, value in measured.items()}
    return results
