"""Finds what a vocabulary cannot write; for `inspect` alone, because it needs a tokenizer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

from seq2seq.data.corpus import Pair
from seq2seq.data.filters.base import Filter
from seq2seq.data.subwords.tokenizer import Tokenizer

_BYTE_PIECE = re.compile("<0x[0-9A-F]{2}>")


class Unwritable(Filter):
    """Finds the pairs with a character for which the vocabulary has no piece, only <unk> or bytes.

    Attributes:
        characters: those found, with the number of sentences that have them.
    """

    finding = "characters that the vocabulary lacks"

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.characters: Counter[str] = Counter()
        self._known: tuple[set[str], set[str]] = (set(), set())
        self._pieces_of: tuple[Callable[[str], list[str]], ...] = (
            lambda char: tokenizer.src_pieces(tokenizer.encode_src([char])[0]),
            lambda char: tokenizer.tgt_pieces(tokenizer.encode_tgt([char])[0]),
        )

    def __call__(self, pair: Pair) -> Pair | None:
        lacking = [self._lacking(side, line) for side, line in enumerate(pair)]
        for characters in lacking:
            self.characters.update(characters)
        return None if any(lacking) else pair

    def _lacking(self, side: int, line: str) -> set[str]:
        new = set(line) - self._known[side]
        lacking = {char for char in new if self._has_no_piece(side, char)}
        self._known[side].update(new - lacking)
        return lacking

    def _has_no_piece(self, side: int, char: str) -> bool:
        return any(piece == "<unk>" or _BYTE_PIECE.fullmatch(piece) for piece in self._pieces_of[side](char))
