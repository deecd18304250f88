"""A network that is trained in seconds to move words: the source word of every target word is known."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # seq2seq is imported inside the function: jaxtyping's import hook must come first
    from seq2seq.inference.translator import Translator

WORDS = ["ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen"]
STEPS, ROWS = 150, 32
TASKS: dict[str, Callable[[list[int]], list[int]]] = {
    "ends": lambda words: [words[-1], words[0]],
    "reverse": lambda words: words[::-1],
}


def sentence(numbers: random.Random) -> list[str]:
    """Return three to six different words."""
    return numbers.sample(WORDS, numbers.randint(3, 6))


def trained_translator(task: str, cache: Path) -> Translator:
    """Train a network for a task on random sentences and return its translator; a word is a token."""
    import torch

    from seq2seq.config.model import DropoutConfig, ModelConfig
    from seq2seq.config.tokenizer import PieceType, TokenizerConfig
    from seq2seq.data.batches.batch import make_batch
    from seq2seq.data.corpus import ParallelText
    from seq2seq.data.subwords.tokenizer import Tokenizer
    from seq2seq.inference.translator import Translator
    from seq2seq.model.network import Seq2Seq
    from seq2seq.training.loss import smoothed_cross_entropy

    pieces = TokenizerConfig(type=PieceType.word, vocab_size=4 + len(WORDS), byte_fallback=False)
    tokenizer = Tokenizer.train(ParallelText(WORDS, WORDS), pieces, cache)
    torch.manual_seed(1)
    sizes = {"emb_size": 16, "hidden_size": 32, "attention_size": 16}
    network = Seq2Seq(ModelConfig(**sizes, dropout=DropoutConfig()), tokenizer.src_size, tokenizer.tgt_size).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    numbers = random.Random(1)
    for _ in range(STEPS):
        lines = [" ".join(sentence(numbers)) for _ in range(ROWS)]
        ids = tokenizer.encode_src(lines)
        logits, targets, _ = network(make_batch(ids, [TASKS[task](row) for row in ids]))
        loss, _ = smoothed_cross_entropy(logits, targets, 0.0)
        optimizer.zero_grad()
        (loss / len(targets)).backward()
        optimizer.step()
    return Translator(network.eval(), tokenizer)
