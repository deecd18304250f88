"""The model card: YAML that hubs read, Markdown that nothing in a run can break, a copy in the model file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from report_run import make_run
from seq2seq.config.data import DataName
from seq2seq.report import main
from seq2seq.reporting.model_card import LICENCES, fenced, plain
from seq2seq.storage.model_file import load_model, read_card, write_card

REPOSITORY = Path(__file__).resolve().parents[2]


def card_of(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main([str(path), "--card", "--device", "cpu"]) == 0
    return capsys.readouterr().out


def test_a_hub_reads_the_front_matter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = card_of(make_run(tmp_path), capsys)
    _, front, body = card.split("---\n", 2)
    content = yaml.safe_load(front)
    assert content["language"] == ["en", "fr"]
    assert content["pipeline_tag"] == "translation"
    assert content["data_license"] == [LICENCES[DataName.tatoeba]]
    (result,) = content["model-index"][0]["results"]
    assert result["dataset"]["name"] == "tatoeba <i>test</i>"
    assert result["metrics"][0] == {"type": "bleu", "value": 12.25, "signature": "nrefs:1|tok:13a"}
    for shown in ("# en → fr", "1,234,567", "0123abc", "seed 1", "at most 100 tokens", "2.13.0"):
        assert shown in body


def test_markdown_of_a_run_is_shown_and_not_obeyed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = card_of(make_run(tmp_path), capsys).split("---\n", 2)[2]
    assert "| \\<i\\>test\\</i\\> | 12.25 |" in body
    assert "| a processor \\| of many, 2 threads |" in body
    assert "\n```sh\npython -m seq2seq.train data.train.src='<script>`a`'\n```\n" in body
    assert plain("a*b_c`d&e\n|") == "a\\*b\\_c\\`d&amp;e\\\\n\\|"
    assert fenced("```", "sh") == "````sh\n```\n````"


def test_the_card_travels_in_the_model_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path)
    model = run / "best.safetensors"
    before = load_model(model, torch.device("cpu"))
    assert read_card(model) is None
    for card in ("a card: ж\n", "another\n"):
        write_card(model, card)
        assert read_card(model) == card
        assert card_of(model, capsys) == card
    write_card(model, "a\x1b]0;title\x07 card\n\u202eright\n")
    assert card_of(model, capsys) == "a\\x1b]0;title\\x07 card\n\\u202eright\n"  # a terminal obeys none of it
    after = load_model(model, torch.device("cpu"))
    assert after.config == before.config
    assert after.tokenizer.fingerprint == before.tokenizer.fingerprint
    weights = after.network.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in before.network.state_dict().items())


@pytest.mark.parametrize("version", ["version_1", "version_2"])
def test_an_old_model_file_has_a_card_made_from_its_settings(version: str, capsys: pytest.CaptureFixture[str]) -> None:
    card = card_of(REPOSITORY / f"tests/model_files/{version}.safetensors", capsys)
    assert "The model was not tested." in card
    assert "parameters" in card


def test_a_damaged_record_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path)
    (run / "provenance.json").write_text("[[[")
    events = [{"event": "test", "set": "t", "bleu": None, "chrf": "x", "ter": True}]
    (run / "metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    assert "# en → fr" in card_of(run, capsys)


def test_the_licences_are_those_of_the_data_cards() -> None:
    cards = (REPOSITORY / "data/README.md").read_text(encoding="utf-8")
    assert LICENCES[DataName.tatoeba] in cards
    assert LICENCES[DataName.multi30k] in cards
    assert "this project; nothing is downloaded" in cards  # grammar
