"""Subword segmentation with SentencePiece (Kudo and Richardson 2018): text to piece ids and back.

One vocabulary for both languages (joint) or one for each. The serialised model, a few hundred kilobytes, is stored
inside the model file. This module does not import torch.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import sentencepiece
from numpy.typing import NDArray

from seq2seq.config.tokenizer import TokenizerConfig
from seq2seq.data.corpus import ParallelText
from seq2seq.data.special_ids import SPECIAL_IDS, UNK_ID
from seq2seq.data.subwords.subword_sampling import Sampler
from seq2seq.data.subwords.vocabulary_training import train_model
from seq2seq.errors import ConfigError

log = logging.getLogger(__name__)

FEW_LINES = 64  # below it threads do not pay: starting them takes 0.5 ms, encoding a line a hundredth of that
SAMPLE_LINES, LONG_LINE = 16, 30  # from that mean number of ids on, SentencePiece makes arrays faster than lists
UNKNOWN_SCORE = -30.0  # lower than that of any piece of a unigram model
CHECKED_LINES = 10_000
IdRows: TypeAlias = list[list[int]] | list[NDArray[np.int32]]
Spans = Sequence[tuple[int, int]]
"""Begin and end of each word of a line."""
_SPACES = " ▁"  # SentencePiece writes spaces of normalised text as ▁; some given models keep them


class Tokenizer:
    """Source and target SentencePiece models; if joint, one model for both sides."""

    def __init__(self, src: bytes, tgt: bytes | None = None, *, names: tuple[str, str] = ("src", "tgt")) -> None:
        """Load serialised models; without `tgt`, `src` is joint. `names` are for error messages.

        Raises:
            ConfigError: not a SentencePiece model, or its special ids differ from `special_ids`.
        """
        self._models = {"src": src} if tgt is None else {"src": src, "tgt": tgt}
        self._src = _load(src, names[0])
        self._tgt = self._src if tgt is None else _load(tgt, names[1])
        self.threads = -1  # that encode; -1: SentencePiece chooses

    def __reduce__(self) -> tuple[Callable[[Mapping[str, bytes]], Tokenizer], tuple[dict[str, bytes]]]:
        return Tokenizer.from_bytes, (self.to_bytes(),)

    @property
    def joint(self) -> bool:
        """True if both languages share one vocabulary."""
        return self._src is self._tgt

    @property
    def src_size(self) -> int:
        """Number of pieces in the source vocabulary, special ids included."""
        return int(self._src.get_piece_size())

    @property
    def tgt_size(self) -> int:
        """Number of pieces in the target vocabulary, special ids included."""
        return int(self._tgt.get_piece_size())

    @functools.cached_property
    def longest_src_piece(self) -> int:
        """Characters of the longest source piece: the most that one token has, except an unknown piece."""
        return max(map(len, self.src_pieces(range(self.src_size))))

    @property
    def fingerprint(self) -> str:
        """Hash of the serialised models: tokenizers with the same fingerprint segment identically."""
        return hashlib.sha256(b"".join(hashlib.sha256(model).digest() for model in self._models.values())).hexdigest()

    def encode_src(self, lines: Sequence[str]) -> list[list[int]]:
        """Return the piece ids of source lines, without special ids."""
        return _encode(self._src, lines, self.threads)

    def encode_tgt(self, lines: Sequence[str]) -> list[list[int]]:
        """Return the piece ids of target lines, without special ids."""
        return _encode(self._tgt, lines, self.threads)

    def src_rows(self, lines: Sequence[str]) -> IdRows:
        """Return the ids of `encode_src`: lists if the lines are short, arrays if they are long, which is faster."""
        return _rows(self._src, lines, self.threads)

    def tgt_rows(self, lines: Sequence[str]) -> IdRows:
        """Return the ids of `encode_tgt` as `src_rows` does."""
        return _rows(self._tgt, lines, self.threads)

    def src_sampler(self, alpha: float) -> Sampler:
        """Return a sampler of segmentations of source lines.

        Raises:
            ConfigError: the model has only one segmentation of a line (char or word models).
        """
        return _sampler(self._src, alpha)

    def tgt_sampler(self, alpha: float) -> Sampler:
        """Return a sampler of segmentations of target lines; raises as `src_sampler`."""
        return _sampler(self._tgt, alpha)

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Return the text of target ids; special ids and ids outside the vocabulary are ignored.

        A NUL, which no text file may have, becomes a space: a network can emit it, byte by byte.
        """
        size = self.tgt_size
        return [self._tgt.decode([i for i in map(int, row) if 0 <= i < size]).replace("\0", " ") for row in ids]

    def src_pieces(self, ids: Iterable[int]) -> list[str]:
        """Return the source pieces as readable strings."""
        return [self._src.id_to_piece(int(i)) for i in ids]

    def tgt_pieces(self, ids: Iterable[int]) -> list[str]:
        """Return the target pieces as readable strings."""
        return [self._tgt.id_to_piece(int(i)) for i in ids]

    def src_score(self, word: str) -> float:
        """Return how well the source vocabulary knows a word: the scores of its pieces (unigram: log p), summed up.

        Each character that no piece has, other than a byte, counts `UNKNOWN_SCORE`.
        """
        ids = [i for i in self._src.encode(word) if not self._src.is_unknown(i) and not self._src.is_byte(i)]
        known = sum(len(piece.replace("▁", "")) for piece in map(self._src.id_to_piece, ids))
        return sum(map(self._src.get_score, ids)) + UNKNOWN_SCORE * max(0, len(word) - known)

    def src_symbols(self, symbols: Sequence[str]) -> list[int]:
        """Return the source ids of symbols, each of which is one token.

        Raises:
            ConfigError: the vocabulary lacks one.
        """
        ids = [int(self._src.piece_to_id(symbol)) for symbol in symbols]
        if UNK_ID in ids:
            raise ConfigError(
                f"the vocabulary has no token {symbols[ids.index(UNK_ID)]!r}: a given one must have been trained with "
                "it (data.tokenizer.user_symbols, or SentencePiece's --user_defined_symbols)"
            )
        return ids

    def src_words(self, line: str, spans: Spans | None = None) -> list[int | None]:
        """Return for each piece of `encode_src([line])[0]` the index of its word in `spans` (default: `line.split()`).

        White space, such as a lone ▁, belongs to the following word, or to none (None) at the end; a piece that spans
        two words belongs to the first. A word that normalisation removes, such as a zero-width space, has no piece.
        """
        return _words_of_pieces(self._src, line, spans)

    def given_tgt_words(self, line: str, spans: Spans | None = None) -> list[int | None]:
        """Return for each piece of `encode_tgt([line])[0]` the index of its word, as `src_words` does."""
        return _words_of_pieces(self._tgt, line, spans)

    def tgt_words(self, ids: Sequence[int], text: str, spans: Spans | None = None) -> list[int | None]:
        """Return for each of `ids` the index in `spans` (default: `text.split()`) of the word it is a part of.

        The bytes of a character belong to its word, white space to the following word. None if no word follows or if
        the id has no text: ids outside the vocabulary and special ids, except the unknown piece, whose text is ⁇.

        Raises:
            ValueError: `text` is not `decode([ids])[0]`; kinds of white space may differ.
        """
        size = self.tgt_size
        known = [int(i) for i in ids if 0 <= i < size]
        decoded = self._tgt.decode(known, return_type="offset_mapping")
        own_text = decoded["text"].replace("\0", " ")
        if own_text.split() != text.split() or len(own_text) != len(text):
            raise ValueError(f"{text!r} is not the text of the ids: {own_text!r}")
        following = _next_word(_words(text, spans))
        begins = (begin for begin, _ in decoded["offsets"])
        words = (None if self._tgt.is_control(i) else following[begin] for i, begin in zip(known, begins, strict=True))
        return [next(words) if 0 <= i < size else None for i in ids]

    def to_bytes(self) -> dict[str, bytes]:
        """Return the serialised models, with the keys {"src"} if joint, else {"src", "tgt"}."""
        return dict(self._models)

    @classmethod
    def from_bytes(cls, models: Mapping[str, bytes]) -> Tokenizer:
        """Load the models of `to_bytes`."""
        return cls(models["src"], models.get("tgt"))

    @classmethod
    def train(cls, text: ParallelText, config: TokenizerConfig, cache: Path) -> Tokenizer:
        """Train as configured, or read the cached model of the same text and config; load given models.

        Raises:
            ConfigError: the vocabulary size does not fit the text, or a given model cannot be used.
            DataError: the text is empty or SentencePiece rejects it.
            StorageError: the cache cannot be written.
        """
        tokenizer = cls._train(text, config, cache)
        tokenizer.src_symbols(config.user_symbols)
        tokenizer._log_changed(text.tgt[:CHECKED_LINES])
        return tokenizer

    @classmethod
    def _train(cls, text: ParallelText, config: TokenizerConfig, cache: Path) -> Tokenizer:
        if config.joint:
            if config.tgt_model:
                raise ConfigError(
                    "data.tokenizer.tgt_model: a joint vocabulary has src_model only; drop tgt_model or set joint=false"
                )
            if config.src_model:
                return cls(_read(config.src_model), names=(config.src_model, ""))
            return cls(train_model({"source": text.src, "target": text.tgt}, config, cache))
        src = _read(config.src_model) if config.src_model else train_model({"source": text.src}, config, cache)
        tgt = _read(config.tgt_model) if config.tgt_model else train_model({"target": text.tgt}, config, cache)
        return cls(src, tgt, names=(config.src_model or "src", config.tgt_model or "tgt"))

    def _log_changed(self, lines: Sequence[str]) -> None:
        """Log how many target lines are not what their ids decode to, because no translation can then be like them."""
        texts = [re.sub(" +", " ", line).strip(" ") for line in lines]
        changed = [pair for pair in zip(texts, self.decode(self.encode_tgt(texts)), strict=True) if pair[0] != pair[1]]
        if changed:
            words = zip(*(text.split(" ") for text in changed[0]), strict=False)
            before, after = next((pair for pair in words if pair[0] != pair[1]), changed[0])
            log.warning(
                "the tokenizer changes characters in %d of the first %d target lines, such as %r to %r "
                "(data.tokenizer.normalization, data.tokenizer.byte_fallback)",
                *(len(changed), len(lines), before, after),
            )


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
        raise ConfigError(f"{name}: its special ids are {actual}: train it with {flags}")
    return processor


def _encode(processor: sentencepiece.SentencePieceProcessor, lines: Sequence[str], threads: int) -> list[list[int]]:
    if len(lines) < FEW_LINES:
        return [processor.encode(_utf8(line)) for line in lines]
    # Multithreaded, releases the GIL.
    ids: list[list[int]] = processor.encode([_utf8(line) for line in lines], num_threads=threads)
    return ids


def _rows(processor: sentencepiece.SentencePieceProcessor, lines: Sequence[str], threads: int) -> IdRows:
    first = _encode(processor, lines[:SAMPLE_LINES], threads)
    if len(lines) < FEW_LINES or sum(map(len, first)) < LONG_LINE * SAMPLE_LINES:
        return first + _encode(processor, lines[SAMPLE_LINES:], threads)
    arrays: list[NDArray[np.int32]] = processor.encode(
        [_utf8(line) for line in lines], num_threads=threads, return_type="numpy"
    )
    return arrays


def _sampler(processor: sentencepiece.SentencePieceProcessor, alpha: float) -> Sampler:
    def normalise(lines: Sequence[str]) -> list[str]:
        return [text.decode() for text in processor.normalize([_utf8(line) for line in lines])]

    return Sampler(processor.serialized_model_proto(), normalise, alpha)


def _utf8(line: str) -> bytes:
    # A lone surrogate (from a file name or invalid JSON) has no UTF-8: replace it by "?" instead of raising.
    return line.encode("utf-8", "replace")


def _words_of_pieces(
    processor: sentencepiece.SentencePieceProcessor, line: str, spans: Spans | None
) -> list[int | None]:
    line = _utf8(line).decode()
    words = _words(line, spans)
    text, origins = processor.normalize(line, with_offsets=True)
    encoded = processor.encode(line, return_type="offset_mapping")
    # The offsets in `encoded` assign removed characters to either neighbour, and a whole character to the last of
    # its byte pieces. Therefore the pieces are aligned with the normalised text, byte by byte.
    byte_words = [
        None if char in _SPACES else words[origin]
        for char, origin in zip(text, origins, strict=False)  # `origins` ends with the end of the text
        for _ in char.encode()
    ]
    pieces = zip(encoded["ids"], encoded["pieces"], strict=True)
    sizes = [1 if processor.is_byte(i) else len(piece.encode()) for i, piece in pieces]
    following = _next_word(byte_words)
    return [following[end - size] for end, size in zip(itertools.accumulate(sizes), sizes, strict=True)]


def _words(text: str, spans: Spans | None) -> list[int | None]:
    """Return for each character the index of its word in `spans` (default: `text.split()`); None for white space."""
    words: list[int | None] = [None] * len(text)
    for index, (begin, end) in enumerate(spans or [match.span() for match in re.finditer(r"\S+", text)]):
        words[begin:end] = [index] * (end - begin)
    return words


def _next_word(words: Sequence[int | None]) -> list[int | None]:
    """Return for each position, and for the end, the first word at or after it."""
    following: list[int | None] = [None]
    for word in reversed(words):
        following.append(following[-1] if word is None else word)
    return following[::-1]
