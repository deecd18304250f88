"""Samples and attention of a validation in TensorBoard, read back from its file."""

from __future__ import annotations

import io
import json

import numpy
import pytest
from PIL import Image
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from seq2seq.training.progress import Progress
from seq2seq.training.records import CELL_PIXELS, AttentionMap, Sample, Validation
from seq2seq.training.run_log import RunLog

FIGURES = (1.0, 2.7, 3.0, 4.0)
ATTENTION = AttentionMap(["▁a", "<b>", "(end)"], ["▁c", "(end)"], [[1.0, 0.0, 0.0], [0.2, 0.4, float("nan")]])
SAMPLES = [Sample("# <i>a</i> | *b*", "one", "un"), Sample("two", "", "deux")]


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> EventAccumulator:
    """Three validations: with samples and attention, without attention, with neither."""
    folder = tmp_path_factory.mktemp("run")
    with RunLog(folder, Console(file=io.StringIO())) as log:
        log.validation(Progress(step=5), Validation(*FIGURES, SAMPLES, ATTENTION), better=True)
        log.validation(Progress(step=6), Validation(*FIGURES, SAMPLES), better=False)
        log.validation(Progress(step=7), Validation(*FIGURES), better=False)
    first, *rest = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    assert {key for event in rest for key in event} == set(first)  # figures only
    assert not {"samples", "attention"} & set(first)
    board = EventAccumulator(str(folder / "tensorboard"))
    board.Reload()
    return board


def text(board: EventAccumulator, tag: str) -> list[tuple[int, str]]:
    return [(event.step, event.tensor_proto.string_val[0].decode()) for event in board.Tensors(f"{tag}/text_summary")]


def test_samples_are_shown_verbatim(board: EventAccumulator) -> None:
    shown = (
        "    source       # <i>a</i> | *b*\n    translation  one\n    reference    un\n    \n"
        "    source       two\n    translation  \n    reference    deux"
    )
    assert text(board, "valid/samples") == [(5, shown), (6, shown)]


def test_a_higher_weight_is_darker_in_the_image(board: EventAccumulator) -> None:
    (event,) = board.Images("valid/attention")
    assert event.step == 5
    grey = numpy.asarray(Image.open(io.BytesIO(event.encoded_image_string)).convert("L"))
    expected = numpy.array([[0, 255, 255], [204, 153, 255]])  # 0 and NaN are white
    assert (grey == numpy.kron(expected, numpy.ones((CELL_PIXELS, CELL_PIXELS)))).all()
    assert grey.shape == (2 * CELL_PIXELS, 3 * CELL_PIXELS)


def test_the_tokens_of_rows_and_columns_are_shown(board: EventAccumulator) -> None:
    assert text(board, "valid/attention") == [(5, "    columns      ▁a <b> (end)\n    rows         ▁c (end)")]
