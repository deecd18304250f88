"""Fine-tuning: a run that starts from another model's weights, with that model's vocabulary or one of its own."""

from __future__ import annotations

import dataclasses
import enum
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from seq2seq.config.field import is_group
from seq2seq.config.model import ModelConfig, TieName
from seq2seq.config.schema import Config
from seq2seq.config.training import VocabularyName
from seq2seq.data.special_ids import SPECIAL_IDS
from seq2seq.data.tokenizer import Tokenizer
from seq2seq.errors import ConfigError, ModelFileError
from seq2seq.model.network import Seq2Seq, without_weights
from seq2seq.storage.model_file import BEST_NAME, Model, load_model

SIDE = {"output.bias": "tgt", "src_embedding.weight": "src", "output.weight": "tgt", "tgt_embedding.weight": "tgt"}
"""Vocabulary of the rows of each tensor that has one; in the order they are copied in.

The target's word vectors come last: where several of these are one matrix in the new network but not in the file, a
row stays that of the target, and the source's serves for a piece that only the source knew.
"""
CPU = torch.device("cpu")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pretrained:
    """What a run takes from the model it starts from; None: nothing, it has its own."""

    tokenizer: Tokenizer | None = None
    weights: Model | None = None

    def initialise(self, model: Model) -> None:
        """Write the weights, if there are any, into the new `model`."""
        if self.weights is not None:
            copy_weights(self.weights, model)


def load_pretrained(config: Config, resumed: Path | None) -> Pretrained:
    """Read what `training.init_from` asks for; of a run that is resumed in the folder `resumed`, not the weights.

    Raises:
        ModelFileError: the file is missing or damaged, or its weights are not finite.
        ConfigError: its weights have other shapes than the config's, the message names the keys that differ; or its two
            vocabularies cannot have the one matrix that the config asks for.
    """
    path, keep = config.training.init_from, config.training.init_vocabulary is VocabularyName.keep
    if path is None or (resumed is not None and not keep):
        return Pretrained()
    if resumed is not None:
        return Pretrained(_tokenizer_again(Path(path), resumed))
    try:
        parent = load_model(Path(path), CPU)
    except ModelFileError as error:
        raise ModelFileError(f"training.init_from: {error}") from error
    if not all(tensor.isfinite().all() for tensor in parent.network.state_dict().values()):
        raise ModelFileError(f"training.init_from: {path} holds weights that are not finite")
    check_compatible(parent, config)
    if not keep:
        return Pretrained(weights=parent)
    if config.model.tie_embeddings is TieName.three_way and not parent.tokenizer.joint:
        raise ConfigError(
            f"model.tie_embeddings=three_way needs one vocabulary, {path} has two: "
            "set model.tie_embeddings=two_way or training.init_vocabulary=replace"
        )
    log.info("the tokenizer is that of %s; data.tokenizer has no effect", path)
    return Pretrained(parent.tokenizer, parent)


def check_compatible(parent: Model, config: Config) -> None:
    """Warn where the weights of `parent` mean something else in a network made with `config`.

    Raises:
        ConfigError: a shape differs.
    """
    new, old = config.model, parent.config.model
    differences = _differences(new, old)
    child = without_weights(new, len(SPECIAL_IDS), len(SPECIAL_IDS))
    if _shapes(parent.network) != _shapes(child):
        raise ConfigError(f"training.init_from={config.training.init_from}: {'; '.join(differences)}")
    for difference in differences + _merged(new, old):
        log.warning("training.init_from: %s; the weights are copied all the same", difference)


def copy_weights(parent: Model, child: Model) -> None:
    """Write the weights of `parent` into `child`; of words, those of the pieces that both vocabularies have.

    The two may share their word vectors in different ways: a network has each matrix under all of its names.
    """
    source, target = parent.network.state_dict(), child.network.state_dict()
    for name in target.keys() - SIDE.keys():
        target[name].copy_(source[name])
    common = {side: _common(parent.tokenizer, child.tokenizer, side) for side in ("src", "tgt")}
    for name, side in SIDE.items():
        old, new = common[side]
        place = target[name].device
        target[name][new.to(place)] = source[name][old].to(place)
    log.info(
        "weights of %s; source: %s of %s pieces known, target: %s of %s", child.config.training.init_from,
        f"{len(common['src'][1]):,}", f"{child.tokenizer.src_size:,}",
        f"{len(common['tgt'][1]):,}", f"{child.tokenizer.tgt_size:,}",
    )  # fmt: skip


def _tokenizer_again(path: Path, folder: Path) -> Tokenizer:
    """Return the kept tokenizer of the run in `folder`: its best model has it, too, and cannot have moved."""
    own = folder / BEST_NAME
    try:
        return load_model(own if own.is_file() else path, CPU).tokenizer
    except ModelFileError as error:
        raise ModelFileError(
            f"{error}; its tokenizer is needed to resume: training.init_from=PATH says where the model is now"
        ) from error


def _common(old: Tokenizer, new: Tokenizer, side: str) -> tuple[Tensor, Tensor]:
    """Return the ids, old and new, of what both vocabularies have: special ids by their number, pieces by their text.

    A given SentencePiece model may write its special pieces in its own way.
    """
    special = set(SPECIAL_IDS.values())
    known = {piece: i for i, piece in _pieces(old, side) if i not in special}
    pairs = [(i, i) for i in special]
    pairs += [(known[piece], i) for i, piece in _pieces(new, side) if i not in special and piece in known]
    both = torch.tensor(pairs)
    return both[:, 0], both[:, 1]


def _pieces(tokenizer: Tokenizer, side: str) -> Iterable[tuple[int, str]]:
    if side == "src":
        return enumerate(tokenizer.src_pieces(range(tokenizer.src_size)))
    return enumerate(tokenizer.tgt_pieces(range(tokenizer.tgt_size)))


def _shapes(network: Seq2Seq) -> dict[str, torch.Size]:
    """Return the shape of every tensor; of those with a row for each piece, the shape of a row."""
    tensors = network.state_dict()
    return {name: tensor.shape[1:] if name in SIDE else tensor.shape for name, tensor in tensors.items()}


def _differences(new: ModelConfig, old: ModelConfig) -> list[str]:
    """Say in which keys two networks differ, but for dropout, first values, and which matrices are one."""
    found = []
    for field in dataclasses.fields(ModelConfig):
        here, there = getattr(new, field.name), getattr(old, field.name)
        same = here == there
        if field.name == "encoder_hidden_size":  # null is half of hidden_size: what counts is what comes of it
            same = same or new.encoder_size == old.encoder_size
        if not (same or is_group(field) or field.name == "tie_embeddings"):
            found.append(f"model.{field.name} is {_text(here)}, in the file {_text(there)}")
    return found


def _merged(new: ModelConfig, old: ModelConfig) -> list[str]:
    """Say that matrices which differ in the file become one, and so lose something."""
    order = list(TieName)
    if order.index(new.tie_embeddings) <= order.index(old.tie_embeddings):
        return []
    return [
        f"model.tie_embeddings is {new.tie_embeddings}, in the file {old.tie_embeddings}: of matrices that become one "
        "the target's word vectors stay"
    ]


def _text(value: object) -> str:
    return value.name if isinstance(value, enum.Enum) else "null" if value is None else str(value).lower()
