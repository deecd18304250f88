"""Corpora by name (data=mtdata): the union of those that data.datasets names in mtdata's index."""

from __future__ import annotations

from seq2seq.config.data import DataConfig
from seq2seq.data.corpora import indexed
from seq2seq.data.corpora.held_out import complete
from seq2seq.data.corpus import Corpus, ParallelText
from seq2seq.data.index import corpus_index
from seq2seq.data.text.cleaning import clean
from seq2seq.errors import ConfigError

KEY = "data.datasets"


def load(config: DataConfig) -> Corpus:
    """See `load.Source`."""
    if not config.datasets:
        raise ConfigError(
            f"data=mtdata: set {KEY}=[NAME,NAME]; list the names with python -m seq2seq.data search "
            f"{config.src}-{config.tgt}"
        )
    datasets = corpus_index.named(config.datasets, config.src, config.tgt, KEY)
    if all(map(indexed.is_line_aligned, datasets)):
        return indexed.load_files([indexed.line_aligned(dataset, config, KEY) for dataset in datasets], config)
    train = indexed.joined([indexed.read(dataset, config, KEY) for dataset in datasets])
    return complete(clean(train, config), None, {}, config)


def load_tests(config: DataConfig) -> dict[str, ParallelText]:
    """See `load.Source`."""
    return {} if config.test_datasets else load(config).tests
