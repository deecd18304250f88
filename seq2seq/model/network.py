"""The whole sequence-to-sequence network: token ids in, logits out."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seq2seq.config.model import ModelConfig, TieName
from seq2seq.data.batches.batch import Batch, real_positions
from seq2seq.data.special_ids import PAD_ID
from seq2seq.errors import ConfigError
from seq2seq.model.attention import AttentionMemory
from seq2seq.model.decoder import Decoder, DecoderState
from seq2seq.model.dropout import Dropout
from seq2seq.model.encoder import Encoder
from seq2seq.model.initialisation import initialise, randomise_biases


class Seq2Seq(nn.Module):
    """Bidirectional deep recurrent encoder, recurrent decoder with attention (Bahdanau et al. 2015).

    Raises:
        ConfigError: three-way tied embeddings with two vocabularies of different size.
    """

    def __init__(self, config: ModelConfig, src_vocab: int, tgt_vocab: int) -> None:
        super().__init__()
        if config.tie_embeddings is TieName.three_way and src_vocab != tgt_vocab:
            raise ConfigError("model.tie_embeddings=three_way needs one joint vocabulary")
        self.config = config
        self.src_embedding = _embedding(src_vocab, config.emb_size)
        self.tgt_embedding = _embedding(tgt_vocab, config.emb_size)
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.output = nn.Linear(config.emb_size, tgt_vocab)
        dropout = config.dropout
        self.embedding_dropout, self.context_dropout, self.readout_dropout = (
            Dropout(p, dropout.variational) for p in (dropout.embedding, dropout.context, dropout.readout)
        )
        self.src_word_dropout, self.tgt_word_dropout = Dropout(dropout.src_words), Dropout(dropout.tgt_words)
        self.tie()
        if not self.output.weight.is_meta:  # a model file fills the weights itself
            initialise(self, config.initialisation)
            if config.layer_norm and dropout.src_words:
                randomise_biases(self.encoder.bottom)

    def tied_names(self) -> set[str]:
        """Return the names of parameters that share the memory of `tgt_embedding.weight`."""
        output, source = {"output.weight"}, {"src_embedding.weight"}
        return {TieName.none: set(), TieName.two_way: output, TieName.three_way: output | source}[
            self.config.tie_embeddings
        ]

    def tie(self) -> None:
        """Make the matrices that `tie_embeddings` names one parameter, `tgt_embedding.weight`."""
        if self.config.tie_embeddings is not TieName.none:
            self.output.weight = self.tgt_embedding.weight
        if self.config.tie_embeddings is TieName.three_way:
            self.src_embedding.weight = self.tgt_embedding.weight

    def embed_source(self, src_ids: Int[Tensor, "batch src_len"]) -> Float[Tensor, "batch src_len emb"]:
        """Return the vectors that the encoder reads."""
        return self._embed(self.src_embedding, src_ids, self.src_word_dropout)

    def encode(
        self,
        src_ids: Int[Tensor, "batch src_len"],
        src_lengths: Int[Tensor, " batch"],
        words: Float[Tensor, "batch src_len emb"] | None = None,
    ) -> tuple[AttentionMemory, DecoderState]:
        """Return what attention reads of the source, and the decoder's first state (one beam).

        With `words`, the encoder reads these vectors in place of `embed_source(src_ids)`.
        """
        words = self.embed_source(src_ids) if words is None else words
        states, summary = self.encoder(words, src_lengths)
        mask = torch.arange(src_ids.shape[1], device=src_ids.device) < src_lengths[:, None]
        memory = self.decoder.bottom.attention.memory(self.context_dropout(states), summary, mask)
        return memory, self.decoder.initial_state(summary, memory)

    def ordered(self, batch: Batch) -> Batch:
        """Return a batch of text with its target tokens in the order in which the decoder writes them."""
        return batch.reversed_targets() if self.config.reversed_target else batch

    def forward(
        self, batch: Batch
    ) -> tuple[Float[Tensor, "tokens vocab"], Int[Tensor, " tokens"], Float[Tensor, "batch tgt_len src_len"]]:
        """Teacher forcing: return the logits and targets of all real target positions, and the attention weights.

        Padding is removed before the vocabulary projection, the largest product of the step.
        """
        readouts, targets, attn_weights = self.read_out(batch)
        return self.output(readouts), targets, attn_weights

    def read_out(
        self, batch: Batch, src_words: Float[Tensor, "batch src_words emb"] | None = None
    ) -> tuple[Float[Tensor, "tokens emb"], Int[Tensor, " tokens"], Float[Tensor, "batch tgt_len src_len"]]:
        """Return readouts, targets and attention weights: `forward` without the vocabulary projection.

        `src_words` are the vectors that the encoder reads; default: the embeddings of the source.
        """
        memory, state = self.encode(batch.src_ids, batch.src_lengths, src_words)
        return self.read_out_encoded(memory, state, batch.tgt_in, batch.tgt_out, batch.real)

    def read_out_encoded(
        self,
        memory: AttentionMemory,
        state: DecoderState,
        tgt_in: Int[Tensor, "batch tgt_len"],
        tgt_out: Int[Tensor, "batch tgt_len"],
        real: tuple[Int[Tensor, " tokens"], Int[Tensor, " tokens"]] | None = None,
    ) -> tuple[Float[Tensor, "tokens emb"], Int[Tensor, " tokens"], Float[Tensor, "batch tgt_len src_len"]]:
        """Return `read_out` of encoded sources: `memory` and `state` as `encode` returns them, a row per target.

        `real` are the rows and columns of the target tokens, `Batch.real`; None: they are found.
        """
        words = self._embed(self.tgt_embedding, tgt_in, self.tgt_word_dropout)
        readouts, attn_weights = self.decoder(words, state, memory)
        real = real_positions(tgt_out) if real is None else real
        if self.config.dropout.variational:  # a mask for each sentence: before padding is removed
            return self.readout_dropout(readouts)[real], tgt_out[real], attn_weights
        return self.readout_dropout(readouts[real]), tgt_out[real], attn_weights

    def step(
        self, last_tokens: Int[Tensor, "batch beam"], state: DecoderState, memory: AttentionMemory
    ) -> tuple[Float[Tensor, "batch beam vocab"], DecoderState, Float[Tensor, "batch beam src_len"]]:
        """Return each hypothesis' logits of the next token, the new state and the attention weights."""
        words = self._embed(self.tgt_embedding, last_tokens, self.tgt_word_dropout)
        readout, state, attn_weights = self.decoder.step(words, state, memory)
        return self.output(self.readout_dropout(readout)), state, attn_weights

    def parameter_counts(self) -> dict[str, int]:
        """Return the number of weights by part, tied matrices counted once (under embeddings)."""
        seen: set[int] = set()
        counts: dict[str, int] = {}
        for part, names in _PARTS.items():
            parameters = {id(p): p.numel() for name, p in self.named_parameters() if name.startswith(names)}
            counts[part] = sum(n for key, n in parameters.items() if key not in seen)
            seen |= parameters.keys()
        return counts

    def _embed(
        self, table: nn.Embedding, ids: Int[Tensor, "batch len"], word_dropout: Dropout
    ) -> Float[Tensor, "batch len emb"]:
        # Embeddings have variance 1/emb_size, as a tied output layer needs logits near 0: scale them to variance 1.
        words: Tensor = self.embedding_dropout(table(ids) * math.sqrt(self.config.emb_size))
        if word_dropout.p and self.training:
            words = words * word_dropout(words.new_ones(*ids.shape, 1))
        return words


def without_weights(config: ModelConfig, src_vocab: int, tgt_vocab: int) -> Seq2Seq:
    """Return a network on the meta device: shapes without weights, made in milliseconds at any size."""
    with torch.device("meta"):
        return Seq2Seq(config, src_vocab, tgt_vocab)


def _embedding(words: int, size: int) -> nn.Embedding:
    weight = torch.empty(words, size)
    if weight.is_meta:  # drawing values on this device makes torch import its compiler, which takes a second
        return nn.Embedding(words, size, padding_idx=PAD_ID, _weight=weight)
    return nn.Embedding(words, size, padding_idx=PAD_ID)


_PARTS: dict[str, tuple[str, ...]] = {
    "embeddings": ("src_embedding", "tgt_embedding"),
    "encoder": ("encoder",),
    "attention": ("decoder.bottom.attention",),
    "decoder": ("decoder.bottom", "decoder.upper", "decoder.bridge"),
    "readout": ("decoder.readout", "output"),
}
