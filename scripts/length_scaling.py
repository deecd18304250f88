"""Measure training speed at sentence lengths 10 to 80 and vocabularies 4k to 64k: table and plot.

    python scripts/length_scaling.py --threads 2 --plot docs/explanation/length_scaling.svg

Batches of random ids without padding fill the token budget. The cost of attention per token grows with the sentence
length, because every target position attends to every source position; that of the output layer with the vocabulary.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from benchmark_work import model_config
from torch import Tensor

from seq2seq.config.runtime import RuntimeConfig
from seq2seq.config.training import PrecisionName, TrainingConfig
from seq2seq.data.batches.batch import Batch
from seq2seq.model.network import Seq2Seq
from seq2seq.runtime import autocast, configure, resolve_precision
from seq2seq.training.loss import output_loss
from seq2seq.training.optimizer import make_optimizer

LENGTHS = (10, 20, 40, 80)
VOCABULARIES = (4_000, 8_000, 16_000, 32_000, 64_000)
BATCH_TOKENS = 4096
CPU = torch.device("cpu")


def main() -> None:
    """Print a row per vocabulary, as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, help="CPU threads (default: chosen by torch)")
    parser.add_argument(
        "--updates", type=int, default=5, help="measured updates per figure, after two warm-up updates (default: 5)"
    )
    parser.add_argument("--plot", metavar="FILE", help="also draw the table to FILE (.svg, .png); needs matplotlib")
    args = parser.parse_args()
    configure(RuntimeConfig(threads=args.threads))
    dtype = resolve_precision(PrecisionName.auto, CPU)
    print(f"target tokens/s, {str(dtype).removeprefix('torch.')}, {torch.get_num_threads()} threads\n")
    print("| vocabulary | " + " | ".join(f"length {length}" for length in LENGTHS) + " |")
    print("|---|" + "---|" * len(LENGTHS))
    table = {}
    for vocab in VOCABULARIES:
        table[vocab] = rates = [tokens_per_sec(vocab, length, dtype, args.updates) for length in LENGTHS]
        print(f"| {vocab:,} | " + " | ".join(f"{rate:,.0f}" for rate in rates) + " |", flush=True)
    if args.plot:
        plot(table, args.plot)


def plot(table: dict[int, list[float]], path: str) -> None:
    """Draw seconds per 1,000 target tokens against sentence length, one line per vocabulary."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for vocab, rates in table.items():
        axes.plot(LENGTHS, [1000 / rate for rate in rates], marker="o", label=f"{vocab:,}")
    axes.set(xlabel="sentence length, tokens", ylabel="seconds per 1,000 target tokens", ylim=(0, None))
    axes.legend(title="vocabulary", fontsize="small")
    figure.savefig(path)


def tokens_per_sec(vocab: int, length: int, dtype: torch.dtype, updates: int) -> float:
    """Return the median speed of `updates` updates with sentences of `length` tokens."""
    torch.manual_seed(0)
    network = Seq2Seq(model_config(512), vocab, vocab).train()
    optimizer = make_optimizer(network.parameters(), TrainingConfig())
    seconds = []
    for _ in range(2 + updates):
        batch = random_batch(BATCH_TOKENS // length, length, vocab)
        start = time.perf_counter()
        with autocast(CPU, dtype):
            readouts, targets, _ = network.read_out(batch)
            loss, _ = output_loss(network.output, readouts, targets, 0.1)
        torch.autograd.backward(loss / batch.tgt_tokens)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - start)
    return batch.tgt_tokens / statistics.median(seconds[2:])


def random_batch(rows: int, length: int, vocab: int) -> Batch:
    """Return random sentences of equal length, so without padding."""

    def ids() -> Tensor:
        return torch.randint(4, vocab, (rows, length))

    return Batch(ids(), torch.full((rows,), length), ids(), ids())


if __name__ == "__main__":
    main()
