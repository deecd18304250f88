"""The fixed work of the benchmark: one corpus, one vocabulary, one size of network. Imports no torch."""

from __future__ import annotations

import gzip
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seq2seq.atomic_files import new_folder
from seq2seq.config.data import FilesConfig, TokenizerConfig
from seq2seq.config.model import DropoutConfig, ModelConfig
from seq2seq.data.cleaning import clean
from seq2seq.data.corpora.grammar import splits
from seq2seq.data.corpus import ParallelText
from seq2seq.data.reading import read_parallel
from seq2seq.data.tokenizer import Tokenizer

LANGUAGES = ("en", "de")
PARTS = ("train", "val")
DROPOUT = 0.2
MAX_LENGTH = 100
"""Longest side of a training pair, pieces with EOS."""
GRAMMAR_VOCAB = 2000  # the synthetic text has not enough different words for more


@dataclass(frozen=True)
class Settings:
    """What a measuring process is told.

    Attributes:
        data: folder with train.en.gz, train.de.gz, val.en.gz and val.de.gz.
        cache: folder of what is prepared once.
        grammar_pairs: training pairs of the synthetic text that stands in for an absent corpus.
        vocab: pieces of the joint vocabulary.
        hidden: decoder state size; word vectors, encoder directions and attention have half of it.
        threads: None: torch's choice.
        precision: of our matrix products; the textbook's are fp32.
        kernels: auto, or plain: ours without the compiled ones.
        allocator: auto, or default: ours without telling glibc to keep memory.
        seconds: of training measured, after `warmup` batches.
        warmup: training batches before the clock starts.
        samples: batches for which the least matrix products are timed.
        sentences: validation sentences translated together.
        singles: validation sentences translated one by one.
        model: model file or run folder to translate with; None: random weights.
    """

    data: str
    cache: str
    grammar_pairs: int
    vocab: int
    hidden: int
    threads: int | None
    precision: str
    kernels: str
    allocator: str
    seconds: float
    warmup: int
    samples: int
    sentences: int
    singles: int
    model: str | None


def set_up(settings: Settings) -> dict[str, Any]:
    """Make what the measurements share, and return the corpus folder and vocabulary size that they will use."""
    folder, corpus, vocab = Path(settings.data), f"files of {settings.data}", settings.vocab
    if not all((folder / name).is_file() for part in PARTS for name in file_names(part)):
        print(f"no Multi30k in {folder} (--data): the text is synthetic", file=sys.stderr)
        corpus, vocab = "synthetic grammar", min(settings.vocab, GRAMMAR_VOCAB)
        folder = Path(settings.cache) / f"grammar-{settings.grammar_pairs}-{settings.sentences}"
        if not folder.is_dir():
            write_grammar(folder, settings.grammar_pairs, settings.sentences)
    train = read(folder, "train")
    make_tokenizer(train, vocab, settings.cache)
    return {"data": str(folder), "corpus": corpus, "pairs": len(train), "vocab": vocab}


def write_grammar(folder: Path, train_pairs: int, valid_pairs: int) -> None:
    """Write synthetic text under the names of the real one."""
    made = splits(train_pairs, valid_pairs, 0, seed=1)
    with new_folder(folder) as temporary:
        for part, pairs in zip(PARTS, (made["train"], made["valid"]), strict=True):
            for name, lines in zip(file_names(part), zip(*pairs, strict=True), strict=True):
                (temporary / name).write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))


def write_repeated(settings: Settings, folder: str, pairs: int) -> dict[str, Any]:
    """Write the training text over and over into a new folder, `pairs` pairs in all, as files that `read` can read."""
    text = read(Path(settings.data), "train")
    Path(folder).mkdir()
    for name, lines in zip(file_names("train"), (text.src, text.tgt), strict=True):
        with gzip.open(Path(folder, name), "wt", encoding="utf-8", compresslevel=1) as file:
            file.writelines(f"{lines[i % len(lines)]}\n" for i in range(pairs))
    return {}


def file_names(part: str) -> tuple[str, str]:
    """Return the names of a part's source and target file."""
    src, tgt = (f"{part}.{language}.gz" for language in LANGUAGES)
    return src, tgt


def read(folder: Path, part: str) -> ParallelText:
    """Read one part of the corpus as the training command would."""
    src, tgt = (str(folder / name) for name in file_names(part))
    return clean(read_parallel(FilesConfig(src=src, tgt=tgt), part))


def make_tokenizer(text: ParallelText, vocab: int, cache: str) -> Tokenizer:
    """Train the joint vocabulary, or read it from the cache."""
    return Tokenizer.train(text, TokenizerConfig(vocab_size=vocab), Path(cache))


def model_config(hidden: int) -> ModelConfig:
    """Return the network: two layers in encoder and decoder, the same dropout everywhere."""
    return ModelConfig(
        emb_size=hidden // 2,
        hidden_size=hidden,
        attention_size=hidden // 2,
        encoder_layers=2,
        decoder_layers=2,
        dropout=DropoutConfig(embedding=DROPOUT, layers=DROPOUT, context=DROPOUT, readout=DROPOUT),
    )
