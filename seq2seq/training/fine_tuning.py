"""Fine-tuning: start a run from a pretrained model, with its vocabulary or a new one (`training.init_from`)."""

from __future__ import annotations

import dataclasses
import enum
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from seq2seq.config.data import MAIN, DataConfig, DataName
from seq2seq.config.field import is_group
from seq2seq.config.model import ModelConfig, TieName
from seq2seq.config.paths import path_list
from seq2seq.config.schema import Config
from seq2seq.config.training import VocabularyName
from seq2seq.data.corpus import corpus_sets
from seq2seq.data.index.language_codes import base_code
from seq2seq.data.special_ids import SPECIAL_IDS
from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.errors import ConfigError, ModelFileError
from seq2seq.model.network import Seq2Seq, without_weights
from seq2seq.storage.model_file import Model, load_model
from seq2seq.storage.run_folder import BEST_NAME

SIDE = {"output.bias": "tgt", "src_embedding.weight": "src", "output.weight": "tgt", "tgt_embedding.weight": "tgt"}
"""Side of the vocabulary that each tensor has a row per token of, in the order in which they are copied.

The target embedding comes last: if some of these are tied in the new network but not in the file, its rows overwrite
those of the source embedding, which remain for tokens that only the source vocabulary has.
"""
CPU = torch.device("cpu")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pretrained:
    """What a run takes from a pretrained model; None if it has its own."""

    tokenizer: Tokenizer | None = None
    weights: Model | None = None
    longest_src: int = 0
    """Source tokens of the longest sentence that the model was trained on; 0 if unknown or of another vocabulary."""

    def initialise(self, model: Model) -> None:
        """Copy the weights, if any, into the new `model`."""
        if self.weights is not None:
            copy_weights(self.weights, model)


def load_pretrained(config: Config, resumed: Path | None) -> Pretrained:
    """Load what `training.init_from` and `training.init_vocabulary` name.

    A run that is resumed in the folder `resumed` has its own weights and needs the tokenizer only.

    Raises:
        ModelFileError: the file is missing or damaged, or its weights are not finite.
        ConfigError: the config has other tensor shapes, or ties the embeddings of two vocabularies.
    """
    path, keep = config.training.init_from, config.training.init_vocabulary is VocabularyName.keep
    if path is None or (resumed is not None and not keep):
        return Pretrained()
    if resumed is not None:
        model = _model_of_resumed(Path(path), resumed)
        return Pretrained(model.tokenizer, longest_src=model.text.longest_src or 0)
    try:
        parent = load_model(Path(path), CPU)
    except ModelFileError as error:
        raise ModelFileError(f"training.init_from: {error}") from error
    check_compatible(parent, config)
    if not keep:
        return Pretrained(weights=parent)
    if config.model.tie_embeddings is TieName.three_way and not parent.tokenizer.joint:
        raise ConfigError(
            f"model.tie_embeddings=three_way needs a joint vocabulary, but {path} has two: "
            "set model.tie_embeddings=two_way or training.init_vocabulary=replace"
        )
    log.info("using the tokenizer of %s; data.tokenizer is ignored", path)
    return Pretrained(parent.tokenizer, parent, parent.text.longest_src or 0)


def check_compatible(parent: Model, config: Config) -> None:
    """Check that the weights of `parent` fit a network of `config`; warn if they compute something else in it.

    Raises:
        ConfigError: tensor shapes differ; the message names the keys.
    """
    new, old = config.model, parent.config.model
    differences = _differences(new, old)
    child = without_weights(new, len(SPECIAL_IDS), len(SPECIAL_IDS))
    if _shapes(parent.network) != _shapes(child):
        raise ConfigError(
            f"training.init_from={config.training.init_from}: {'; '.join(differences)}; use the values of the file"
        )
    for difference in differences + _newly_tied(new, old):
        log.warning("training.init_from: %s; the weights are copied anyway", difference)


def warn_if_seen(parent: Model, config: Config, held_out: Mapping[str, str]) -> None:
    """Log a warning if the run holds out other pairs of the text that `parent` was trained on than `parent` did.

    Args:
        parent: the pretrained model.
        config: of the run.
        held_out: fingerprints of the run's held-out sets.
    """
    changed, seen = [], parent.config.data.corpora().items()
    for name, new in config.data.corpora().items():
        sets = [corpus_sets(parent.text.held_out, old_name) for old_name, old in seen if _shares_text(new, old)]
        for part, digest in corpus_sets(held_out, name).items():
            known = [old[part] for old in sets if part in old]
            if known and digest not in known:  # the model was not trained on what any of its corpora held out
                changed.append(part if name == MAIN else f"{name}.{part}")
    if changed:
        log.warning(
            "training.init_from: the %s pairs held out of the training text are not those that the model held out, and "
            "may contain pairs that it was trained on: give validation and test text of its own (data.valid and "
            "data.test, or data.valid_datasets and data.test_datasets)", " and ".join(changed)
        )  # fmt: skip


def _shares_text(one: DataConfig, other: DataConfig) -> bool:
    """Return True if two corpora have a file or a data set of training text in common, in either direction."""
    languages = [{base_code(data.src), base_code(data.tgt)} for data in (one, other)]
    return one.name is other.name and languages[0] == languages[1] and bool(_texts(one) & _texts(other))


def _texts(data: DataConfig) -> set[tuple[str | None, ...]]:
    """Return what names the training texts of a corpus; a slice of a split may have pairs of another slice."""
    if data.name is DataName.files:
        files = (path_list(getattr(data.train, key), f"data.train.{key}") for key in ("src", "tgt", "tsv", "table"))
        return {(path,) for paths in files for path in paths}
    if data.datasets:
        return {(name,) for name in data.datasets}
    place = data.dataset or (data.root if data.name is DataName.huggingface else None)
    return {(data.corpus, data.version, place, data.subset, data.splits.train.partition("[")[0])}


def copy_weights(parent: Model, child: Model) -> None:
    """Copy the weights of `parent` into `child`; of embeddings and output, the rows of tokens common to both.

    The models may tie their embeddings differently: a state dict has a tied matrix under each of its names.
    """
    source, target = parent.network.state_dict(), child.network.state_dict()
    for name in target.keys() - SIDE.keys():
        target[name].copy_(source[name])
    common = {side: _common_ids(parent.tokenizer, child.tokenizer, side) for side in ("src", "tgt")}
    for name, side in SIDE.items():
        old, new = common[side]
        device = target[name].device
        target[name][new.to(device)] = source[name][old].to(device)
    log.info(
        "copied the weights of %s; common tokens: source %s of %s, target %s of %s", child.config.training.init_from,
        f"{len(common['src'][1]):,}", f"{child.tokenizer.src_size:,}",
        f"{len(common['tgt'][1]):,}", f"{child.tokenizer.tgt_size:,}",
    )  # fmt: skip


def _model_of_resumed(path: Path, folder: Path) -> Model:
    """Return the best model of the run in `folder` or, before there is one, that in `path`, for its tokenizer."""
    best = folder / BEST_NAME
    try:
        return load_model(best if best.is_file() else path, CPU)
    except ModelFileError as error:
        raise ModelFileError(
            f"{error}; its tokenizer is needed to resume: set training.init_from=PATH to where the model is now"
        ) from error


def _common_ids(old: Tokenizer, new: Tokenizer, side: str) -> tuple[Tensor, Tensor]:
    """Return the old and new ids of the tokens that both vocabularies have.

    Special tokens are matched by id, as a given SentencePiece model may spell them in its own way; the rest by piece.
    """
    special = set(SPECIAL_IDS.values())
    old_ids = {piece: i for i, piece in _pieces(old, side) if i not in special}
    pairs = [(i, i) for i in special]
    pairs += [(old_ids[piece], i) for i, piece in _pieces(new, side) if i not in special and piece in old_ids]
    ids = torch.tensor(pairs)
    return ids[:, 0], ids[:, 1]


def _pieces(tokenizer: Tokenizer, side: str) -> Iterable[tuple[int, str]]:
    if side == "src":
        return enumerate(tokenizer.src_pieces(range(tokenizer.src_size)))
    return enumerate(tokenizer.tgt_pieces(range(tokenizer.tgt_size)))


def _shapes(network: Seq2Seq) -> dict[str, torch.Size]:
    """Return the shape of every tensor; of tensors with a row per token, the shape of a row."""
    tensors = network.state_dict()
    return {name: tensor.shape[1:] if name in SIDE else tensor.shape for name, tensor in tensors.items()}


def _differences(new: ModelConfig, old: ModelConfig) -> list[str]:
    """Describe the keys in which two networks differ, except dropout, first values and tied embeddings."""
    differences = []
    for field in dataclasses.fields(ModelConfig):
        new_value, old_value = getattr(new, field.name), getattr(old, field.name)
        same = new_value == old_value
        if field.name == "encoder_hidden_size":  # null means half of hidden_size
            same = same or new.encoder_size == old.encoder_size
        if not (same or is_group(field) or field.name == "tie_embeddings" or "vectors" in field.name):
            differences.append(f"model.{field.name} is {_text(new_value)}, in the file {_text(old_value)}")
    return differences


def _newly_tied(new: ModelConfig, old: ModelConfig) -> list[str]:
    """Describe that matrices which are separate in the file are tied in the new network."""
    order = list(TieName)
    if order.index(new.tie_embeddings) <= order.index(old.tie_embeddings):
        return []
    return [
        f"model.tie_embeddings is {new.tie_embeddings}, in the file {old.tie_embeddings}: a tied matrix gets the "
        "rows of the target embedding"
    ]


def _text(value: object) -> str:
    return value.name if isinstance(value, enum.Enum) else "null" if value is None else str(value).lower()
