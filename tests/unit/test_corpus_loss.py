"""The training loss of each corpus of a mix: added up by row, logged beside the shares, and no change of the run."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from report_run import make_run
from seq2seq.config.data import DataConfig, MixConfig
from seq2seq.config.model import DropoutConfig, ModelConfig
from seq2seq.config.training import MinimumRiskConfig, TrainingConfig
from seq2seq.data.batches.batch import Batch, RowCorpora, make_batch
from seq2seq.kernels import bindings
from seq2seq.model.network import Seq2Seq, without_weights
from seq2seq.pictures.run_metrics import read_run
from seq2seq.reporting.gather import corpus_curves
from seq2seq.reporting.report_page import corpus_curves as shown_curves
from seq2seq.reporting.run_facts import read_facts, weights
from seq2seq.storage.model_file import load_model
from seq2seq.training.distributed import ProcessGroup
from seq2seq.training.gradient_accumulation import GradientAccumulator
from seq2seq.training.minimum_risk import Candidate, references
from seq2seq.training.progress import Progress
from seq2seq.training.records import Update, Window
from seq2seq.training.run_log import RunLog
from tiny_trainer import events, random_ids, same_weights, tiny_trainer, weights_of

NAMES = ("main", "web", "none")
OWNERS = [0, 1, 1, 0, 1, 0, 0, 1, 1]
SIZES = {"emb_size": 6, "hidden_size": 8, "attention_size": 4}


def source_and_target(rows: int = len(OWNERS)) -> tuple[list[list[int]], list[list[int]]]:
    numbers = random.Random(1)
    return random_ids(numbers, rows), random_ids(numbers, rows)


def mixed_batch() -> Batch:
    return dataclasses.replace(make_batch(*source_and_target()), corpora=RowCorpora(NAMES, torch.tensor(OWNERS)))


def batch_of(owner: int) -> Batch:
    """The rows of one corpus alone."""
    src, tgt = source_and_target()
    return make_batch(*([row for row, own in zip(side, OWNERS, strict=True) if own == owner] for side in (src, tgt)))


def find(batch: Batch) -> list[list[Candidate]]:
    return [[Candidate(row[::-1], 0.5), Candidate([5, 6], 0.75)] for row in references(batch)]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"label_smoothing": 0.0},
        {"r_drop": 1.0},
        {"minimum_risk": MinimumRiskConfig(weight=0.5)},
        {"micro_batches": 4},
    ],
    ids=str,
)
@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("rows", [1, 4])
def test_the_loss_of_a_corpus_is_that_of_its_rows_alone(settings: dict[str, Any], kernels: bool, rows: int) -> None:
    torch.manual_seed(1)
    network = Seq2Seq(ModelConfig(**SIZES, dropout=DropoutConfig(layers=0.0, readout=0.0)), 12, 12).double()
    accumulator = GradientAccumulator(
        network, TrainingConfig(**settings), torch.float32, ProcessGroup(), Progress(), find
    )
    if "minimum_risk" not in settings:
        accumulator.rows = rows  # as on a GPU, which computes rows of padding
    bindings.enable(kernels)
    try:
        nll, risk, score, *by_corpus = accumulator.accumulate(mixed_batch(), 1).tolist()
        plain = [accumulator.accumulate(batch_of(owner), 1).tolist() for owner in (0, 1)]
    finally:
        bindings.enable(True)
    assert by_corpus == pytest.approx([plain[0][0], plain[1][0], 0.0], rel=1e-6)
    assert [nll, risk, score] == pytest.approx([sum(column) for column in zip(*plain, strict=True)], rel=1e-6)


@pytest.mark.parametrize("settings", [{}, {"r_drop": 1.0, "micro_batches": 2}], ids=str)
def test_nothing_is_read_from_the_device(settings: dict[str, Any]) -> None:
    network = without_weights(ModelConfig(**SIZES), 12, 12).train()
    accumulator = GradientAccumulator(network, TrainingConfig(**settings), torch.float32, ProcessGroup(), Progress())
    accumulator.rows = 8
    sums = accumulator.accumulate(mixed_batch(), 1)
    assert sums.is_meta  # has no values: whatever read one raised
    assert len(sums) == 3 + len(NAMES)


def run_of_mix(folder: Path, corpora: bool = True, **settings: Any) -> dict[str, torch.Tensor]:
    """Train on a mix, or on the same pairs as one corpus; return the weights."""

    def data(epoch: int, start: int) -> tuple[int, Iterator[Batch]]:
        batch = mixed_batch()
        return 4, iter([batch if corpora else dataclasses.replace(batch, corpora=None)] * (4 - start))

    with tiny_trainer(folder, data, max_steps=4, log_every_steps=2, **settings) as trainer:
        trainer.fit()
    return weights_of(trainer)


def test_a_run_logs_the_loss_of_each_corpus_and_is_the_same_run(tmp_path: Path) -> None:
    weights = run_of_mix(tmp_path / "mix")
    assert same_weights(weights, run_of_mix(tmp_path / "one", corpora=False))
    tokens = {name: batch_of(number).tgt_tokens for number, name in enumerate(NAMES[:2])}
    logged = events(tmp_path / "mix", "step")
    for event, plain in zip(logged, events(tmp_path / "one", "step"), strict=True):
        assert event["loss"] == plain["loss"]
        assert event["corpus_loss"].keys() == event["token_shares"].keys() == tokens.keys()  # "none" has no tokens
        mean = sum(event["corpus_loss"][name] * count for name, count in tokens.items()) / sum(tokens.values())
        assert mean == pytest.approx(event["loss"], abs=2e-4)
        assert event["corpus_loss"]["main"] != event["corpus_loss"]["web"]
        assert not {"corpus_loss", "token_shares"} & plain.keys()
    assert len(logged) == 2


def test_a_window_that_an_older_version_began_has_no_loss_by_corpus(tmp_path: Path) -> None:
    state = Progress(step=3, window=Window(nll=9.0, tokens=4, steps=1, corpus_tokens={"main": 4})).state_dict()
    del state["window"]["corpus_nll"]
    progress = Progress()
    progress.load_state_dict(state)
    progress.window.add(Update(4, 0.1, 1.0, 5, 5, {"main": 3, "web": 2}), 12.0, 1.0, [8.0, 4.0])
    again = Progress()
    again.load_state_dict(progress.state_dict())
    with RunLog(tmp_path, Console(file=io.StringIO())) as log:
        log.updates(again, 0.1, 0.1)
    (event,) = events(tmp_path, "step")
    assert event["corpus_loss"] == {"main": None, "web": 2.0}
    assert event["token_shares"] == {"main": 0.7778, "web": 0.2222}


@pytest.mark.parametrize("nll", [{"web": 1.0}, {"main": "1"}, {"main": True}])
def test_a_damaged_loss_by_corpus_is_refused(nll: dict[str, Any]) -> None:
    state = Progress(window=Window(corpus_tokens={"main": 4}, corpus_nll={"main": 1.0})).state_dict()
    state["window"]["corpus_nll"] = nll
    with pytest.raises((TypeError, ValueError), match="corpus_nll"):
        Progress().load_state_dict(state)


def test_the_report_draws_a_line_for_each_corpus(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    lines = [
        {"event": "step", "step": step, "elapsed_sec": 1.0, "corpus_loss": loss, "token_shares": {"main": 0.75}}
        for step, loss in ((4, {"main": 3.0, "<b>": 2.5}), (5, {"main": None}), (6, {"main": 2.0, "<b>": 1.5}))
    ]
    with (run / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in [*lines, {**lines[0], "step": 7, "corpus_loss": 3}])
    model = load_model(run, torch.device("cpu"))
    facts = read_facts("run", run, model.config, model.network, model.tokenizer)
    loss, share = corpus_curves([facts])
    assert [(line["name"], line["xs"], line["ys"]) for line in loss["lines"]] == [
        ("main", [4.0, 5.0, 6.0], [3.0, None, 2.0]),
        ("<b>", [4.0, 6.0], [2.5, 1.5]),
    ]
    assert [line["name"] for line in share["lines"]] == ["main"]
    named = [line["name"] for line in corpus_curves([facts, dataclasses.replace(facts, name="other")])[0]["lines"]]
    assert named == ["run: main", "run: <b>", "other: main", "other: <b>"]
    html = "".join(shown_curves([loss, share]))
    assert "training loss of each corpus" in html
    assert "&lt;b&gt;" in html
    assert corpus_curves([dataclasses.replace(facts, curves=None)]) == []
    assert math.isnan(read_run(run, "run").points(read_metric(run), "steps")[1][1])


def read_metric(run: Path) -> Any:
    from seq2seq.pictures.run_metrics import CORPUS_METRICS

    return read_run(run, "run").of_corpora(CORPUS_METRICS[0])["main"]


def test_the_report_names_the_weights_of_a_mix() -> None:
    assert weights(DataConfig(mix={"web": MixConfig(weight=3.0), "more": MixConfig()})) == "main 1, web 3, more 1"
    assert weights(DataConfig(mix={"web": MixConfig()})) == ""
    assert weights(DataConfig(weight=2.0)) == ""
