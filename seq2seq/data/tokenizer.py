"""Subword segmentation with SentencePiece (Kudo and Richardson 2018): text to piece ids and back.

One vocabulary for both languages (joint) or one for each. The model is a few hundred kilobytes of bytes that travel
inside the trained model's file. This module does not import torch.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import sentencepiece

from seq2seq.config import TokenizerConfig
from seq2seq.data.corpus import ParallelText
from seq2seq.errors import ConfigError, DataError
from seq2seq.storage import new_folder

log = logging.getLogger(__name__)

SPECIAL_IDS = {"pad_id": 0, "unk_id": 1, "bos_id": 2, "eos_id": 3}  # those of seq2seq.batch, without importing torch
MAX_TRAINING_LINES = 1_000_000
KEY = "data.tokenizer.vocab_size"


class Tokenizer:
    """Source and target SentencePiece models (the same one where joint)."""

    def __init__(self, src: bytes, tgt: bytes | None = None, *, names: tuple[str, str] = ("src", "tgt")) -> None:
        """Load serialised models; without `tgt` the source's serves both sides.

        Raises:
            ConfigError: not a SentencePiece model, or one whose special ids are not ours.
        """
        self._models = {"src": src} if tgt is None else {"src": src, "tgt": tgt}
        self._src = _load(src, names[0])
        self._tgt = self._src if tgt is None else _load(tgt, names[1])

    @property
    def joint(self) -> bool:
        """Whether both languages share one vocabulary."""
        return self._src is self._tgt

    @property
    def src_size(self) -> int:
        """Pieces in the source vocabulary, special ids included."""
        return int(self._src.get_piece_size())

    @property
    def tgt_size(self) -> int:
        """Pieces in the target vocabulary, special ids included."""
        return int(self._tgt.get_piece_size())

    @property
    def fingerprint(self) -> str:
        """Hash of the content: equal tokenizers segment equally."""
        return hashlib.sha256(b"".join(hashlib.sha256(model).digest() for model in self._models.values())).hexdigest()

    def encode_src(self, lines: Sequence[str]) -> list[list[int]]:
        """Return the piece ids of source lines, without special ids."""
        return _encode(self._src, lines)

    def encode_tgt(self, lines: Sequence[str]) -> list[list[int]]:
        """Return the piece ids of target lines, without special ids."""
        return _encode(self._tgt, lines)

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Return the text of target ids; special ids and ids outside the vocabulary say nothing."""
        size = self.tgt_size
        return [self._tgt.decode([i for i in map(int, row) if 0 <= i < size]) for row in ids]

    def src_pieces(self, ids: Iterable[int]) -> list[str]:
        """Return the name of every source piece, for people to look at."""
        return [self._src.id_to_piece(int(i)) for i in ids]

    def tgt_pieces(self, ids: Iterable[int]) -> list[str]:
        """Return the name of every target piece."""
        return [self._tgt.id_to_piece(int(i)) for i in ids]

    def to_bytes(self) -> dict[str, bytes]:
        """Return the serialised models: {"src"} where joint, else {"src", "tgt"}."""
        return dict(self._models)

    @classmethod
    def from_bytes(cls, models: Mapping[str, bytes]) -> Tokenizer:
        """Inverse of `to_bytes`."""
        return cls(models["src"], models.get("tgt"))

    @classmethod
    def train(cls, text: ParallelText, config: TokenizerConfig, cache: Path) -> Tokenizer:
        """Train as configured, or read what the same text and settings gave before; given models are only loaded.

        Raises:
            ConfigError: a vocabulary size the text does not allow, or an unusable given model.
        """
        if config.joint:
            if config.tgt_model:
                raise ConfigError(
                    "data.tokenizer.tgt_model: one joint vocabulary has only src_model (or set joint=false)"
                )
            model = _read(config.src_model) if config.src_model else _train([*text.src, *text.tgt], config, cache)
            return cls(model, names=(config.src_model or "src", ""))
        src = _read(config.src_model) if config.src_model else _train(text.src, config, cache)
        tgt = _read(config.tgt_model) if config.tgt_model else _train(text.tgt, config, cache)
        return cls(src, tgt, names=(config.src_model or "src", config.tgt_model or "tgt"))


def _read(path: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise ConfigError(f"SentencePiece model {path}: {error.strerror}") from None


def _load(model: bytes, name: str) -> sentencepiece.SentencePieceProcessor:
    processor = sentencepiece.SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(model)
    except RuntimeError:
        raise ConfigError(f"{name}: not a SentencePiece model") from None
    actual = {name: int(getattr(processor, name)()) for name in SPECIAL_IDS}
    if actual != SPECIAL_IDS:
        flags = " ".join(f"--{key}={value}" for key, value in SPECIAL_IDS.items())
        raise ConfigError(f"{name}: its special ids are {actual}; train it with {flags}")
    return processor


def _encode(processor: sentencepiece.SentencePieceProcessor, lines: Sequence[str]) -> list[list[int]]:
    # A lone surrogate (from a file name or a sloppy JSON) has no UTF-8; it becomes "?" rather than an exception.
    ids: list[list[int]] = processor.encode([line.encode("utf-8", "replace").decode() for line in lines])
    return ids


def _train(lines: list[str], config: TokenizerConfig, cache: Path) -> bytes:
    lines = lines[:: -(-len(lines) // MAX_TRAINING_LINES) or 1]
    settings: dict[str, Any] = dict(
        model_type=config.type.name,
        vocab_size=config.vocab_size,
        character_coverage=config.character_coverage,
        byte_fallback=config.byte_fallback,
        num_threads=4,  # fixed: the number of partial sums, so part of the result
        **SPECIAL_IDS,
    )
    path = cache / "tokenizers" / _key(lines, settings) / "pieces.model"
    if path.is_file():
        return path.read_bytes()
    log.info("training a %s vocabulary of %d pieces on %d lines", config.type.name, config.vocab_size, len(lines))
    writer = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines), model_writer=writer, minloglevel=2, **settings
        )
    except RuntimeError as error:
        raise _explain(str(error), config.vocab_size) from error
    with new_folder(path.parent) as folder:
        (folder / path.name).write_bytes(writer.getvalue())
    return writer.getvalue()


def _key(lines: Iterable[str], settings: Mapping[str, object]) -> str:
    digest = hashlib.sha256(json.dumps([sentencepiece.__version__, settings]).encode())
    for line in lines:
        digest.update(line.encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()[:32]


def _explain(message: str, size: int) -> Exception:
    """Turn SentencePiece's internal error into one line that names the setting."""
    if match := re.search(r"Vocabulary size too high.*<= (\d+)", message):
        return ConfigError(f"{KEY}={size} is more than the training text allows: at most {match[1]}")
    if match := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        return ConfigError(
            f"{KEY}={size} is too small for the characters of the training text: at least {match[1]} "
            "(byte_fallback alone takes 256; a lower data.tokenizer.character_coverage needs fewer)"
        )
    if "vocab_size" in message:
        return ConfigError(f"{KEY}={size} is too small (data.tokenizer.byte_fallback alone takes 256)")
    if "sentences_.empty()" in message:
        return DataError("a tokenizer cannot be trained on no text")
    return DataError(f"SentencePiece could not be trained on this text: {message}")
