"""Learn the tokenizer of a run from its corpus."""

from __future__ import annotations

from seq2seq.config.data import DataConfig
from seq2seq.config.tokenizer import TokenizerConfig
from seq2seq.data.corpus import Corpus
from seq2seq.data.files.download import cache_dir
from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.data.subwords.vocabulary_size import resolve_size
from seq2seq.data.text.augmentation import vocabulary_text


def new_tokenizer(corpus: Corpus, data: DataConfig) -> tuple[Tokenizer, TokenizerConfig]:
    """Return the tokenizer, and its settings with a number for `vocab_size=auto`.

    Raises:
        ConfigError, DataError, StorageError: as `Tokenizer.train`.
    """
    cache = cache_dir(data.cache_dir)
    text = vocabulary_text(corpus.vocabulary_text(), data.augment)
    settings = resolve_size(text, data.vocabulary, cache)
    return Tokenizer.train(text, settings, cache), settings
