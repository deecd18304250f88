"""Weight averaging: the averaged weights, the model file and the command."""

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

from seq2seq.average import main, model_files
from seq2seq.config.model import DropoutConfig, TieName
from seq2seq.data.corpus import ParallelText
from seq2seq.data.subwords.tokenizer import Tokenizer
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


def with_network(model: Model, settings: dict[str, object]) -> Model:
    """Return a model with random weights whose network has other settings."""
    config = dataclasses.replace(model.config, model=dataclasses.replace(model.config.model, **settings))  # type: ignore[arg-type]
    return Model(Seq2Seq(config.model, model.tokenizer.src_size, model.tokenizer.tgt_size), model.tokenizer, config)


def save_constant(path: Path, model: Model, value: float) -> Path:
    """Write the model with every weight set to `value`."""
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


# --- averaged weights ------------------------------------------------------------------------------------------------


def test_mean_of_constant_weights(plain: Model, tmp_path: Path, run: Run) -> None:
    files = [save_constant(tmp_path / str(value), plain, value) for value in (1.0, -2.0, 7.0)]
    status, out, err = run(*files, "--output", tmp_path / "mean")
    assert (status, out) == (0, f"{tmp_path / 'mean'}\n")
    assert err == "mean of 3 models:\n" + "".join(f"  {file}\n" for file in files)
    assert all((weight == 2).all() for weight in load_model(tmp_path / "mean", CPU).network.state_dict().values())


def test_sum_is_float64(plain: Model, tmp_path: Path, run: Run) -> None:
    """A float32 sum would round the small weight away."""
    values = [2.0**30, 1.0, -(2.0**30)]
    files = [save_constant(tmp_path / str(value), plain, value) for value in values]
    assert run(*files, "--output", tmp_path / "mean")[0] == 0
    assert (tensors_of(tmp_path / "mean")["output.bias"] == torch.tensor(1 / 3)).all()


def test_each_weight_is_rounded_once_to_its_dtype(plain: Model, tmp_path: Path, run: Run) -> None:
    files = [save_seed(tmp_path / str(seed), plain, seed) for seed in (1, 2, 3)]
    assert run(*files, "--output", tmp_path / "mean")[0] == 0
    parts = [tensors_of(file)["output.bias"].tolist() for file in files]
    exact = [float(sum(map(Fraction, weights)) / 3) for weights in zip(*parts, strict=True)]
    mean = tensors_of(tmp_path / "mean")
    assert torch.equal(mean["output.bias"], torch.tensor(exact, dtype=torch.float32))
    assert {key: value.dtype for key, value in mean.items()} == {k: v.dtype for k, v in tensors_of(files[0]).items()}


def test_mean_of_equal_models_is_that_model(plain: Model, tmp_path: Path, run: Run) -> None:
    file = save_seed(tmp_path / "model", plain, 5)
    assert run(file, file, file, "--output", tmp_path / "mean")[0] == 0
    mean, original = tensors_of(tmp_path / "mean"), tensors_of(file)
    assert mean.keys() == original.keys()
    assert all(torch.equal(mean[key], original[key]) for key in original)


@pytest.mark.parametrize("tie", TieName)
def test_tied_matrices_stay_tied(plain: Model, tmp_path: Path, run: Run, tie: TieName) -> None:
    files = []
    for name in "ab":
        files.append(tmp_path / name)
        save_model(files[-1], with_network(plain, {"tie_embeddings": tie}))
    assert run(*files, "--output", tmp_path / "mean")[0] == 0
    first, second, mean = (tensors_of(path) for path in (*files, tmp_path / "mean"))
    assert mean.keys() == first.keys()
    for name in ("tgt_embedding.weight", "output.weight", "src_embedding.weight"):
        if name in first:
            torch.testing.assert_close(mean[name], (first[name] + second[name]) / 2)
    network = load_model(tmp_path / "mean", CPU).network
    assert (network.output.weight is network.tgt_embedding.weight) == (tie is not TieName.none)
    assert (network.src_embedding.weight is network.tgt_embedding.weight) == (tie is TieName.three_way)


@pytest.mark.parametrize("name", ["version_1", "version_2"])
def test_model_files_of_older_versions_are_averaged(tmp_path: Path, run: Run, name: str) -> None:
    old = MODEL_FILES / f"{name}.safetensors"
    assert run(old, old, "--output", tmp_path / "mean")[0] == 0
    lines = ["a cat sees the dog"]
    translations = [Translator.load(path, precision="fp32").translate(lines) for path in (old, tmp_path / "mean")]
    assert translations[0] == translations[1]


def test_averaged_model_translates_with_the_averaged_weights(plain: Model, tmp_path: Path, run: Run) -> None:
    files = [save_seed(tmp_path / str(seed), plain, seed) for seed in (1, 2)]
    assert run(*files, "--output", tmp_path / "mean")[0] == 0
    first, second = (load_model(file, CPU).network for file in files)
    with torch.no_grad():
        for weight, second_weight in zip(first.parameters(), second.parameters(), strict=True):
            weight.copy_((weight.double() + second_weight.double()) / 2)
    save_model(tmp_path / "expected", dataclasses.replace(plain, network=first))
    mean, expected = (Translator.load(tmp_path / name, precision="fp32") for name in ("mean", "expected"))
    assert mean.translate(SENTENCES) == expected.translate(SENTENCES)
    assert mean.translate(SENTENCES) != Translator.load(files[0], precision="fp32").translate(SENTENCES)


def test_config_is_the_first_models(plain: Model, tmp_path: Path, run: Run) -> None:
    """Models may differ in dropout, in initialisation and in how a size is written (null or a number)."""
    save_model(tmp_path / "a", plain)
    save_model(tmp_path / "b", with_network(plain, {"dropout": DropoutConfig(0.4), "encoder_hidden_size": 8}))
    for names in ("ab", "ba"):
        files = [tmp_path / name for name in names]
        assert run(*files, "--output", tmp_path / names)[0] == 0
        assert load_model(tmp_path / names, CPU).config == load_model(files[0], CPU).config


# --- run folders -----------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(plain: Model, tmp_path: Path) -> Path:
    """Return a run folder that keeps the models of steps 9, 10 and 10,000,000 with constant weights 1, 2 and 6."""
    (tmp_path / "run" / "models").mkdir(parents=True)
    for step, value in ((10_000_000, 6.0), (9, 1.0), (10, 2.0)):
        save_constant(model_path(tmp_path / "run", step), plain, value)
    for name in ("step_x.safetensors", "mine.safetensors"):
        (tmp_path / "run" / "models" / name).touch()
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("options", "expected"), [((), 3.0), (("--last", "2"), 4.0), (("--last", "3"), 3.0), (("--last", "9"), 3.0)]
)
def test_run_folder_stands_for_the_models_it_keeps(
    folder: Path, tmp_path: Path, run: Run, options: tuple[str, ...], expected: float
) -> None:
    assert run(folder, "--output", tmp_path / "mean", *options)[0] == 0
    assert (tensors_of(tmp_path / "mean")["output.bias"] == expected).all()


def test_models_of_a_run_folder_are_sorted_by_step(folder: Path) -> None:
    assert model_files(folder) == [model_path(folder, step) for step in (9, 10, 10_000_000)]
    assert model_files(folder, 1) == [model_path(folder, 10_000_000)]


def test_last_applies_to_folders_not_to_files(folder: Path, plain: Model, tmp_path: Path, run: Run) -> None:
    file = save_constant(tmp_path / "file", plain, 4.0)
    assert run(file, folder, "--last", "1", "--output", tmp_path / "mean")[0] == 0
    assert (tensors_of(tmp_path / "mean")["output.bias"] == 5).all()


# --- errors ----------------------------------------------------------------------------------------------------------


def assert_error(result: tuple[int, str, str], *fragments: str) -> None:
    """Check for exit status 2 and one error line with all `fragments`."""
    status, out, err = result
    assert (status, out, err.count("\n"), err[:7]) == (2, "", 1, "error: ")
    assert all(text in err for text in fragments), err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_size": 20}, "model.hidden_size is 16 and 20"),
        ({"residual": True}, "model.residual is false and true"),
        ({"tie_embeddings": TieName.none}, "model.tie_embeddings is three_way and none"),
    ],
    ids=["other shapes", "equal shapes", "other tied matrices"],
)
def test_different_networks(plain: Model, tmp_path: Path, run: Run, settings: dict[str, object], message: str) -> None:
    save_model(tmp_path / "a", plain)
    save_model(tmp_path / "b", with_network(plain, settings))
    result = run(tmp_path / "a", tmp_path / "b", "--output", tmp_path / "mean")
    assert_error(result, f"{tmp_path / 'a'} and {tmp_path / 'b'} cannot be averaged", message)
    assert not (tmp_path / "mean").exists()


def test_different_vocabularies_of_equal_size(plain: Model, tmp_path: Path, run: Run) -> None:
    letters = ["".join(dict.fromkeys("".join(SENTENCES))).replace("z", "ž")]
    tokenizer = Tokenizer.train(ParallelText(letters, letters), plain.config.data.tokenizer, tmp_path / "cache")
    assert tokenizer.tgt_size == plain.tokenizer.tgt_size
    save_model(tmp_path / "a", plain)
    save_model(tmp_path / "b", dataclasses.replace(plain, tokenizer=tokenizer))
    result = run(tmp_path / "a", tmp_path / "b", "--output", tmp_path / "mean")
    assert_error(result, str(tmp_path / "a"), str(tmp_path / "b"), "different vocabularies")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("place", [0, 1])
def test_non_finite_weights(plain: Model, tmp_path: Path, run: Run, value: float, place: int) -> None:
    files = [save_seed(tmp_path / name, plain, 1) for name in "ab"]
    with safe_open(files[place], framework="pt") as content:
        metadata = content.metadata()
    tensors = tensors_of(files[place])
    tensors["output.bias"][3] = value
    save_file(tensors, files[place], metadata)
    result = run(*files, "--output", tmp_path / "mean")
    assert_error(result, f"{files[place]} has weights that are not finite (output.bias)")
    assert not (tmp_path / "mean").exists()


def test_fewer_than_two_models(plain: Model, folder: Path, tmp_path: Path, run: Run) -> None:
    file = save_seed(tmp_path / "one", plain, 1)
    assert_error(run(file, "--output", tmp_path / "mean"), str(file), "at least two")
    assert_error(run(folder, "--last", "1", "--output", tmp_path / "mean"), "step_10000000", "at least two")
    assert_error(run(folder, "--last", "0", "--output", tmp_path / "mean"), "--last: 0 is not at least 1")


def test_run_folder_without_kept_models(plain: Model, tmp_path: Path, run: Run) -> None:
    save_model(tmp_path / "run" / "best.safetensors", plain)
    result = run(tmp_path / "run", "--output", tmp_path / "mean")
    assert_error(result, f"no models in {tmp_path / 'run' / 'models'}", "training.keep_best=K", "training.keep_last=N")


def test_missing_or_damaged_file(plain: Model, tmp_path: Path, run: Run) -> None:
    file = save_seed(tmp_path / "one", plain, 1)
    assert_error(run(file, tmp_path / "none", "--output", tmp_path / "mean"), "no model at", "none")
    (tmp_path / "bad").write_bytes(file.read_bytes()[:-9])
    assert_error(run(tmp_path / "bad", file, "--output", tmp_path / "mean"), "bad is not a readable model file")


def test_existing_output_needs_force(plain: Model, tmp_path: Path, run: Run) -> None:
    files = [save_constant(tmp_path / str(value), plain, value) for value in (1.0, 3.0)]
    before = [digest(file) for file in files]
    assert_error(run(*files, "--output", files[0]), f"--output {files[0]} exists", "--force")
    assert [digest(file) for file in files] == before
    assert run(*files, "--output", files[0], "--force")[0] == 0  # the output is an input
    assert (tensors_of(files[0])["output.bias"] == 2).all()
    assert digest(files[1]) == before[1]


def test_input_files_are_unchanged(plain: Model, tmp_path: Path, run: Run) -> None:
    """The mean is computed in place, in the network read from the first file."""
    files = [save_seed(tmp_path / str(seed), plain, seed) for seed in (1, 2)]
    before = [digest(file) for file in files]
    assert run(*files, "--output", tmp_path / "new" / "mean")[0] == 0
    assert [digest(file) for file in files] == before
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["mean"]


@pytest.mark.parametrize("name", ["folder", "", "taken/mean", "n" * 300])
def test_unwritable_output(plain: Model, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    file = save_seed(tmp_path / "taken", plain, 1)
    before = sorted(os.listdir(tmp_path))
    message = {"folder": "is a folder", "": "the path is empty"}.get(name, f"cannot write {name}")
    assert_error(run(file, file, "--output", name, "--force"), message)
    assert sorted(os.listdir(tmp_path)) == before
