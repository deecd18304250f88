"""The model file: weights, config and tokenizer in one self-contained safetensors file."""

from __future__ import annotations

import contextlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from seq2seq.config.loading import to_config, to_dict
from seq2seq.config.schema import Config
from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.errors import ConfigError, ModelFileError, first_line
from seq2seq.filesystem.atomic_files import write_atomically
from seq2seq.model.network import Seq2Seq, without_weights
from seq2seq.storage.calibration import Calibration
from seq2seq.storage.run_folder import BEST_NAME
from seq2seq.version import __version__

FORMAT = "seq2seq-lstm"
FORMAT_VERSION = 2
READABLE = {"1", "2"}  # 1 lacks the keys for cells and attention, which then have their defaults
_TOKENIZER = "tokenizer."
_CARD = "model_card"
_CALIBRATION = "calibration"


@dataclass(frozen=True)
class TrainingText:
    """What a model file records of the text that the model was trained on; files of older versions record nothing.

    Attributes:
        longest_src: source tokens, without EOS, of the longest training sentence.
        held_out: fingerprint of each set that was drawn from the training text (`Corpus.held_out`).
    """

    longest_src: int | None = None
    held_out: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        longest = 1 if self.longest_src is None else self.longest_src
        if not isinstance(longest, int) or longest < 1 or not isinstance(self.held_out, dict):
            raise ValueError(f"training_text {asdict(self)} is invalid")


@dataclass(frozen=True)
class Model:
    """The content of a model file."""

    network: Seq2Seq
    tokenizer: Tokenizer
    config: Config
    text: TrainingText = TrainingText()
    calibration: Calibration | None = None


def save_model(path: Path, model: Model) -> None:
    """Write `model` to `path`: tied matrices once, the tokenizer as bytes, all settings as JSON metadata.

    Raises:
        StorageError: the file could not be written; an old file at `path` is unchanged.
    """
    tied = model.network.tied_names()
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.network.state_dict().items() if k not in tied}
    for side, content in model.tokenizer.to_bytes().items():
        tensors[_TOKENIZER + side] = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    metadata = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "config": json.dumps(to_dict(model.config), allow_nan=False),
        "training_text": json.dumps(asdict(model.text)),
        "versions": json.dumps({"seq2seq": __version__, "torch": torch.__version__}),
        "crc32": json.dumps({name: _crc32(tensor) for name, tensor in tensors.items()}),
    } | _calibration_metadata(model.calibration)
    write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata))


def read_card(path: Path) -> str | None:
    """Return the model card that a model file holds; None for a model that was not tested or an older file.

    Raises:
        ModelFileError: as `load_model`.
    """
    return _metadata(find_model(path)).get(_CARD)


def write_calibration(path: Path, calibration: Calibration, output: Path) -> None:
    """Write the model file `path` to `output`, which may be the same file, with another calibration, else unchanged.

    Raises:
        ModelFileError: `path` is missing, or not a model of this program.
        StorageError: the file could not be written; an old file at `output` is unchanged.
    """
    _write_with(path, _calibration_metadata(calibration), output)


def write_card(path: Path, card: str) -> None:
    """Store a model card in the model file `path`, which is else unchanged.

    Raises:
        ModelFileError, StorageError: as `write_calibration`.
    """
    _write_with(path, {_CARD: card}, path)


def _write_with(path: Path, metadata: dict[str, str], output: Path) -> None:
    _metadata(path)
    tensors, stored = _read(path)
    write_atomically(output, lambda temporary: save_file(tensors, temporary, stored | metadata))


def _calibration_metadata(calibration: Calibration | None) -> dict[str, str]:
    return {} if calibration is None else {_CALIBRATION: json.dumps(calibration.to_dict(), allow_nan=False)}


def find_model(path: Path) -> Path:
    """Return `path` itself if it is a file, or the best model of the run folder `path`.

    Raises:
        ModelFileError: there is no such file, or it may not be read.
    """
    try:
        file = path / BEST_NAME if path.is_dir() else path
        exists = file.is_file()
    except OSError as error:  # name too long, folder without permission
        raise ModelFileError(f"cannot read {path}: {error.strerror}") from error
    if not exists:
        raise ModelFileError(f"no model at {file}" + ("" if path.is_dir() else " (expected a file or a run folder)"))
    return file


def load_model(path: Path, device: torch.device) -> Model:
    """Read a model file, or the best model of a run folder, onto `device`, in evaluation mode.

    Raises:
        ModelFileError: missing, truncated, not a model of this program, of another format version, inconsistent, or
            with weights that are not finite.
    """
    file = find_model(path)
    config, text, (tensors, metadata) = read_config(file), read_training_text(file), _read(file)
    try:
        models = {k.removeprefix(_TOKENIZER): v for k, v in tensors.items() if k.startswith(_TOKENIZER)}
        tokenizer = Tokenizer.from_bytes({side: v.numpy().tobytes() for side, v in models.items()})
        weights = {k: v for k, v in tensors.items() if not k.startswith(_TOKENIZER)}
        network = _fill(config, tokenizer, weights)
        _verify(tensors, metadata)
        calibration = _calibration(metadata)
    except (ConfigError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelFileError(f"{file} is damaged: {first_line(error)}") from error
    # Before any conversion: int8 turns NaN into ordinary numbers.
    wrong = next((name for name, weight in weights.items() if not weight.isfinite().all()), None)
    if wrong:
        raise ModelFileError(
            f"{file} has weights that are not finite ({wrong}): its training diverged; use another model"
        )
    return Model(network.to(device).eval(), tokenizer, config, text, calibration)


def read_config(path: Path) -> Config:
    """Return the config of a model without reading its weights.

    Raises:
        ModelFileError: as `load_model`.
    """
    file = find_model(path)
    metadata = _metadata(file)
    try:
        config = json.loads(metadata["config"])
        if not isinstance(config, dict):
            raise TypeError("its config is not a mapping")
        return to_config(config)
    except (ConfigError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ModelFileError(f"{file} is damaged: {first_line(error)}") from error


def read_training_text(path: Path) -> TrainingText:
    """Return what a model records of its training text, without reading its weights.

    Raises:
        ModelFileError: as `load_model`.
    """
    file = find_model(path)
    metadata = _metadata(file)
    try:
        return TrainingText(**json.loads(metadata.get("training_text", "{}")))
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"{file} is damaged: {first_line(error)}") from error


def _calibration(metadata: dict[str, str]) -> Calibration | None:
    """Return the calibration of a model; older files, and models that were not calibrated, have none."""
    text = metadata.get(_CALIBRATION)
    return None if text is None else Calibration.from_dict(json.loads(text))


def _metadata(file: Path) -> dict[str, str]:
    with _opened(file) as content:
        metadata: dict[str, str] = content.metadata() or {}
    if metadata.get("format") != FORMAT:
        raise ModelFileError(f"{file} is a safetensors file but not a seq2seq model")
    if metadata.get("format_version") not in READABLE:
        version, readable = metadata.get("format_version"), " and ".join(sorted(READABLE))
        raise ModelFileError(f"{file} has format version {version}; this program reads {readable}")
    return metadata


def _read(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a model file."""
    with _opened(file) as content:  # maps the file: without copies, a file that is overwritten or cut changes the model
        return {key: content.get_tensor(key).clone() for key in content.keys()}, content.metadata()  # noqa: SIM118


def _verify(tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Compare the tensors with their checksums; an older file has none.

    Values that are not finite are left to the checks of the network, whose errors say more.

    Raises:
        ValueError: a tensor has changed since the file was written.
    """
    checksums = json.loads(metadata.get("crc32", "{}"))
    for name, tensor in tensors.items():
        if checksums and _crc32(tensor) != checksums[name] and tensor.isfinite().all():
            raise ValueError(f"the content of {name} has changed since it was saved")


def _crc32(tensor: Tensor) -> int:
    return zlib.crc32(tensor.flatten().view(torch.uint8).numpy().data)


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[Any]:
    try:
        with safe_open(file, framework="pt") as content:
            yield content
    except (SafetensorError, OSError) as error:
        raise ModelFileError(f"{file} is not a readable model file: {error}") from error


def _fill(config: Config, tokenizer: Tokenizer, weights: dict[str, Tensor]) -> Seq2Seq:
    network = without_weights(config.model, tokenizer.src_size, tokenizer.tgt_size)
    expected = {k: _kind(v) for k, v in network.state_dict().items() if k not in network.tied_names()}
    actual = {k: _kind(v) for k, v in weights.items()}
    wrong = sorted(k for k in expected.keys() | actual.keys() if expected.get(k) != actual.get(k))
    if wrong:
        raise ValueError(f"tensor {wrong[0]} is {actual.get(wrong[0])}, the config needs {expected.get(wrong[0])}")
    network.load_state_dict(weights, strict=False, assign=True)
    network.tie()
    return network


def _kind(tensor: Tensor) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}"
