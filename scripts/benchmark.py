"""Benchmark a fixed workload against the same network written as in a good tutorial (scripts/textbook.py).

    python scripts/benchmark.py train --data DIR
    python scripts/benchmark.py translate --data DIR --model RUN --json > translate.json
    python scripts/benchmark.py data --data DIR
    python scripts/benchmark.py overhead --data DIR
    python scripts/benchmark.py load --data DIR
    python scripts/benchmark.py gpu --json > gpu.json
    python scripts/benchmark.py prepare --sizes 100000 1000000 10000000 --pairs 1

DIR contains the files of Multi30k (train.en.gz, train.de.gz, val.en.gz, val.de.gz), as data/multi30k does where
`python -m seq2seq.train data=multi30k` has downloaded them; `--data synthetic` asks for synthetic text.
Both systems get the same batches or sentences and the same number of threads. Each measurement runs in its own process,
alternating between both systems, so that a drift of the machine affects both. A figure is the median (min–max) of the
measurements, a ratio that of adjacent pairs. Tokens are target tokens with EOS and without padding. All of that is
measured on a CPU. With `--device cuda`, train and translate measure this package alone, on random ids;
gpu measures every preset and precision of the table of GPUs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark_gpu import gpu, on_device
from benchmark_results import Figures, Measured, Results, spread, spread_of, table, total
from benchmark_runs import Run, measuring_process
from benchmark_runs import measure as measure

TRANSLATION = ("sentences_per_sec", "tokens_per_sec", "latency_p50_ms", "latency_p95_ms")


def main() -> None:
    """Run the benchmark of the command line."""
    args = parse()
    if args.command == "measure":
        sys.exit(measuring_process(args.call))
    run = Run(args)
    results = BENCHMARKS[args.command](run)
    if args.json:
        print(json.dumps({"benchmark": args.command, "work": run.work, "results": results}))
    else:
        print("\n".join(f"{key}: {value}" for key, value in run.work.items()), end="\n\n")
        print("\n".join(table(results)))


# --- the benchmarks --------------------------------------------------------------------------------------------------


def train(run: Run) -> Results:
    """Time training updates, with data loading and optimizer, at each batch size."""
    if run.args.device != "cpu":
        return on_device(run, {f"batch_{n}": ("train_on_device", {"batch_tokens": n}) for n in run.args.batch_tokens})
    results = {}
    for batch_tokens in run.args.batch_tokens:
        rounds = run.in_turn(*((name, {"batch_tokens": batch_tokens}) for name in ("train_ours", "train_textbook")))
        ours, textbook = zip(*rounds, strict=True)
        results[f"batch_{batch_tokens}"] = {
            **training_figures(ours),
            **{f"textbook_{name}": figures for name, figures in training_figures(textbook).items()},
            "ratio_textbook": spread(step_ratio(a["steps"], b["steps"]) for a, b in rounds),
            "padding": spread(padding(measured["steps"]) for measured in ours),
            "loader_share": spread(map(loader_share, ours)),
        }
    return results


def training_figures(measured: Sequence[Measured]) -> Figures:
    """Return the figures that are reported for both systems."""
    seconds = [total(run["steps"], "sec") for run in measured]
    figures = {
        f"{unit}_per_sec": spread(total(run["steps"], key) / sec for run, sec in zip(measured, seconds, strict=True))
        for unit, key in (("tokens", "tgt_tokens"), ("sentences", "rows"))
    }
    return figures | {name: spread_of(measured, name) for name in ("share_gemm", "gemm_gflops", "peak_rss_mb")}


def step_ratio(ours: Sequence[Measured], textbook: Sequence[Measured]) -> float:
    """Return the speed of ours relative to the textbook, over the first updates, which both systems made."""
    shared = min(len(ours), len(textbook))
    return total(textbook[:shared], "sec") / total(ours[:shared], "sec")


def padding(steps: Sequence[Measured]) -> float:
    """Return the share of padding in the computed positions of both sides."""
    positions = float(sum(step["rows"] * (step["src_len"] + step["tgt_len"]) for step in steps))
    return 1 - (total(steps, "src_tokens") + total(steps, "tgt_tokens")) / positions


def loader_share(measured: Measured) -> float:
    """Return the share of an update spent waiting for its batch, including its share of ordering the epoch."""
    steps = measured["steps"]
    order_sec = float(len(steps) * measured["order_sec_a_step"])
    return (total(steps, "load_sec") + order_sec) / (total(steps, "sec") + order_sec)


def translate(run: Run) -> Results:
    """Time beam search and greedy search, of all sentences together and one by one."""
    if run.args.device != "cpu":
        return on_device(run, {f"rows_{n}": ("translate_on_device", {"rows": n}) for n in run.args.rows})
    if not run.args.model:
        run.work["network"] = "random weights, outputs at most as long as the source (--model: a trained network)"
    rounds = run.in_turn(("translate_ours", {}), ("translate_textbook", {}))
    ours, textbook = zip(*rounds, strict=True)
    results = {}
    for name in ("beam", "greedy"):
        figures = {key: spread(run[name][key] for run in ours) for key in TRANSLATION}
        figures |= {f"textbook_{key}": spread(run[name][key] for run in textbook) for key in TRANSLATION}
        figures[f"ratio_textbook_{name}"] = spread(
            a[name]["sentences_per_sec"] / b[name]["sentences_per_sec"] for a, b in rounds
        )
        figures["ratio_textbook_latency"] = spread(
            b[name]["latency_p50_ms"] / a[name]["latency_p50_ms"] for a, b in rounds
        )
        results[name] = figures
    names = ("share_gemm", "gemm_gflops", "peak_rss_64_mb", "peak_rss_mb")
    results["beam"] |= {name: spread_of(ours, name) for name in names}
    results["beam"]["textbook_peak_rss_mb"] = spread_of(textbook, "peak_rss_mb")
    return results


def data(run: Run) -> Results:
    """Time encoding text to ids on disk at two corpus sizes, and the loading of batches during training."""
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
    growth = spread(larger["peak_rss_mb"] - smaller["peak_rss_mb"] for smaller, larger in rounds)
    results[f"pairs_{large}"]["growth_mb"] = growth
    budgets = run.args.batch_tokens
    rounds = run.in_turn(*(("train_ours", {"batch_tokens": batch_tokens}) for batch_tokens in budgets))
    for batch_tokens, measured in zip(budgets, zip(*rounds, strict=True), strict=True):
        results[f"batch_{batch_tokens}"] = {"loader_share": spread(map(loader_share, measured))}
    return results


def overhead(run: Run) -> Results:
    """Measure the overhead of checks, logging and the training loop over the bare update, at each batch size."""
    budgets = run.args.batch_tokens
    rounds = run.in_turn(*(("overhead", {"batch_tokens": batch_tokens}) for batch_tokens in budgets))
    measured = zip(budgets, zip(*rounds, strict=True), strict=True)
    return {
        f"batch_{batch_tokens}": {"overhead_percent": spread_of(runs, "overhead_percent")}
        for batch_tokens, runs in measured
    }


def load(run: Run) -> Results:
    """Time training beside busy processes that come and go, with runtime.threads=auto and with fixed numbers."""
    args = run.args
    counts = range(1, (args.threads or os.cpu_count() or 1) + 1)
    fixed = {"auto": "auto", **{plural(count): count for count in counts}}
    arguments = {"batch_tokens": args.batch_tokens[-1], "busy": args.busy, "phase_sec": args.phase_sec}
    rounds = run.in_turn(*(("train_under_load", arguments | {"threads": threads}) for threads in fixed.values()))
    run.work |= {
        "threads": "see the rows",
        "phases": f"{args.phase_sec:g} s each",
        "batch_tokens": args.batch_tokens[-1],
    }
    speeds = [
        [[phase["tokens"] / phase["sec"] for phase in measured["phases"]] for measured in measured_round]
        for measured_round in rounds
    ]
    results = {}
    for number in dict.fromkeys(args.busy):
        places = [place for place, busy in enumerate(args.busy) if busy == number]
        figures = {
            f"{name}_tokens_per_sec": spread(speed[row][place] for speed in speeds for place in places)
            for row, name in enumerate(fixed)
        }
        best = spread(speed[0][place] / max(row[place] for row in speed[1:]) for speed in speeds for place in places)
        results[f"{number} busy"] = figures | {"ratio_best_fixed": best}
    return results


def prepare(run: Run) -> Results:
    """Time preparing generated text of several sizes and measure its memory, and that of training on it."""
    sizes = run.args.sizes
    rounds = run.in_turn(*(("prepare_generated", {"pairs": pairs}) for pairs in sizes))
    measured = zip(sizes, zip(*rounds, strict=True), strict=True)
    return {f"pairs_{pairs}": {name: spread_of(runs, name) for name in runs[0]} for pairs, runs in measured}


def plural(count: int) -> str:
    """Return the name of a fixed number of threads."""
    return f"{count}_thread{'s' * (count > 1)}"


BENCHMARKS = {benchmark.__name__: benchmark for benchmark in (train, translate, gpu, data, overhead, load, prepare)}

# --- command line -----------------------------------------------------------------------------------------------------


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; each benchmark accepts the flags of all and shows its own in its help."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar=f"{{{','.join(BENCHMARKS)}}}")
    commands.add_parser("measure").add_argument("call", nargs=3)  # internal: a measuring process
    for name, benchmark in BENCHMARKS.items():
        command = commands.add_parser(name, help=benchmark.__doc__, description=benchmark.__doc__)
        command.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
        add_flags(command, name)
    return parser.parse_args(arguments)


def positive(text: str) -> int:
    """Parse an integer of at least 1; raise ValueError otherwise."""
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def natural(text: str) -> int:
    """Parse an integer of at least 0; raise ValueError otherwise."""
    return positive(text) if text != "0" else 0


def add_flags(command: argparse.ArgumentParser, name: str) -> None:
    """Add the flags of all benchmarks to `command`; its help shows those of benchmark `name`."""
    training = ("train", "data", "overhead", "load", "peers", "prepare", "gpu")
    every, translation = (*training, "translate"), ("translate", "peers", "gpu")

    def add(flag: str, users: Sequence[str], default: Any, meaning: str = "", **options: Any) -> None:
        help = f"{meaning} (default: %(default)s)" if name in users else argparse.SUPPRESS
        command.add_argument(flag, default=default, help=help, **{"type": positive, **options})

    cache = str(Path(tempfile.gettempdir(), "seq2seq-benchmark"))
    add(
        "--data",
        every,
        "auto",
        "folder of Multi30k, or synthetic; auto: data/multi30k, or synthetic text where it lacks the files",
        metavar="DIR",
        type=str,
    )
    add("--cache", every, cache, "folder for the vocabulary and prepared text", metavar="DIR", type=str)
    add("--pairs", every, 5, "measurements of each system", metavar="N")
    add("--threads", every, None, "CPU threads; None: chosen by torch", metavar="N")
    precisions = ("auto", "fp32", "bf16", "fp16", *(["int8"] if name == "translate" else []))
    add("--precision", every, "auto", "of ours; the textbook uses fp32", choices=precisions, type=str)
    add("--kernels", every, "auto", "of ours, see runtime.kernels", choices=("auto", "plain"), type=str)
    add("--allocator", every, "auto", "of ours, see runtime.allocator", choices=("auto", "default"), type=str)
    add(
        "--batch-tokens",
        training,
        [4096, 1024],
        "token budgets: ceilings of rows × longest row",
        metavar="N",
        nargs="+",
    )
    add("--seconds", training, 7.0, "training time measured after the warm-up", metavar="SEC", type=float)
    add("--model", ("translate",), None, "model file or run folder; None: random weights", metavar="PATH", type=str)
    add("--sentences", translation, 500, "number of sentences translated together", metavar="N")
    add("--singles", translation, 50, "number of sentences translated one by one", metavar="N")
    add(
        "--data-pairs", ("data",), [125_000, 500_000], "sizes of the two corpora, in pairs", metavar=("N", "M"), nargs=2
    )
    add("--busy", ("load",), [0, 1, 2, 1, 0, 2], "busy processes in each phase", metavar="N", nargs="+", type=natural)
    sizes = [100_000, 1_000_000, 10_000_000]
    add("--sizes", ("prepare",), sizes, "sizes of the generated corpora, in pairs", metavar="N", nargs="+")
    add("--phase-sec", ("load",), 30.0, "length of a phase", metavar="SEC", type=float)
    on_device = ("train", "translate", "gpu")
    device = "cuda" if name == "gpu" else "cpu"
    add("--device", on_device, device, "cpu, cuda or cuda:N", metavar="NAME", type=str)
    add("--preset", ("train", "translate"), "gnmt", "with --device cuda: model=NAME", metavar="NAME", type=str)
    add("--rows", on_device, [64], "with --device cuda: sentences of a batch of the search", metavar="N", nargs="+")
    add("--presets", ("gpu",), ["gnmt", "base"], "values of model=", metavar="NAME", nargs="+", type=str)
    names = ["fp16", "bf16", "fp32"]
    add("--precisions", ("gpu",), names, "precisions", metavar="NAME", nargs="+", type=str)
    add("--limit-sec", on_device, 420.0, "begin no measurement after this time", metavar="SEC", type=float)
    add("--device-vocab", on_device, 32_000, "with --device cuda: size of the vocabulary", metavar="N")
    # The fixed workload; tests reduce it.
    for flag, value in (("--grammar-pairs", 29_000), ("--vocab", 8000), ("--hidden", 512)):
        add(flag, (), value)
    add("--warmup", (), 2)
    add("--samples", (), 5)


if __name__ == "__main__":
    main()
