"""Measurements of the benchmark, each in its own process: BLEU after a given time of training."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmark_figures import runtime_config
from benchmark_work import DROPOUT, TEST, Settings, make_tokenizer, read

from seq2seq.evaluation.metrics import bleu_score
from seq2seq.inference.translator import Translator
from seq2seq.runtime import configure


def train_and_score_ours(settings: Settings, minutes: float, batch_tokens: int) -> dict[str, float]:
    """Run the train command on the workload, and translate the test set with beam search."""
    configure(runtime_config(settings))
    with tempfile.TemporaryDirectory(dir=settings.cache) as run:
        command = [sys.executable, "-m", "seq2seq.train", *overrides(settings, minutes, batch_tokens)]
        subprocess.run([*command, f"hydra.run.dir={run}/run"], stdout=sys.stderr, check=True)
        translator = Translator.load(f"{run}/run", device="cpu", precision=settings.precision)
        test = read(Path(settings.data), TEST)
        return {"bleu": bleu_score(translator.translate(test.src, beam_size=5), test.tgt).value}


def overrides(settings: Settings, minutes: float, batch_tokens: int) -> list[str]:
    """Return the config of the train command: the experiment of Multi30k with the sizes of the workload."""
    half = settings.hidden // 2
    values: dict[str, Any] = {
        "experiment": "multi30k_en_de",
        "data.root": settings.data,
        "data.cache_dir": settings.cache,
        "data.tokenizer.vocab_size": settings.vocab,
        "model.emb_size": half,
        "model.hidden_size": settings.hidden,
        "model.attention_size": half,
        "model.encoder_layers": 2,
        "model.decoder_layers": 2,
        "training.max_epochs": "null",
        "training.max_minutes": minutes,
        "training.batch_tokens": batch_tokens,
        "training.precision": settings.precision,
        "runtime.threads": settings.threads or "null",
        "runtime.kernels": settings.kernels,
        "runtime.allocator": settings.allocator,
    }
    values |= {f"model.dropout.{part}": DROPOUT for part in ("embedding", "layers", "context", "readout")}
    return [f"{key}={value}" for key, value in values.items()]


def score_outputs(settings: Settings, path: str) -> dict[str, float]:
    """Return the BLEU of the tokens that another toolkit wrote."""
    tokenizer = make_tokenizer(read(Path(settings.data), "train"), settings.vocab, settings.cache)
    ids = {piece: i for i, piece in enumerate(tokenizer.tgt_pieces(range(tokenizer.tgt_size)))}
    lines = Path(path).read_text(encoding="utf-8").split("\n")[:-1]
    outputs = tokenizer.decode([[ids[token] for token in line.split(" ") if token in ids] for line in lines])
    return {"bleu": bleu_score(outputs, read(Path(settings.data), TEST).tgt).value}
