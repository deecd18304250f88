"""The mean of models: its weights, its file, and the command around it."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from seq2seq.average import expand, main
from seq2seq.config.model import DropoutConfig, TieName
from seq2seq.data.corpus import ParallelText
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.inference.translator import Translator
from seq2seq.model.network import Seq2Seq
from seq2seq.storage.model_file import Model, load_model, save_model
from seq2seq.training.checkpoint_retention import model_path
from tiny_model import SENTENCES, make_model, make_network

CPU = torch.device("cpu")
MODEL_FILES = Path(__file__).parents[1] / "model_files"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return make_model(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str | Path) -> tuple[int, str, str]:
        status = main([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return call


def network_of(model: Model, settings: dict[str, object]) -> Model:
    """A model with another network, random."""
    config = dataclasses.replace(model.config, model=dataclasses.replace(model.config.model, **settings))  # type: ignore[arg-type]
    return Model(Seq2Seq(config.model, model.tokenizer.src_size, model.tokenizer.tgt_size), model.tokenizer, config)


def save_constant(path: Path, model: Model, value: float) -> Path:
    """Write the model with all weights equal."""
    network = Seq2Seq(model.config.model, model.tokenizer.src_size, model.tokenizer.tgt_size)
    with torch.no_grad():
        for weight in network.parameters():
            weight.fill_(value)
    save_model(path, dataclasses.replace(model, network=network))
    return path


def save_seed(path: Path, model: Model, seed: int) -> Path:
    network = make_network(model.tokenizer.src_size, seed)
    save_model(path, dataclasses.replace(model, network=network))
    return path


def tensors_of(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as content:
        return {key: content.get_tensor(key) for key in content.keys()}  # noqa: SIM118


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- the mean --------------------------------------------------------------------------------------------------------


def test_the_mean_is_the_one_worked_out_by_hand(plain: Model, tmp_path: Path, run: Run) -> None:
    files = [save_constant(tmp_path / str(value), plain, value) for value in (1.0, -2.0, 7.0)]
    status, out, err = run(*files, "--output", tmp_path / "mean")
    assert (status, out) == (0, f"{tmp_path / 'mean'}\n")
    assert err == "mean of 3 models:\n" + "".join(f"  {file}\n" for file in files)
    assert all((weight == 2).all() for weight in load_model(tmp_path / "mean", CPU).network.state_dict().values())


def test_the_sum_loses_nothing(plain: Model, tmp_path: Path, run: Run) -> None:
    """In float32 the small weight would vanish beside the large ones."""
    values = [2.0**30, 1.0, -(2.0**30)]
    files = [save_constant(tmp_path / str(value), plain, value) for value in values]
    assert run(*files, "--output", tmp_path / "mean")[0] == 0
    assert (tensors_of(tmp_path / "mean")["output.bias"] == torch.tensor(1 / 3)).all()


def test_each_weight_is_rounded_once(plain: Model, tmp_path: Path, run: Run) -> None:
    files = [save_seed(tmp_path / str(seed), plain, seed) for seed in (1, 2, 3)]
    assert run(*files, "--output", tmp_path / "mean")[0] == 0
    parts = [tensors_of(file)["output.bias"].tolist() for file in files]
    exact = [float(sum(map(Fraction, weights)) / 3) for weights in zip(*parts, strict=True)]
    found = tensors_of(tmp_path / "mean")
    assert torch.equal(found["output.bias"], torch.tensor(exact, dtype=torch.float32))
    assert {key: value.dtype for key, value in found.items()} == {k: v.dtype for k, v in tensors_of(files[0]).items()}


def test_a_model_with_itself_is_itself(plain: Model, tmp_path: Path, run: Run) -> None:
    file = save_seed(tmp_path / "one", plain, 5)
    assert run(file, file, file, "--output", tmp_path / "mean")[0] == 0
    mean, one = tensors_of(tmp_path / "mean"), tensors_of(file)
    assert mean.keys() == one.keys()
    assert all(torch.equal(mean[key], one[key]) for key in one)


@pytest.mark.parametrize("tie", TieName)
def test_tied_matrices_stay_tied(plain: Model, tmp_path: Path, run: Run, tie: TieName) -> None:
    files = []
    for name in "ab":
        files.append(tmp_path / name)
        save_model(files[-1], network_of(plain, {"tie_embeddings": tie}))
    assert run(*files, "--output", tmp_path / "mean")[0] == 0
    one, other, mean = (tensors_of(path) for path in (*files, tmp_path / "mean"))
    assert mean.keys() == one.keys()
    for name in ("tgt_embedding.weight", "output.weight", "src_embedding.weight"):
        if name in one:
            torch.testing.assert_close(mean[name], (one[name] + other[name]) / 2)
    network = load_model(tmp_path / "mean", CPU).network
    assert (network.output.weight is network.tgt_embedding.weight) == (tie is not TieName.none)
    assert (network.src_embedding.weight is network.tgt_embedding.weight) == (tie is TieName.three_way)


@pytest.mark.parametrize("name", ["version_1", "version_2"])
def test_files_of_earlier_programs(tmp_path: Path, run: Run, name: str) -> None:
    old = MODEL_FILES / f"{name}.safetensors"
    assert run(old, old, "--output", tmp_path / "mean")[0] == 0
    lines = ["a cat sees the dog"]
    translations = [Translator.load(path, precision="fp32").translate(lines) for path in (old, tmp_path / "mean")]
    assert translations[0] == translations[1]


def test_the_mean_translates_as_its_weights_say(plain: Model, tmp_path: Path, run: Run) -> None:
    files = [save_seed(tmp_path / str(seed), plain, seed) for seed in (1, 2)]
    assert run(*files, "--output", tmp_path / "mean")[0] == 0
    network, other = (load_model(file, CPU).network for file in files)
    with torch.no_grad():
        for weight, its in zip(network.parameters(), other.parameters(), strict=True):
            weight.copy_((weight.double() + its.double()) / 2)
    save_model(tmp_path / "expected", dataclasses.replace(plain, network=network))
    found, expected = (Translator.load(tmp_path / name, precision="fp32") for name in ("mean", "expected"))
    assert found.translate(SENTENCES) == expected.translate(SENTENCES)
    assert found.translate(SENTENCES) != Translator.load(files[0], precision="fp32").translate(SENTENCES)


def test_config_and_dropout_are_the_first_models(plain: Model, tmp_path: Path, run: Run) -> None:
    """Dropout, first weights and how a size is written say nothing about what the weights mean."""
    save_model(tmp_path / "a", plain)
    save_model(tmp_path / "b", network_of(plain, {"dropout": DropoutConfig(0.4), "encoder_hidden_size": 8}))
    for names in ("ab", "ba"):
        files = [tmp_path / name for name in names]
        assert run(*files, "--output", tmp_path / names)[0] == 0
        assert load_model(tmp_path / names, CPU).config == load_model(files[0], CPU).config


# --- run folders -----------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(plain: Model, tmp_path: Path) -> Path:
    """A run folder that keeps the models of steps 9, 10 and 10,000,000, whose weights are 1, 2 and 6."""
    (tmp_path / "run" / "models").mkdir(parents=True)
    for step, value in ((10_000_000, 6.0), (9, 1.0), (10, 2.0)):
        save_constant(model_path(tmp_path / "run", step), plain, value)
    for name in ("step_x.safetensors", "mine.safetensors"):
        (tmp_path / "run" / "models" / name).touch()
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("options", "expected"), [((), 3.0), (("--last", "2"), 4.0), (("--last", "3"), 3.0), (("--last", "9"), 3.0)]
)
def test_a_run_folder_means_the_models_it_keeps(
    folder: Path, tmp_path: Path, run: Run, options: tuple[str, ...], expected: float
) -> None:
    assert run(folder, "--output", tmp_path / "mean", *options)[0] == 0
    assert (tensors_of(tmp_path / "mean")["output.bias"] == expected).all()


def test_steps_are_in_the_order_of_their_numbers(folder: Path) -> None:
    assert expand(folder) == [model_path(folder, step) for step in (9, 10, 10_000_000)]
    assert expand(folder, 1) == [model_path(folder, 10_000_000)]


def test_folders_and_files_together(folder: Path, plain: Model, tmp_path: Path, run: Run) -> None:
    """`--last` counts in each folder; a file is always taken."""
    file = save_constant(tmp_path / "file", plain, 4.0)
    assert run(file, folder, "--last", "1", "--output", tmp_path / "mean")[0] == 0
    assert (tensors_of(tmp_path / "mean")["output.bias"] == 5).all()


# --- what is refused -------------------------------------------------------------------------------------------------


def assert_refused(done: tuple[int, str, str], *said: str) -> None:
    status, out, err = done
    assert (status, out, err.count("\n"), err[:7]) == (2, "", 1, "error: ")
    assert all(text in err for text in said), err


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"hidden_size": 20}, "model.hidden_size is 16 and 20"),
        ({"residual": True}, "model.residual is false and true"),
        ({"tie_embeddings": TieName.none}, "model.tie_embeddings is three_way and none"),
    ],
    ids=["another shape", "equal shapes", "another tie"],
)
def test_another_network(plain: Model, tmp_path: Path, run: Run, settings: dict[str, object], said: str) -> None:
    save_model(tmp_path / "a", plain)
    save_model(tmp_path / "b", network_of(plain, settings))
    done = run(tmp_path / "a", tmp_path / "b", "--output", tmp_path / "mean")
    assert_refused(done, f"{tmp_path / 'a'} and {tmp_path / 'b'} have different networks", said)
    assert not (tmp_path / "mean").exists()


def test_another_vocabulary(plain: Model, tmp_path: Path, run: Run) -> None:
    """Of the same size, so that no shape tells."""
    letters = ["".join(dict.fromkeys("".join(SENTENCES))).replace("z", "ž")]
    tokenizer = Tokenizer.train(ParallelText(letters, letters), plain.config.data.tokenizer, tmp_path / "cache")
    assert tokenizer.tgt_size == plain.tokenizer.tgt_size
    save_model(tmp_path / "a", plain)
    save_model(tmp_path / "b", dataclasses.replace(plain, tokenizer=tokenizer))
    done = run(tmp_path / "a", tmp_path / "b", "--output", tmp_path / "mean")
    assert_refused(done, str(tmp_path / "a"), str(tmp_path / "b"), "different vocabularies")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("place", [0, 1])
def test_weights_that_are_not_finite(plain: Model, tmp_path: Path, run: Run, value: float, place: int) -> None:
    files = [save_seed(tmp_path / name, plain, 1) for name in "ab"]
    with safe_open(files[place], framework="pt") as content:
        metadata = content.metadata()
    tensors = tensors_of(files[place])
    tensors["output.bias"][3] = value
    save_file(tensors, files[place], metadata)
    done = run(*files, "--output", tmp_path / "mean")
    assert_refused(done, f"{files[place]} cannot be averaged: output.bias has values that are not finite")
    assert not (tmp_path / "mean").exists()


def test_too_few(plain: Model, folder: Path, tmp_path: Path, run: Run) -> None:
    file = save_seed(tmp_path / "one", plain, 1)
    assert_refused(run(file, "--output", tmp_path / "mean"), str(file), "at least two")
    assert_refused(run(folder, "--last", "1", "--output", tmp_path / "mean"), "step_10000000", "at least two")
    assert_refused(run(folder, "--last", "0", "--output", tmp_path / "mean"), "--last 0 is not at least 1")


def test_a_run_that_keeps_nothing(plain: Model, tmp_path: Path, run: Run) -> None:
    save_model(tmp_path / "run" / "best.safetensors", plain)
    done = run(tmp_path / "run", "--output", tmp_path / "mean")
    assert_refused(done, f"no models in {tmp_path / 'run' / 'models'}", "training.keep_best=K", "training.keep_last=N")


def test_a_file_that_is_missing_or_damaged(plain: Model, tmp_path: Path, run: Run) -> None:
    file = save_seed(tmp_path / "one", plain, 1)
    assert_refused(run(file, tmp_path / "none", "--output", tmp_path / "mean"), "no model at", "none")
    (tmp_path / "bad").write_bytes(file.read_bytes()[:-9])
    assert_refused(run(tmp_path / "bad", file, "--output", tmp_path / "mean"), "bad is not a readable model file")


def test_an_output_that_exists_is_kept_unless_forced(plain: Model, tmp_path: Path, run: Run) -> None:
    files = [save_constant(tmp_path / str(value), plain, value) for value in (1.0, 3.0)]
    before = [digest(file) for file in files]
    assert_refused(run(*files, "--output", files[0]), f"--output {files[0]} exists", "--force")
    assert [digest(file) for file in files] == before
    assert run(*files, "--output", files[0], "--force")[0] == 0  # one of the models itself
    assert (tensors_of(files[0])["output.bias"] == 2).all()
    assert digest(files[1]) == before[1]


def test_the_models_are_left_as_they_are(plain: Model, tmp_path: Path, run: Run) -> None:
    """The mean is written into the weights of a model that was read from a file."""
    files = [save_seed(tmp_path / str(seed), plain, seed) for seed in (1, 2)]
    before = [digest(file) for file in files]
    assert run(*files, "--output", tmp_path / "new" / "mean")[0] == 0
    assert [digest(file) for file in files] == before
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["mean"]


@pytest.mark.parametrize("name", ["folder", "", "taken/mean", "n" * 300])
def test_an_output_that_cannot_be_written(
    plain: Model, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    file = save_seed(tmp_path / "taken", plain, 1)
    before = sorted(os.listdir(tmp_path))
    said = "is a folder" if name in ("folder", "") else f"cannot write {name}"
    assert_refused(run(file, file, "--output", name, "--force"), said)
    assert sorted(os.listdir(tmp_path)) == before
