"""The fixed workload of the benchmark: one corpus, one vocabulary, one network size. Does not import torch."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seq2seq.config.model import DropoutConfig, ModelConfig
from seq2seq.config.text_files import FilesConfig
from seq2seq.config.tokenizer import TokenizerConfig
from seq2seq.data.corpora.grammar import splits
from seq2seq.data.corpus import ParallelText
from seq2seq.data.files.reading import read_parallel
from seq2seq.data.special_ids import SPECIAL_IDS
from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.data.text.cleaning import clean
from seq2seq.errors import DataError
from seq2seq.filesystem.atomic_files import new_folder

LANGUAGES = ("en", "de")
PARTS = ("train", "val")
AUTO, SYNTHETIC = "auto", "synthetic"  # values of `--data` that are no folder
DEFAULT_FOLDER = "data/multi30k"
TEST = "test_2016_flickr"
DROPOUT = 0.2
MAX_LENGTH = 100
"""Longest side of a training pair, in tokens with EOS."""
GRAMMAR_VOCAB = 2000  # the synthetic text has too few different words for a larger vocabulary


@dataclass(frozen=True)
class Settings:
    """Settings of a measuring process.

    Attributes:
        data: folder with train.en.gz, train.de.gz, val.en.gz and val.de.gz; for `set_up` the value of `--data`.
        cache: folder for the vocabulary and prepared text.
        grammar_pairs: training pairs of the synthetic text.
        vocab: size of the joint vocabulary.
        hidden: size of the decoder state; embeddings, encoder directions and attention have half of it.
        threads: number of CPU threads; None: chosen by torch.
        precision: of our matrix products; the textbook uses fp32.
        kernels: runtime.kernels of ours: auto or plain.
        allocator: runtime.allocator of ours: auto or default.
        seconds: training time measured after the warm-up.
        warmup: number of training batches before the measurement.
        samples: number of batches whose minimal matrix products are timed.
        sentences: number of validation sentences translated together.
        singles: number of validation sentences translated one by one.
        model: model file or run folder for translation; None: random weights.
        device: cpu, or the device that `train`, `translate` and `gpu` measure.
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
    device: str = "cpu"


def set_up(settings: Settings) -> dict[str, Any]:
    """Prepare corpus and vocabulary for all measurements; return the corpus folder and vocabulary size in use.

    Raises:
        DataError: the folder that the user names lacks a file.
    """
    folder, vocab = corpus_folder(settings.data), settings.vocab
    corpus = f"files of {folder}"
    if folder is None:
        corpus, vocab = "synthetic grammar", min(settings.vocab, GRAMMAR_VOCAB)
        folder = Path(settings.cache) / f"grammar-{settings.grammar_pairs}-{settings.sentences}"
        if not folder.is_dir():
            write_grammar(folder, settings.grammar_pairs, settings.sentences)
    train = read(folder, "train")
    make_tokenizer(train, vocab, settings.cache)
    return {"data": str(folder), "corpus": corpus, "pairs": len(train), "vocab": vocab}


def corpus_folder(data: str) -> Path | None:
    """Return the folder that `--data` names, or None for synthetic text.

    `auto` is the folder that the train command downloads Multi30k to, if that was done.

    Raises:
        DataError: the folder that the user names lacks a file.
    """
    if data == SYNTHETIC:
        return None
    folder = Path(DEFAULT_FOLDER if data == AUTO else data)
    missing = [name for part in PARTS for name in file_names(part) if not (folder / name).is_file()]
    if missing and data != AUTO:
        raise DataError(f"--data {data}: {', '.join(missing)} missing; name a folder of Multi30k, or {SYNTHETIC}")
    if missing:
        print(f"no Multi30k in {folder}: the text is synthetic (--data DIR names a folder)", file=sys.stderr)
    return None if missing else folder


def write_grammar(folder: Path, train_pairs: int, valid_pairs: int) -> None:
    """Write synthetic text with the file names of Multi30k."""
    parts = splits(train_pairs, valid_pairs, 0, seed=1)
    with new_folder(folder) as temporary:
        for part, pairs in zip(PARTS, (parts["train"], parts["valid"]), strict=True):
            for name, lines in zip(file_names(part), zip(*pairs, strict=True), strict=True):
                (temporary / name).write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))


def write_repeated(settings: Settings, folder: str, pairs: int) -> dict[str, Any]:
    """Repeat the training text until it has `pairs` pairs, and write it into a new folder in the format of `read`."""
    text = read(Path(settings.data), "train")
    Path(folder).mkdir()
    for name, lines in zip(file_names("train"), (text.src, text.tgt), strict=True):
        with gzip.open(Path(folder, name), "wt", encoding="utf-8", compresslevel=1) as file:
            file.writelines(f"{lines[i % len(lines)]}\n" for i in range(pairs))
    return {}


def write_tokens(settings: Settings, parts: Sequence[str]) -> dict[str, Any]:
    """Write text and vocabulary as tokens, for other toolkits, into a folder of the cache; return its path."""
    tokenizer = make_tokenizer(read(Path(settings.data), "train"), settings.vocab, settings.cache)
    texts = {part: read(Path(settings.data), part) for part in parts}
    sizes = "-".join(str(len(text)) for text in texts.values())
    folder = Path(settings.cache, f"tokens-{tokenizer.fingerprint[:12]}-{sizes}")
    if not folder.is_dir():
        with new_folder(folder) as temporary:
            for part, text in texts.items():
                sides = (tokenizer.encode_src(text.src), tokenizer.encode_tgt(text.tgt))
                for language, rows in zip(LANGUAGES, sides, strict=True):
                    write_lines(temporary / f"{part}.{language}", (" ".join(tokenizer.tgt_pieces(row)) for row in rows))
            tokens = tokenizer.tgt_pieces(range(len(SPECIAL_IDS), tokenizer.tgt_size))
            write_lines(temporary / "vocab.txt", tokens)
    return {"folder": str(folder)}


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines of text."""
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())


def file_names(part: str) -> tuple[str, str]:
    """Return the names of the source and target file of a part."""
    src, tgt = (f"{part}.{language}.gz" for language in LANGUAGES)
    return src, tgt


def read(folder: Path, part: str) -> ParallelText:
    """Read one part of the corpus as the train command does."""
    src, tgt = (str(folder / name) for name in file_names(part))
    return clean(read_parallel(FilesConfig(src=src, tgt=tgt), part))


def make_tokenizer(text: ParallelText, vocab: int, cache: str) -> Tokenizer:
    """Train the joint vocabulary, or read it from the cache."""
    return Tokenizer.train(text, TokenizerConfig(vocab_size=vocab), Path(cache))


def model_config(hidden: int) -> ModelConfig:
    """Return the config of the network: two encoder and two decoder layers, the same dropout everywhere."""
    return ModelConfig(
        emb_size=hidden // 2,
        hidden_size=hidden,
        attention_size=hidden // 2,
        encoder_layers=2,
        decoder_layers=2,
        dropout=DropoutConfig(embedding=DROPOUT, layers=DROPOUT, context=DROPOUT, readout=DROPOUT),
    )
