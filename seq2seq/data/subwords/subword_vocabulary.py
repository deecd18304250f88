"""The vocabulary of a SentencePiece model as subword sampling reads it; does not import torch."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import chain
from typing import Any

from seq2seq.data.special_ids import UNK_ID
from seq2seq.errors import ConfigError

SPACE = "▁"


class Vocabulary:
    """Pieces of a SentencePiece model: `ids` and `scores` by piece, and `symbols`, which are never cut or merged."""

    def __init__(self, model: bytes) -> None:
        """Parse a serialised model.

        Raises:
            ConfigError: the model is neither unigram nor bpe.
        """
        # Imported here because it needs protobuf, which comes with TensorBoard and which a translator does not need.
        from sentencepiece import sentencepiece_model_pb2

        proto: Any = sentencepiece_model_pb2.ModelProto.FromString(model)  # type: ignore[attr-defined]
        piece_type, model_type = type(proto).SentencePiece, type(proto.trainer_spec)
        if proto.trainer_spec.model_type not in (model_type.UNIGRAM, model_type.BPE):
            raise ConfigError("data.sampling: the given SentencePiece model is neither unigram nor bpe")
        self.unigram = proto.trainer_spec.model_type == model_type.UNIGRAM
        pieces = list(enumerate(proto.pieces))
        self.ids: dict[str, int] = {piece.piece: i for i, piece in pieces if piece.type == piece_type.NORMAL}
        self.scores: dict[str, float] = {piece: proto.pieces[i].score for piece, i in self.ids.items()}
        self.symbols: dict[str, int] = {piece.piece: i for i, piece in pieces if piece.type == piece_type.USER_DEFINED}
        self.longest = max(map(len, chain(self.ids, self.symbols)), default=1)
        self._characters = set(chain.from_iterable(chain(self.ids, self.symbols)))
        self._bytes = [i for i, piece in pieces if piece.type == piece_type.BYTE]
        # If pieces span words or end in the space, the whole line is one word.
        spans = any(SPACE in piece[1:] for piece in self.ids)
        self._word = re.compile(".+" if spans else f"{SPACE}[^{SPACE}]*|[^{SPACE}]+", re.DOTALL)
        longest_first = sorted(self.symbols, key=len, reverse=True)
        self._symbol = re.compile(f"({'|'.join(map(re.escape, longest_first))})") if longest_first else None

    def words(self, text: str) -> list[str]:
        """Split normalised text at boundaries that no piece crosses; a symbol is a word of its own."""
        if self._symbol is None:
            return self._word.findall(text)
        parts = enumerate(self._symbol.split(text))  # symbols have odd indices
        return list(chain.from_iterable([part] if i % 2 else self._word.findall(part) for i, part in parts))

    def least_ids(self, text: str) -> int:
        """Return a number of ids that no segmentation of normalised text falls below."""
        # Without bytes, any run of unknown characters may be one id.
        characters = len(text) if self._bytes else sum(map(self._characters.__contains__, text))
        return -(-characters // self.longest)

    def id(self, piece: str) -> int:
        """Return the id of a piece; for an unknown character a negative number, which `resolve` replaces."""
        return self.ids[piece] if piece in self.ids else -1 - ord(piece)

    def resolve(self, row: Iterable[int]) -> list[int]:
        """Replace unknown characters by their bytes, or a run of them by one UNK_ID if the model has no byte pieces."""
        ids: list[int] = []
        for i in row:
            if i >= 0:
                ids.append(i)
            elif self._bytes:
                ids.extend(self._bytes[byte] for byte in chr(-1 - i).encode())
            elif ids[-1:] != [UNK_ID]:
                ids.append(UNK_ID)
        return ids
