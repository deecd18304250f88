"""A run folder with a random model, events and provenance, and sentences that would harm a careless page."""

from __future__ import annotations

import json
from pathlib import Path

from tiny_model import make_model

HOSTILE = [
    "<script>document.title = 'harmed'</script>",
    "</script><img src=x onerror=\"document.title='harmed'\">",
    "\"' onmouseover=document.title='harmed' data-a=\"0:100",
    "file\u202egnp.exe \u2066isolated \u200fright",
    "one\u2028line\x85still",
    "escape \x1b[31m red, bell \x07",
    "w" * 5000,
    "مرحبا بالعالم <b>",
    "你好，世界。",
    "&lt;b&gt; & ]]> <!-- ${document.title} {{7*7}}",
    "the quick brown fox",
    "pack my box with five dozen jugs",
]
EVENTS = [
    {
        "event": "step",
        "step": 1,
        "elapsed_sec": 1.0,
        "epoch": 0.5,
        "loss": 6.0,
        "learning_rate": 1e-3,
        "grad_norm": 2.0,
    },
    {
        "event": "step",
        "step": 2,
        "elapsed_sec": 2.0,
        "epoch": 1.0,
        "loss": None,
        "learning_rate": 5e-4,
        "grad_norm": 1.0,
    },
    {"event": "step", "step": 3, "elapsed_sec": 3.0, "epoch": 1.5, "loss": 4.0, "learning_rate": 0.0, "grad_norm": 9.0},
    {"event": "validation", "step": 3, "elapsed_sec": 4.0, "best": True, "perplexity": 50.0, "bleu": 1.5, "chrf": 9.0},
    {
        "event": "test",
        "set": "<i>test</i>",
        "bleu": 12.25,
        "bleu_signature": "nrefs:1|tok:13a",
        "chrf": 30.5,
        "sentences": 9,
    },
]
PROVENANCE = [
    {
        "time": "2026-01-02T03:04:05+00:00",
        "command": "python -m seq2seq.train data.train.src='<script>`a`'",
        "seed": 1,
        "device": "cpu",
        "pairs": {"train": 1234567, "valid": 10},
        "code": {"commit": "0123abc", "dirty": True},
        "platform": {"cpu": "a processor | of many", "torch_threads": 2, "gpu": None},
        "versions": {"torch": "2.13.0", "python": "3.11"},
    }
]


def make_run(folder: Path, name: str = "run", text: list[str] = HOSTILE) -> Path:
    """Return a run folder; `src` and `ref` beside it are a test set."""
    from seq2seq.config.loading import to_yaml
    from seq2seq.storage.model_file import save_model

    run = folder / name
    run.mkdir()
    model = make_model(folder / "cache", byte_fallback=True)
    save_model(run / "best.safetensors", model)
    (run / "config.yaml").write_text(to_yaml(model.config), encoding="utf-8")
    (run / "metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in EVENTS), encoding="utf-8")
    (run / "provenance.json").write_text(json.dumps(PROVENANCE), encoding="utf-8")
    for file in ("src", "ref"):
        (folder / file).write_text("".join(f"{line}\n" for line in text), encoding="utf-8", newline="\n")
    return run
