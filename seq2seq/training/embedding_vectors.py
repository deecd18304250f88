"""Start the embeddings from pre-trained word vectors (`model.src_vectors`, `model.tgt_vectors`)."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch

from seq2seq.config.model import ModelConfig
from seq2seq.data.corpus import ParallelText
from seq2seq.data.special_ids import SPECIAL_IDS
from seq2seq.data.subwords.word_vectors import Vector, read_vectors
from seq2seq.model.network import Seq2Seq
from seq2seq.storage.model_file import Model

COUNTED_LINES = 10_000
SPACE = "▁"  # SentencePiece's sign for the space before a word
log = logging.getLogger(__name__)


def start_from_vectors(model: Model, text: ParallelText) -> None:
    """Fill the embeddings of tokens that have a word vector, and log how many do; `text` is that of the training.

    Vectors are scaled together to the mean square of new embeddings, 1/emb_size, because files differ in it. If both
    languages share one matrix, a token of both gets the vector of the target language.

    Raises:
        ConfigError, DataError: as `read_vectors`.
    """
    config, tokenizer, network = model.config.model, model.tokenizer, model.network
    if config.src_vectors is not None:
        pieces, ids = tokenizer.src_pieces(range(tokenizer.src_size)), tokenizer.encode_src(text.src[:COUNTED_LINES])
        _fill(network.src_embedding, pieces, config.src_vectors, "model.src_vectors", ids)
    if config.tgt_vectors is not None:
        pieces, ids = tokenizer.tgt_pieces(range(tokenizer.tgt_size)), tokenizer.encode_tgt(text.tgt[:COUNTED_LINES])
        _fill(network.tgt_embedding, pieces, config.tgt_vectors, "model.tgt_vectors", ids)


def freeze_vectors(network: Seq2Seq, config: ModelConfig) -> None:
    """Exclude embeddings that start from vectors from training, if `model.freeze_vectors` says so."""
    for embedding, vectors in (
        (network.src_embedding, config.src_vectors),
        (network.tgt_embedding, config.tgt_vectors),
    ):
        if config.freeze_vectors and vectors is not None:
            embedding.weight.requires_grad_(False)


@torch.no_grad()
def _fill(
    embedding: torch.nn.Embedding, pieces: Sequence[str], path: str, key: str, sentences: list[list[int]]
) -> None:
    words = {i: word for i, piece in enumerate(pieces) if i not in SPECIAL_IDS.values() and (word := _word(piece))}
    wanted = {form for word in words.values() for form in (word, word.lower())}
    vectors = read_vectors(path, key, wanted, embedding.embedding_dim)
    rows: dict[int, Vector] = {}
    for i, word in words.items():
        vector = vectors.get(word, vectors.get(word.lower()))  # many files have lower-case words only
        if vector is not None:
            rows[i] = vector
    values = torch.from_numpy(np.stack(list(rows.values())))
    values *= (embedding.embedding_dim * values.square().mean()).clamp(min=1e-12).rsqrt()
    embedding.weight[list(rows)] = values.to(embedding.weight)
    running = [i for sentence in sentences for i in sentence]
    log.info(
        "%s: vectors for %s of %s tokens of the vocabulary, %.1f %% of the running tokens of %s training sentences",
        *(key, f"{len(rows):,}", f"{len(pieces):,}", 100 * sum(i in rows for i in running) / max(1, len(running))),
        f"{len(sentences):,}",
    )


def _word(piece: str) -> str:
    """Return the word that a piece is; empty for a part of a word. Punctuation is a word without a space before it."""
    if piece.startswith(SPACE):
        return piece[1:]
    return "" if any(map(str.isalnum, piece)) else piece
