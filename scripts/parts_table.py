"""Ablations of the network and its regularisers: one factor at a time, equal numbers of updates, on a real corpus.

    python scripts/parts_table.py run TABLE --folder runs/parts --data data/multi30k --seeds 1 2 --jobs 2
    python scripts/parts_table.py speed TABLE --data data/multi30k
    python scripts/parts_table.py show TABLE --folder runs/parts

`run` trains every unfinished row in its own run folder, `--jobs` rows at a time with one thread each. `speed`
alternates updates of the default and of one row in one process, which cancels a drift of the machine. `show` prints the
scores and, with --plot FILE, draws the training losses (needs matplotlib). --data is a folder with the files of
Multi30k; without it they are downloaded to data/multi30k.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from seq2seq.cli import exit_status
from seq2seq.config.loading import compose_config, to_config
from seq2seq.config.runtime import RuntimeConfig
from seq2seq.config.schema import Config
from seq2seq.data.batches.batch import Batch
from seq2seq.data.batches.epoch_batches import EpochBatches
from seq2seq.data.corpora.load import load_corpus
from seq2seq.data.files.download import cache_dir
from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.model.network import Seq2Seq
from seq2seq.runtime import configure, resolve_precision
from seq2seq.training.gradient_accumulation import BatchLoss
from seq2seq.training.optimizer import make_optimizer
from seq2seq.training.scheduled_sampling import teacher_forcing_ratio

CPU = torch.device("cpu")
DROPOUT_PLACES = ("embedding", "layers", "context", "readout")


def layers(count: int) -> str:
    """Return the overrides for a network with `count` encoder and decoder layers."""
    return f"model.encoder_layers={count} model.decoder_layers={count}"


def dropout(value: float) -> str:
    """Return the overrides for dropout in the four default places."""
    return " ".join(f"model.dropout.{place}={value}" for place in DROPOUT_PLACES)


SMALL = [
    *("data=multi30k", "data.tokenizer.vocab_size=4000", "model.emb_size=128", "model.hidden_size=256"),
    *("model.attention_size=128", dropout(0.1), "training.max_minutes=null", "training.batch_tokens=1024"),
    *("training.learning_rate=3e-3", "training.validate_sentences=1000", "runtime.threads=1"),
]

# Table -> (overrides of all rows, row -> overrides that differ from the first row).
TABLES: dict[str, tuple[list[str], dict[str, str]]] = {
    "parts": (
        [*SMALL, "training.max_steps=1000", "training.validate_every_steps=250"],
        {
            "default: lstm, additive, 1 + 1 layers": "",
            "cell=rnn": "model.cell=rnn",
            "cell=gru": "model.cell=gru",
            "cell=peephole_lstm": "model.cell=peephole_lstm",
            "attention=none": "model.attention=none",
            "2 + 2 layers": layers(2),
            "4 + 4 layers": layers(4),
            "4 + 4 layers, residual": f"{layers(4)} model.residual=true",
            "attention=general": "model.attention=general",
            "attention=dot": "model.attention=dot",
            "attention_heads=4": "model.attention_heads=4",
            "coverage": "model.coverage=true",
            "input_feeding": "model.input_feeding=true",
            "layer_norm": "model.layer_norm=true",
            "peephole_candidate": "model.cell=peephole_lstm model.peephole_candidate=true",
        },
    ),
    "regularisers": (
        [*SMALL, "data.train_pairs=4000", "training.max_steps=1000", "training.validate_every_steps=100"],
        {
            "start: dropout 0.1 in four places, label smoothing 0.1": "",
            "no dropout": dropout(0.0),
            "dropout 0.3": dropout(0.3),
            "dropout 0.3, variational": f"{dropout(0.3)} model.dropout.variational=true",
            "recurrent=0.3 (weight-drop)": "model.dropout.recurrent=0.3",
            "src_words=0.1, tgt_words=0.1": "model.dropout.src_words=0.1 model.dropout.tgt_words=0.1",
            "unigram sampling 0.2, both sides": "data.sampling.src=0.2 data.sampling.tgt=0.2",
            "BPE": "data.tokenizer.type=bpe",
            "BPE-dropout 0.1, both sides": "data.tokenizer.type=bpe data.sampling.src=0.1 data.sampling.tgt=0.1",
            "r_drop=2": "training.r_drop=2",
            "scheduled sampling, linear to 0.5": "training.scheduled_sampling.schedule=linear",
            "label_smoothing=0": "training.label_smoothing=0",
            "weight_decay=0.01 (AdamW)": "training.optimizer=adamw training.weight_decay=0.01",
        },
    ),
    "deep": (
        [
            *(*SMALL, layers(6), "model.emb_size=64", "model.hidden_size=128", "model.attention_size=64"),
            *("training.max_steps=1500", "training.validate_every_steps=500", "training.log_every_steps=20"),
        ],
        {
            "6 + 6 layers": "",
            "6 + 6 layers, residual": "model.residual=true",
            "6 + 6 layers, residual, layer_norm": "model.residual=true model.layer_norm=true",
        },
    ),
}


def main() -> None:
    """Run the action of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["run", "speed", "show"])
    parser.add_argument("table", choices=TABLES)
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/parts"), help="folder of the runs (default: runs/parts)"
    )
    parser.add_argument("--data", help="folder with the files of Multi30k (default: they are downloaded)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="run: seeds of each row (default: 1)")
    parser.add_argument("--jobs", type=int, default=1, help="run: rows trained at the same time (default: 1)")
    parser.add_argument("--rows", nargs="+", help="only rows whose name contains one of these strings")
    parser.add_argument("--plot", metavar="FILE", help="show: draw the training losses to FILE (.svg, .png)")
    parser.add_argument(
        "--updates",
        type=int,
        default=20,
        help="speed: measured updates of each network, after three warm-up updates (default: 20)",
    )
    args = parser.parse_args()
    shared, rows = TABLES[args.table]
    shared = [word for words in shared for word in words.split()] + ([f"data.root={args.data}"] if args.data else [])
    rows = {name: words for name, words in rows.items() if not args.rows or any(part in name for part in args.rows)}
    if args.action == "run":
        run_all(shared, rows, args.folder / args.table, args.seeds, args.jobs)
    elif args.action == "speed":
        speed(shared, rows, args.updates)
    else:
        show(rows, args.folder / args.table)
        if args.plot:
            plot(rows, args.folder / args.table, args.plot)


# --- scores ----------------------------------------------------------------------------------------------------------


def run_all(shared: list[str], rows: dict[str, str], folder: Path, seeds: list[int], jobs: int) -> None:
    """Train every row with every seed, except finished runs."""
    commands = []
    for seed, (name, words) in itertools.product(seeds, rows.items()):
        run = run_folder(folder, name, seed)
        if not events(run, "test"):
            command = [*shared, *words.split(), f"training.seed={seed}", "training.resume=auto"]
            commands.append(([*command, f"hydra.run.dir='{run}'"], f"{name}, seed {seed}"))
    with ThreadPoolExecutor(jobs) as pool:
        statuses = list(pool.map(lambda command: train(*command), commands))
    if any(statuses):
        sys.exit("the training of some rows failed")


def train(overrides: list[str], name: str) -> int:
    """Run one training command, print its result and return its exit status."""
    started = time.monotonic()
    command = [sys.executable, "-m", "seq2seq.train", *overrides]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    print(f"{name}: status {done.returncode}, {time.monotonic() - started:.0f} s", flush=True)
    if done.returncode:
        print(done.stderr[-2000:], flush=True)
    return done.returncode


def run_folder(folder: Path, name: str, seed: int) -> Path:
    """Return the folder of a run."""
    plain = "".join(char if char.isalnum() else "_" for char in name)
    return folder / f"{plain}-{seed}"


def events(run: Path, kind: str) -> list[dict[str, Any]]:
    """Return the events of one kind in the metrics of a run."""
    path = run / "metrics.jsonl"
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines()) if path.is_file() else ()
    return [event for event in lines if event["event"] == kind]


def show(rows: dict[str, str], folder: Path) -> None:
    """Print the finished rows: mean of the best validations, and test BLEU of each seed."""
    print("| row | validation perplexity | validation BLEU | test BLEU, by seed |\n|---|---|---|---|")
    for name in rows:
        runs = [run_folder(folder, name, seed) for seed in range(100)]
        finished = [run for run in runs if events(run, "test")]
        if finished:
            best = [max(events(run, "validation"), key=lambda event: event["bleu"]) for run in finished]
            perplexity, bleu = (statistics.mean(event[key] for event in best) for key in ("perplexity", "bleu"))
            tests = ", ".join(f"{events(run, 'test')[0]['bleu']:.2f}" for run in finished)
            print(f"| {name} | {perplexity:.2f} | {bleu:.2f} | {tests} |")


def plot(rows: dict[str, str], folder: Path, path: str) -> None:
    """Draw the training loss of every row and seed against the updates."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for number, name in enumerate(rows):
        runs = [steps for seed in range(100) if (steps := events(run_folder(folder, name, seed), "step"))]
        for index, steps in enumerate(runs):
            label = name if index == 0 else None
            axes.plot([s["step"] for s in steps], [s["loss"] for s in steps], color=f"C{number}", label=label)
    axes.set(xlabel="updates", ylabel="training loss, nats per token")
    axes.legend(fontsize="small")
    with pyplot.rc_context({"svg.fonttype": "none", "svg.hashsalt": "seq2seq"}):
        figure.savefig(path, metadata={"Date": None} if path.endswith(".svg") else None)


# --- speed -----------------------------------------------------------------------------------------------------------


def speed(shared: list[str], rows: dict[str, str], updates: int) -> None:
    """Print for each row the number of parameters and the speed relative to the first row."""
    configure(RuntimeConfig())
    print("| row | parameters | tokens/s, ratio to the first row |\n|---|---|---|")
    first = None
    for name, words in rows.items():
        size, update = updater(configured([*shared, *words.split()]))
        first = first or update
        seconds = [(first(number), update(number)) for number in range(updates + 3)][3:]
        ratio = statistics.median(first_sec / sec for first_sec, sec in seconds)
        print(f"| {name} | {size:,} | {ratio:.2f} |", flush=True)


def configured(overrides: list[str]) -> Config:
    """Return the config of a train command with these overrides."""
    return to_config(compose_config(overrides))


def updater(config: Config) -> tuple[int, Callable[[int], float]]:
    """Return the number of parameters and a function that makes an update on batch n and returns its seconds."""
    corpus = load_corpus(config.data)
    tokenizer = Tokenizer.train(corpus.train, config.data.vocabulary, cache_dir(config.data.cache_dir))
    network = Seq2Seq(config.model, tokenizer.src_size, tokenizer.tgt_size).train()
    optimizer = make_optimizer(network.parameters(), config.training)
    count, batches = EpochBatches(config.data, config.training, corpus.train, tokenizer)(0, 0)
    batch_loss = BatchLoss(network, config.training, resolve_precision(config.training.precision, CPU))
    ratio = teacher_forcing_ratio(config.training.scheduled_sampling, 0.5)
    first_batches = [batch for _, batch in zip(range(min(count, 50)), batches, strict=False)]

    def update(number: int) -> float:
        batch: Batch = first_batches[number % len(first_batches)]
        started = time.perf_counter()
        loss, _ = batch_loss(batch, ratio)
        torch.autograd.backward(loss / batch.tgt_tokens)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return time.perf_counter() - started

    return sum(weight.numel() for weight in network.parameters()), update


if __name__ == "__main__":
    sys.exit(exit_status.run(main))
