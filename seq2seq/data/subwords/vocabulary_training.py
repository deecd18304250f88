"""Learn the vocabulary of a text: train a SentencePiece model, or read the cached one of the same text and settings."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import sentencepiece

from seq2seq.config.tokenizer import PieceType, TokenizerConfig
from seq2seq.data.corpus import text_bytes
from seq2seq.data.files.cached_folders import cached_folder
from seq2seq.data.special_ids import SPECIAL_IDS
from seq2seq.data.subwords.normalization_rules import read_rules
from seq2seq.errors import ConfigError, DataError

log = logging.getLogger(__name__)

MAX_TRAINING_LINES = 1_000_000
SENTENCEPIECE_LINE_BYTES = 4192  # its default
RESERVED = "\u2585"  # SentencePiece skips lines with this character, its sign for an unknown one
KEY = "data.tokenizer.vocab_size"


class VocabularySizeError(ConfigError):
    """The text does not allow this size of a vocabulary; `nearest` is the nearest one that it allows."""

    def __init__(self, message: str, nearest: int) -> None:
        super().__init__(message)
        self.nearest = nearest


def train_model(sides: Mapping[str, Sequence[str]], config: TokenizerConfig, cache: Path) -> bytes:
    """Return a serialised model of the lines of all `sides`, which have names for messages.

    Raises:
        VocabularySizeError: the vocabulary size does not fit the text.
        DataError: a side has no text that can be read, or SentencePiece rejects the text.
        StorageError: the cache cannot be written.
    """
    lines: list[str] = []
    for side, text in _evenly_spaced(sides, config.max_training_bytes).items():
        lines += _readable(text, side, config.max_line_bytes)
    options: dict[str, Any] = dict(
        model_type=config.type.name,
        vocab_size=config.vocab_size,
        character_coverage=config.character_coverage,
        byte_fallback=config.byte_fallback and config.type is not PieceType.word,
        normalization_rule_name=config.normalization.name,
        num_threads=4,  # fixed: it changes the order of summation and thus the result
        **SPECIAL_IDS,
    )
    if config.max_line_bytes != SENTENCEPIECE_LINE_BYTES:  # an option that is set is a part of the model
        options["max_sentence_length"] = config.max_line_bytes
    if config.user_symbols:
        options["user_defined_symbols"] = config.user_symbols
    rules = None if config.normalization_rules is None else read_rules(config.normalization_rules)
    if rules is not None:
        options["normalization_rule_tsv"] = rules  # in the key; a file with these rules for SentencePiece
    path = cache / "tokenizers" / _key(lines, options) / "pieces.model"

    def write(folder: Path) -> None:
        log.info("training a %s vocabulary of %s pieces on %d lines", config.type.name, config.vocab_size, len(lines))
        (folder / path.name).write_bytes(_trained(lines, options, rules))

    cached_folder(path.parent, write, "the vocabulary is trained again")
    return path.read_bytes()


def _closed_file(path: Path, text: str) -> Path:
    """Write `text` as it is: another reader cannot open a file that is open on Windows, nor reads its line ends."""
    path.write_bytes(text.encode("utf-8"))
    return path


def _trained(lines: Iterable[str], options: Mapping[str, Any], rules: str | None) -> bytes:
    """Return a serialised model that SentencePiece trains; raises as `train_model`."""
    writer = io.BytesIO()
    with contextlib.ExitStack() as stack:
        if rules is not None:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            options = {**options, "normalization_rule_tsv": str(_closed_file(Path(folder, "rules.tsv"), rules))}
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(lines), model_writer=writer, minloglevel=2, **options
            )
        except RuntimeError as error:
            raise _explain(str(error), options["vocab_size"]) from error
    return writer.getvalue()


def _evenly_spaced(sides: Mapping[str, Sequence[str]], max_bytes: int) -> dict[str, Sequence[str]]:
    """Return every n-th line of all sides: at most MAX_TRAINING_LINES lines, and about `max_bytes` bytes."""
    lines = sum(map(len, sides.values()))
    step = max(-(-lines // MAX_TRAINING_LINES), -(-sum(map(text_bytes, sides.values())) // max_bytes), 1)
    chosen, before = {}, 0
    for side, text in sides.items():
        chosen[side] = text if step == 1 else text[-before % step :: step]
        before += len(text)
    return chosen


def _readable(lines: Sequence[str], side: str, max_bytes: int) -> list[str]:
    """Return the lines that SentencePiece reads; log how many it does not.

    Raises:
        DataError: it can read none.
    """
    short = [line for line in lines if len(line.encode("utf-8", "surrogatepass")) <= max_bytes]
    readable = [line for line in short if RESERVED not in line]
    counts = {
        f"are longer than data.tokenizer.max_line_bytes={max_bytes}": len(lines) - len(short),
        "have U+2585, which SentencePiece reserves": len(short) - len(readable),
    }
    skipped = " and ".join(f"{count:,} {reason}" for reason, count in counts.items() if count)
    if not any(map(str.strip, readable)):
        raise DataError(
            f"a tokenizer cannot be trained: the {side} side has no text"
            + (f" that can be read: of {len(lines):,} lines {skipped}" if skipped else "")
        )
    if skipped:
        log.warning("the vocabulary is learned without some %s lines: of %s, %s", side, f"{len(lines):,}", skipped)
    return readable


def _key(lines: Iterable[str], options: Mapping[str, object]) -> str:
    digest = hashlib.sha256(json.dumps([sentencepiece.__version__, options]).encode())
    for line in lines:
        digest.update(line.encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()[:32]


def _explain(message: str, size: int | str) -> Exception:
    """Turn an internal error of SentencePiece into one line that names the key."""
    if match := re.search(r"Vocabulary size too high.*<= (\d+)", message):
        message = f"{KEY}={size} is more than the training text allows: at most {match[1]}"
        return VocabularySizeError(message, int(match[1]))
    if match := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        message = (
            f"{KEY}={size} is too small for the characters of the training text: at least {match[1]} "
            "(byte_fallback alone takes 256; a lower data.tokenizer.character_coverage needs fewer)"
        )
        return VocabularySizeError(message, int(match[1]))
    if "vocab_size" in message:
        return ConfigError(f"{KEY}={size} is too small (data.tokenizer.byte_fallback alone takes 256)")
    if "sentences_.empty()" in message:
        return DataError("a tokenizer cannot be trained: no text is left after data.tokenizer.normalization")
    return DataError(f"SentencePiece cannot be trained on this text: {message}")
