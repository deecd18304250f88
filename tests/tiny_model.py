"""A random model, created in milliseconds, whose output is different for every line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

# seq2seq is imported inside the functions: jaxtyping's import hook must come first.
if TYPE_CHECKING:
    from seq2seq.config.model import AttentionName
    from seq2seq.model.network import Seq2Seq
    from seq2seq.storage.model_file import Model

SENTENCES = ["pack my box with five dozen jugs", "the quick brown fox jumps over a lazy dog", "how vexingly quick"]


def make_network(vocab: int, seed: int = 1, layers: int = 1, attention: AttentionName | None = None) -> Seq2Seq:
    """Return a random network with large weights, so that its output depends on its input."""
    import torch

    from seq2seq.config.model import AttentionName, ModelConfig
    from seq2seq.model.network import Seq2Seq

    sizes = {"emb_size": 12, "hidden_size": 16, "attention_size": 8}
    depth = {"encoder_layers": layers, "decoder_layers": layers}
    attention = attention or AttentionName.additive
    torch.manual_seed(seed)
    network = Seq2Seq(ModelConfig(**sizes, **depth, attention=attention), vocab, vocab)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.normal_(std=0.4 if "embedding" in name or "output" in name else 2.0)
        network.output.bias[3] = -3.0  # EOS is unlikely, so that outputs are longer than 0
    return network


def make_model(cache: Path, byte_fallback: bool = False) -> Model:
    """Return a random network with a tokenizer of single characters, and of bytes with `byte_fallback`."""
    from seq2seq.config.data import DataConfig
    from seq2seq.config.schema import Config
    from seq2seq.config.tokenizer import PieceType, TokenizerConfig
    from seq2seq.config.training import TrainingConfig
    from seq2seq.data.corpus import ParallelText
    from seq2seq.data.subwords.tokenizer import Tokenizer
    from seq2seq.storage.model_file import Model

    size = 31 + 256 * byte_fallback
    pieces = TokenizerConfig(type=PieceType.char, vocab_size=size, byte_fallback=byte_fallback, character_coverage=1.0)
    tokenizer = Tokenizer.train(ParallelText(SENTENCES, SENTENCES), pieces, cache)
    network = make_network(tokenizer.src_size)
    data = DataConfig(src="en", tgt="fr", tokenizer=pieces)
    config = Config(data=data, model=network.config, training=TrainingConfig(max_epochs=1))
    return Model(network.eval(), tokenizer, config)
