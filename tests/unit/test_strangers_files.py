"""Files of other users are data: nothing in them is resolved or looked up, and every damage is a Seq2SeqError."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from seq2seq import evaluate
from seq2seq.config.loading import from_yaml, to_config, to_dict, to_yaml
from seq2seq.errors import ConfigError, DataError, ModelFileError, Seq2SeqError, StorageError
from seq2seq.experiments.study import open_study
from seq2seq.experiments.sweep_results import read_result
from seq2seq.inference.translator import Translator
from seq2seq.inference.vocabulary_shortlist import Shortlist
from seq2seq.storage.model_file import load_model, read_config
from seq2seq.storage.run_folder import METRICS_NAME
from seq2seq.training.progress import Progress

MODEL_FILES = Path(__file__).parents[1] / "model_files"
MODEL = MODEL_FILES / "version_2.safetensors"
LEAST = {"data": {"src": "en", "tgt": "fr"}, "training": {"max_steps": 1}}
FEW = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(path, framework="pt") as content:
        return {key: content.get_tensor(key) for key in content.keys()}, content.metadata()  # noqa: SIM118


TENSORS, METADATA = read(MODEL)
CONFIG: dict[str, Any] = json.loads(METADATA["config"])


def keys(config: dict[str, Any], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in config.items():
        yield (*prefix, key)
        if isinstance(value, dict):
            yield from keys(value, (*prefix, key))


def with_value(key: tuple[str, ...], value: object) -> dict[str, Any]:
    config = copy.deepcopy(CONFIG)
    group = config
    for name in key[:-1]:
        group = group[name]
    group[key[-1]] = value
    return config


def write(path: Path, config: object, tensors: dict[str, Tensor] | None = None) -> Path:
    text = config if isinstance(config, str) else json.dumps(config)
    save_file(tensors or TENSORS, path, {**METADATA, "config": text})
    return path


def assert_usable_or_refused(path: Path) -> None:
    with contextlib.suppress(Seq2SeqError):
        Translator.load(path, device="cpu", precision="fp32").translate(["a cat"])


# --- text in a config is text ----------------------------------------------------------------------------------------


@given(st.text(alphabet="\\${}'\":.a \n", min_size=1, max_size=12).filter(lambda text: text != "???"))
@FEW
def test_every_text_survives_json_and_yaml(tmp_path: Path, text: str) -> None:
    config = to_config({**LEAST, "data": {"src": text, "tgt": "fr"}, "decode": {"never_emit": [text]}})
    assert (config.data.src, config.decode.never_emit) == (text, [text])
    assert to_config(to_dict(config)) == config
    (tmp_path / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
    assert to_config(from_yaml(tmp_path / "config.yaml")) == config


def test_a_model_does_not_read_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "a secret")
    config = read_config(write(tmp_path / "model", with_value(("data", "src"), "${oc.env:TOKEN}")))
    assert config.data.src == "${oc.env:TOKEN}"


# --- paths in a model file -------------------------------------------------------------------------------------------


def test_evaluate_uses_no_path_outside_the_folder_of_a_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, cache, folder = tmp_path / "text", tmp_path / "cache", tmp_path / "run"
    text.write_text("a\tb\n", encoding="utf-8")
    folder.mkdir()
    test = {"src": None, "tgt": None, "tsv": str(text)}
    data = {**CONFIG["data"], "name": "files", "test": test, "cache_dir": str(cache)}
    model = write(folder / "model.safetensors", {**CONFIG, "data": data})
    assert evaluate.main([str(model), "--device", "cpu"]) == 2
    assert "paths outside the folder of a model file are not read: give --src FILE" in capsys.readouterr().err
    assert not cache.exists()
    (folder / "config.yaml").write_text(to_yaml(to_config({**CONFIG, "data": data})), encoding="utf-8")
    assert evaluate.main([str(model), "--device", "cpu"]) == 0  # in its run folder


# --- damage ----------------------------------------------------------------------------------------------------------

VALUES: list[Any] = [
    *(None, True, 0, -1, 10**9, 10**400, float("nan"), float("inf"), -0.0, 0.5, 1e308),
    *("", "x", "${data.src}", "${", "???", "1e999", "\0", "\ud800", "[1]", [], [1], [[]], {}, {"a": 1}),
]


@given(st.sampled_from(list(keys(CONFIG))), st.sampled_from(VALUES))
@FEW
def test_any_value_in_the_config_of_a_model(tmp_path: Path, key: tuple[str, ...], value: object) -> None:
    assert_usable_or_refused(write(tmp_path / "model", with_value(key, value)))


@given(st.integers(0, 4000), st.integers(0, 255))
@FEW
def test_any_byte_in_the_header_of_a_model(tmp_path: Path, place: int, byte: int) -> None:
    content = bytearray(MODEL.read_bytes())
    content[place] = byte
    (tmp_path / "model").write_bytes(content)
    assert_usable_or_refused(tmp_path / "model")


@pytest.mark.parametrize(
    "text", ["[" * 10_000, '{"data":' * 10_000, '{"data": ' + "[" * 500 + "]" * 500 + "}", "1" * 5000, '{"\\ud800": 1}']
)
def test_json_that_no_config_is(tmp_path: Path, text: str) -> None:
    with pytest.raises(ModelFileError, match="is damaged") as caught:
        load_model(write(tmp_path / "model", text), torch.device("cpu"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "key", ["max_length_extra", "max_length_ratio", "beam_size", "batch_tokens", "no_repeat_ngram"]
)
def test_search_settings_without_end_are_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(ModelFileError, match=rf"decode\.{key}=1e?0*\+?.* is out of range"):
        read_config(write(tmp_path / "model", with_value(("decode", key), 10**12)))


@pytest.mark.parametrize("value", [float("-inf"), float("inf"), float("nan")])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    bias = TENSORS["output.bias"].clone()
    bias[3] = value  # of EOS: with -inf no output can end
    path = write(tmp_path / "model", CONFIG, {**TENSORS, "output.bias": bias})
    with pytest.raises(ModelFileError, match=f"^{path} has weights that are not finite"):
        Translator.load(path, device="cpu")


def test_outputs_of_probability_0_are_an_error(tmp_path: Path) -> None:
    bias = torch.full_like(TENSORS["output.bias"], 3e38)
    bias[3] = -3e38
    path = write(tmp_path / "model", CONFIG, {**TENSORS, "output.bias": bias})
    with pytest.raises(Seq2SeqError, match="weights are damaged"):
        Translator.load(path, device="cpu", precision="fp32").translate(["a cat"])


@pytest.mark.parametrize(
    "damage",
    [
        {"table": None},
        {"frequent": None},
        {"table": torch.zeros(3, dtype=torch.int32)},
        {"table": torch.zeros(3, 2, dtype=torch.int32)},
        {"table": torch.full((10_000, 2), 10**6, dtype=torch.int32)},
        {"frequent": torch.tensor([-1], dtype=torch.int32)},
        {"frequent": torch.tensor(1, dtype=torch.int32)},
        {"frequent": torch.tensor([float("nan")])},
    ],
    ids=lambda damage: next(f"{name} {getattr(tensor, 'shape', None)}" for name, tensor in damage.items()),
)
def test_a_damaged_shortlist_is_refused(tmp_path: Path, damage: dict[str, Tensor | None]) -> None:
    tokenizer = load_model(MODEL, torch.device("cpu")).tokenizer
    path = tmp_path / "list"
    intact = Shortlist(torch.zeros(tokenizer.src_size, 2, dtype=torch.long), torch.tensor([5]))
    intact.save(path, tokenizer.fingerprint)
    assert Shortlist.load(path, tokenizer).frequent.tolist() == [5]
    tensors, metadata = read(path)
    save_file({name: t for name, t in {**tensors, **damage}.items() if t is not None}, path, metadata)
    with pytest.raises(ConfigError, match=f"^shortlist {path}: ") as caught:
        Shortlist.load(path, tokenizer)
    assert "\n" not in str(caught.value)


# --- run folders and studies -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        '{"event": "validation", "step": 1, "elapsed_sec": 1, "best": true, "bleu": []}',
        '{"event": "step", "step": 1, "elapsed_sec": ' + "1" * 400 + "}",
    ],
)
def test_a_damaged_event_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / METRICS_NAME).write_text(f"{line}\n", encoding="utf-8")
    with pytest.raises(DataError, match=f"^{tmp_path / METRICS_NAME}: damaged event ") as caught:
        read_result(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        *("[" * 10_000, '{"event": []}', '{"event": {}}', "3", "1" * 5000, "\ud800"),
        '{"event": "step"}',
        '{"event": "step", "step": "x", "elapsed_sec": 1}',
        '{"event": "step", "step": 1, "elapsed_sec": {}}',
        '{"event": "validation", "step": 1, "elapsed_sec": 1}',
        '{"event": "test", "set": "a"}',
    ],
)
def test_a_line_that_is_no_event_is_skipped(tmp_path: Path, line: str) -> None:
    (tmp_path / METRICS_NAME).write_text(f"{line}\n", encoding="utf-8", errors="surrogatepass")
    assert read_result(tmp_path).updates == 0


@pytest.mark.parametrize(
    "state",
    [
        *({"step": "x"}, {"step": 1.5}, {"step": 10**30}, {"epoch": None}, {"position": -2}, {"splits": 0}),
        *({"best": "ab"}, {"splits": 10**9}, {"kept": [1]}, {"kept": [(1, 2)]}, {"window": {"nll": []}}),
        *({"window": 3}, {"other": 1}),
    ],
    ids=str,
)
def test_damaged_progress_is_refused_and_changes_nothing(state: dict[str, Any]) -> None:
    progress = Progress(step=7)
    with pytest.raises((TypeError, ValueError)):  # checkpoint.restore names the file
        progress.load_state_dict({**Progress().state_dict(), **state})
    assert progress == Progress(step=7)


@pytest.mark.parametrize(
    ("name", "value"), [("folder", "../../mine"), ("folder", "/"), ("point", 3), ("attempts", "x")]
)
def test_a_study_with_damaged_attributes_is_refused(tmp_path: Path, name: str, value: object) -> None:
    """The folder of a trial without checkpoint is deleted when the trial is restarted."""
    with open_study(tmp_path, maximise=True) as study:
        study.ask().set_user_attr(name, value)
    with pytest.raises(StorageError, match=r"study\.db is damaged"), open_study(tmp_path, maximise=True):
        pass


@pytest.mark.parametrize("name", ["a?b", "50%", "%41", "a#b", "a b", "ä€", "it's", "a&b=c"])
def test_the_folder_of_a_study_may_have_any_name(tmp_path: Path, name: str) -> None:
    for number in range(2):
        with open_study(tmp_path / name, maximise=True) as study:
            assert study.user_attrs == ({"number": 0} if number else {})
            study.set_user_attr("number", number)
    assert {path.name for path in (tmp_path / name).iterdir()} == {"study.db"}
