"""Embeddings that start from word vectors: which rows, how they are scaled, and files that are none."""

from __future__ import annotations

import gzip
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from seq2seq.config.data import DataConfig
from seq2seq.config.model import ModelConfig, TieName
from seq2seq.config.schema import Config
from seq2seq.config.tokenizer import PieceType, TokenizerConfig
from seq2seq.config.training import TrainingConfig
from seq2seq.data.corpus import ParallelText
from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.data.subwords.word_vectors import read_vectors
from seq2seq.errors import ConfigError, DataError
from seq2seq.model.network import Seq2Seq
from seq2seq.storage.model_file import Model
from seq2seq.training.embedding_vectors import freeze_vectors, start_from_vectors

TEXT = ParallelText(["the dog sat", "the Cat sat ."] * 5, ["der Hund", "die Katze ."] * 5)
VECTORS = "the 1 2 3\ndog 4 5 6\ncat -1 -2 -3\n. 0 0 1\nHund 9 9 9\nthe 7 7 7\n"


def model_of(cache: Path, tie: TieName = TieName.none, **settings: Any) -> Model:
    joint = tie is TieName.three_way
    tokenizer = Tokenizer.train(TEXT, TokenizerConfig(type=PieceType.word, vocab_size=7, joint=joint), cache)
    config = ModelConfig(emb_size=3, hidden_size=4, attention_size=2, tie_embeddings=tie, **settings)
    torch.manual_seed(1)
    network = Seq2Seq(config, tokenizer.src_size, tokenizer.tgt_size)
    data = DataConfig(src="en", tgt="de", tokenizer=TokenizerConfig(joint=joint))
    return Model(network, tokenizer, Config(data=data, model=config, training=TrainingConfig(max_steps=1)))


def write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


@pytest.mark.parametrize("header", ["", "6 3\n"])
def test_words_that_are_found_get_their_vectors_at_the_scale_of_new_embeddings(
    tmp_path: Path, header: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "en.vec.gz"
    path.write_bytes(gzip.compress((header + VECTORS).encode()))
    model = model_of(tmp_path, src_vectors=str(path))
    before = {name: weight.clone() for name, weight in model.network.state_dict().items()}
    start_from_vectors(model, TEXT)
    after = model.network.state_dict()
    assert [name for name in after if not torch.equal(before[name], after[name])] == ["src_embedding.weight"]
    pieces = model.tokenizer.src_pieces(range(model.tokenizer.src_size))
    expected = {"▁the": [1.0, 2, 3], "▁dog": [4.0, 5, 6], "▁Cat": [-1.0, -2, -3], "▁.": [0.0, 0, 1]}
    found = [piece for piece in pieces if piece in expected]
    assert len(found) >= 2
    values = torch.tensor([expected[piece] for piece in found])
    values /= (3 * values.square().mean()).sqrt()
    rows = after["src_embedding.weight"]
    torch.testing.assert_close(rows[[pieces.index(piece) for piece in found]], values)
    others = [i for i, piece in enumerate(pieces) if piece not in expected]
    assert torch.equal(rows[others], before["src_embedding.weight"][others])
    assert f"model.src_vectors: vectors for {len(found)} of 7 tokens" in caplog.text
    assert "of the running tokens of 10 training sentences" in caplog.text


def test_a_shared_matrix_takes_the_vectors_of_both_languages(tmp_path: Path) -> None:
    src, tgt = write(tmp_path / "en.vec", VECTORS), write(tmp_path / "de.vec", "sat 1 0 0\nthe 5 5 5\n")
    model = model_of(tmp_path, TieName.three_way, src_vectors=src, tgt_vectors=tgt)
    start_from_vectors(model, TEXT)
    pieces = model.tokenizer.src_pieces(range(model.tokenizer.src_size))
    row = model.network.src_embedding.weight[pieces.index("▁the")]
    assert row.tolist() == pytest.approx([row[0].item()] * 3)  # the target's
    assert model.network.output.weight is model.network.src_embedding.weight


def test_frozen_vectors_are_not_trained(tmp_path: Path) -> None:
    src = write(tmp_path / "en.vec", VECTORS)
    for tie in (TieName.none, TieName.two_way):
        model = model_of(tmp_path, tie, src_vectors=src, freeze_vectors=True)
        freeze_vectors(model.network, model.config.model)
        assert [n for n, p in model.network.named_parameters() if not p.requires_grad] == ["src_embedding.weight"]
    with pytest.raises(ConfigError, match=r"freeze_vectors=true .* model\.tie_embeddings=two_way or none"):
        model_of(tmp_path, TieName.three_way, src_vectors=src, freeze_vectors=True)
    with pytest.raises(ConfigError, match=r"freeze_vectors=true .* model\.tie_embeddings=none"):
        model_of(tmp_path, TieName.two_way, tgt_vectors=src, freeze_vectors=True)


def test_odd_lines_of_words_that_are_not_wanted_are_passed_over(tmp_path: Path) -> None:
    odd = b"a b c 1 2 3\n\xff\xfe 1 2 3\nbroken 1\n\nlast 1e-3 -2.5E2 3\n"
    vectors = read_vectors(write(tmp_path / "v", b"the 1 2 3\n" + odd), "key", {"the", "last"}, 3)
    assert {word: vector.tolist() for word, vector in vectors.items()} == {
        "the": [1, 2, 3], "last": [pytest.approx(0.001), -250, 3]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not a text file of vectors"),
        ("the\n", "is not a text file of vectors"),
        ("the 1 2\n", "have 2 numbers, but model.emb_size=3: set model.emb_size=2"),
        ("1 4\nthe 1 2 3 4\n", "have 4 numbers, but model.emb_size=3"),
        ("x 1 2 3\nthe 1 2\n", "v.vec, line 2: expected 3 finite numbers"),
        ("the 1 2 nan\n", "v.vec, line 1: expected 3 finite numbers"),
        ("the 1 2 1e99\n", "v.vec, line 1: expected 3 finite numbers"),
        ("the 1 b 3\n", "v.vec, line 1: a number is expected"),
        ("uno 1 2 3\n", "has a vector for no token of the vocabulary"),
        (b"3 3\nthe \x00\x01\x02\x03", "v.vec"),
        (gzip.compress(b"the 1 2 3\n" * 99, mtime=0)[:-9], "v.vec"),
        (None, "v.vec"),
    ],
)
def test_a_bad_file_is_one_line_that_names_key_and_file(
    tmp_path: Path, content: str | bytes | None, message: str
) -> None:
    path = tmp_path / "v.vec"
    if content is not None:
        write(path, content)
    with pytest.raises((ConfigError, DataError)) as caught:
        read_vectors(str(path), "model.src_vectors", {"the"}, 3)
    text = str(caught.value)
    assert text.startswith("model.src_vectors: ")
    assert message in text
    assert "\n" not in text
