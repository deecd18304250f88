"""Benchmark the work of scripts/benchmark.py beside other toolkits, each in an environment of its own.

    python scripts/benchmark_peers.py --data DIR --cache DIR
    python scripts/benchmark_peers.py --data DIR --peers fairseq opennmt --pairs 3 --seconds 30 --threads 1

DIR contains the files of Multi30k, as for scripts/benchmark.py. The first call creates the environments, from the
package index of pip; they stay in the cache. Each toolkit runs its own training loop, data pipeline and search, and
alternates with ours, so that a drift of the machine affects both. A figure is the median (min–max) of the
measurements, a ratio that of adjacent pairs, and larger than 1 where ours is better. Tokens are target tokens with
EOS and without padding. A toolkit that cannot be installed or fails is reported with the reason. CPU only.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import benchmark_results
from benchmark import add_flags
from benchmark_results import Measured, Results, spread, total
from benchmark_runs import Run
from benchmark_timing import BEAMS
from benchmark_work import DROPOUT, PARTS, TEST, file_names
from peers import environments
from peers.environments import NotMeasured

PEERS = tuple(environments.RECIPES)
SCRIPTS = Path(__file__).resolve().parent
LEARNING_RATE, RANDOM = 1e-3, 1e-12  # the update that precedes saving a model leaves its weights random
Values = dict[str, list[float]]  # figure -> a value per measurement
Measurements = dict[str, Values]  # column of the table -> its figures


def main() -> None:
    """Run the benchmark of the command line."""
    args = parse()
    run = PeerRun(args)
    measurements = [{"train": train, "translate": translate}[part] for part in args.parts]
    measurements += [quality] if args.minutes else []
    measured: Measurements = {}
    not_measured: dict[str, str] = {}
    for peer in args.peers:
        try:
            run.prepare(peer)
            for measure in measurements:
                add(measured, measure(run, peer))
        except NotMeasured as error:
            not_measured[peer] = str(error)
            print(f"{peer} is not measured: {error}", file=sys.stderr)
    results = {part: {name: spread(values) for name, values in figures.items()} for part, figures in measured.items()}
    if args.json:
        work = {"work": run.work, "results": results, "not_measured": not_measured}
        print(json.dumps({"benchmark": "peers", **work}))
    else:
        print("\n".join(f"{key}: {value}" for key, value in run.work.items()), end="\n\n")
        print("\n".join(table(results, not_measured)))


# --- the measurements ------------------------------------------------------------------------------------------------


def train(run: PeerRun, peer: str) -> Measurements:
    """Time training updates, with data loading and optimizer, at each batch size."""
    measured = {}
    for batch_tokens in run.args.batch_tokens:
        rounds = run.in_turn(
            ("train_ours", {"batch_tokens": batch_tokens}), (peer, {"action": "train", "batch_tokens": batch_tokens})
        )
        for ours, _ in rounds:
            ours["tokens_per_sec"] = total(ours["steps"], "tgt_tokens") / total(ours["steps"], "sec")
        measured[f"batch_{batch_tokens}"] = beside(peer, rounds, ("tokens_per_sec",), ("peak_rss_mb",))
    return measured


def translate(run: PeerRun, peer: str) -> Measurements:
    """Time beam search and greedy search, in batches and one by one."""
    rounds = run.in_turn(("translate_ours_in_batches", {}), (peer, {"action": "translate"}))
    return {
        name: beside(
            peer,
            [[{**run[name], "peak_rss_mb": run["peak_rss_mb"]} for run in pair] for pair in rounds],
            ("sentences_per_sec", "tokens_per_sec"),
            ("latency_p50_ms", "latency_p95_ms", "peak_rss_mb"),
        )
        for name in BEAMS
    }


def quality(run: PeerRun, peer: str) -> Measurements:
    """Train for the same time with small batches, and return the BLEU of the test set; ours is trained once."""
    minutes, batch_tokens = run.args.minutes, run.args.batch_tokens[-1]
    if run.our_bleu is None:
        run.our_bleu = run.measure("train_and_score_ours", minutes=minutes, batch_tokens=batch_tokens)["bleu"]
    timing = {"seconds": 60.0 * minutes, "warmup": 1, "batch_tokens": batch_tokens}
    trained = run.measure(peer, action="train", model="trained", save=True, **timing)
    outputs = str(run.folder(peer) / "outputs.txt")
    run.measure(peer, action=TEST, model="trained", outputs=outputs, length_ratio=2.0)
    theirs = run.measure("score_outputs", path=outputs)["bleu"]
    values = {"bleu": [run.our_bleu], f"{peer}_bleu": [theirs], f"{peer}_updates": [trained["updates"]]}
    return {f"minutes_{minutes:g}": values}


def beside(peer: str, rounds: Sequence[Sequence[Measured]], rates: Sequence[str], costs: Sequence[str]) -> Values:
    """Return the figures of ours and of the toolkit, and the ratio of each: larger than 1 where ours is better."""
    values = {name: [ours[name] for ours, _ in rounds] for name in (*rates, *costs)}
    values |= {f"{peer}_{name}": [theirs[name] for _, theirs in rounds] for name in (*rates, *costs)}
    values |= {f"ratio_{peer}_{name}": [ours[name] / theirs[name] for ours, theirs in rounds] for name in rates}
    return values | {f"ratio_{peer}_{name}": [theirs[name] / ours[name] for ours, theirs in rounds] for name in costs}


def add(measured: Measurements, found: Measurements) -> None:
    """Append the values of `found` to those of `measured`."""
    for part, figures in found.items():
        for name, values in figures.items():
            measured.setdefault(part, {}).setdefault(name, []).extend(values)


# --- measuring processes ---------------------------------------------------------------------------------------------


class PeerRun(Run):
    """Starts the measuring processes of ours and of the toolkits."""

    def __init__(self, args: argparse.Namespace) -> None:
        super().__init__(args)
        self.settings["model"] = None
        self.cache = Path(args.cache).absolute()
        parts = (*PARTS, TEST) if args.minutes else PARTS
        self.text = self.measure("write_tokens", parts=parts)["folder"]
        self.our_bleu: float | None = None
        self.pythons: dict[str, Path] = {}
        self.work |= {peer: environments.RECIPES[peer].packages[0] for peer in args.peers}

    def prepare(self, peer: str) -> None:
        """Create the environment of a toolkit, its form of the text, and a model with random weights.

        Raises:
            NotMeasured: one of them fails.
        """
        self.pythons[peer] = environments.make(peer, self.cache)
        done = self.folder(peer) / "prepared"
        if not done.is_file():
            self.measure(peer, action="prepare")
            self.measure(peer, action="train", seconds=0.0, warmup=0, learning_rate=RANDOM, save=True)
            done.touch()

    def measure(self, name: str, **arguments: Any) -> Measured:
        """Run one measurement of ours, or the driver of toolkit `name`, in a new process and return its result."""
        if name not in PEERS:
            return super().measure(name, **arguments)
        work = json.dumps(self.driver_work(name) | arguments)
        variables, folder = driver_environment(os.environ, self.args.threads), self.folder(name)
        folder.mkdir(exist_ok=True)
        command = [str(self.pythons[name]), "-m", f"peers.{name}", work]
        result = environments.call(command, variables, folder)
        try:
            measured: Measured = json.loads(result)
        except json.JSONDecodeError as error:
            raise NotMeasured(f"the driver ended without a result: {result!r}") from error
        return measured

    def driver_work(self, peer: str) -> dict[str, Any]:
        """Return the fields of `peers.driver.Work`."""
        same = {
            name: self.settings[name] for name in ("threads", "hidden", "seconds", "warmup", "sentences", "singles")
        }
        return {
            **same,
            "text": self.text,
            "folder": str(self.folder(peer)),
            "model": "random",
            "dropout": DROPOUT,
            "batch_tokens": self.args.batch_tokens[0],
            "learning_rate": LEARNING_RATE,
            "save": False,
            "outputs": "",
            "length_ratio": 1.0,
        }

    def folder(self, peer: str) -> Path:
        """Return the folder of the toolkit's text and models."""
        return self.cache / f"{peer}-{Path(self.text).name}-{self.settings['hidden']}"


def driver_environment(variables: Mapping[str, str], threads: int | None) -> dict[str, str]:
    """Return the environment variables of a driver."""
    driver = {**variables, "PYTHONPATH": str(SCRIPTS), "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}  # torch >= 2.6
    return driver if threads is None else {**driver, "OMP_NUM_THREADS": str(threads)}


# --- report ----------------------------------------------------------------------------------------------------------


def table(results: Results, not_measured: Mapping[str, str]) -> list[str]:
    """Return the lines of a Markdown table with a row per figure, and a row per toolkit that was not measured."""
    rows = [f"| {peer} | not measured: {reason} |" for peer, reason in not_measured.items()]
    return [*benchmark_results.table(results), *(row + " |" * (len(results) - 1) for row in rows)]


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument(
        "--peers",
        nargs="+",
        choices=PEERS,
        default=PEERS,
        metavar="NAME",
        help=f"toolkits (default: {' '.join(PEERS)})",
    )
    help = "what to measure: train, translate (default: both)"
    parts = ("train", "translate")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts, metavar="PART", help=help)
    help = f"also train each for MIN minutes and report the BLEU of {TEST} (default: no)"
    parser.add_argument("--minutes", type=float, metavar="MIN", help=help)
    add_flags(parser, "peers")
    parser.set_defaults(command="peers")
    args = parser.parse_args(arguments)
    missing = [name for name in file_names(TEST) if args.minutes and not Path(args.data, name).is_file()]
    if missing:
        parser.error(f"--minutes: {args.data} lacks {' and '.join(missing)}: give the folder of Multi30k as --data")
    return args


if __name__ == "__main__":
    main()
