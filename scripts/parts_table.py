"""What each part of the network and each regulariser does: one factor at a time, equal updates, on a real corpus.

    python scripts/parts_table.py run TABLE --folder runs/parts --data multi30k --seeds 1 2 --jobs 2
    python scripts/parts_table.py speed TABLE --data multi30k
    python scripts/parts_table.py show TABLE --folder runs/parts

`run` trains every row that is not finished yet, each a normal run folder, `--jobs` at a time with a thread each.
`speed` alternates updates of the default and of one row in one process, so the ratios hold where the machine drifts.
`show` prints the scores and, with --plot FILE, draws the training losses (needs matplotlib). --data is a folder with
Multi30k's files.
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
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore

from seq2seq.config.loading import config_dir, to_config
from seq2seq.config.runtime import RuntimeConfig
from seq2seq.config.schema import Config
from seq2seq.data.batch import Batch
from seq2seq.data.corpora.load import load_corpus
from seq2seq.data.download import cache_dir
from seq2seq.data.epoch_batches import EpochBatches
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.model.network import Seq2Seq
from seq2seq.runtime import configure, resolve_precision
from seq2seq.training.gradient_accumulation import BatchLoss
from seq2seq.training.optimizer import make_optimizer
from seq2seq.training.scheduled_sampling import teacher_forcing_ratio

CPU = torch.device("cpu")
PLACES = ("embedding", "layers", "context", "readout")
SMALL = [
    *("data=multi30k", "data.tokenizer.vocab_size=4000", "model.emb_size=128", "model.hidden_size=256"),
    *("model.attention_size=128", "training.max_minutes=null", "training.batch_tokens=1024"),
    *("training.validate_sentences=1000", "runtime.threads=1"),
]


def layers(count: int) -> str:
    """Return the overrides of a deep network."""
    return f"model.encoder_layers={count} model.decoder_layers={count}"


def dropout(value: float) -> str:
    """Return the overrides of the four ordinary places."""
    return " ".join(f"model.dropout.{place}={value}" for place in PLACES)


# Table -> (settings of all rows, name of a row -> what differs from the first).
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
            "default: dropout 0.1 in four places, label smoothing 0.1": "",
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
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["run", "speed", "show"])
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--folder", type=Path, default=Path("runs/parts"))
    parser.add_argument("--data", help="folder with the corpus")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--rows", nargs="+", help="only rows whose name holds one of these")
    parser.add_argument("--plot", help="show: draw the training losses into this file (.svg, .png)")
    parser.add_argument("--updates", type=int, default=20, help="speed: of each network, after three that warm up")
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
    """Train every row with every seed, but for those that are finished."""
    commands = []
    for seed, (name, words) in itertools.product(seeds, rows.items()):
        place = run_folder(folder, name, seed)
        if not events(place, "test"):
            command = [*shared, *words.split(), f"training.seed={seed}", "training.resume=auto"]
            commands.append(([*command, f"hydra.run.dir='{place}'"], f"{name}, seed {seed}"))
    with ThreadPoolExecutor(jobs) as pool:
        statuses = list(pool.map(lambda command: train(*command), commands))
    if any(statuses):
        sys.exit("not all rows are trained")


def train(overrides: list[str], name: str) -> int:
    """Run one training command, say how it ended and return its exit status."""
    started = time.monotonic()
    command = [sys.executable, "-m", "seq2seq.train", *overrides]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    print(f"{name}: status {done.returncode}, {time.monotonic() - started:.0f} s", flush=True)
    if done.returncode:
        print(done.stderr[-2000:], flush=True)
    return done.returncode


def run_folder(folder: Path, name: str, seed: int) -> Path:
    """Return where a run lies."""
    plain = "".join(char if char.isalnum() else "_" for char in name)
    return folder / f"{plain}-{seed}"


def events(run: Path, kind: str) -> list[dict[str, Any]]:
    """Return the lines of one kind in a run's metrics."""
    path = run / "metrics.jsonl"
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines()) if path.is_file() else ()
    return [event for event in lines if event["event"] == kind]


def show(rows: dict[str, str], folder: Path) -> None:
    """Print every finished row: best validation, and test scores seed by seed."""
    print("| row | validation perplexity | validation BLEU | test BLEU, by seed |\n|---|---|---|---|")
    for name in rows:
        runs = [run_folder(folder, name, seed) for seed in range(100)]
        finished = [run for run in runs if events(run, "test")]
        if finished:
            best = [max(events(run, "validation"), key=lambda one: one["bleu"]) for run in finished]
            perplexity, bleu = (statistics.mean(one[key] for one in best) for key in ("perplexity", "bleu"))
            tests = ", ".join(f"{events(run, 'test')[0]['bleu']:.2f}" for run in finished)
            print(f"| {name} | {perplexity:.2f} | {bleu:.2f} | {tests} |")


def plot(rows: dict[str, str], folder: Path, path: str) -> None:
    """Draw the training loss of every row and seed against the updates."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for number, name in enumerate(rows):
        runs = [found for seed in range(100) if (found := events(run_folder(folder, name, seed), "step"))]
        for count, steps in enumerate(runs):
            label = name if count == 0 else None
            axes.plot([s["step"] for s in steps], [s["loss"] for s in steps], color=f"C{number}", label=label)
    axes.set(xlabel="updates", ylabel="training loss, nats per piece")
    axes.legend(fontsize="small")
    with pyplot.rc_context({"svg.fonttype": "none", "svg.hashsalt": "seq2seq"}):
        figure.savefig(path, metadata={"Date": None} if path.endswith(".svg") else None)


# --- speed -----------------------------------------------------------------------------------------------------------


def speed(shared: list[str], rows: dict[str, str], updates: int) -> None:
    """Print parameters and target tokens a second of every row, as a ratio to the first."""
    configure(RuntimeConfig())
    print("| row | parameters | tokens/s, ratio to the first |\n|---|---|---|")
    first = None
    for name, words in rows.items():
        size, update = updater(configured([*shared, *words.split()]))
        first = first or update
        seconds = [(first(number), update(number)) for number in range(updates + 3)][3:]
        ratio = statistics.median(one / other for one, other in seconds)
        print(f"| {name} | {size:,} | {ratio:.2f} |", flush=True)


def configured(overrides: list[str]) -> Config:
    """Return the config that the command line would give."""
    ConfigStore.instance().store(name="train_schema", node=Config)
    with initialize_config_dir(config_dir=config_dir(), version_base="1.3"):
        return to_config(compose("train", overrides=overrides))


def updater(config: Config) -> tuple[int, Callable[[int], float]]:
    """Return the number of weights, and what makes an update on batch n of the first epoch and returns its seconds."""
    corpus = load_corpus(config.data)
    tokenizer = Tokenizer.train(corpus.train, config.data.tokenizer, cache_dir(config.data.cache_dir))
    network = Seq2Seq(config.model, tokenizer.src_size, tokenizer.tgt_size).train()
    optimizer = make_optimizer(network.parameters(), config.training)
    count, batches = EpochBatches(config.data, config.training, corpus.train, tokenizer)(0, 0)
    batch_loss = BatchLoss(network, config.training, resolve_precision(config.training.precision, CPU))
    ratio = teacher_forcing_ratio(config.training.scheduled_sampling, 0.5)
    made = [batch for _, batch in zip(range(min(count, 50)), batches, strict=False)]

    def update(number: int) -> float:
        batch: Batch = made[number % len(made)]
        started = time.perf_counter()
        loss, _ = batch_loss(batch, ratio)
        torch.autograd.backward(loss / batch.tgt_tokens)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return time.perf_counter() - started

    return sum(weight.numel() for weight in network.parameters()), update


if __name__ == "__main__":
    main()
