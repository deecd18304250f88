"""How fast the project is on one fixed work, beside the same network written as a good tutorial writes it.

    python scripts/benchmark.py train --data DIR
    python scripts/benchmark.py translate --data DIR --model RUN --json > translate.json
    python scripts/benchmark.py data --data DIR
    python scripts/benchmark.py overhead --data DIR

DIR holds the files of Multi30k (train.en.gz, train.de.gz, val.en.gz, val.de.gz); without them the text is synthetic.
Both systems get the same batches or sentences and the same threads. Each measurement is a process of its own, ours and
the textbook's in turn, so a machine that drifts moves both; each figure is the median (least–most) of them, a ratio
that of the pairs of neighbours. Tokens are real target pieces, EOS counted and padding not. CPU only.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

# Only the measuring processes import torch and the project: a process may count the memory of its parent as its own.

Measured = dict[str, Any]  # what one measuring process returns
Figures = dict[str, dict[str, float]]  # name -> median, min, max
Results = dict[str, Figures]  # column of the table -> its figures
SETTINGS = "data cache grammar_pairs vocab hidden threads precision kernels allocator seconds warmup samples"
SETTINGS += " sentences singles model"
PLACES = {  # of the measurements
    "set_up": "benchmark_work",
    "write_repeated": "benchmark_work",
    "train_ours": "benchmark_training",
    "train_textbook": "benchmark_training",
    "overhead": "benchmark_training",
    "translate_ours": "benchmark_translation",
    "translate_textbook": "benchmark_translation",
    "prepare_pairs": "benchmark_preparation",
}
TRANSLATION = ("sentences_per_sec", "tokens_per_sec", "latency_p50_ms", "latency_p95_ms")


def main() -> None:
    """Run what the command line asks for."""
    args = parse()
    if args.command == "measure":
        print(json.dumps(measure(*map(json.loads, args.call))))
        return
    run = Run(args)
    results = {"train": train, "translate": translate, "data": data, "overhead": overhead}[args.command](run)
    if args.json:
        print(json.dumps({"benchmark": args.command, "work": run.work, "results": results}))
    else:
        print("\n".join(f"{key}: {value}" for key, value in run.work.items()), end="\n\n")
        print("\n".join(table(results)))


# --- the benchmarks --------------------------------------------------------------------------------------------------


def train(run: Run) -> Results:
    """Updates with all that belongs to them, at each batch size."""
    results = {}
    for batch_tokens in run.args.batch_tokens:
        rounds = run.in_turn(*((name, {"batch_tokens": batch_tokens}) for name in ("train_ours", "train_textbook")))
        ours, textbook = zip(*rounds, strict=True)
        results[f"batch_{batch_tokens}"] = {
            **training_figures(ours),
            **{f"textbook_{name}": figures for name, figures in training_figures(textbook).items()},
            "ratio_textbook": spread(step_ratio(one["steps"], other["steps"]) for one, other in rounds),
            "padding": spread(padding(one["steps"]) for one in ours),
            "loader_share": spread(map(loader_share, ours)),
        }
    return results


def training_figures(measured: Sequence[Measured]) -> Figures:
    """Return what is reported of either system."""
    seconds = [total(one["steps"], "sec") for one in measured]
    figures = {
        f"{what}_per_sec": spread(total(one["steps"], key) / sec for one, sec in zip(measured, seconds, strict=True))
        for what, key in (("tokens", "tgt_tokens"), ("sentences", "rows"))
    }
    return figures | {name: spread_of(measured, name) for name in ("share_gemm", "gemm_gflops", "peak_rss_mb")}


def step_ratio(ours: Sequence[Measured], textbook: Sequence[Measured]) -> float:
    """Return how many times as fast as the textbook ours made the updates that both have made: the first ones."""
    both = min(len(ours), len(textbook))
    return total(textbook[:both], "sec") / total(ours[:both], "sec")


def padding(steps: Sequence[Measured]) -> float:
    """Return the share of padding in what was computed, both sides counted."""
    slots = float(sum(step["rows"] * (step["src_len"] + step["tgt_len"]) for step in steps))
    return 1 - (total(steps, "src_tokens") + total(steps, "tgt_tokens")) / slots


def loader_share(measured: Measured) -> float:
    """Return the share of an update that it waits for its batch, its part of ordering an epoch counted."""
    steps = measured["steps"]
    order_sec = float(len(steps) * measured["order_sec_a_step"])
    return (total(steps, "load_sec") + order_sec) / (total(steps, "sec") + order_sec)


def translate(run: Run) -> Results:
    """Beam search and greedy search, of all sentences together and one by one."""
    if not run.args.model:
        run.work["network"] = "random weights, outputs at most as long as the source: give --model for a trained one"
    rounds = run.in_turn(("translate_ours", {}), ("translate_textbook", {}))
    ours, textbook = zip(*rounds, strict=True)
    results = {}
    for name in ("beam", "greedy"):
        found = {key: spread(one[name][key] for one in ours) for key in TRANSLATION}
        found |= {f"textbook_{key}": spread(one[name][key] for one in textbook) for key in TRANSLATION}
        found[f"ratio_textbook_{name}"] = spread(
            one[name]["sentences_per_sec"] / other[name]["sentences_per_sec"] for one, other in rounds
        )
        found["ratio_textbook_latency"] = spread(
            other[name]["latency_p50_ms"] / one[name]["latency_p50_ms"] for one, other in rounds
        )
        results[name] = found
    names = ("share_gemm", "gemm_gflops", "peak_rss_64_mb", "peak_rss_mb")
    results["beam"] |= {name: spread_of(ours, name) for name in names}
    results["beam"]["textbook_peak_rss_mb"] = spread_of(textbook, "peak_rss_mb")
    return results


def data(run: Run) -> Results:
    """Text to ids on disk at two sizes of corpus, and what loading costs a training step."""
    results = {}
    small, large = run.args.data_pairs
    with tempfile.TemporaryDirectory() as temporary:
        folders = {pairs: str(Path(temporary, str(pairs))) for pairs in (small, large)}
        for pairs, folder in folders.items():
            run.measure("write_repeated", folder=folder, pairs=pairs)
        rounds = run.in_turn(*(("prepare_pairs", {"folder": folder}) for folder in folders.values()))
    for pairs, measured in zip(folders, zip(*rounds, strict=True), strict=True):
        names = ("pairs_per_min", "start_rss_mb", "read_rss_mb", "peak_rss_mb")
        results[f"pairs_{pairs}"] = {name: spread_of(measured, name) for name in names}
    growth = spread(two["peak_rss_mb"] - one["peak_rss_mb"] for one, two in rounds)
    results[f"pairs_{large}"]["growth_mb"] = growth
    budgets = run.args.batch_tokens
    rounds = run.in_turn(*(("train_ours", {"batch_tokens": batch_tokens}) for batch_tokens in budgets))
    for batch_tokens, measured in zip(budgets, zip(*rounds, strict=True), strict=True):
        results[f"batch_{batch_tokens}"] = {"loader_share": spread(map(loader_share, measured))}
    return results


def overhead(run: Run) -> Results:
    """What guards, logging and the loop around them add to the mathematics of an update, at each batch size."""
    budgets = run.args.batch_tokens
    rounds = run.in_turn(*(("overhead", {"batch_tokens": batch_tokens}) for batch_tokens in budgets))
    measured = zip(budgets, zip(*rounds, strict=True), strict=True)
    return {
        f"batch_{batch_tokens}": {"overhead_percent": spread_of(ones, "overhead_percent")}
        for batch_tokens, ones in measured
    }


# --- measuring processes ---------------------------------------------------------------------------------------------


class Run:
    """Starts the measuring processes of one call; `work` is what they all do, and with what."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.settings = {name: getattr(args, name) for name in SETTINGS.split()}
        made = self.measure("set_up")
        self.settings |= {name: made[name] for name in ("data", "vocab")}
        self.work: dict[str, Any] = {"cpu": cpu_name(), **made, "hidden": args.hidden}

    def measure(self, name: str, **arguments: Any) -> Measured:
        """Return the figures of one measurement."""
        call = [json.dumps(part) for part in (name, self.settings, arguments)]
        command = [sys.executable, os.path.abspath(__file__), "measure", *call]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(f"the measurement {name} ended with status {done.returncode}")
        measured: Measured = json.loads(done.stdout.splitlines()[-1])
        return measured

    def in_turn(self, *measurements: tuple[str, dict[str, Any]]) -> list[list[Measured]]:
        """Make all measurements in turn, round after round, and return each round's."""
        rounds = []
        for number in range(1, self.args.pairs + 1):
            print(f"round {number} of {self.args.pairs}:", *(name for name, _ in measurements), file=sys.stderr)
            rounds.append([self.measure(name, **arguments) for name, arguments in measurements])
        for name in ("dtype", "threads", "torch"):
            self.work |= {name: rounds[0][0][name]} if name in rounds[0][0] else {}
        return rounds


def measure(name: str, settings: dict[str, Any], arguments: dict[str, Any]) -> Measured:
    """Make one measurement in this process."""
    from benchmark_work import Settings

    measurement = getattr(importlib.import_module(PLACES[name]), name)
    measured: Measured = measurement(Settings(**settings), **arguments)
    return measured


def cpu_name() -> str:
    """Return the name of the processor, as far as the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


# --- figures ---------------------------------------------------------------------------------------------------------


def spread(values: Iterable[float]) -> dict[str, float]:
    """Return the median and the extremes, to four digits."""
    known = [float(f"{value:.4g}") for value in values]
    return {"median": statistics.median(known), "min": min(known), "max": max(known)}


def spread_of(measured: Iterable[Measured], name: str) -> dict[str, float]:
    """Return the spread of one figure."""
    return spread(one[name] for one in measured)


def total(steps: Iterable[Measured], key: str) -> float:
    """Return the sum of one field over all steps."""
    return float(sum(step[key] for step in steps))


def table(results: Results) -> list[str]:
    """Return the lines of a Markdown table: a row for each figure, a column for each part of the results."""
    names = list(dict.fromkeys(name for figures in results.values() for name in figures))
    rows = [[name, *(cell(figures.get(name)) for figures in results.values())] for name in names]
    lines = [["median (least–most)", *results], ["---"] * (1 + len(results)), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def cell(figure: dict[str, float] | None) -> str:
    """Write a figure with its spread."""
    if figure is None:
        return ""
    median, least, most = (f"{value:,.0f}" if value >= 100 else f"{value:.3g}" for value in figure.values())
    return f"{median} ({least}–{most})"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; each benchmark knows the flags of all, and shows its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="{train,translate,data,overhead}")
    commands.add_parser("measure").add_argument("call", nargs=3)  # what the others start
    for name, benchmark in (("train", train), ("translate", translate), ("data", data), ("overhead", overhead)):
        command = commands.add_parser(name, help=benchmark.__doc__, description=benchmark.__doc__)
        command.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
        add_flags(command, name)
    return parser.parse_args(arguments)


def positive(text: str) -> int:
    """Read a number of at least 1; raises ValueError otherwise."""
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def add_flags(command: argparse.ArgumentParser, name: str) -> None:
    """Add the settings of all benchmarks to one; its help shows its own."""
    everyone, training = ("train", "translate", "data", "overhead"), ("train", "data", "overhead")

    def add(flag: str, users: Sequence[str], default: Any, what: str = "", **options: Any) -> None:
        help = f"{what} (%(default)s)" if name in users else argparse.SUPPRESS
        command.add_argument(flag, default=default, help=help, **{"type": positive, **options})

    cache = str(Path(tempfile.gettempdir(), "seq2seq-benchmark"))
    add("--data", everyone, "data/multi30k", "folder of Multi30k", metavar="DIR", type=str)
    add("--cache", everyone, cache, "where to keep what is made once", metavar="DIR", type=str)
    add("--pairs", everyone, 5, "how often each kind is measured", metavar="N")
    add("--threads", everyone, None, "CPU threads; None: torch's choice", metavar="N")
    precisions = ("auto", "fp32", "bf16", "int8") if name == "translate" else ("auto", "fp32", "bf16")
    add("--precision", everyone, "auto", "ours; the textbook's is fp32", choices=precisions, type=str)
    add("--kernels", everyone, "auto", "ours, as in runtime.kernels", choices=("auto", "plain"), type=str)
    add("--allocator", everyone, "auto", "ours, as in runtime.allocator", choices=("auto", "default"), type=str)
    add("--batch-tokens", training, [4096, 1024], "ceilings of rows × longest row", metavar="N", nargs="+")
    add("--seconds", training, 7.0, "how long to train after the warm-up", metavar="SEC", type=float)
    add("--model", ("translate",), None, "model file or run folder; None: random weights", metavar="PATH", type=str)
    add("--sentences", ("translate",), 500, "translated together", metavar="N")
    add("--singles", ("translate",), 50, "translated one by one", metavar="N")
    add("--data-pairs", ("data",), [125_000, 500_000], "pairs of the two texts", metavar=("N", "M"), nargs=2)
    # The fixed work; tests make it smaller.
    for flag, value in (("--grammar-pairs", 29_000), ("--vocab", 8000), ("--hidden", 512)):
        add(flag, (), value)
    add("--warmup", (), 2)
    add("--samples", (), 5)


if __name__ == "__main__":
    main()
