"""A model file restores everything, stores tied matrices once, and every invalid file gives a clear error."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from seq2seq.config.loading import to_dict
from seq2seq.config.model import AttentionName, CellName, TieName
from seq2seq.data.batches.batch import make_batch
from seq2seq.errors import ModelFileError
from seq2seq.inference.translator import Translator
from seq2seq.model.network import Seq2Seq
from seq2seq.storage.model_file import Model, TrainingText, load_model, read_training_text, save_model
from seq2seq.storage.run_folder import BEST_NAME
from tiny_model import make_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return make_model(tmp_path_factory.mktemp("cache"))


def with_network(model: Model, **settings: object) -> Model:
    config = dataclasses.replace(model.config, model=dataclasses.replace(model.config.model, **settings))  # type: ignore[arg-type]
    torch.manual_seed(3)
    return Model(Seq2Seq(config.model, model.tokenizer.src_size, model.tokenizer.tgt_size), model.tokenizer, config)


@pytest.fixture
def file(plain: Model, tmp_path: Path) -> Path:
    path = tmp_path / BEST_NAME
    save_model(path, plain)
    return path


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(path, framework="pt") as content:
        return {key: content.get_tensor(key) for key in content.keys()}, content.metadata()  # noqa: SIM118


# --- round trip ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tie", TieName)
@pytest.mark.parametrize("attention", AttentionName)
def test_every_tie_and_attention_is_restored(
    plain: Model, tmp_path: Path, tie: TieName, attention: AttentionName
) -> None:
    assert_restored(
        with_network(plain, tie_embeddings=tie, attention=attention, encoder_layers=2, decoder_layers=2), tmp_path
    )


@pytest.mark.parametrize("cell", CellName)
def test_every_cell_is_restored(plain: Model, tmp_path: Path, cell: CellName) -> None:
    parts = {"peephole_candidate": cell is CellName.peephole_lstm, "layer_norm": cell is not CellName.lstm}
    parts |= {"attention_heads": 2, "coverage": True, "residual": True, "input_feeding": True}
    parts |= {"attention_weight_norm": True}
    model = with_network(plain, cell=cell, encoder_layers=2, decoder_layers=2, **parts)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.normal_()  # peepholes are initialised with zeros
    assert_restored(model, tmp_path)


def assert_restored(model: Model, tmp_path: Path) -> None:
    save_model(tmp_path / "model", model)
    loaded = load_model(tmp_path / "model", CPU)
    assert loaded.config == model.config
    assert loaded.tokenizer.to_bytes() == model.tokenizer.to_bytes()
    expected, actual = model.network.state_dict(), loaded.network.state_dict()
    assert actual.keys() == expected.keys()
    assert all(torch.equal(actual[name], expected[name]) for name in expected)
    assert len(list(loaded.network.parameters())) == len(list(model.network.parameters()))  # tied again
    assert not loaded.network.training
    assert all(parameter.requires_grad for parameter in loaded.network.parameters())
    batch = make_batch([[5, 6, 7]], [[8, 9]])
    with torch.no_grad():
        # Not bitwise: the alignment of a tensor in memory can change the order of summation.
        torch.testing.assert_close(loaded.network(batch)[0], model.network.eval()(batch)[0])


def test_two_vocabularies_are_restored(plain: Model, tmp_path: Path) -> None:
    from seq2seq.data.corpus import ParallelText
    from seq2seq.data.subwords.tokenizer import Tokenizer

    tokenizer_config = dataclasses.replace(plain.config.data.tokenizer, joint=False, vocab_size=8)
    text = ParallelText(["abcab", "cab"], ["xyzzy", "zxy"])
    tokenizer = Tokenizer.train(text, tokenizer_config, tmp_path)
    settings = dataclasses.replace(plain.config.model, tie_embeddings=TieName.two_way)
    data = dataclasses.replace(plain.config.data, tokenizer=tokenizer_config)
    config = dataclasses.replace(plain.config, model=settings, data=data)
    save_model(tmp_path / "model", Model(Seq2Seq(settings, 8, 8), tokenizer, config))
    loaded = load_model(tmp_path / "model", CPU).tokenizer
    assert loaded.to_bytes() == tokenizer.to_bytes()
    assert loaded.to_bytes().keys() == {"src", "tgt"}


def test_tied_matrices_are_stored_once(plain: Model, tmp_path: Path) -> None:
    sizes = {}
    for tie in TieName:
        model = with_network(plain, tie_embeddings=tie, emb_size=200)
        save_model(tmp_path / tie.name, model)
        sizes[tie] = (tmp_path / tie.name).stat().st_size
        tensors, _ = read(tmp_path / tie.name)
        stored = sum(tensor.numel() for name, tensor in tensors.items() if not name.startswith("tokenizer."))
        assert stored == sum(parameter.numel() for parameter in model.network.parameters())
    matrix = plain.tokenizer.tgt_size * 200 * 4
    assert sizes[TieName.none] - sizes[TieName.two_way] == pytest.approx(matrix, abs=300)  # the entries of the header
    assert sizes[TieName.two_way] - sizes[TieName.three_way] == pytest.approx(matrix, abs=300)


def test_a_run_folder_stands_for_its_best_model(file: Path, plain: Model) -> None:
    assert load_model(file.parent, CPU).config == load_model(file, CPU).config == plain.config


def test_saving_again_replaces_the_file_and_leaves_no_other(file: Path, plain: Model) -> None:
    save_model(file, with_network(plain, hidden_size=9))
    assert load_model(file, CPU).config.model.hidden_size == 9
    assert [path.name for path in file.parent.iterdir()] == [BEST_NAME]


def test_a_network_in_training_mode_is_saved_and_stays_in_it(plain: Model, tmp_path: Path) -> None:
    """A saved file does not share memory with the weights."""
    model = with_network(plain)
    model.network.train()
    save_model(tmp_path / "model", model)
    before = model.network.output.bias.detach().clone()
    with torch.no_grad():
        model.network.output.bias.add_(1)
    assert model.network.training
    assert torch.equal(load_model(tmp_path / "model", CPU).network.output.bias, before)


def test_what_is_known_of_the_training_text_is_restored(plain: Model, tmp_path: Path) -> None:
    text = TrainingText(17, {"test": "abc"})
    save_model(tmp_path / "model", dataclasses.replace(plain, text=text))
    assert load_model(tmp_path / "model", CPU).text == read_training_text(tmp_path / "model") == text
    assert read_training_text(MODEL_FILES / "version_2.safetensors") == TrainingText(None, {})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(plain: Model, tmp_path: Path, value: float) -> None:
    model = with_network(plain)
    with torch.no_grad():
        model.network.src_embedding.weight[4, 0] = value
    save_model(tmp_path / "model", model)
    assert_refused(tmp_path / "model", r"has weights that are not finite \(.*embedding")


# --- files of earlier versions ---------------------------------------------------------------------------------------

MODEL_FILES = Path(__file__).parents[1] / "model_files"
PAIRS = ["a cat sees the dog", "the dog"], ["le chat voit", "chien"]
WRITTEN: dict[str, dict[str, Any]] = {
    "version_1": {  # without keys for cells and attention: LSTM, two layers, additive
        "translations": ["ppypypppppppppppppppppppppppppppppppppppppppppy", "ppppppppppppppppppppppppy"],
        "log_probs": [
            [
                *(-3.9937925338745117, -3.5272796154022217, -4.153054714202881, -2.6522932052612305),
                *(-2.6430482864379883, -5.0067901611328125, -2.8479676246643066, -3.2658698558807373),
                *(-2.568831205368042, -5.293791770935059, -4.090705871582031, -2.7808947563171387),
                *(-3.6805434226989746, -4.510331153869629),
            ],
            [
                *(-4.0258283615112305, -2.9158525466918945, -5.253960609436035, -5.373517036437988),
                *(-2.7984695434570312, -3.4715287685394287, -5.067673683166504),
            ],
        ],
    },
    "version_2": {  # peepholes, two heads, coverage, layer normalisation, residual layers, input feeding
        "translations": ["nckkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkksvm", "nckkkkkkkkkkkkkkkkkkkksvm"],
        "log_probs": [
            [
                *(-4.498547554016113, -5.79187536239624, -3.0290257930755615, -7.246325492858887),
                *(-8.256948471069336, -4.798694610595703, -5.868010520935059, -6.363399505615234),
                *(-4.483537197113037, -3.9011595249176025, -8.069358825683594, -4.792017459869385),
                *(-3.926246166229248, -8.313056945800781),
            ],
            [
                *(-4.497919082641602, -8.180092811584473, -4.843571662902832, -4.126845836639404),
                *(-7.319537162780762, -6.211150646209717, -7.365764617919922),
            ],
        ],
    },
}


@pytest.mark.parametrize(("name", "expected"), WRITTEN.items(), ids=WRITTEN)
def test_a_file_of_an_earlier_version_gives_the_results_of_that_version(name: str, expected: dict[str, Any]) -> None:
    """Compatibility: a model file can be used with every later version."""
    path = MODEL_FILES / f"{name}.safetensors"
    assert read(path)[1]["format_version"] == name.removeprefix("version_")
    translator = Translator.load(path, precision="fp32")
    for score, log_probs in zip(translator.score(*PAIRS), expected["log_probs"], strict=True):
        assert score.token_log_probs == pytest.approx(log_probs, abs=1e-4)
    assert translator.translate(PAIRS[0]) == expected["translations"]


# --- invalid files ---------------------------------------------------------------------------------------------------


def assert_refused(path: Path, message: str) -> None:
    with pytest.raises(ModelFileError, match=message) as caught:
        load_model(path, CPU)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    assert_refused(tmp_path / "none", r"no model at .*none \(expected a file or a run folder\)")
    assert_refused(tmp_path, f"no model at .*{BEST_NAME}$")
    assert_refused(tmp_path / ("n" * 300), "cannot read .*: File name too long")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9999])
def test_a_truncated_file(file: Path, share: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    assert_refused(file, "is not a readable model file")


@pytest.mark.parametrize("content", [b"garbage " * 100, b"\xff" * 100, b"PK\x03\x04", (10**15).to_bytes(8, "little")])
def test_garbage(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model").write_bytes(content)
    assert_refused(tmp_path / "model", "is not a readable model file")


def test_bytes_after_the_end(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"more")
    assert_refused(file, "is not a readable model file")


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    class Harmful:
        def __reduce__(self) -> object:
            return open, (str(mark), "w")

    for path, write in ((tmp_path / "a", pickled), (tmp_path / "b", torch.save)):
        write({"format": "seq2seq-lstm", "weights": Harmful()}, path)
        assert_refused(path, "is not a readable model file")
    assert not mark.exists()


def pickled(value: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(value))


def test_a_safetensors_file_of_another_program(tmp_path: Path) -> None:
    for metadata in (None, {"format": "pt"}):
        save_file({"weight": torch.zeros(3)}, tmp_path / "model", metadata)
        assert_refused(tmp_path / "model", "is a safetensors file but not a seq2seq model")


Damage = Callable[[dict[str, Tensor], dict[str, str]], object]


def drop(key: str) -> Damage:
    return lambda tensors, _: tensors.pop(key)


def change(key: str, to: Callable[[Tensor], Tensor]) -> Damage:
    return lambda tensors, _: tensors.update({key: to(tensors[key]).contiguous()})


def describe(key: str, value: str | None) -> Damage:
    return lambda _, metadata: metadata.pop(key) if value is None else metadata.update({key: value})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (describe("format_version", "3"), "has format version 3; this program reads 1 and 2"),
        (describe("format_version", None), "has format version None; this program reads 1 and 2"),
        (describe("config", None), "is damaged: .*config"),
        (describe("config", ""), "is damaged"),
        (describe("config", "{"), "is damaged"),
        (describe("config", "null"), "is damaged"),
        (describe("config", "[]"), "is damaged"),
        (describe("config", "3"), "is damaged"),
        (describe("config", '{"model": {"hidden_sizes": 3}}'), "is damaged: unknown key 'model.hidden_sizes'"),
        (describe("config", '{"model": {"hidden_size": "x"}}'), "is damaged: model.hidden_size"),
        (describe("training_text", '{"longest_src": "x"}'), "is damaged"),
        (describe("training_text", '{"longest_src": 0}'), "is damaged"),
        (describe("training_text", '{"held_out": []}'), "is damaged"),
        (describe("training_text", "[1]"), "is damaged"),
        (drop("output.bias"), r"is damaged: tensor output\.bias is None, the config needs"),
        (drop("tgt_embedding.weight"), r"is damaged: tensor tgt_embedding\.weight"),
        (drop("tokenizer.src"), "is damaged"),
        (change("tokenizer.src", lambda t: t[:100]), "is damaged"),
        (change("tokenizer.src", lambda t: t[:0]), "is damaged"),
        (change("tokenizer.src", lambda t: t.bfloat16()), "is damaged"),
        (change("output.bias", lambda t: t[:-1]), r"is damaged: tensor output\.bias is .*30.*, the config needs .*31"),
        (change("output.bias", lambda t: t.long()), "is damaged"),
        (change("output.bias", lambda t: t.double()), r"tensor output\.bias is torch.float64 .*needs torch.float32"),
        (lambda tensors, _: tensors.update(extra=torch.zeros(2)), "is damaged: tensor extra"),
    ],
)
def test_a_file_with_a_damaged_entry(file: Path, damage: Damage, message: str) -> None:
    tensors, metadata = read(file)
    damage(tensors, metadata)
    save_file(tensors, file, metadata)
    assert_refused(file, message)


@pytest.mark.parametrize("key", ["hidden_size", "emb_size", "encoder_layers", "decoder_layers", "attention_size"])
def test_a_config_that_does_not_fit_the_weights(file: Path, plain: Model, key: str) -> None:
    tensors, metadata = read(file)
    config = to_dict(plain.config)
    config["model"][key] += 1
    save_file(tensors, file, {**metadata, "config": json.dumps(config)})
    assert_refused(file, "is damaged: tensor .*, the config needs")


@pytest.mark.parametrize(
    "parts",
    [{"cell": "gru"}, {"cell": "peephole_lstm"}, {"layer_norm": True}, {"coverage": True}, {"input_feeding": True}],
    ids=str,
)
def test_a_config_of_another_architecture(file: Path, plain: Model, parts: dict[str, object]) -> None:
    tensors, metadata = read(file)
    config = to_dict(plain.config)
    config["model"].update(parts)
    save_file(tensors, file, {**metadata, "config": json.dumps(config)})
    assert_refused(file, "is damaged: tensor .*, the config needs")


@pytest.mark.parametrize("parts", [{"attention_heads": 3}, {"attention_heads": 2, "attention": "dot"}], ids=str)
def test_a_config_with_contradicting_keys(file: Path, plain: Model, parts: dict[str, object]) -> None:
    tensors, metadata = read(file)
    config = to_dict(plain.config)
    config["model"].update(parts)
    save_file(tensors, file, {**metadata, "config": json.dumps(config)})
    assert_refused(file, f"is damaged: model.attention_heads={parts['attention_heads']}")


def test_an_untied_config_does_not_fit_tied_weights(file: Path, plain: Model) -> None:
    tensors, metadata = read(file)
    config = to_dict(plain.config)
    config["model"]["tie_embeddings"] = "none"
    save_file(tensors, file, {**metadata, "config": json.dumps(config)})
    assert_refused(file, r"is damaged: tensor output\.weight is None")


def test_a_changed_byte_in_any_tensor_is_noticed(file: Path) -> None:
    content = file.read_bytes()
    begin = 8 + int.from_bytes(content[:8], "little")  # of the tensors: the header's length, the header, the tensors
    tensors, _ = read(file)
    assert len(content) - begin == sum(tensor.nbytes for tensor in tensors.values())
    for place in range(begin, len(content), max(1, (len(content) - begin) // 12)):
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert_refused(file, "is damaged: ")
    file.write_bytes(content)
    load_model(file, torch.device("cpu"))
