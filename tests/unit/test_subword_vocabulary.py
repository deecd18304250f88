"""`Vocabulary.least_ids`, on models made by hand: no segmentation has fewer ids, and some have as few."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from sentencepiece import sentencepiece_model_pb2

from seq2seq.data.subwords.subword_sampling import Sampler
from seq2seq.data.subwords.subword_vocabulary import Vocabulary

PIECES = ("a", "b", "c", "ab", "abc", "bca")


def model(symbols: Sequence[str] = (), byte_pieces: bool = False) -> bytes:
    """Return a serialised unigram model with `PIECES`."""
    proto = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    kinds = type(proto).SentencePiece
    of_bytes = [f"<0x{byte:02X}>" for byte in range(256)] if byte_pieces else []
    for kind, pieces in (
        (kinds.CONTROL, ["<pad>", "<s>", "</s>"]),
        (kinds.UNKNOWN, ["<unk>"]),
        (kinds.USER_DEFINED, symbols),
        (kinds.BYTE, of_bytes),
        (kinds.NORMAL, PIECES),
    ):
        for piece in pieces:
            proto.pieces.add(piece=piece, score=-1.0, type=kind)
    serialised: bytes = proto.SerializeToString()
    return serialised


@pytest.mark.parametrize(
    ("text", "symbols", "byte_pieces", "least"),
    [
        ("", (), False, 0),
        ("a", (), False, 1),
        ("abc", (), False, 1),
        ("abca", (), False, 2),  # a + bca: a part of a longest piece is an id, too
        ("abcabca", (), False, 3),
        ("abc日日日", (), False, 1),  # without bytes, a run of unknown characters may be one id, or none of its own
        ("日日日", (), False, 0),
        ("abc日日日", (), True, 2),  # an unknown character is at least one byte
        ("abc<2de>", ("<2de>",), False, 2),  # the longest piece may be a symbol, whose characters are known
        ("abcabc", ("<2de>",), False, 2),
    ],
)
def test_by_hand(text: str, symbols: Sequence[str], byte_pieces: bool, least: int) -> None:
    assert Vocabulary(model(symbols, byte_pieces)).least_ids(text) == least


def test_a_line_that_no_segmentation_makes_short_enough_is_known_before_it_is_segmented() -> None:
    sampler = Sampler(model(), list, 0.5)
    line = "abc" * 4
    assert min(map(len, sampler.encode([line] * 50, [1]))) == 4
    assert [sampler.always_reaches(line, limit) for limit in (3, 4, 5)] == [True, True, False]
    assert sampler.always_reaches(line + "a", 5) is False  # shorter than five longest pieces: it is segmented
    assert not sampler.always_reaches("abc" + "日" * 20, 2)
